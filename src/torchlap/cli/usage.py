"""What is wrong with a command line, in one plain sentence."""

import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches

IS_MODEL = re.compile(r".*[:0-9]")
"""The names of models have a digit or a colon, those of commands have not (resnet18, hf:NAME, net.py:function)."""

PLAIN = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer.*", "use a whole number"),
    (r"Input should be a valid number.*", "use a number"),
    (r"Input should be greater than or equal to (\S+)", r"use a number of at least \1"),
    (r"Input should be less than or equal to (\S+)", r"use a number of at most \1"),
    (r"'.*' is not a valid (integer|int).*", "use a whole number"),
    (r"is not in the range (.*?)\.?$", r"is not in the range \1"),
    (r"('[^']*') is not one of (.*?)\.?$", r"\1 is not one of \2"),
    (r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)", r"Unexpected argument \1"),
    (r"'(--?[a-z-]+)'", r"\1"),
    (r"^Invalid value for '(\S+?)(?: / \S+)?'", r"Invalid value for \1"),
)
"""Patterns of the words of typer and its parser, of several versions, and what replaces them."""


def plain(message: str) -> str:
    """An error of the command line's parser as a clause without a full stop, in one line."""
    text = " ".join(message.split())
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    for pattern, replacement in PLAIN:
        text = re.sub(pattern, replacement, text)
    if " is not one of '" in text:
        head, _, choices = text.rpartition(" is not one of ")
        text = f"{head} is not one of {choices.replace(chr(39), '')}"
    return text.rstrip(". ")


def unknown_command(name: str, commands: Sequence[str]) -> str:
    """What to do about a word in the place of a command that is none."""
    shown = repr(name)
    if not name.strip():
        return f"{shown} is not a command: torchlap -h lists the commands."
    word = shlex.quote(name)
    if name.endswith(".py"):
        return (
            f"{shown} is not a command: to check a training script, use torchlap audit {word}; to measure a model, "
            f"use torchlap run {word}:FUNCTION."
        )
    if name.endswith(".jsonl"):
        return f"{shown} is not a command: to show a run file, use torchlap report {word}."
    if IS_MODEL.match(name):
        return f"{shown} is not a command: to measure a model, use torchlap run {word}."
    close = get_close_matches(name, commands, n=1)
    meant = f"did you mean torchlap {close[0]}?" if close else "torchlap -h lists the commands."
    return f"{shown} is not a command: to measure a model of that name, use torchlap run {word}; {meant}"
