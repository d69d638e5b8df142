"""`torchlap report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap import __version__
from torchlap.cli import options as given
from torchlap.cli.console import (
    REPORT_LOST,
    color,
    errors_in_one_sentence,
    say,
    show,
    width,
    without_collections,
    write_out,
)
from torchlap.cli.display import formatted
from torchlap.cli.output_file import check_target, write_file
from torchlap.errors import EXIT_FINE, EXIT_RUN_FILE, UsageError

if TYPE_CHECKING:
    from torchlap.reports.run.rows import ExtraColumn
    from torchlap.runs.energy import Prices
    from torchlap.runs.find import Named
    from torchlap.schema.events import Run

EPILOG = (
    "Exit codes: 0 success; 2 no such run; 4 a run file cannot be read, or the page or picture cannot be "
    "written; 130 interrupted."
)
MOST_WHOLE_RUNS = 20
"""With more runs than this, each is one line."""

OTHER_PICTURES = (".jpg", ".jpeg", ".svg", ".pdf", ".gif", ".webp", ".tif", ".tiff", ".bmp")
"""Endings of a file that would not be what its name says."""


def report(
    runs: given.Runs,
    why: Annotated[bool, typer.Option("--why", help="Explain each bottleneck.")] = False,
    columns: given.Columns = None,
    price_kwh: given.PriceKwh = None,
    price_hour: given.PriceHour = None,
    output: given.FormatOption = given.Format.table,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page with charts to this file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture of one run's speed-ups to this file.")] = None,
    force: given.Force = False,
) -> None:
    """Show earlier runs or references in the same way as torchlap run."""
    from torchlap.reports.run import terminal
    from torchlap.runs.find import find_runs

    with errors_in_one_sentence(), without_collections():
        if (html or png) and (output is not given.Format.table or why):
            raise UsageError("--html and --png write complete files: omit --format and --why.")
        extra, paid = given.extra_columns(columns, output), given.prices(price_kwh, price_hour)
        if png is not None:
            _check_picture(png, extra)
        for path in (html, png):
            if path is not None:
                check_target(path, inputs=map(Path, runs), force=force)
        found = find_runs(*runs, warn=say)
        if len(found) > 1 and (png or output in given.OF_ONE_RUN):
            what = "--png" if png else f"--format {output}"
            raise UsageError(f"{what} shows only one run: name one, or use --html or torchlap compare.")
        if html or png:
            if html is not None and png is not None and html.resolve() == png.resolve():
                raise UsageError("--html and --png name the same file: choose two.")
            _draw(found, html, png, force=force, columns=extra, prices=paid)
            return
        if len(found) > MOST_WHOLE_RUNS and output is given.Format.table:
            show(terminal.overview(found, width(), color=color()), EXIT_FINE)
        for named in found:
            _print_run(named, output, why=why, heading=len(found) > 1, columns=extra, prices=paid)


def _check_picture(png: Path, columns: "tuple[ExtraColumn, ...]") -> None:
    """Refuse what a picture cannot be or have."""
    if columns:
        raise UsageError("--png has no table: omit --columns.")
    if png.suffix.lower() in OTHER_PICTURES:
        raise UsageError(f"--png writes PNG, not {png.suffix}: choose a name that ends in .png.")


def _print_run(
    named: "Named",
    output: given.Format,
    *,
    why: bool,
    heading: bool,
    columns: "tuple[ExtraColumn, ...]",
    prices: "Prices",
) -> None:
    from torchlap.reports.run import terminal

    text = _of_ranks(named.run, output) or formatted(named.run, output, why=why, columns=columns, prices=prices)
    if output is given.Format.table and named.run.header.plan.scaling is None:
        text = terminal.machine(named.run, width(), color=color()) + text
    if output is given.Format.table and heading:
        text = f"{named.name}\n{text}"
    if not write_out(text, REPORT_LOST):
        raise typer.Exit(EXIT_RUN_FILE)


def _of_ranks(run: "Run", output: given.Format) -> str:
    """A run of `torchlap scale` in a format of that command; empty for other runs and formats."""
    from torchlap.reports import scale

    if run.header.plan.scaling is None:
        return ""
    match output:
        case given.Format.table:
            return scale.as_text(run, None, width(), color=color())
        case given.Format.markdown:
            return scale.as_markdown(run)
        case given.Format.json:
            return scale.as_json(run, None)
        case _:
            return ""


def _draw(
    found: "list[Named]",
    html: Path | None,
    png: Path | None,
    *,
    force: bool,
    columns: "tuple[ExtraColumn, ...]",
    prices: "Prices",
) -> None:
    """Write a page, a picture, or both."""
    from torchlap.reports.run import charts, page, rows

    inputs = [Path(named.name) for named in found]
    if html is not None:
        write_file(html, page.as_html(found, __version__, columns, prices).encode(), inputs=inputs, force=force)
    if png is not None:
        write_file(png, charts.headline_png(rows.judged(found[0].run)), inputs=inputs, force=force)
