"""From the words of the command line to values: batch sizes, phases, times, shares."""

import re
from typing import get_args

from torchlap.errors import UsageError
from torchlap.measuring.plan import LARGEST_BATCH, LONGEST_SECONDS, seconds_of
from torchlap.reports.run.rows import ExtraColumn
from torchlap.schema.workload import Phase

MOST_PRICE, MOST_RATE = 1e6, 100.0
LEAST_SHARE, MOST_SHARE = 0.001, 0.5
"""Below is the clock's own noise; above, a figure means nothing."""


def split_words(text: str) -> list[str]:
    """The non-empty words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes such as `4,64`.

    Raises:
        UsageError: for anything but whole numbers from 1 to `LARGEST_BATCH`.
    """
    words = split_words(text)
    bad = [word for word in words if not (re.fullmatch(r"[0-9]{1,6}", word) and 1 <= int(word) <= LARGEST_BATCH)]
    if bad or not words:
        raise UsageError(
            f"Invalid batch size {(bad or [text])[0]!r}: use whole numbers from 1 to {LARGEST_BATCH}, like 4,64."
        )
    return tuple(dict.fromkeys(int(word) for word in words))


def parse_phases(text: str) -> tuple[Phase, ...]:
    """Phases: `train`, `eval` or both.

    Raises:
        UsageError: for any other word.
    """
    words = split_words(text)
    known: dict[str, Phase] = {"train": "train", "eval": "eval"}
    if not words or any(word not in known for word in words):
        raise UsageError(f"Invalid phase {text!r}: use train, eval or train,eval.")
    return tuple(dict.fromkeys(known[word] for word in words))


def parse_columns(text: str) -> tuple[ExtraColumn, ...]:
    """Columns that the table has only on request.

    Raises:
        UsageError: for a column that does not exist.
    """
    known: dict[str, ExtraColumn] = {name: name for name in get_args(ExtraColumn)}
    words = split_words(text)
    if not words or any(word not in known for word in words):
        bad = next((word for word in words if word not in known), text)
        raise UsageError(f"Unknown column {bad!r}: choose from {', '.join(known)}.")
    return tuple(dict.fromkeys(known[word] for word in words))


def parse_seconds(text: str, what: str) -> float:
    """A time such as `90`, `90s`, `5m` or `1h`, in seconds.

    Raises:
        UsageError: for anything but a positive time of at most a week.
    """
    seconds = seconds_of(text) or 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise UsageError(f"Invalid {what} {text!r}: use a positive time of at most a week, like 90s, 5m or 1h.")
    return seconds


def parse_price(text: str, what: str) -> float:
    """A price such as `0.30`, in any currency; `what` it is the price of.

    Raises:
        UsageError: for anything but a number above 0 and up to a million.
    """
    price = float(text) if re.fullmatch(r"[0-9]{0,7}\.?[0-9]{1,9}", text.strip()) else 0.0
    if not 0 < price <= MOST_PRICE:
        raise UsageError(f"Invalid price per {what} {text!r}: use a positive number, like 0.30.")
    return price


def parse_accuracy(text: str) -> float:
    """An accuracy such as `97%` or `0.97`.

    Raises:
        UsageError: when it is not above 0 and at most 100%.
    """
    match = re.fullmatch(r"([0-9]{0,3}\.?[0-9]{1,9})\s*(%?)", text.strip())
    accuracy = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < accuracy <= 1:
        raise UsageError(f"Invalid accuracy {text!r}: use a share above 0 and up to 100%, like 97% or 0.97.")
    return accuracy


def parse_rate(text: str) -> float:
    """A learning rate such as `0.001` or `1e-3`.

    Raises:
        UsageError: when it is not a positive number up to 100.
    """
    known = re.fullmatch(r"[0-9]{0,3}\.?[0-9]{1,9}(?:e[-+]?[0-9]{1,2})?", text.strip())
    rate = float(text) if known else 0.0
    if not 0 < rate <= MOST_RATE:
        raise UsageError(f"Invalid learning rate {text!r}: use a positive number up to {MOST_RATE:.0f}, like 1e-3.")
    return rate


def parse_target(text: str, what: str = "precision target") -> float:
    """A share such as `2%` or `0.02`; `what` names it in the error message.

    Raises:
        UsageError: when it is not between 0.1 % and 50 %.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", text.strip())
    target = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not LEAST_SHARE <= target <= MOST_SHARE:
        raise UsageError(f"Invalid {what} {text!r}: use a share from 0.1% to 50%, like 2%.")
    return target


def parse_share(text: str, what: str) -> float:
    """A share such as `5%`, `0.05` or, for the same, `5`; `what` names it in the error message.

    Raises:
        UsageError: when it is not between 0.1 % and 50 %.
    """
    plain = text.strip()
    is_percent = re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", plain) is not None and float(plain) >= 1
    return parse_target(f"{plain}%" if is_percent else text, what)
