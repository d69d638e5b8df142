"""Search for the fastest recipe of a model, and write a run file."""

import time

from msgspec.structs import replace

from torchlap.api.run import Listener, Record, check_path, header_of, same_models, same_plan
from torchlap.api.workbench import Workbench, check_models, workbench
from torchlap.errors import UsageError
from torchlap.judge.bottleneck import bottleneck
from torchlap.measuring.plan import Options, plan_run
from torchlap.measuring.tune.search import Hands, Search
from torchlap.processes.script import run_code
from torchlap.reports.tune.code import code_of
from torchlap.runs import file as runfile
from torchlap.runs.figures import CellResult
from torchlap.runs.find import default_path
from torchlap.schema.breakdown import Peaks
from torchlap.schema.effort import BUDGETS, Tuning
from torchlap.schema.events import Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Plan

USUAL_BATCH = 64


def tune(options: Options, tuning: Tuning | None = None, listener: Listener | None = None) -> Run:
    """Search for the fastest recipe of one model on one device, and write a run file.

    Args:
        options: one model, at one batch size (64 if it names none), phase and device (the first accelerator, or the
            CPU, if it names none); of its recipes, only the workers of a loader count.
        tuning: the effort, and what the answer may change.
        listener: callbacks during the search.

    Returns:
        The run, as `load` reads it from its file; `torchlap.runs.tuning.tuned` computes its ladder.

    Raises:
        UsageError: for a model, device or recipe that does not exist, or for several, before anything is measured.
        InstallError: when torch or torchvision cannot be used.
        RunFileError: when the run file cannot be written.
        KeyboardInterrupt: when interrupted; what was measured up to then is in the file.
    """
    tuning, listener = tuning or Tuning(), listener or Listener()
    earlier = runfile.load(options.resume) if options.resume else None
    if earlier is None:
        _check_one(options)
    elif earlier.header.plan.tuning is None:
        raise UsageError(f"{options.resume} is not a run of torchlap tune: continue it with torchlap run --resume.")
    path = options.resume or options.out or default_path()
    check_path(options, path)
    with workbench() as bench:
        plan = same_plan(earlier, bench.machine) if earlier else _plan(options, tuning, bench)
        checked = check_models(bench, plan, options.hang_seconds, strict=options.batches is not None or bool(earlier))
        if earlier:
            same_models(earlier.header.plan, checked)
        else:
            plan = checked
        before = earlier or Run(header_of(bench.machine, plan))
        with Record(before, path, listener, resumed=earlier is not None) as record:
            search = Search(
                plan,
                bench.processes,
                Hands(_bound_by, code_of, run_code),
                emit=record.add,
                watch=listener.status,
                clock=time.monotonic,
                started=bench.started,
                hang_seconds=options.hang_seconds,
                devices=bench.machine.devices,
            )
            search.replay(before.events)
            search.measure()
        return record.run


def _bound_by(cell: CellResult, peaks: Peaks | None) -> str | None:
    """What bounds a cell's step; None if that is not known."""
    found = bottleneck(cell, peaks)
    return found.kind if found else None


def _check_one(options: Options) -> None:
    """Make sure that the options name one model, batch and phase.

    Raises:
        UsageError: when they name none, or several.
    """
    if len(options.models) != 1:
        raise UsageError("torchlap tune tunes one model: name it, such as torchlap tune resnet18.")
    if len(options.batches or ()) > 1 or len(options.phases or ()) > 1:
        raise UsageError("torchlap tune takes one batch size and one phase: choose one of each, and tune again.")


def _plan(options: Options, tuning: Tuning, bench: Workbench) -> Plan:
    """The plan with the plain step as its only cell.

    Raises:
        UsageError: for a model or device that does not exist, or several devices.
    """
    available = [device.name for device in bench.description.devices]
    usual = next((name for name in available if name != "cpu"), "cpu")
    workers = options.recipes[0].workers if options.recipes else None
    chosen = replace(
        options,
        devices=usual if options.devices == "all" else options.devices,
        batches=options.batches or (USUAL_BATCH,),
        phases=options.phases or ("train",),
        recipes=(Recipe(memory_format="contiguous", workers=workers),),
        budget_seconds=options.budget_seconds or BUDGETS[tuning.effort],
    )
    plan = plan_run(chosen, bench.description)
    cells = [cell for group in plan.groups for cell in group.cells]
    if len(cells) > 1:
        names = ", ".join(cell.device for cell in cells)
        raise UsageError(f"torchlap tune takes one device, not {names}: choose one with --devices.")
    return replace(plan, suite="tune", tuning=tuning)
