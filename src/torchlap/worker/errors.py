"""Why a request fails: errors whose text is one sentence for the user, and every other error as a reply.

WorkerError
├── RefusedError     the device cannot do what the recipe asks for
├── ModelError       the model cannot be built or trained
├── DataError        the data cannot be loaded
└── NotFiniteError   the loss is NaN or infinite
"""

import traceback
from pathlib import Path
from typing import ClassVar

import torch

from torchlap.schema.base import FailureKind
from torchlap.schema.replies import Failed

LONGEST_REASON, LONGEST_DETAIL = 500, 8000
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
OWN_MODULES = "torchlap_own_"
"""The names of modules that are users' own files begin so."""

REFUSED_WORDS = (
    "doesn't support",
    "does not support",
    "not supported",
    "not implemented for",
    "not currently implemented",
    "of supported devices",
)


class WorkerError(Exception):
    """Fails the request with its kind; the text is one sentence for the user."""

    kind: ClassVar[FailureKind] = "error"


class RefusedError(WorkerError):
    """The device cannot do what the recipe asks for."""

    kind: ClassVar[FailureKind] = "refused"


class ModelError(WorkerError):
    """The model cannot be built or trained."""


class DataError(WorkerError):
    """The data cannot be loaded."""


class NotFiniteError(WorkerError):
    """The loss is NaN or infinite, so a speed would mean nothing."""

    kind: ClassVar[FailureKind] = "not_finite"


def failure(error: BaseException) -> Failed:
    """The reply to a request that failed with this error."""
    if isinstance(error, WorkerError):
        return Failed(error.kind, printable(error), "")
    message = printable(error)
    reason = f"{type(error).__name__}: {message.splitlines()[0][:LONGEST_REASON]}" if message else type(error).__name__
    reason += _own_line(error)
    detail = "".join(traceback.format_exception(error))[-LONGEST_DETAIL:].encode(errors="replace").decode()
    return Failed(_kind(error), reason, detail)


def _own_line(error: BaseException) -> str:
    """The innermost line of the user's own file that led to an error, in parentheses; empty if there is none."""
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).startswith(OWN_MODULES)
    ]
    return f" ({Path(frames[-1][0]).name}, line {frames[-1][1]})" if frames else ""


def _kind(error: BaseException) -> FailureKind:
    message = printable(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in message for word in OUT_OF_MEMORY_WORDS):
        return "out_of_memory"
    if isinstance(error, NotImplementedError) or any(word in message for word in REFUSED_WORDS):
        return "refused"
    return "error"


def printable(error: BaseException) -> str:
    """An error's message as valid text; empty if it has none."""
    try:
        return str(error).strip().encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  the exception may be a user's own, with any __str__
        return ""


def first_line(error: BaseException, longest: int = 300) -> str:
    """The first line of an error's message, or the error's type if it has none."""
    lines = printable(error).splitlines()
    return lines[0][:longest] if lines else type(error).__name__


def cannot_load(model: str, error: BaseException) -> ModelError:
    """Why the pretrained weights of a model could not be loaded, and what to do."""
    reason = first_line(error).rstrip(".")
    return ModelError(
        f"Cannot load the pretrained weights of {model} ({reason}): check the network, or omit --weights pretrained."
    )
