"""The public functions: what the command line does, for Python."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Self

import platformdirs
from msgspec import Struct

from torchlap import __version__, facts, runfile, suites
from torchlap.errors import RunFileError, UsageError
from torchlap.isolate import CellFailedError, Launcher, launcher
from torchlap.protocol import Check, Checked, Describe, Description
from torchlap.records import (
    SCHEMA,
    DataName,
    Event,
    Facts,
    Header,
    Phase,
    Plan,
    Recipe,
    Run,
    Weights,
)
from torchlap.runfile import RunFile
from torchlap.session import HANG_SECONDS, Session, Status

DESCRIBE_SECONDS = 180.0
CHECK_SECONDS = 600.0
"""Pretrained weights may have to be downloaded."""


class Options(Struct, frozen=True, kw_only=True):
    """What to measure. None stands for what the suite says; the names are those of the command line."""

    models: tuple[str, ...] = ()
    devices: str = "all"
    batches: tuple[int, ...] | None = None
    phases: tuple[Phase, ...] | None = None
    recipes: tuple[Recipe, ...] = (Recipe(),)
    suite: str = "quick"
    data: DataName = "mnist-1k"
    weights: Weights = "random"
    precision_target: float = 0.02
    budget_seconds: float | None = None
    out: Path | None = None
    resume: Path | None = None
    hang_seconds: float = HANG_SECONDS


class Listener(Struct, frozen=True):
    """Whom to tell while a run goes on: `opened` at its start, `event` at each event, `status` ever so often."""

    opened: Callable[[Header, Path], None] = lambda _header, _path: None
    event: Callable[[Event], None] = lambda _: None
    status: Callable[[Status], None] = lambda _: None


def measure(options: Options | None = None, listener: Listener | None = None) -> Run:
    """Measure, and write a run file.

    Args:
        options: what to measure; the default suite when left out.
        listener: whom to tell meanwhile.

    Returns:
        The run, as `load` reads it from its file; of a resumed run, the earlier events too.

    Raises:
        UsageError: for a model, device or recipe that does not exist, told before anything is measured.
        InstallError: when torch or torchvision cannot be used.
        RunFileError: when the run file cannot be written.
        KeyboardInterrupt: when interrupted; what was measured until then is in the file.
    """
    started = time.monotonic()
    options, listener = options or Options(), listener or Listener()
    earlier = runfile.load(options.resume) if options.resume else None
    path = options.resume or options.out or default_path()
    _check_path(options, path)
    facts.check_installation()
    processes = launcher()
    try:
        description = _describe(processes)
        machine = facts.gather(description)
        plan = _same_plan(earlier, machine) if earlier else _plan(options, description)
        _check_models(processes, plan, description, options.hang_seconds)
        before = earlier or Run(_header(machine, plan))
        with _Record(before, path, listener, resumed=earlier is not None) as record:
            session = Session(
                plan,
                processes,
                emit=record.add,
                watch=listener.status,
                clock=time.monotonic,
                started=started,
                hang_seconds=options.hang_seconds,
                devices=machine.devices,
            )
            session.replay(before.events)
            session.measure()
        return record.run
    finally:
        processes.close()


class _Record:
    """The run file being written: each event is on the disk before anyone is told of it."""

    def __init__(self, before: Run, path: Path, listener: Listener, *, resumed: bool) -> None:
        self._before, self._listener = before, listener
        self._events = list(before.events)
        self._file = RunFile.reopen(path) if resumed else RunFile.create(path)
        if not resumed:
            self._file.append(before.header)
        listener.opened(before.header, path)
        for event in before.events:
            listener.event(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, event: Event) -> None:
        """Write an event down, and pass it on."""
        self._file.append(event)
        self._events.append(event)
        self._listener.event(event)

    @property
    def run(self) -> Run:
        """The run so far."""
        return Run(self._before.header, tuple(self._events), self._before.remarks)


def load(path: str | Path) -> Run:
    """Read a run file.

    Raises:
        RunFileError: when it cannot be read, is damaged, or was written by a newer torchlap.
    """
    return runfile.load(Path(path))


def reference(name: str) -> Run:
    """Load a reference run that comes with torchlap, such as `experiment-2022-h100`.

    Raises:
        UsageError: when there is none of that name.
    """
    folder = files("torchlap").joinpath("data", "references")
    names = sorted(entry.name.removesuffix(".jsonl") for entry in folder.iterdir() if entry.name.endswith(".jsonl"))
    if name not in names:
        raise UsageError(f"There is no reference run {name!r}: choose one of {', '.join(names)}.")
    with as_file(folder.joinpath(f"{name}.jsonl")) as path:
        return runfile.load(path)


def default_path() -> Path:
    """Where a run file goes when no name is given: the user's data folder, named by the time."""
    return platformdirs.user_data_path("torchlap") / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"


def _check_path(options: Options, path: Path) -> None:
    """Say at once what would otherwise be said after torch was imported."""
    if options.resume:
        return
    if options.out is None:
        _make_folder(path.parent)
    elif not os.path.isdir(path.parent):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        raise RunFileError(f"The folder {path.parent} does not exist: make it, or name another file with --out.")
    elif os.path.isdir(path):  # noqa: PTH112
        raise RunFileError(f"{path} is a folder: name a file in it with --out.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFileError(f"The folder {folder} cannot be made ({error.strerror}): name a file with --out.") from None


def _describe(processes: Launcher) -> Description:
    worker = processes.start()
    try:
        return worker.ask(Describe(), Description, DESCRIBE_SECONDS)
    except CellFailedError as failure:
        raise UsageError(f"torch's devices cannot be listed ({failure.reason}): check the driver.") from None
    finally:
        worker.kill()


def _plan(options: Options, description: Description) -> Plan:
    suite = suites.parse_suite(options.suite)
    models = options.models or suite.models
    suites.check_own_files(models, options.weights, options.recipes)
    for model in models:
        if not suites.is_own_file(model):
            suites.check_model(model, description.models)
    comparisons = suites.comparisons(
        models,
        options.batches or suite.batches,
        options.phases or suite.phases,
        options.recipes,
        suites.parse_devices(options.devices, description.devices),
    )
    return Plan(
        suite=options.suite if not options.models else "own",
        comparisons=comparisons,
        data=options.data,
        weights=options.weights,
        precision_target=options.precision_target,
        budget_seconds=options.budget_seconds or suite.budget_seconds,
    )


def _same_plan(earlier: Run, machine: Facts) -> Plan:
    differs = facts.difference(machine, earlier.header.facts)
    if differs:
        raise UsageError(f"The run was begun on another machine ({differs}): start a new one without --resume.")
    return earlier.header.plan


def _check_models(processes: Launcher, plan: Plan, description: Description, hang_seconds: float) -> None:
    """Build each model, and have the data, where that may fail for reasons of its own, before anything is measured."""
    workloads = {each.cells[0].workload.model: each.cells[0].workload for each in plan.comparisons}
    for model, workload in workloads.items():
        if model in description.models and plan.weights == "random" and plan.data != "mnist":
            continue
        worker = processes.start()
        downloads = model in description.models
        try:
            request = Check(model, workload.batch, plan.weights, plan.data)
            worker.ask(request, Checked, CHECK_SECONDS if downloads else hang_seconds)
        except CellFailedError as failure:
            if failure.kind == "error" and not failure.detail:
                raise UsageError(failure.reason) from None
            said = [line for line in failure.detail.splitlines() if line.strip()][-1:]
            words = " ".join([failure.reason, *said])
            raise UsageError(f"{model} cannot be built: {words} Run it by itself to see why.") from None
        finally:
            worker.kill()


def _header(machine: Facts, plan: Plan) -> Header:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Header(schema=SCHEMA, torchlap=__version__, started=now, facts=machine, plan=plan)
