"""`torchlap collect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap import __version__
from torchlap.cli import options as given
from torchlap.cli.console import errors_in_one_sentence, say, show, without_collections
from torchlap.cli.output_file import PAGE_MARK, START_BYTES, check_target, write_file
from torchlap.errors import EXIT_FINE, EXIT_SOME_CELLS_FAILED, RunFileError, UsageError

if TYPE_CHECKING:
    from torchlap.judge.collection import Collection

EPILOG = (
    "Exit codes: 0 success; 1 a checked file is refused, in part or in whole; 2 no such folder or file; 4 the site "
    "cannot be written; 130 interrupted."
)

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A folder of run files, with a subfolder for each owner.")
]
Site = Annotated[Path | None, typer.Option(help="Write a static, searchable site into this folder.")]
Parquet = Annotated[
    Path | None, typer.Option(help="Write all results as Parquet, for DuckDB or pandas (torchlap[parquet]).")
]
Check = Annotated[
    list[str] | None,
    typer.Option("--check", help="Check this new file of the folder, and exit with 1 if any of it is refused."),
]
Author = Annotated[str, typer.Option(help="With --check: who sent the files; they must be in the author's folder.")]


def collect(
    folder: Folder,
    site: Site = None,
    parquet: Parquet = None,
    check: Check = None,
    author: Author = "",
    force: given.Force = False,
) -> None:
    """Put many machines' run files together: check them, mark outliers and reproductions, and make a site."""
    from torchlap.api.collect import collect as read_all

    with errors_in_one_sentence(), without_collections():
        if check and (site or parquet):
            raise UsageError("--check writes nothing: omit --site and --parquet.")
        if author and not check:
            raise UsageError("--author belongs to --check: name the new files.")
        if check:
            _check(folder, check, author)
        if site is not None:
            _check_site(site)
        if parquet is not None:
            check_target(parquet, force=force)
        collection = read_all(folder, processes=0, warn=say)
        if site is not None:
            _write_site(site, collection)
        if parquet is not None:
            _write_parquet(parquet, collection, force=force)
        show(_summary(collection), EXIT_FINE)


def _check(folder: Path, files: list[str], author: str) -> None:
    """Print why files are refused, and exit."""
    from torchlap.api.collect import check
    from torchlap.reports.kit.text import clean, counted, sentence

    found = check(folder, [_relative(folder, file) for file in files], author=author, processes=0)
    lines = [
        f"{clean(each.where)}: {each.title} ({each.code}): {sentence(clean(each.evidence))} {each.remedy}"
        for each in found
    ]
    lines.append("Accepted." if not found else f"Refused: {counted(len(found), 'reason')}.")
    show("\n".join(lines) + "\n", EXIT_SOME_CELLS_FAILED if found else EXIT_FINE)


def _relative(folder: Path, file: str) -> str:
    """The file's name relative to the folder, also if it was named with it."""
    path = Path(file)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _check_site(site: Path) -> None:
    """Make sure that a site may be written here.

    Raises:
        RunFileError: for a file, or a folder with anything but a site of torchlap's.
    """
    if site.exists() and not site.is_dir():
        raise RunFileError(f"{site} is a file: choose a folder for the site.")
    if site.is_dir() and any(site.iterdir()) and not _is_ours(site / "index.html"):
        raise RunFileError(f"{site} has other files in it: choose a new or empty folder for the site.")


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return PAGE_MARK in file.read(START_BYTES)


def _write_site(site: Path, collection: "Collection") -> None:
    """Write the site; of an earlier one, pages that no longer exist are removed.

    Raises:
        RunFileError: if that fails; the files that were written until then stay.
    """
    from torchlap.reports.site.pages import FOLDERS
    from torchlap.reports.site.pages import site as files

    written = set()
    try:
        for folder in FOLDERS:
            (site / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files(collection, __version__):
            (site / name).write_text(text, encoding="utf-8")
            written.add(site / name)
        for folder in FOLDERS:
            for old in set((site / folder).glob("*.html")) - written:
                if _is_ours(old):
                    old.unlink()
    except OSError as error:
        raise RunFileError(
            f"Cannot write the site {site} ({error.strerror or error}): choose another folder."
        ) from None
    say(f"Wrote {len(written)} files: open {site / 'index.html'}")


def _write_parquet(path: Path, collection: "Collection", *, force: bool) -> None:
    """Write all results as Parquet.

    Raises:
        UsageError: if pyarrow is not installed.
        RunFileError: if the file cannot be written.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UsageError("--parquet needs pyarrow: pip install 'torchlap[parquet]'.") from None
    from torchlap.reports.site.rows import table

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(table(collection)), sink)
    write_file(path, sink.getvalue().to_pybytes(), force=force)


def _summary(collection: "Collection") -> str:
    """What was collected, in a few lines."""
    from collections import Counter

    from torchlap.reports.kit.text import counted

    entries = collection.entries
    chips, outliers = {entry.chip for entry in entries}, [entry for entry in entries if entry.outlier]
    results = f"{counted(len(entries), 'result')} from {counted(len(collection.machines), 'machine')}"
    reproduced, virtual = sum(entry.reproduced for entry in entries), sum(entry.virtual for entry in entries)
    lines = [
        f"{counted(collection.files, 'run file')}: {results}, {counted(len(chips), 'chip')}.",
        f"{reproduced} reproduced, {counted(len(outliers), 'outlier')}, {virtual} from virtual machines.",
    ]
    counts = Counter((finding.code, finding.title) for finding in collection.refused)
    lines += [f"Refused: {count} ({code}: {title})." for (code, title), count in sorted(counts.items())]
    return "\n".join(lines) + "\n"
