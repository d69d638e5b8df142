"""A program that uses every public name of torchlap, with declared types: mypy checks it, and a test runs it."""

from collections.abc import Sequence
from pathlib import Path

import torchlap


def measured(models: tuple[str, ...], out: Path, opened: list[Path]) -> torchlap.Run:
    """Measure some models on the CPU."""
    recipes = (torchlap.parse_recipe("fp32"), torchlap.parse_recipe("bf16+channels_last"))
    options: torchlap.Options = torchlap.Options(
        models=models, devices="cpu", batches=(4,), phases=("train",), recipes=recipes, budget_seconds=30.0, out=out
    )
    listener: torchlap.Listener = torchlap.Listener(opened=lambda _header, path: opened.append(path))
    run: torchlap.Run = torchlap.measure(options, listener=listener)
    return run


def numbers(run: torchlap.Run) -> tuple[list[torchlap.Interval], list[torchlap.Ratio], list[torchlap.Bottleneck]]:
    """All throughputs, speed-ups and bottlenecks of a run."""
    cells = [cell for group in torchlap.figures(run) for cell in group.cells]
    peaks = torchlap.peaks(run)
    throughputs: list[torchlap.Interval] = [cell.throughput for cell in cells if cell.throughput is not None]
    speed_ups: list[torchlap.Ratio] = [cell.speed_up for cell in cells if cell.speed_up is not None]
    analyses = [torchlap.bottleneck(cell, peaks.get(cell.cell.device)) for cell in cells]
    bottlenecks: list[torchlap.Bottleneck] = [analysis for analysis in analyses if analysis is not None]
    return throughputs, speed_ups, bottlenecks


def codes(run: torchlap.Run) -> list[str]:
    """The codes of a run's findings."""
    return [finding.code for finding in torchlap.findings(run)]


def compared(*files: Path) -> tuple[torchlap.Compared, Sequence[torchlap.Change]]:
    """Run files, compared with the first."""
    runs: torchlap.Compared = torchlap.compare(*files, across="files", band=0.05)
    changes: Sequence[torchlap.Change] = runs.changes
    return runs, changes


def loaded(file: Path) -> tuple[torchlap.Run, torchlap.Run]:
    """A run file, and a reference."""
    run: torchlap.Run = torchlap.load(file)
    published: torchlap.Run = torchlap.reference("experiment-2022-h100")
    return run, published


def collected(folder: Path) -> list[str]:
    """The chips of a collection."""
    collection: torchlap.Collection = torchlap.collect(folder, processes=1)
    return sorted({entry.chip for entry in collection.entries})


def checked() -> tuple[torchlap.CheckUp, list[str]]:
    """This machine's check-up, and its devices."""
    check_up: torchlap.CheckUp = torchlap.check_up(hang_seconds=60.0, watch=lambda doing: None)
    assert torchlap.diagnose(check_up.facts) == check_up.findings
    names: list[str] = [device.name for device in torchlap.devices()]
    return check_up, names


def verified(model: str) -> torchlap.Verification:
    """Whether a model computes correct results on the CPU."""
    options = torchlap.Options(models=(model,), devices="cpu", batches=(4,))
    verification: torchlap.Verification = torchlap.verify(options, suite=False, thorough=False)
    return verification


def audited(script: Path) -> tuple[torchlap.ScriptRun, list[str]]:
    """How a script ended, and the codes of its findings."""
    run: torchlap.ScriptRun = torchlap.audit_script(script, ["an argument"], stop_after=None, quiet=True)
    return run, [finding.code for finding in torchlap.examine(run.trace)]


def experiment(out: Path) -> torchlap.Ladder:
    """The 2022 experiment; it takes minutes."""
    ladder: torchlap.Ladder = torchlap.audit_experiment(("alexnet",), budget_seconds=30.0, images=16, out=out)
    return ladder
