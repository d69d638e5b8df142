"""Text for every format. What comes from a run file or a script is not trusted: `clean` it before it is shown."""

import re
import unicodedata
from datetime import UTC, datetime

from torchlap.schema.machine import Facts

LONGEST_TEXT = 2000


def clean(text: str) -> str:
    """Text without characters that control a terminal or change the reading direction, cut at `LONGEST_TEXT`."""
    kept = (char if char == " " or unicodedata.category(char)[0] not in "CZ" else " " for char in text[:LONGEST_TEXT])
    return "".join(kept)


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


def machine_line(facts: Facts) -> str:
    """The machine in one line, not yet clean."""
    packages = " ".join(f"{name} {facts.packages[name]}" for name in ("torch", "torchvision") if name in facts.packages)
    accelerators = [f"{device.name} {device.model}".strip() for device in facts.devices if device.kind != "cpu"]
    cores = f"{facts.physical_cores} cores"
    if facts.usable_cores < facts.physical_cores:
        cores += f" ({facts.usable_cores} usable)"
    memory = f"{facts.memory_bytes / 2**30:.0f} GiB"
    python = f"Python {facts.python}" if facts.python else ""
    parts = [facts.cpu, cores, memory, ", ".join(accelerators) or "no accelerator", facts.system, python, packages]
    return " · ".join(part for part in parts if part)


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
