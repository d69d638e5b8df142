"""Find runs by name: files, folders of them, and the references that come with torchlap."""

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path

import platformdirs
from msgspec import Struct
from msgspec.structs import replace

from torchlap.errors import RunFileError, UsageError
from torchlap.runs import file as runfile
from torchlap.schema.events import Run


class Named(Struct, frozen=True):
    """A run and what it is called: its file's name, or its reference's."""

    name: str
    run: Run


def references() -> tuple[str, ...]:
    """The names of the reference runs that come with torchlap."""
    entries = files("torchlap").joinpath("data", "references").iterdir()
    return tuple(sorted(entry.name.removesuffix(".jsonl") for entry in entries if entry.name.endswith(".jsonl")))


def reference(name: str) -> Run:
    """Load a reference run that comes with torchlap, such as `experiment-2022-h100`.

    Raises:
        UsageError: when there is none of that name.
    """
    names = references()
    if name not in names:
        raise UsageError(f"No run file or reference {name!r}: check the path, or choose one of {', '.join(names)}.")
    with as_file(files("torchlap").joinpath("data", "references", f"{name}.jsonl")) as path:
        return runfile.load(path)


def find_runs(*names: str, warn: Callable[[str], None] = warnings.warn) -> list[Named]:
    """The runs behind names: of files, of folders in the order of their starts, or references.

    Each is called by its file's name, or by its path where two files have the same name.

    Args:
        names: paths of run files, paths of folders, or names of references.
        warn: called with one sentence for each file of a folder that cannot be read, which is skipped.

    Raises:
        UsageError: when there is no such run.
        RunFileError: when a file that was named itself cannot be read.
    """
    found = [named for name in names for named in _runs(name, warn)]
    short = [Path(named.name).name for named in found]
    if len(set(short)) < len(short):
        return found
    return [replace(named, name=name) for named, name in zip(found, short, strict=True)]


def _runs(name: str, warn: Callable[[str], None]) -> list[Named]:
    """The runs behind a name, by their paths."""
    path = Path(name)
    if path.is_dir():
        return _runs_of_folder(path, warn)
    if path.exists() or name.endswith(".jsonl"):
        return [Named(str(path), runfile.load(path))]
    return [Named(name, reference(name))]


def _runs_of_folder(folder: Path, warn: Callable[[str], None]) -> list[Named]:
    """The readable runs of a folder, in the order of their starts."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            found.append(Named(str(path), runfile.load(path)))
        except RunFileError as error:
            warn(f"Skipped a file: {error}")
    if not found:
        raise UsageError(f"No readable run file (*.jsonl) in {folder}: choose another folder.")
    return sorted(found, key=lambda named: named.run.header.started)


def default_path() -> Path:
    """Where a run file goes by default: the user's data folder, named by the time; two may start in one second."""
    return platformdirs.user_data_path("torchlap") / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.jsonl"
