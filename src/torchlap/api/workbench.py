"""What every measuring function needs, as one context: workers, the machine's facts, and what torch offers on it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from torchlap.errors import InstallError, UsageError
from torchlap.machine import facts, installation, packages
from torchlap.measuring.plan import as_answered
from torchlap.processes.failures import CellFailedError, hiding
from torchlap.processes.start import Launcher, launcher
from torchlap.schema.arm import Arm
from torchlap.schema.commands import BOTH, command
from torchlap.schema.machine import DeviceFacts, Facts
from torchlap.schema.packages import misfit, missing
from torchlap.schema.replies import Checked, Description
from torchlap.schema.requests import Check, Describe
from torchlap.schema.workload import Plan, Workload, has_own_batch, is_own_file

DESCRIBE_SECONDS = 180.0
CHECK_SECONDS = 600.0
"""Pretrained weights may have to be downloaded."""

Watcher = Callable[[str], None]
"""Called with what is being done, in a few words."""


class Side(Struct, frozen=True):
    """An arm, with the launcher of its workers and what its torch offers."""

    arm: Arm
    processes: Launcher
    description: Description


class Workbench(Struct, frozen=True):
    """A launcher of workers, this machine with its torch, what torch offers here, and when it was opened.

    Attributes:
        sides: of a run with arms; the other fields are then those of the first arm.
    """

    processes: Launcher
    machine: Facts
    description: Description
    started: float
    sides: tuple[Side, ...] = ()


@contextmanager
def workbench() -> Iterator[Workbench]:
    """Open a workbench; on leaving it, every worker ends.

    The machine is read while torch is being imported, and before any worker touches a device.

    Raises:
        InstallError: when torch or torchvision cannot be used.
        UsageError: when torch cannot list its devices.
    """
    started = time.monotonic()
    check_installation()
    end_reading = facts.begin()
    processes = launcher()
    try:
        machine = end_reading()
        description = describe(processes)
        yield Workbench(processes, facts.with_torch(machine, description), description, started)
    finally:
        processes.close()


def check_installation() -> None:
    """Make sure, before any import, that torch and torchvision are installed and compatible.

    Raises:
        InstallError: when one is missing, or they come from different builds.
    """
    versions = installation.versions(BOTH)
    absent = missing(versions)
    if absent:
        raise InstallError(f"{absent} not installed: {command(packages.installer(), sys.executable)}.")
    wrong = misfit(versions, installation.torchvision_needs())
    if wrong:
        raise InstallError(f"{wrong}: {command(packages.installer(), sys.executable, 'reinstall')}.")


def describe(processes: Launcher) -> Description:
    """What torch and torchvision offer here, asked of a worker.

    Raises:
        UsageError: when torch cannot list its devices.
    """
    worker = processes.start()
    try:
        return worker.ask(Describe(), Description, DESCRIBE_SECONDS)
    except CellFailedError as failure:
        raise UsageError(f"torch cannot list its devices ({failure.reason}): check the driver.") from None
    finally:
        worker.kill()


def devices() -> tuple[DeviceFacts, ...]:
    """The CPU, then every accelerator that torch finds.

    Raises:
        UsageError: when torch cannot list them.
        InstallError: when torch or torchvision cannot be used.
    """
    with workbench() as bench:
        return bench.description.devices


def check_models(bench: Workbench, plan: Plan, hang_seconds: float, *, strict: bool = True) -> Plan:
    """Build each model and load its data once, where that can fail, before anything is measured.

    Args:
        bench: where to build them.
        plan: what will be measured.
        hang_seconds: a worker that is silent for this long counts as hung.
        strict: refuse a user's batch whose number of rows differs from the plan's; otherwise the plan adopts it.

    Returns:
        The plan, with the rows, the unit and the identity of each model that brings its own data.

    Raises:
        UsageError: for a model that cannot be built, or whose data is missing.
    """
    answers: dict[Workload, Checked] = {}
    for model, workloads in _to_check(bench, plan).items():
        worker = bench.processes.start()
        limit = hang_seconds if is_own_file(model) else CHECK_SECONDS
        try:
            for workload in workloads:
                asked = workload.asked or workload.batch
                only_rows = strict and workload.asked is None
                request = Check(
                    model,
                    asked,
                    plan.weights,
                    plan.data,
                    only_rows,
                    workload.seq,
                    items=plan.items,
                    unit=plan.unit,
                    held_out=plan.training is not None,
                )
                answers[workload] = _with_loader(workload, worker.ask(request, Checked, limit), plan)
        except CellFailedError as failure:
            raise UsageError(_cannot_build(model, failure)) from None
        finally:
            worker.kill()
    return as_answered(plan, answers)


def _with_loader(workload: Workload, answer: Checked, plan: Plan) -> Checked:
    """The answer about a model, if what the recipes say about a loader applies to it.

    Raises:
        UsageError: for a model with a batch of its own.
    """
    recipes = {cell.recipe for group in plan.groups for cell in group.cells if cell.workload == workload}
    if answer.rows is not None and not answer.has_loader and any(recipe.of_loader for recipe in recipes):
        raise UsageError(
            f"A loader works only with images and your own DataLoader: {workload.model} provides its own batch."
        )
    return answer


def _to_check(bench: Workbench, plan: Plan) -> dict[str, list[Workload]]:
    """The workloads of each model that may fail: all batches of a user's own, and one of the others."""
    found: dict[str, list[Workload]] = {}
    for workload in (group.cells[0].workload for group in plan.groups):
        is_known = workload.model in bench.description.models
        if is_known and plan.weights == "random" and plan.data != "mnist":
            continue
        workloads = found.setdefault(workload.model, [])
        if not workloads or (has_own_batch(workload.model) and workload.phase == workloads[0].phase):
            workloads.append(workload)
    return found


def _cannot_build(model: str, failure: CellFailedError) -> str:
    if failure.kind == "error" and not failure.detail:
        return failure.reason
    last_line = [line for line in failure.detail.splitlines() if line.strip()][-1:]
    folder = Path(model.rpartition(":")[0]).resolve().parent if is_own_file(model) else Path.cwd()
    remedy = hiding(failure.detail, folder) or " Build it in a script of its own to see why."
    return f"Cannot build {model}: {' '.join([failure.reason, *last_line])}{remedy}"
