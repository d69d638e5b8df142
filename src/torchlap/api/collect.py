"""Put many machines' run files together, check new ones, and prepare a run to be published."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from torchlap.errors import RunFileError, UsageError
from torchlap.judge.collection import (
    Collection,
    Submission,
    accepted,
    in_own_folder,
    owner_of,
    put_together,
    unreadable,
    without_identities,
)
from torchlap.judge.findings import Finding
from torchlap.machine.privacy import identifying, private
from torchlap.runs import file as runfile
from torchlap.runs.find import reference, references
from torchlap.schema.events import Failure, NumericsChecked, Run

MAINTAINERS = "torchlap"
"""The owner of the references that come with torchlap."""

WORTH_PROCESSES = 200
"""Fewer files are read sooner than other processes have started."""

KEPT = ("model", "device", "event")
CHUNK = 50
MOST_PROCESSES = 16


def collect(
    folder: str | Path, *, newest: Iterable[str] = (), processes: int = 1, warn: Callable[[str], None] | None = None
) -> Collection:
    """Read all run files of a folder and its subfolders, with torchlap's references; keep what passes the checks.

    Args:
        folder: its subfolders are named after the owners of the files in them.
        newest: files, relative to the folder, that came last: if one is a copy, it is the one that is refused.
        processes: that read files; 0 for as many as there are cores.
        warn: called with a sentence if there are no files.

    Raises:
        UsageError: if there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"No folder {root}: choose a folder of run files.")
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jsonl") if path.is_file())
    if not files and warn:
        warn(f"No run files (*.jsonl) in {root}: the collection has only torchlap's own references.")
    bundled = [accepted(f"{name}.jsonl", MAINTAINERS, reference(name), maintained=True) for name in references()]
    return put_together([*bundled, *_read_all(root, files, processes)], frozenset(newest))


def _read_all(root: Path, files: Sequence[str], processes: int) -> list[Submission]:
    """The submissions of the files, read by this process, or by several if that is worth it."""
    wanted = min(processes or os.cpu_count() or 1, MOST_PROCESSES)
    read = partial(_read, root)
    if wanted == 1 or len(files) < WORTH_PROCESSES:
        return [read(file) for file in files]
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(wanted, mp_context=context, initializer=gc.disable) as pool:
            return list(pool.map(read, files, chunksize=CHUNK))
    except BrokenProcessPool:
        raise RunFileError(
            "A process that reads run files was stopped, perhaps for lack of memory: free some."
        ) from None


def _read(root: Path, file: str) -> Submission:
    owner = owner_of(file)
    try:
        run = runfile.load(root / file)
    except RunFileError as error:
        return unreadable(file, owner, error)
    return accepted(file, owner, run)


def check(folder: str | Path, files: Iterable[str], *, author: str = "", processes: int = 1) -> tuple[Finding, ...]:
    """Why new files of a collection are refused, in part or in whole; empty if they are accepted.

    Args:
        folder: the collection, with the new files in it.
        files: the new files, relative to the folder.
        author: who sent them; empty if that does not matter.
        processes: as for `collect`.

    Raises:
        UsageError: if there is no such folder or file.
    """
    root, new = Path(folder), list(files)
    for file in new:
        if not (root / file).is_file():
            raise UsageError(f"No file {file} in {root}: name run files relative to the folder.")
    collection = collect(root, newest=new, processes=processes)
    found = [each for each in collection.refused if any(_concerns(each, file) for file in new)]
    for file in new:
        text = (root / file).read_text(encoding="utf-8", errors="replace")
        found += [*in_own_folder(file, author), *without_identities(file, identifying(text))]
    return tuple(found)


def _concerns(finding: Finding, file: str) -> bool:
    return finding.where == file or finding.where.startswith(f"{file}: ")


class Prepared(Struct, frozen=True, kw_only=True):
    """A run as it would be published: a name for its file, its content, and what a collection would refuse of it."""

    name: str
    content: bytes
    run: Run
    submission: Submission


def prepare(path: str | Path) -> Prepared:
    """Prepare a run to be published: without texts that identify anybody, tracebacks and scripts.

    Raises:
        RunFileError: if the file cannot be read.
    """
    run = runfile.load(Path(path))
    events = {"header": run.header, "events": [_shortened(event) for event in run.events]}
    try:
        public = msgspec.convert(_public(msgspec.to_builtins(events)), Run)
    except msgspec.ValidationError as error:
        raise RunFileError(f"{path} has a name that identifies somebody ({error}): measure with other names.") from None
    content = runfile.content(public)
    submission = accepted("run.jsonl", "", public)
    day = "".join(char for char in run.header.started[:10] if char in "0123456789-")
    return Prepared(
        name=f"{day}-{submission.digest[:12] or 'run'}.jsonl", content=content, run=public, submission=submission
    )


def _shortened(event: object) -> object:
    """An event without the texts that nobody needs: tracebacks, and scripts for bug reports."""
    if isinstance(event, Failure):
        return msgspec.structs.replace(event, detail="")
    if isinstance(event, NumericsChecked):
        return msgspec.structs.replace(event, numerics=msgspec.structs.replace(event.numerics, script=""))
    return event


def _public(value: object) -> object:
    """The value with every text in it made public, but for names of models and devices, which others look for."""
    if isinstance(value, str):
        return private(value)
    if isinstance(value, dict):
        return {key: item if key in KEPT else _public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(item) for item in value]
    return value
