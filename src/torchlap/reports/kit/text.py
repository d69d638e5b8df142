"""Text for every format. What comes from a run file or a script is not trusted: `clean` it before it is shown."""

import re
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import PurePath

LONGEST_TEXT = 2000
MOST_DATES = 1000
"""That are kept in words: the cells of a run, or of a collection's files, share theirs."""


def clean(text: str) -> str:
    """Text without characters that control a terminal or change the reading direction, cut at `LONGEST_TEXT`."""
    if text.isascii() and text.isprintable():  # as almost always: thirty times as fast
        return text[:LONGEST_TEXT]
    kept = (char if char == " " or unicodedata.category(char)[0] not in "CZ" else " " for char in text[:LONGEST_TEXT])
    return "".join(kept)


def without_folders(model: str) -> str:
    """A model's name; of a user's file, without its folders."""
    path, colon, function = model.rpartition(":")
    return f"{PurePath(path).name}{colon}{function}"


def sentence(text: str) -> str:
    """Text that ends with exactly one full stop; empty text stays empty."""
    return f"{text.rstrip('. ')}." if text.strip(". ") else ""


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural unless the count is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", text)


def markdown(text: str) -> str:
    """Untrusted text for Markdown: clean and escaped."""
    return escape(clean(text))


@lru_cache(MOST_DATES)
def date(timestamp: str) -> str:
    """An ISO 8601 timestamp as people write it, such as `27 November 2026, 16:18 UTC`; any other text, cleaned.

    Without a time zone, the time of day says little and is left out.
    """
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return clean(timestamp)
    if moment.tzinfo is None:
        return f"{moment.day} {moment:%B %Y}"
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
