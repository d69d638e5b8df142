"""What the pages call a kind of work."""

from torchlap.judge.collection import Key
from torchlap.reports.kit.text import clean


def work_words(key: Key) -> str:
    """A kind of work in words, such as `resnet18, batch 64, train, fp32`."""
    model, batch, phase, recipe, seq, _ = key
    tokens = [f"{seq} tokens"] if seq else []
    return clean(", ".join([model, f"batch {batch}", *tokens, phase, recipe]))
