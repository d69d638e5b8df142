"""Measure a plan, and write a run file."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from msgspec import Struct

from torchlap import __version__
from torchlap.api import arms
from torchlap.errors import RunFileError, UsageError
from torchlap.judge.machine.differences import difference
from torchlap.machine.facts import cpu_threads
from torchlap.measuring.lanes import lanes_of
from torchlap.measuring.plan import Options
from torchlap.measuring.session import Session, Status
from torchlap.runs import file as runfile
from torchlap.runs.file import RunFile
from torchlap.runs.find import default_path
from torchlap.schema.events import SCHEMA, Event, Header, Run
from torchlap.schema.machine import Facts
from torchlap.schema.workload import Plan, changed


class Listener(Struct, frozen=True):
    """Callbacks of a run: `opened` when it starts, `event` for each event, `status` whenever a new activity begins."""

    opened: Callable[[Header, Path], None] = lambda _header, _path: None
    event: Callable[[Event], None] = lambda _: None
    status: Callable[[Status], None] = lambda _: None


def measure(options: Options | None = None, listener: Listener | None = None) -> Run:
    """Measure, and write a run file.

    Args:
        options: what to measure; if omitted, the default suite.
        listener: callbacks during the run.

    Returns:
        The run, as `load` reads it from its file; a resumed run includes its earlier events.

    Raises:
        UsageError: for a model, device or recipe that does not exist, before anything is measured.
        InstallError: when torch or torchvision cannot be used.
        RunFileError: when the run file cannot be written.
        KeyboardInterrupt: when interrupted; what was measured up to then is in the file.
    """
    options, listener = options or Options(), listener or Listener()
    earlier = runfile.load(options.resume) if options.resume else None
    if earlier and earlier.header.plan.training:
        raise UsageError("This is a run of torchlap train: continue it with torchlap train --resume.")
    path = options.resume or options.out or default_path()
    check_path(options, path)
    with arms.arms_of(options, earlier.header.plan if earlier else None) as sides, arms.bench_of(sides) as bench:
        plan = same_plan(earlier, bench.machine) if earlier else arms.plan_of(options, bench)
        strict = earlier is not None or options.batches is not None
        checked = arms.check(bench, plan, options.hang_seconds, strict=strict)
        if earlier:
            arms.check_unchanged(earlier.header.plan, bench)
            same_models(earlier.header.plan, checked)
        else:
            plan = checked
        before = earlier or Run(header_of(bench.machine, plan))
        with Record(before, path, listener, resumed=earlier is not None) as record:
            session = Session(
                plan,
                bench.processes,
                emit=record.add,
                watch=listener.status,
                clock=time.monotonic,
                started=bench.started,
                hang_seconds=options.hang_seconds,
                devices=bench.machine.devices,
                arms={side.arm.name: side.processes for side in bench.sides},
                isolate=options.isolate,
                lanes=lanes_of(cpu_threads()[0], bench.machine.devices),
            )
            session.replay(before.events)
            session.measure()
        return record.run


class Record:
    """The run file being written: each event is on the disk before anyone hears of it."""

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
        """Write an event, then pass it on."""
        self._file.append(event)
        self._events.append(event)
        self._listener.event(event)

    @property
    def run(self) -> Run:
        """The run so far."""
        return Run(self._before.header, tuple(self._events), self._before.remarks)


def check_path(options: Options, path: Path) -> None:
    """Refuse a path that cannot be written before torch is imported."""
    if options.resume:
        return
    if options.out is None:
        _make_folder(path.parent)
    elif not os.path.isdir(path.parent):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        raise RunFileError(f"The folder {path.parent} does not exist: create it, or choose another file with --out.")
    elif os.path.isdir(path):  # noqa: PTH112
        raise RunFileError(f"{path} is a folder: choose a file in it with --out.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFileError(f"Cannot create the folder {folder} ({error.strerror}): choose a file with --out.") from None


def same_plan(earlier: Run, machine: Facts) -> Plan:
    """The plan of an earlier run, to be continued on this machine.

    Raises:
        UsageError: if that ran on another machine.
    """
    differs = difference(machine, earlier.header.facts)
    if differs:
        raise UsageError(f"This run was started on another machine ({differs}): start a new run without --resume.")
    return earlier.header.plan


def same_models(before: Plan, now: Plan) -> None:
    """Make sure that each name still refers to the model that was measured.

    Raises:
        UsageError: if a model's file, parameters or inputs have changed.
    """
    for old in before.identities:
        known = [other for other in now.identities if (other.model, other.arm) == (old.model, old.arm)]
        changes = changed(old, known[0]) if known else ()
        if known and not changes and old.inputs not in [identity.inputs for identity in known]:
            changes = (f"inputs {', '.join(old.inputs)} vs. {', '.join(known[0].inputs)}",)
        if changes:
            raise UsageError(
                f"{old.model} has changed since this run was started ({'; '.join(changes)}): start a new run without "
                "--resume."
            )


def header_of(machine: Facts, plan: Plan) -> Header:
    """The first line of a new run file."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Header(schema=SCHEMA, torchlap=__version__, started=now, facts=machine, plan=plan)
