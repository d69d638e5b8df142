"""A run for Python users: rows for pandas or polars, a table in a notebook, and a short repr."""

from html import escape

from torchlap.reports.kit.table import Field
from torchlap.reports.run.headline import headline
from torchlap.reports.run.plain import flat_rows
from torchlap.reports.run.rows import judged
from torchlap.reports.run.table import legend, table
from torchlap.schema import events


class Run(events.Run, frozen=True, repr_omit_defaults=True):
    """A run: its header, its events in order, and a remark for everything that was skipped when it was read."""

    def rows(self) -> list[dict[str, object]]:
        """One dictionary of plain values per cell, for `pandas.DataFrame(run.rows())`; a missing value is None.

        The keys are the columns of `--format csv`. `items_per_second` counts the items that `unit` names; times are in
        seconds.
        """
        return flat_rows(self)

    def __repr__(self) -> str:
        return f"<torchlap.Run: {headline(judged(self))}>"

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        results = judged(self)
        shown = table(results)
        head = "".join(f"<th>{escape(column.head)}</th>" for column in shown.columns)
        body = "".join(f"<tr>{''.join(f'<td>{escape(_text(field))}</td>' for field in row)}</tr>" for row in shown.rows)
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{escape(headline(results))}</p><p>{escape(legend(results))}</p>"
        )


def _text(field: Field) -> str:
    return f"{field.text} (void)" if field.is_void and field.text else field.text


def of(run: events.Run) -> Run:
    """The same run, with these methods."""
    return Run(run.header, run.events, run.remarks)
