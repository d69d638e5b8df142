import pytest

from torchlap import figures, findings, reference
from torchlap.errors import UsageError
from torchlap.judge.bottleneck import bottleneck
from torchlap.judge.measurement import void
from torchlap.reports.upgrade import lines
from torchlap.runs.figures import peaks
from torchlap.runs.find import references
from torchlap.schema.events import Failure, RunFinished
from torchlap.schema.suites import SIX


@pytest.mark.parametrize("name", references())
def test_a_reference_has_no_traceback(name: str) -> None:
    assert not [event.detail for event in reference(name).events if isinstance(event, Failure) and event.detail]


def test_the_2022_experiments_workloads_were_measured_on_an_h100() -> None:
    run = reference("experiment-2022-h100")
    assert run.remarks == ()
    assert run.header.facts.devices[1].model == "NVIDIA H100 80GB HBM3"
    cells = [cell for group in figures(run) for cell in group.cells]
    workloads = {(cell.cell.workload.model, cell.cell.workload.batch, cell.cell.device) for cell in cells}
    assert workloads == {(model, batch, device) for model in SIX for batch in (4, 64) for device in ("cpu", "cuda:0")}
    assert all(cell.throughput for cell in cells)
    assert all(cell.is_baseline or cell.speed_up for cell in cells)
    assert isinstance(run.events[-1], RunFinished)
    assert not void(findings(run))


def test_a_reference_agrees_with_another_program_within_5_percent() -> None:
    """resnet18, batch 64, fp32, resident data: 2467 images/s by another program's loop, on the same kind of GPU."""
    cells = [cell for group in figures(reference("experiment-2022-h100")) for cell in group.cells]
    (cell,) = [cell for cell in cells if str(cell.cell) == "resnet18, batch 64, cuda:0"]
    assert cell.throughput is not None
    assert cell.throughput.value == pytest.approx(2467, rel=0.05)


def test_an_unknown_reference_is_refused_with_the_available_names() -> None:
    with pytest.raises(
        UsageError,
        match=r"'m1': check the path, or choose one of .*experiment-2022, .*-h100, scale-2xh200, .*, upgrade-cpu\.",
    ):
        reference("m1")


def test_the_2022_protocol_on_an_h100_was_bound_by_its_loader_at_batch_64_and_by_launching_at_batch_4() -> None:
    run = reference("protocol-2022-h100")
    cells = [cell for group in figures(run) for cell in group.cells]
    found = {str(cell.cell): bottleneck(cell, peaks(run)[cell.cell.device]) for cell in cells}
    assert {
        name.removesuffix(", cuda:0, fp32+workers:4"): analysis.kind for name, analysis in found.items() if analysis
    } == {
        "alexnet, batch 4": "launch",
        "alexnet, batch 64": "input",
        "resnet18, batch 4": "launch",
        "resnet18, batch 64": "input",
    }


def test_an_upgrade_on_a_busy_machine_is_inconclusive_and_says_why() -> None:
    run = reference("upgrade-cpu")
    assert [arm.packages["torch"] for arm in run.header.plan.arms] == ["2.13.0", "2.14.1"]
    assert run.remarks == ()
    (line,) = lines(run)
    assert line.startswith("resnet18, batch 4, cpu: inconclusive, 0.98x (0.78 to 1.32) (TL208); first loss unchanged;")
