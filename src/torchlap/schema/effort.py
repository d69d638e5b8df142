"""How thoroughly `torchlap tune` searches, and what its answer may change."""

from typing import Literal

from msgspec import Struct

Effort = Literal["quick", "full"]
Allowed = Literal["precision", "shape", "batch"]
"""What the answer may change: without any, it computes the same as the plain step."""

BUDGETS: dict[Effort, float] = {"quick": 180.0, "full": 600.0}
"""Seconds."""


class Tuning(Struct, frozen=True):
    """How thoroughly to search, and what the answer may change."""

    effort: Effort = "quick"
    allow: tuple[Allowed, ...] = ()
