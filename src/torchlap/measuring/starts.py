"""How often the workers of a run with arms are started anew. Arithmetic only."""

from torchlap.runs.starts import LEAST_STARTS
from torchlap.stats import MIN_ROUNDS

MOST_STARTS = 5
"""Student's t over five starts is 2.8; more starts cost more than they narrow the interval."""


def planned_starts(left_seconds: float, start_seconds: float, round_seconds: float, done: int = 1) -> int:
    """How many starts of its workers a run has in all: no more than are done if there is no time for enough of them.

    It is decided once, by time alone: whether the starts so far agree must not matter.

    Args:
        left_seconds: for figures.
        start_seconds: until all cells are warm again.
        round_seconds: of a round of every group.
        done: the starts that have been measured.
    """
    needed = start_seconds + MIN_ROUNDS * round_seconds
    count = done + int(max(0.0, left_seconds) / needed) if needed > 0 else MOST_STARTS
    return max(done, min(MOST_STARTS, count)) if count >= LEAST_STARTS else done


def lap_share(lapped_seconds: float, left_seconds: float, start_seconds: float, count: int) -> float:
    """Seconds for which the first start may lap on, so that all starts have as much time for laps."""
    fair = (lapped_seconds + left_seconds - (count - 1) * start_seconds) / count
    return max(0.0, fair - lapped_seconds)
