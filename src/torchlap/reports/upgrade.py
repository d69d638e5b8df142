"""What an upgrade changed, model by model: speed, numerics, first step and warm-up; and a sentence for an issue."""

from collections.abc import Iterator, Sequence
from math import isclose, log

from rich.text import Text

from torchlap.judge.arms import LOSS_TOLERANCE
from torchlap.judge.compare import Change, compare
from torchlap.judge.numerics import verdict
from torchlap.reports.kit.terminal import heading, indented, labeled, rendered
from torchlap.reports.kit.text import clean, markdown
from torchlap.reports.kit.units import significant, with_interval
from torchlap.reports.run.rows import model_names
from torchlap.runs.figures import CellResult, figures
from torchlap.runs.find import Named
from torchlap.schema.events import Preparation, Run
from torchlap.schema.machine import Facts

HEADING = "What changed"
TIMES_APART = 1.5
"""Seconds that were measured once, such as those of the first step, are named if they differ by this factor."""

LEAST_SECONDS = 0.1
"""Shorter ones are never named."""

WORDS = {"faster": "faster", "slower": "slower", "same": "the same", "inconclusive": "inconclusive"}


def lines(run: Run) -> tuple[str, ...]:
    """A line for every cell of a run of two arms."""
    found = compare([Named("this run", run)], across="arm").changes
    by_arm = {(cell.cell.arm, _place(cell)): cell for group in figures(run) for cell in group.cells}
    first = run.header.plan.arms[0].name
    texts = []
    for change in found:
        place = (change.model, change.batch, change.phase, change.device)
        cells = [cell for (arm, where), cell in by_arm.items() if where[:4] == place and arm in (first, change.column)]
        cells = [cell for cell in cells if str(cell.cell.recipe) in change.recipe.split(", ")]
        texts.append(clean(f"{cell_name(run, change)}: {'; '.join(_facts(change, cells))}."))
    return tuple(texts)


def _place(cell: CellResult) -> tuple[str, int, str, str, str]:
    workload = cell.cell.workload
    return workload.model, workload.batch, workload.phase, cell.cell.device, str(cell.cell.recipe)


def cell_name(run: Run, change: Change) -> str:
    """The cell of a change, without its arm, and without the folders of an own file."""
    words = [model_names(run)[change.model], f"batch {change.batch}", change.device]
    words += [change.phase] if change.phase != "train" else []
    words += [change.recipe] if change.recipe != "fp32" else []
    return ", ".join(words)


def _facts(change: Change, cells: Sequence[CellResult]) -> Iterator[str]:
    yield _speed(change)
    if len(cells) != len(("old", "new")):
        return
    old, new = cells
    yield _numerics(old, new)
    if old.prepared and new.prepared:
        yield from _times(old.prepared, new.prepared, compiled=new.cell.recipe.compile)


def _speed(change: Change) -> str:
    ratio = f", {with_interval(change.interval, 'x')}" if change.interval else ""
    why = f" ({', '.join(change.codes) or change.reason})" if change.ground is None else ""
    return f"{WORDS[change.verdict]}{ratio}{why}"


def _numerics(old: CellResult, new: CellResult) -> str:
    """Whether an accelerator's results are as right as before; on the CPU, whether the first loss is the same."""
    if new.cell.device != "cpu":
        before, after = verdict(old.numerics), verdict(new.numerics)
        return f"numerics unchanged ({after})" if before == after else f"numerics {before} vs. {after}"
    if not (old.prepared and new.prepared):
        return "numerics unknown"
    losses = old.prepared.first_loss, new.prepared.first_loss
    if isclose(*losses, rel_tol=LOSS_TOLERANCE):
        return "first loss unchanged"
    return f"first loss {losses[0]:.4g} vs. {losses[1]:.4g}"


def _times(old: Preparation, new: Preparation, *, compiled: bool) -> Iterator[str]:
    """What was measured once: so only a clear difference is named."""
    pairs = [("warm-up", old.warm_up_seconds, new.warm_up_seconds)]
    if compiled:
        pairs.insert(0, ("compile time", old.compile_seconds, new.compile_seconds))
    else:
        pairs.insert(0, ("first step", old.first_step_seconds, new.first_step_seconds))
    named = [
        f"{what} {significant(before, 2)} s vs. {significant(after, 2)} s"
        for what, before, after in pairs
        if max(before, after) >= LEAST_SECONDS and abs(log(after / before)) >= log(TIMES_APART)
    ]
    yield from named or [f"{pairs[0][0]} and warm-up within {TIMES_APART}x"]


def sentence(run: Run) -> str:
    """One sentence to paste into an issue: the releases, the ratios, and where they were measured."""
    changes = compare([Named("this run", run)], across="arm").changes
    first, last = (arm.name for arm in run.header.plan.arms)
    known = [change for change in changes if change.interval]
    words = [f"{cell_name(run, change)}: {_speed(change)}" for change in known] or ["no result"]
    facts = run.header.facts
    return clean(f"{last} vs. {first} on {_machine(facts)}, by torchlap {run.header.torchlap}: {'; '.join(words)}.")


def _machine(facts: Facts) -> str:
    devices = [device.model or device.name for device in facts.devices if device.kind != "cpu"]
    return ", ".join([*dict.fromkeys(devices), facts.cpu, f"{facts.physical_cores} cores", facts.system])


def as_text(run: Run, width: int, *, color: bool) -> str:
    """For a terminal, below the run's report."""
    paste = [Text(""), labeled("To paste", sentence(run))]
    return rendered([heading(HEADING), *map(indented, lines(run)), *paste], width, color=color)


def as_markdown(run: Run) -> str:
    """To paste, below the run's report."""
    items = [f"- {markdown(line)}" for line in lines(run)]
    return "\n".join(["", f"**{HEADING}**:", "", *items, "", markdown(sentence(run))]) + "\n"
