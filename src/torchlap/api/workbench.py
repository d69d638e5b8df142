"""What every measuring function needs, as one context: workers, the machine's facts, and what torch offers here."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from torchlap.errors import InstallError, UsageError
from torchlap.machine import facts, installation
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher, launcher
from torchlap.schema.machine import DeviceFacts, Facts
from torchlap.schema.messages import Check, Checked, Describe, Description
from torchlap.schema.packages import TORCH, misfit, missing, reinstall
from torchlap.schema.workload import Plan

DESCRIBE_SECONDS = 180.0
CHECK_SECONDS = 600.0
"""Pretrained weights may have to be downloaded."""

Watcher = Callable[[str], None]
"""Called with what is being done, in a few words."""


class Workbench(Struct, frozen=True):
    """A launcher of workers, this machine with its torch, what torch offers here, and when it was opened."""

    processes: Launcher
    machine: Facts
    description: Description
    started: float


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
    packages = installation.versions(TORCH)
    absent = missing(packages)
    if absent:
        raise InstallError(f"{absent} not installed: {sys.executable} -m pip install torch torchvision.")
    wrong = misfit(packages, installation.torchvision_needs())
    if wrong:
        raise InstallError(f"{wrong}: {reinstall(sys.executable)}.")


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


def check_models(bench: Workbench, plan: Plan, hang_seconds: float) -> None:
    """Build each model and load its data once, where that can fail, before anything is measured.

    Raises:
        UsageError: for a model that cannot be built, or whose data is missing.
    """
    workloads = {group.cells[0].workload.model: group.cells[0].workload for group in plan.groups}
    for model, workload in workloads.items():
        is_known = model in bench.description.models
        if is_known and plan.weights == "random" and plan.data != "mnist":
            continue
        worker = bench.processes.start()
        try:
            request = Check(model, workload.batch, plan.weights, plan.data)
            worker.ask(request, Checked, CHECK_SECONDS if is_known else hang_seconds)
        except CellFailedError as failure:
            raise UsageError(_cannot_build(model, failure)) from None
        finally:
            worker.kill()


def _cannot_build(model: str, failure: CellFailedError) -> str:
    if failure.kind == "error" and not failure.detail:
        return failure.reason
    last_line = [line for line in failure.detail.splitlines() if line.strip()][-1:]
    return f"Cannot build {model}: {' '.join([failure.reason, *last_line])} Run it by itself to see why."
