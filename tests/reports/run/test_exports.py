"""Exports for histories kept elsewhere: each is read with its service's schema, in which nothing else is allowed."""

from pathlib import Path
from typing import Literal

import msgspec
import pytest
from making import FACTS, FAULT, cell, explained, failure, pair, plan, prepared, rounds, run
from msgspec import Struct
from msgspec.structs import replace
from reports.samples import FAST, OWN, SLOW, TYPICAL
from support import invoke

from torchlap.reports.run.exports import as_bencher, as_github_action_benchmark, as_pytorch_oss, left_out
from torchlap.runs.file import content
from torchlap.schema.arm import Arm
from torchlap.schema.events import NumericsChecked
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group


class Strict(Struct, forbid_unknown_fields=True):
    pass


class Measure(Strict):
    """Bencher Metric Format: https://bencher.dev/docs/reference/bencher-metric-format/."""

    value: float
    lower_value: float
    upper_value: float


class Bigger(Strict):
    """github-action-benchmark, customBiggerIsBetter."""

    name: str
    unit: str
    value: float
    range: str
    extra: str


class Benchmark(Strict):
    name: str
    mode: str
    dtype: str
    extra_info: dict[str, str]


class Model(Strict):
    name: str
    type: str
    backend: str
    origins: list[str]
    extra_info: dict[str, str]


class Runner(Strict):
    name: str
    type: str
    cpu_info: str
    cpu_count: int
    mem_info: str
    avail_mem_in_gb: int
    gpu_info: str
    gpu_count: int
    gpu_mem_info: str
    avail_gpu_mem_in_gb: int
    extra_info: dict[str, str]


class Dependency(Strict):
    repo: str
    branch: str
    sha: str
    version: str
    extra_info: dict[str, str]


class Metric(Strict):
    name: str
    benchmark_values: list[float]
    target_value: float
    extra_info: dict[str, str]


class Record(Strict):
    """The table oss_ci_benchmark_v3 of pytorch/test-infra, without what the uploading workflow adds."""

    timestamp: int
    schema_version: Literal["v3"]
    name: str
    benchmark: Benchmark
    model: Model
    inputs: dict[str, dict[str, str]]
    runners: list[Runner]
    dependencies: dict[str, Dependency]
    metric: Metric


CELLS = ["resnet18, batch 4, cpu", "resnet18, batch 4, cuda:0", "resnet18, batch 64, cuda:0"]


def test_bencher_gets_the_throughput_and_its_interval() -> None:
    exported = msgspec.json.decode(as_bencher(TYPICAL), type=dict[str, dict[Literal["throughput"], Measure]])
    assert list(exported) == CELLS
    measure = exported[CELLS[0]]["throughput"]
    assert measure.value == pytest.approx(40.0)
    assert 39.5 < measure.lower_value < measure.value < measure.upper_value < 40.5


def test_github_action_benchmark_gets_a_list() -> None:
    exported = msgspec.json.decode(as_github_action_benchmark(TYPICAL), type=list[Bigger])
    assert [entry.name for entry in exported] == CELLS
    assert (exported[0].unit, exported[0].range) == ("images/s", "39.6059 to 40.4061")
    assert exported[0].extra.startswith("40.0 (39.6 to 40.4) images/s, 95% interval from 8 laps\nFast Processor 9")


def test_pytorchs_database_gets_a_record_for_each_metric() -> None:
    exported = msgspec.json.decode(as_pytorch_oss(TYPICAL), type=list[Record])
    assert [(record.runners[0].name, record.metric.name) for record in exported] == [
        ("cpu", "throughput"),
        ("cuda", "throughput"),
        ("cuda", "speedup"),
        ("cuda", "throughput"),
    ]
    first, _, speed_up, _ = exported
    assert first.timestamp == 1767323045
    assert (first.benchmark.mode, first.benchmark.dtype, first.model.backend) == ("training", "float32", "eager")
    assert first.model.origins == ["torchvision"]
    assert first.dependencies["torch"].version == "2.13.0"
    assert speed_up.runners[0].type == "NVIDIA H200"
    assert speed_up.metric.benchmark_values == [pytest.approx(5.0)]
    assert "TL203" in exported[3].benchmark.extra_info["findings"]


def test_an_own_file_is_exported_without_its_folders() -> None:
    (record,) = msgspec.json.decode(as_pytorch_oss(OWN), type=list[Record])
    assert (record.model.name, record.model.origins) == ("net.py:build", ["own file"])
    assert (record.benchmark.mode, record.benchmark.dtype) == ("inference", "bfloat16")
    assert "/home" not in as_bencher(OWN) + as_github_action_benchmark(OWN) + as_pytorch_oss(OWN)


def test_an_arm_has_the_packages_of_its_own() -> None:
    sides = Arm("old", packages={"torch": "2.13.0"}), Arm("new", packages={"torch": "2.14.0"})
    cells = tuple(replace(cell(recipe=Recipe(compile=True)), arm=arm.name) for arm in sides)
    measured = run([prepared(0), prepared(1), *rounds(SLOW, FAST)], plan(Group(cells), arms=sides))
    exported = msgspec.json.decode(as_pytorch_oss(measured), type=list[Record])
    assert [record.dependencies["torch"].version for record in exported] == ["2.13.0", "2.14.0", "2.14.0"]
    assert {record.model.backend for record in exported} == {"inductor"}
    assert list(msgspec.json.decode(as_bencher(measured))) == [
        "resnet18, batch 4, cpu, fp32+compile, old",
        "resnet18, batch 4, cpu, fp32+compile, new",
    ]


def test_a_cell_without_a_valid_figure_is_left_out_and_named() -> None:
    wrong = NumericsChecked(group=0, cell=1, numerics=Numerics(operators=9, closest=0.5, faults=(FAULT,)))
    void = run([prepared(0), prepared(1), wrong, *rounds(SLOW, FAST)])
    assert list(msgspec.json.decode(as_bencher(void))) == CELLS[:1]
    assert left_out(void) == "Left out, because there is no valid figure: resnet18, batch 4, cuda:0."
    nothing = run([failure(0), failure(1)])
    assert (as_bencher(nothing), as_github_action_benchmark(nothing), as_pytorch_oss(nothing)) == (
        "{}\n",
        "[]\n",
        "[]\n",
    )
    assert left_out(run([prepared(0), prepared(1), *rounds(SLOW, FAST)])) == ""


@pytest.mark.parametrize("form", ["bencher", "github-action-benchmark", "pytorch-oss"])
def test_a_report_is_exported_and_names_what_is_left_out(form: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content(TYPICAL))
    result = invoke("report", file, "--format", form)
    assert result.exit_code == 0, result.output
    assert msgspec.json.decode(result.stdout)
    assert "Left out, because there is no valid figure: resnet18, batch 64, cpu." in result.stderr
    assert invoke("report", file, file.parent, "--format", form).exit_code == 2


def test_a_start_elsewhere_is_the_same_moment() -> None:
    moved = replace(TYPICAL, header=replace(TYPICAL.header, started="2026-01-02T05:04:05+02:00"))
    records = [msgspec.json.decode(as_pytorch_oss(one), type=list[Record]) for one in (TYPICAL, moved)]
    assert records[0][0].timestamp == records[1][0].timestamp


def test_a_machine_without_a_start_is_exported_too() -> None:
    old = run([prepared(0), explained(0), *rounds(SLOW)], plan(Group((cell(),))), replace(FACTS, devices=()))
    undated = replace(old, header=replace(old.header, started=""))
    (record,) = msgspec.json.decode(as_pytorch_oss(undated), type=list[Record])
    assert (record.timestamp, record.runners[0].type) == (0, FACTS.cpu)
    assert pair().cells[0].device == record.runners[0].name
