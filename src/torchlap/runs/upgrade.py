"""Read run files of older schemas: each step turns a line of one schema into a line of the next.

Schema 1 called a group a comparison, and had the fields of a preparation, a check and a breakdown beside the group's
and the cell's number instead of in a record of their own.
"""

from collections.abc import Callable
from typing import Any

Line = dict[str, Any]
"""One event, as JSON has it."""

EVENTS_1 = {
    "comparison_started": "group_started",
    "comparison_finished": "group_finished",
    "cell_prepared": "prepared",
    "numbers_checked": "numerics",
    "explained": "breakdown",
}
RECORDS_1 = {"prepared": "preparation", "numerics": "numerics", "breakdown": "breakdown"}
"""Where an event of schema 2 has the fields that it had itself in schema 1."""

FACTS_1 = (("torch", "said", "warnings"), ("import_failure", "said", "output"))
"""Fields of the facts' records that have another name since."""


FREQUENT_1 = (
    (b'{"event":"round","comparison":', b'{"event":"round","group":'),
    (b'{"event":"comparison_started","comparison":', b'{"event":"group_started","group":'),
)
"""How most lines of a file in schema 1 begin, and the same in schema 2."""


def quickly(line: bytes, schema: int) -> bytes | None:
    """A line of an older schema as the newest has it, if only its beginning differs: a file may have a million."""
    if schema != 1 or b'"images"' in line:
        return None
    for old, new in FREQUENT_1:
        if line.startswith(old):
            return new + line[len(old) :]
    return None


def upgrade(line: Line, schema: int) -> Line:
    """A line of an older schema as the newest has it.

    Args:
        line: the decoded line; unknown fields are kept, and refused or ignored by the decoder as ever.
        schema: of its file, at least 1.
    """
    for step in STEPS[schema - 1 :]:
        line = step(line)
    return line


def _from_1(line: Line) -> Line:
    kind = line.get("event")
    if not isinstance(kind, str):
        return line  # not an event, which decoding it will say
    line = line | {"event": EVENTS_1.get(kind, kind)}
    if "comparison" in line:
        line["group"] = line.pop("comparison")
    if line["event"] == "run":
        return _header_from_1(line)
    if line["event"] == "round":
        return _round_from_1(line)
    if line["event"] == "peaks":
        return {"event": "peaks", "peaks": {name: value for name, value in line.items() if name != "event"}}
    record = RECORDS_1.get(line["event"])
    if record is None:
        return line
    own = {name: line.pop(name) for name in ("event", "group", "cell") if name in line}
    return own | {record: line}


def _header_from_1(line: Line) -> Line:
    line["schema"] = 2
    facts = line.get("facts")
    if isinstance(facts, dict):
        line["facts"] = facts | {name: _renamed(facts.get(name), old, new) for name, old, new in FACTS_1}
    plan = line.get("plan")
    if isinstance(plan, dict) and "comparisons" in plan:
        line["plan"] = {name: value for name, value in plan.items() if name != "comparisons"}
        line["plan"]["groups"] = plan["comparisons"]
    return line


def _renamed(record: object, old: str, new: str) -> object:
    """A record with one field under its new name."""
    if not isinstance(record, dict):
        return record
    return {new if name == old else name: value for name, value in record.items()}


def _round_from_1(line: Line) -> Line:
    laps = line.get("laps")
    if isinstance(laps, list):
        line["laps"] = [_renamed(lap, "images", "items") for lap in laps]
    return line


STEPS: tuple[Callable[[Line], Line], ...] = (_from_1,)
