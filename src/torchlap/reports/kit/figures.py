"""How the figures of a cell are written in a table."""

from torchlap.reports.kit.units import number, with_interval
from torchlap.runs.figures import CellResult
from torchlap.schema.base import FailureKind
from torchlap.schema.events import Failure

FAILURE_WORDS: dict[FailureKind, str] = {
    "crash": "crashed",
    "hang": "hung",
    "out_of_memory": "out of memory",
    "refused": "refused",
    "not_finite": "loss not finite",
    "error": "failed",
    "too_slow": "too slow",
    "no_time": "not measured (out of time)",
}


def throughput_text(result: CellResult, void: str, unit: str = "") -> str:
    """The throughput with its interval, or why there is none.

    Args:
        result: of one cell.
        void: code of the finding that makes the figure void; empty if it is valid.
        unit: written after the value, such as ` tokens/s`.
    """
    if result.throughput:
        return _unless_void(with_interval(result.throughput, unit), void)
    if result.failure:
        return failure_text(result.failure)
    if result.estimate:
        return f"~{number(result.estimate, result.estimate)}{unit} (n = 1)"
    return "not measured"


def speed_up_text(result: CellResult, void: str) -> str:
    """The speed-up with its interval; empty for the baseline and where there is none."""
    return _unless_void(with_interval(result.speed_up, "x"), void) if result.speed_up else ""


def failure_text(failure: Failure) -> str:
    """A failure in a few words, with the time of a step if the cell was too slow."""
    words = FAILURE_WORDS[failure.kind]
    if failure.kind == "too_slow" and failure.estimate_seconds:
        return f"{words}: ~{number(failure.estimate_seconds, 0.1 * failure.estimate_seconds)} s/step"
    return words


def _unless_void(text: str, void: str) -> str:
    return f"void ({void}): {text}" if void else text
