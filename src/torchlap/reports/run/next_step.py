"""What to try after a run: the command that most likely shows more."""

import shlex
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path

from msgspec.structs import replace

from torchlap.reports.kit.text import clean
from torchlap.reports.run.rows import Results, baseline
from torchlap.reports.run.table import is_out_of_time
from torchlap.schema.base import OUT_OF_TIME
from torchlap.schema.events import Run, RunFinished
from torchlap.schema.suites import SUITES, Suite
from torchlap.schema.workload import Cell, Plan

LEAST_BUDGET_MINUTES = 10
START_SECONDS, STEPS_FOR_A_FIGURE = 20.0, 15
"""What a run takes before its first lap, and the steps of a cell that give it a narrow interval."""


def next_step(results: Results, path: Path | None = None) -> tuple[str, str]:
    """What to try, and the command for it.

    Args:
        results: of the run.
        path: its file.
    """
    run = results.run
    can_resume = not any(arm.revision for arm in run.header.plan.arms)
    if can_resume and run.events and isinstance(run.events[-1], RunFinished) and run.events[-1].reason == "interrupted":
        return "Continue this run", f"torchlap run --resume {shlex.quote(clean(str(path))) if path else 'RUN_FILE'}"
    if run.header.plan.arms:
        return "Measure longer", f"{command(run)} --budget {_larger_budget(run.header.plan)}"
    if is_out_of_time(results):
        return "Measure the rest", _missing(results)
    return "Try other settings", _other_settings(run)


def _other_settings(run: Run) -> str:
    accelerators = [device.name for device in run.header.facts.devices if device.kind != "cpu"]
    device = accelerators[0] if accelerators else "cpu"
    if device.startswith("cuda"):
        recipes = "fp32,tf32,bf16+channels_last+fused"
    else:
        recipes = "fp32,bf16,channels_last" if accelerators else "fp32,bf16"
    workload = baseline(run).workload
    model = shlex.quote(clean(workload.model))
    batch = "" if run.header.plan.suite in SUITES else f" --batch {workload.batch}"
    counting = "".join(f" --{name} {shlex.quote(clean(value))}" for name, value in _counting(run.header.plan) if value)
    return f"torchlap run {model}{batch}{counting} --devices {shlex.quote(clean(device))} --recipe {recipes}"


def _missing(results: Results) -> str:
    """The command that measures only the groups in which time ran out, with a budget that suits them."""
    run, plan = results.run, results.run.header.plan
    late = {
        row.result.cell: row.result.failure.estimate_seconds
        for row in results.rows
        if row.result.failure and row.result.failure.kind in OUT_OF_TIME
    }
    groups = tuple(group for group in plan.groups if any(cell in late for cell in group.cells))
    if len(groups) == len(plan.groups):
        return f"{command(run)} --budget {_larger_budget(plan)}"
    part = replace(run, header=replace(run.header, plan=replace(plan, suite="own", groups=groups)))
    steps = [seconds for seconds in late.values() if seconds is not None]
    if len(steps) < len(late):
        return f"{command(part)} --budget {_larger_budget(plan)}"
    return f"{command(part)} --budget {ceil((START_SECONDS + STEPS_FOR_A_FIGURE * sum(steps)) / 60)}m"


def _larger_budget(plan: Plan) -> str:
    """A budget that may well be enough if this one was not."""
    return f"{max(LEAST_BUDGET_MINUTES, ceil(3 * plan.budget_seconds / 60))}m"


def command(run: Run) -> str:
    """The command that plans the same run, without options that have their default."""
    plan, suite = run.header.plan, SUITES.get(run.header.plan.suite)
    cells = [cell for group in plan.groups for cell in group.cells]
    workers = cells[0].recipe.workers
    devices = [device.name for device in run.header.facts.devices]
    options = {
        "suite": (plan.suite, "quick" if suite else plan.suite),
        "devices": (_joined(cell.device for cell in cells), _joined(devices)),
        "batch": (_joined(cell.workload.batch for cell in cells), _batches(suite) if suite else ""),
        "seq": (_joined(cell.workload.seq for cell in cells if cell.workload.seq and not suite), ""),
        **{name: (value, "") for name, value in _counting(plan)},
        "phase": (
            _joined(cell.workload.phase for cell in cells),
            _joined(suite.phases) if suite else "train",
        ),
        "recipe": (_recipes(plan, cells), "fp32"),
        "data": (plan.data, "mnist-1k"),
        "data-through": ("resident" if workers is None else "loader", "resident"),
        "workers": ("" if workers is None else str(workers), ""),
        "weights": (plan.weights, "random"),
    }
    models = () if suite else dict.fromkeys(clean(cell.workload.model) for cell in cells)
    chosen = [f"--{name} {shlex.quote(clean(value))}" for name, (value, usual) in options.items() if value != usual]
    return " ".join(["torchlap run", *map(shlex.quote, models), *chosen, *_arms(plan)])


def _counting(plan: Plan) -> list[tuple[str, str]]:
    """The options that say what a batch of the user's own model counts; empty where the user gave none."""
    return [("items", str(plan.items or "")), ("unit", plan.unit)]


def _arms(plan: Plan) -> list[str]:
    """The options that name the arms."""
    revisions = [arm.revision for arm in plan.arms if arm.revision]
    if revisions:
        return [f"--against {shlex.quote(clean(revisions[0]))}"]
    return [f"--arm {shlex.quote(clean(str(arm)))}" for arm in plan.arms]


def _recipes(plan: Plan, cells: Sequence[Cell]) -> str:
    """The recipes of the cells whose arm has none of its own."""
    own = {arm.name for arm in plan.arms if arm.recipe}
    return _joined(replace(cell.recipe, workers=None) for cell in cells if cell.arm not in own) or "fp32"


def _batches(suite: Suite) -> str:
    return _joined(batch for model in suite.models for batch in suite.batches_of(model))


def _joined(values: Iterable[object]) -> str:
    """Distinct values as an option takes them, separated by commas."""
    return ",".join(dict.fromkeys(map(str, values)))
