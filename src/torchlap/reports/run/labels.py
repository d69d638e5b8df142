"""What charts call a cell: its model and batch, and what distinguishes it from the others."""

from collections.abc import Mapping, Sequence

from torchlap.reports.kit.drawing import DRAWABLE, LONGEST_LABEL, short
from torchlap.reports.run.rows import Row
from torchlap.stats import Interval


def cell_label(row: Row, rows: Sequence[Row]) -> str:
    """A label for the cell of this row, with what differs between `rows`, its own among them."""
    varying = [
        name for name in ("phase", "device", "recipe", "arm") if len({getattr(other, name) for other in rows}) > 1
    ]
    words = dict.fromkeys(getattr(row, name) for name in varying)  # an arm may be named after its recipe
    return short(", ".join([row.model, f"batch {row.batch}", *words]), LONGEST_LABEL)


def workload_label(row: Row, rows: Sequence[Row]) -> str:
    """A label for the workload of this row: its model and batch, and its phase if `rows` have several."""
    phase = [row.phase] if len({other.phase for other in rows}) > 1 else []
    return short(", ".join([row.model, f"batch {row.batch}", *phase]), LONGEST_LABEL)


def variant_name(row: Row, rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """What distinguishes the device, recipe and arm of this row from those of `rows`; `names` are those of devices."""
    varying = [name for name in ("device", "recipe", "arm") if len({getattr(other, name) for other in rows}) > 1]
    words = {"device": names.get(row.device, row.device), "recipe": row.recipe, "arm": row.arm}
    return short(", ".join(dict.fromkeys(words[name] for name in varying)), LONGEST_LABEL)


def variant(row: Row) -> str:
    """The device, recipe and arm, which share a color; an arm that is named after its recipe is named once."""
    return " ".join(dict.fromkeys([row.device, row.recipe, row.arm])).rstrip()


def is_drawable(interval: Interval) -> bool:
    """Whether an axis can show the interval; a run file may say anything."""
    return DRAWABLE[0] < interval.low and interval.high < DRAWABLE[1]
