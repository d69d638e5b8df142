"""The public functions: what the command line does, for Python."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Self

import platformdirs
from msgspec import Struct
from msgspec.structs import asdict, replace

from torchlap import __version__, facts, installation, runfile, suites
from torchlap.checks import CellNumbers, Verification
from torchlap.doctor import CheckUp, diagnose
from torchlap.errors import RunFileError, UsageError
from torchlap.isolate import CellFailedError, ImportFailedError, Launcher, Worker, launcher
from torchlap.privacy import private
from torchlap.protocol import (
    Built,
    Check,
    Checked,
    CheckSuite,
    Describe,
    Description,
    SuiteChecked,
    Tried,
    TryOut,
    Verified,
    Verify,
)
from torchlap.records import (
    SCHEMA,
    Cell,
    DataName,
    DeviceFacts,
    Event,
    Facts,
    Header,
    NumbersChecked,
    OperatorSuite,
    Phase,
    Plan,
    Recipe,
    Run,
    Trial,
    Weights,
)
from torchlap.results import TWO
from torchlap.runfile import RunFile
from torchlap.session import HANG_SECONDS, Session, Status, build_request, check_failed, hang_limit
from torchlap.versus import SAME_BAND, Across, Compared, Named
from torchlap.versus import compare as compare_runs

DESCRIBE_SECONDS = 180.0
VERIFY_SECONDS = 3600.0
CHECK_SECONDS = 600.0
"""Pretrained weights may have to be downloaded."""


def _nobody(_: str) -> None:
    """Whom to tell when nobody wants to know."""


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
    verify: bool = True
    explain: bool = True


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
    installation.check()
    end_reading = facts.begin()
    processes = launcher()
    try:
        machine = end_reading()
        description = _describe(processes)
        machine = facts.with_torch(machine, description)
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


def check_up(hang_seconds: float = HANG_SECONDS, watch: Callable[[str], None] = _nobody) -> CheckUp:
    """Find out whether the accelerator works, and what would make it slow or wrong.

    Args:
        hang_seconds: importing torch, and each device's live probe, may be silent for so long.
        watch: whom to tell meanwhile what is being done.

    Returns:
        The facts, with each device's live probe, and the findings. What fails is a finding: nothing is raised for it.
    """
    examined = _examined(hang_seconds, watch)
    return CheckUp(__version__, examined, diagnose(examined))


def _examined(hang_seconds: float, watch: Callable[[str], None]) -> Facts:
    end_reading = facts.begin()
    packages = installation.versions()
    if installation.missing(packages) or installation.misfit(packages, installation.torchvision_needs()):
        return end_reading()  # told from the metadata: an import would only fail
    watch("importing torch")
    try:
        processes = launcher(hang_seconds)
        try:
            return Examination(processes, hang_seconds, watch).examine(end_reading())
        finally:
            processes.close()
    except ImportFailedError as failure:
        return facts.without_torch(end_reading(), failure.kind, failure.cause, failure.said)


def verify(
    options: Options | None = None,
    *,
    suite: bool = True,
    thorough: bool = False,
    watch: Callable[[str], None] = _nobody,
) -> Verification:
    """Look whether devices compute right numbers: a step of each cell beside float64, and the operator suite.

    Args:
        options: which models, devices, batches, phases and recipes; the budget is for all of it. When left out, the
            default suite's models at their smallest batch, on every accelerator, or on the CPU where there is none.
        suite: run the operator suite on each device, too.
        thorough: with its large sizes, and every element of the large element-wise operators, not a million of each.
        watch: whom to tell meanwhile what is being done.

    Returns:
        What was seen of each cell; one that failed, or that an interrupt left out, has its reason.

    Raises:
        UsageError: for a model, device or recipe that does not exist.
        InstallError: when torch or torchvision cannot be used.
        KeyboardInterrupt: when interrupted before the first cell was looked at.
    """
    options = options or Options()
    installation.check()
    end_reading = facts.begin()
    processes = launcher()
    try:
        machine = end_reading()
        description = _describe(processes)
        plan = _plan(_of_accelerators(options, description), description)
        _check_models(processes, plan, description, options.hang_seconds)
        end = time.monotonic() + (options.budget_seconds or VERIFY_SECONDS)
        cells = [cell for comparison in plan.comparisons for cell in comparison.cells]
        hang = options.hang_seconds
        look = partial(_numbers, processes, plan, end=end, hang_seconds=hang, watch=watch, sampled=not thorough)
        try_suite = partial(_suite, processes, hang_seconds=hang, watch=watch, thorough=thorough)
        return _looked_at(facts.with_torch(machine, description), cells, look, try_suite if suite else None)
    finally:
        processes.close()


def _looked_at(
    machine: Facts,
    cells: Sequence[Cell],
    look: Callable[[Cell], NumbersChecked],
    try_suite: Callable[[str], OperatorSuite] | None,
) -> Verification:
    """What is seen of each cell and device, until an interrupt; the first cell's goes on to the caller."""
    seen: list[CellNumbers] = []
    suites: list[OperatorSuite] = []
    interrupted = False
    try:
        for cell in cells:
            seen.append(CellNumbers(cell, look(cell)))  # noqa: PERF401  an interrupt keeps what is there
        if try_suite:
            for name in dict.fromkeys(cell.device for cell in cells):
                suites.append(try_suite(name))  # noqa: PERF401  likewise
    except KeyboardInterrupt:
        if not seen:
            raise
        interrupted = True
        left_out = NumbersChecked(comparison=0, cell=0, reason="interrupted before")
        seen += [CellNumbers(cell, left_out) for cell in cells[len(seen) :]]
    return Verification(
        torchlap=__version__, facts=machine, cells=tuple(seen), suites=tuple(suites), interrupted=interrupted
    )


def _of_accelerators(options: Options, description: Description) -> Options:
    """The options, on the accelerators alone where `all` devices are asked for, and at the suite's smallest batch."""
    accelerators = ",".join(device.name for device in description.devices if device.kind != "cpu")
    devices = accelerators or "cpu" if options.devices == "all" else options.devices
    batches = options.batches or (min(suites.parse_suite(options.suite).batches),)
    return replace(options, devices=devices, batches=batches)


def _numbers(
    processes: Launcher,
    plan: Plan,
    cell: Cell,
    *,
    end: float,
    hang_seconds: float,
    watch: Callable[[str], None],
    sampled: bool,
) -> NumbersChecked:
    left = end - time.monotonic()
    if left <= 0:
        return NumbersChecked(comparison=0, cell=0, reason="no time was left for it: more --budget")
    worker = processes.start()
    watch(f"{cell}: building")
    try:
        worker.ask(build_request(plan, cell), Built, hang_seconds)
        request, hang = Verify(limit_seconds=left, sampled=sampled), hang_limit(cell, hang_seconds)
        seen = worker.ask(request, Verified, hang, lambda doing: watch(f"{cell}: {doing}"))
    except CellFailedError as failure:
        return NumbersChecked(comparison=0, cell=0, reason=check_failed(failure))
    finally:
        worker.kill()
    return NumbersChecked(comparison=0, cell=0, **asdict(seen))


def _suite(
    processes: Launcher, device: str, *, hang_seconds: float, watch: Callable[[str], None], thorough: bool
) -> OperatorSuite:
    worker = processes.start()
    try:
        request = CheckSuite(device=device, thorough=thorough)
        return worker.ask(request, SuiteChecked, hang_seconds, lambda doing: watch(f"{device}: {doing}")).found
    except CellFailedError as failure:
        why = f"the suite failed ({failure.kind}): {failure.reason}"
        return OperatorSuite(device=device, calls=0, faults=(), fault_count=0, skipped=(why,))
    finally:
        worker.kill()


class Examination:
    """Asks one worker after the other about torch and its devices: one that fails is followed by a fresh one."""

    def __init__(self, processes: Launcher, hang_seconds: float, watch: Callable[[str], None]) -> None:
        self._processes, self._hang_seconds, self._watch = processes, hang_seconds, watch
        self._worker: Worker | None = None

    def examine(self, machine: Facts) -> Facts:
        """The machine's facts with what torch says, and with a trial of each device."""
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

        def heard(doing: str) -> None:
            nonlocal stage
            stage = doing
            self._watch(f"{device}: {doing}")

        try:
            worker = self._worker or self._start()
            tried = worker.ask(TryOut(device), Tried, self._hang_seconds, heard)
        except CellFailedError as failure:
            self._worker = None
            return Trial(
                device=device,
                seconds=time.monotonic() - begun,
                failed_at=stage,
                kind=failure.kind,
                reason=private(failure.reason),
            )
        return Trial(
            device=device,
            seconds=tried.seconds,
            wrong=tried.wrong,
            missing=tuple(map(private, tried.missing)),
            fallbacks=tuple(map(private, tried.fallbacks)),
        )


def devices() -> tuple[DeviceFacts, ...]:
    """The CPU, then every accelerator that torch finds.

    Raises:
        UsageError: when torch cannot list them.
        InstallError: when torch or torchvision cannot be used.
    """
    installation.check()
    processes = launcher()
    try:
        return _describe(processes).devices
    finally:
        processes.close()


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
        raise UsageError(f"There is no run file or reference {name!r}: check the path, or choose {', '.join(names)}.")
    with as_file(folder.joinpath(f"{name}.jsonl")) as path:
        return runfile.load(path)


def compare(*runs: str | Path, across: Across = "files", band: float = SAME_BAND) -> Compared:
    """Put runs beside the first of them.

    Args:
        runs: run files, folders of run files, or names of references; two runs at least, or one across its devices.
        across: what makes a column: each file, or each kind of device, version of torch, or machine.
        band: a ratio whose whole interval is within this of 1 is the same.

    Raises:
        UsageError: for a run that does not exist, or where there is nothing to compare.
        RunFileError: for a file that cannot be read.
    """
    named = find_runs(*map(str, runs))
    if across == "files" and len({each.name for each in named}) < len(named):
        raise UsageError("The same run is named twice: name another to compare it with.")
    if len(named) < TWO and across != "devices":
        raise UsageError("There is one run: name another to compare it with, or a reference such as experiment-2022.")
    seen = compare_runs(named, across=across, band=band)
    if len(seen.columns) < TWO:
        raise UsageError(f"All runs have the same {across}: leave out --across, or choose another.")
    if not seen.changes:
        raise UsageError("No cell of one has its like in another (model, batch, phase, recipe and kind of device).")
    return seen


def find_runs(*names: str) -> list[Named]:
    """The runs behind words: of files, of folders in the order of their starts, or references of that name.

    Each is called by its file's name, or by their paths where two files have one name.

    Raises:
        UsageError: when there is none.
        RunFileError: for a file that cannot be read.
    """
    named = [each for name in names for each in _runs(name)]
    short = [Path(each.name).name for each in named]
    if len(set(short)) < len(short):
        return named
    return [replace(each, name=name) for each, name in zip(named, short, strict=True)]


def _runs(name: str) -> list[Named]:
    """The runs behind a word, by their paths."""
    path = Path(name)
    if path.is_dir():
        found = [Named(str(each), runfile.load(each)) for each in sorted(path.glob("*.jsonl"))]
        if not found:
            raise UsageError(f"There is no run file (*.jsonl) in {path}: name another folder.")
        return sorted(found, key=lambda each: each.run.header.started)
    if path.exists() or name.endswith(".jsonl"):
        return [Named(str(path), runfile.load(path))]
    return [Named(name, reference(name))]


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
        verify=options.verify,
        explain=options.explain,
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
