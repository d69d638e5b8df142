"""Bounded strings and numbers, and the kinds of failure: a run file is untrusted input."""

import re
from typing import Annotated, Literal

from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Text = Annotated[str, Meta(max_length=20_000)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Span = Annotated[float, Meta(ge=1e-9, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Positive = Annotated[int, Meta(ge=1, le=10**9)]
Rate = Annotated[float, Meta(ge=1, le=1e24)]
Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
FailureKind = Literal["crash", "hang", "out_of_memory", "refused", "not_finite", "error", "too_slow", "no_time"]

OUT_OF_TIME: tuple[FailureKind, ...] = ("too_slow", "no_time")
"""A larger budget helps: nothing is wrong with the cell."""


def whole(text: str | None, most: int = 10**15) -> int | None:
    """A non-negative whole number, or None if the text is not one."""
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,16}", text) and int(text) <= most else None
