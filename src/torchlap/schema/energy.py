"""Readings of energy meters: of a turn of a cell, and of a device with nothing to do."""

from typing import Annotated

from msgspec import Meta, Struct

from torchlap.schema.base import Count, Name, Seconds, Span, Text

Joules = Annotated[float, Meta(ge=0, le=1e12)]


class TurnEnergy(Struct, frozen=True):
    """What the meter counted from before the first lap of a cell's turn until after its last, and how long that was."""

    cell: Count
    joules: Joules
    seconds: Span


class IdlePower(Struct, frozen=True, kw_only=True):
    """What the meter of a device counted while torch was loaded there and nothing ran.

    Attributes:
        meter: the instrument's name; empty where `reason` says why the energy cannot be read.
    """

    device: Name
    meter: Text = ""
    joules: Joules = 0.0
    seconds: Seconds = 0.0
    reason: Text = ""
