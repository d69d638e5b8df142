"""Markdown, CSV and JSON."""

import csv
import json
import re
from pathlib import Path

import pytest
from making import cell, explained, plan, prepared, rounds, run
from reports.samples import CORRECT, FAST, OWN, SLOW, TYPICAL, measured, of_units, table
from support import ROOT

from torchlap.judge.measurement import findings
from torchlap.reports.run.plain import CSV_COLUMNS, as_csv, as_json, as_markdown
from torchlap.schema.events import SCHEMA
from torchlap.schema.workload import Group


def rounded(text: str) -> str:
    """The text with six digits of every decimal: machines may differ in the last ones."""
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.6g}", text)


def test_markdown_has_the_table_the_failures_and_the_findings() -> None:
    items = "\n".join(
        f"- **{finding.code}** {finding.title}: {finding.where}: {finding.evidence}. {finding.remedy}"
        for finding in findings(TYPICAL)
    )
    assert (
        "\n" + as_markdown(TYPICAL)
        == f"""
Fast Processor 9 · 8 cores · 32 GiB · cuda:0 NVIDIA H200 · Linux 6.8 · Python 3.11.9 · torch 2.13.0 torchvision 0.28.0

**cuda:0 is 5.0x as fast as cpu.**

| model | batch | device | images/s | speed-up | laps |
| --- | ---: | --- | --- | --- | ---: |
| resnet18 | 4 | cpu | 40.0 (39.6 to 40.4) |  | 8 |
| resnet18 | 4 | cuda:0 | 200.0 (199.0 to 201.0) | 5.00x (4.96 to 5.04) | 8 |
| resnet18 | 64 | cpu | too slow: \\~160 s/step |  |  |
| resnet18 | 64 | cuda:0 | 315 (294 to 338) |  | 3 |

In parentheses: the 95% interval. Speed-up: over cpu in fp32, from paired rounds. Data: mnist-1k digits. Training: \
forward, backward and Adam. Numerics (against float64): 2 {CORRECT}. fp32: TF32 off.

Cells without a result:

- Not measured, because the budget was too small: resnet18, batch 64, cpu.

{items}
"""
    )


def test_markdown_has_the_columns_of_the_terminal() -> None:
    for shown in (TYPICAL, OWN, measured()):
        heads = next(line for line in table(shown, 200).splitlines() if line.startswith(" model ")).split()
        line = next(line for line in as_markdown(shown).splitlines() if line.startswith("| model"))
        assert line.strip("| ").split(" | ") == heads


def test_markdown_can_have_the_bottlenecks() -> None:
    assert "**resnet18, batch 4, cpu**: Bottleneck: compute. Shares of the step:" in as_markdown(measured(), why=True)
    assert "Shares of the step" not in as_markdown(measured())


def test_no_sentence_in_markdown_ends_with_two_full_stops() -> None:
    assert ".." not in as_markdown(OWN)


def test_csv_has_a_line_per_cell_with_plain_numbers() -> None:
    assert (
        "\n" + rounded(as_csv(TYPICAL))
        == f"""
model,batch,unit,phase,recipe,device,arm,items_per_second,items_per_second_low,items_per_second_high,speed_up,speed_up_low,speed_up_high,void,numerics,bottleneck,laps,first_step_seconds,warm_up_seconds,flops_per_step,utilization,peak_memory_bytes,joules_per_step,joules_per_item,joules_per_item_low,joules_per_item_high,watts,watts_low,watts_high,metered_seconds,cost_per_million_items,cost_per_million_items_low,cost_per_million_items_high,failure,reason
resnet18,4,images,train,fp32,cpu,,40,39.6059,40.4061,,,,,,,8,0.25,1.5,,,,,,,,,,,,,,,,
resnet18,4,images,train,fp32,cuda:0,,200,199.007,201.008,5,4.96217,5.03718,,{CORRECT},,8,0.25,1.5,,,,,,,,,,,,,,,,
resnet18,64,images,train,fp32,cpu,,,,,,,,,,,0,,,,,,,,,,,,,,,,,too_slow,A step would take longer than what is left.
resnet18,64,images,train,fp32,cuda:0,,314.838,293.56,337.658,,,,,{CORRECT},,3,0.25,1.5,,,,,,,,,,,,,,,,
"""
    )


def test_csv_has_the_unit_and_the_bottleneck_of_each_cell() -> None:
    assert [line["unit"] for line in csv.DictReader(as_csv(of_units("images", "tokens")).splitlines())] == [
        "images",
        "tokens",
    ]
    first = next(csv.DictReader(as_csv(measured()).splitlines()))
    assert (first["bottleneck"], first["flops_per_step"], first["utilization"]) == ("compute", "10000000000", "0.5")
    assert first["peak_memory_bytes"] == str(3 * 2**30)


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_spreadsheet_reads_no_text_as_a_formula(start: str) -> None:
    formula = f"{start}cmd|'/C calc'!A1"
    named = run(rounds(SLOW), plan(Group((cell(formula, model=formula),))))
    fields = [field for line in csv.reader(as_csv(named).splitlines()) for field in line]
    assert not [field for field in fields if field.startswith(("=", "+", "-", "@"))]
    assert fields.count(f"'{formula}") == 2


def test_json_is_one_object_with_every_cell() -> None:
    report = json.loads(as_json(TYPICAL, Path("runs/a.jsonl")))
    assert list(report) == [
        "schema",
        "torchlap",
        "started",
        "published",
        "headline",
        "finished",
        "wall_seconds",
        "start_up_seconds",
        "run_file",
        "machine",
        "plan",
        "cells",
        "arms",
        "peaks",
        "idle",
        "prices",
        "findings",
        "check_up",
        "remarks",
    ]
    assert [report[name] for name in ("schema", "finished", "wall_seconds", "run_file")] == [
        SCHEMA,
        "complete",
        98.5,
        "runs/a.jsonl",
    ]
    first, fast, failed, other = report["cells"]
    assert (first["is_baseline"], first["speed_up"], first["laps"], first["unit"]) == (True, None, 8, "images")
    assert fast["items_per_second"]["value"] == pytest.approx(200)
    assert fast["speed_up"]["value"] == pytest.approx(5)
    assert fast["numerics"]["operators"] == 100
    assert (fast["first_loss"], fast["last_loss"]) == (2.75, 2.5)
    assert failed["failure"]["kind"] == "too_slow"
    assert [failed[name] for name in ("items_per_second", "first_loss", "last_loss", "prepared")] == [None] * 4
    assert other["prepared"]["steady"] is False
    assert [finding["code"] for finding in report["findings"]] == ["TL201", "TL203"]


def test_json_and_csv_are_documented() -> None:
    report = json.loads(as_json(TYPICAL, None))
    documented = (ROOT / "docs" / "output.md").read_text()
    assert [name for name in (*report, *report["cells"][0]) if f"`{name}`" not in documented] == []
    assert [name for name in CSV_COLUMNS if name not in documented] == []


def test_json_has_the_bottleneck_of_each_cell() -> None:
    analyzed = run([prepared(0), *rounds(SLOW), explained(0)], plan(Group((cell(), cell("cuda:0")))))
    first, second = json.loads(as_json(analyzed, None))["cells"]
    assert (first["bottleneck"]["step_seconds"], second["bottleneck"]) == (0.1, None)
    documented = (ROOT / "docs" / "bottleneck.md").read_text()
    assert [name for name in first["bottleneck"] if f"`{name}`" not in documented] == []


def test_json_of_an_unfinished_run_has_no_end() -> None:
    report = json.loads(as_json(run(rounds(SLOW, FAST)), None))
    assert [report[name] for name in ("finished", "wall_seconds", "start_up_seconds", "run_file")] == [None] * 4


def test_an_empty_run_has_a_row_per_cell_in_every_format() -> None:
    assert table(run(), 80).count("not measured") == 2
    assert as_markdown(run()).count("| not measured |") == 2
    assert [line["device"] for line in csv.DictReader(as_csv(run()).splitlines())] == ["cpu", "cuda:0"]
    assert len(json.loads(as_json(run(), None))["cells"]) == 2


def test_every_line_of_csv_has_every_column() -> None:
    for shown in (run(), TYPICAL, OWN, measured()):
        assert {len(line) for line in csv.reader(as_csv(shown).splitlines())} == {len(CSV_COLUMNS)}
