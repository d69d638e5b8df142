"""Check whether the accelerator works, and what would make it slow or wrong."""

import time
from collections.abc import Callable

from msgspec.structs import replace

from torchlap import __version__
from torchlap.api.workbench import Watcher
from torchlap.judge.machine import CheckUp, diagnose
from torchlap.machine import facts, installation
from torchlap.machine.privacy import private
from torchlap.measuring.plan import HANG_SECONDS
from torchlap.processes.failures import CellFailedError, ImportFailedError
from torchlap.processes.start import Launcher, launcher
from torchlap.processes.worker import Worker
from torchlap.schema.machine import Facts, Trial
from torchlap.schema.packages import misfit, missing
from torchlap.schema.replies import Description, Tried
from torchlap.schema.requests import Describe, TryOut


def check_up(hang_seconds: float = HANG_SECONDS, watch: Watcher = lambda _: None) -> CheckUp:
    """Check whether the accelerator works, and what would make it slow or wrong.

    Args:
        hang_seconds: how long importing torch, and each device's live probe, may be silent before they count as hung.
        watch: called with what is being done.

    Returns:
        The facts, with a live probe of each device, and the findings. A failure is a finding, not an exception.
    """
    machine = _examined(hang_seconds, watch)
    return CheckUp(__version__, machine, diagnose(machine))


def _examined(hang_seconds: float, watch: Watcher) -> Facts:
    end_reading = facts.begin()
    packages = installation.versions()
    if missing(packages) or misfit(packages, installation.torchvision_needs()):
        return end_reading()  # the metadata says enough: an import would only fail
    watch("importing torch")
    try:
        processes = launcher(hang_seconds)
        try:
            return facts.with_hidden(Examination(processes, hang_seconds, watch).examine(end_reading()))
        finally:
            processes.close()
    except ImportFailedError as failure:
        return facts.without_torch(end_reading(), failure.kind, failure.cause, failure.output)


class Examination:
    """Asks workers about torch and its devices; a worker that fails is replaced by a new one."""

    def __init__(self, processes: Launcher, hang_seconds: float, watch: Callable[[str], None]) -> None:
        self._processes, self._hang_seconds, self._watch = processes, hang_seconds, watch
        self._worker: Worker | None = None

    def examine(self, machine: Facts) -> Facts:
        """The machine's facts, with what torch reports and with a trial of each device."""
        self._watch("listing the devices")
        try:
            description = self._start().ask(Describe(), Description, self._hang_seconds)
        except CellFailedError as failure:
            return facts.with_unread(machine, "torch's devices", failure.reason)
        known = facts.with_torch(machine, description)
        return replace(known, trials=tuple(self._trial(device.name) for device in known.devices))

    def _start(self) -> Worker:
        self._worker = self._processes.start()
        return self._worker

    def _trial(self, device: str) -> Trial:
        begun = time.monotonic()
        stage = "starting"

        def on_progress(doing: str) -> None:
            nonlocal stage
            stage = doing
            self._watch(f"{device}: {doing}")

        try:
            worker = self._worker or self._start()
            tried = worker.ask(TryOut(device), Tried, self._hang_seconds, on_progress)
        except CellFailedError as failure:
            self._worker = None
            return Trial(
                device=device,
                seconds=time.monotonic() - begun,
                failed_at=stage,
                kind=failure.kind,
                reason=private(failure.reason),
            )
        trial = tried.trial
        return replace(
            trial, missing=tuple(map(private, trial.missing)), fallbacks=tuple(map(private, trial.fallbacks))
        )
