"""Which of several releases changed a cell's speed: the rules of `torchlap upgrade --bisect`."""

from collections.abc import Sequence
from math import log, sqrt
from typing import Literal

from msgspec import Struct

from torchlap.judge.compare import Change, Compared
from torchlap.stats import Interval

Side = Literal["unchanged", "changed", "unclear"]


class Step(Struct, frozen=True):
    """A release between the oldest and the newest, or the newest: its ratio over the oldest, and whose speed it has."""

    release: str
    interval: Interval | None
    side: Side


class Bisected(Struct, frozen=True, kw_only=True):
    """What a bisection found.

    Attributes:
        first: the oldest release, which all ratios are over.
        change: of the newest over the oldest; None if nothing certainly changed.
        unchanged: the newest release that is known to have the old speed.
        changed: the oldest release that is known to have the new speed; empty without a change.
        steps: the releases that were measured, in the order of the measurements.
        skipped: releases that could not be installed.
    """

    first: str
    change: Change | None
    unchanged: str
    changed: str
    steps: tuple[Step, ...]
    skipped: tuple[str, ...] = ()

    @property
    def is_narrow(self) -> bool:
        """Whether no release is left between the two, as far as they could be installed."""
        return self.change is None or all(step.side != "unclear" for step in self.steps)


def suspect(compared: Compared) -> Change | None:
    """The cell whose speed certainly changed, and by the largest factor; None if none did."""
    certain = [change for change in compared.changes if change.ground and change.verdict in ("faster", "slower")]
    return max(certain, key=lambda change: abs(log(change.ground.value)) if change.ground else 0.0, default=None)


def side(total: Interval, changes: Sequence[Change]) -> Side:
    """Whether a release has the old speed or the new one: on which side of the middle its whole interval lies.

    Args:
        total: the ratio of the newest release over the oldest.
        changes: of the release over the oldest; the only cell of its run.
    """
    ground = changes[0].ground if changes else None
    if ground is None:
        return "unclear"
    middle = sqrt(total.value)
    if ground.high < middle:
        return "changed" if total.value < 1 else "unchanged"
    if ground.low > middle:
        return "unchanged" if total.value < 1 else "changed"
    return "unclear"
