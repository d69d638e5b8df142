"""What devices are called in a title: by the hardware's name instead of cuda:0 or cpu."""

import re
from collections import Counter

from torchlap.reports.kit.text import clean
from torchlap.schema.machine import Facts

NOISE = re.compile(r"\((?:R|TM|C)\)|\bCPU\b|\bProcessor\b|@.*|\b\d+-Core\b", re.IGNORECASE)
"""What vendors write into the names of processors besides the name."""

LONGEST = 40


def hardware_names(facts: Facts) -> dict[str, str]:
    """The hardware behind each device, such as `NVIDIA H100 80GB HBM3` for cuda:0; of two alike, with the device."""
    names = {device.name: _short(facts.cpu if device.kind == "cpu" else device.model) for device in facts.devices}
    names.setdefault("cpu", _short(facts.cpu))
    counts = Counter(names.values())
    return {
        clean(device): f"{name} ({clean(device)})" if counts[name] > 1 else name
        for device, name in names.items()
        if name
    }


def _short(model: str) -> str:
    words = clean(NOISE.sub(" ", model)).split()
    text = " ".join(words)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
