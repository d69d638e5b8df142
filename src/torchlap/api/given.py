"""Turns the arguments of Python users into options, and checks them before anything is measured or written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec

from torchlap.errors import UsageError
from torchlap.measuring.plan import LARGEST_BATCH, LONGEST_SECONDS, Options, seconds_of
from torchlap.schema.arm import Arm, parse_arms
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.workload import Phase


def options_of(models: tuple[str, ...], batch: object, given: dict[str, Any]) -> Options:
    """Options from keyword arguments, which have the same names as on the command line.

    Raises:
        UsageError: for an unknown name, a wrong type, or an invalid value.
    """
    fields = dict(given)
    if batch is not None:
        fields["batches"] = _batches(batch)
    if "phase" in fields:
        fields["phases"] = _phases(fields.pop("phase"))
    if "recipe" in fields:
        fields["recipes"] = tuple(parse_recipe(word) for word in _words(fields.pop("recipe"), "recipe"))
    if "budget" in fields:
        fields["budget_seconds"] = _seconds(fields.pop("budget"))
    if not isinstance(fields.get("devices", ""), str):
        fields["devices"] = ",".join(_words(fields["devices"], "devices"))
    for name in ("out", "resume"):
        if isinstance(fields.get(name), str):
            fields[name] = Path(fields[name])
    if "arms" in fields:
        fields["arms"] = _arms(fields.pop("arms"))
    known = set(Options.__struct_fields__)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise UsageError(f"measure() has no argument {unknown[0]!r}: see help(torchlap.measure).")
    return checked(Options(models=models, **fields))


def checked(options: Options) -> Options:
    """The options, if every value has its type.

    Raises:
        UsageError: for a value of another type, which would make a run file that nothing can read.
    """
    for name in Options.__struct_fields__:
        value = getattr(options, name)
        kind = Options.__annotations__[name]
        try:
            msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            raise UsageError(f"Invalid {name} {value!r:.80}: {str(error)[:1].lower()}{str(error)[1:]}.") from None
    for batch in options.batches or ():
        if not 1 <= batch <= LARGEST_BATCH:
            raise UsageError(f"Invalid batch size {batch}: use whole numbers from 1 to {LARGEST_BATCH}.")
    if options.budget_seconds is not None and not 0 < options.budget_seconds <= LONGEST_SECONDS:
        raise UsageError(f"Invalid budget {options.budget_seconds}: use a positive time of at most a week.")
    if not 0 < options.hang_seconds <= LONGEST_SECONDS:
        raise UsageError(f"Invalid hang_seconds {options.hang_seconds}: use a positive time of at most a week.")
    if options.seq is not None and options.seq < 1:
        raise UsageError(f"Invalid seq {options.seq}: use a positive whole number.")
    if not 0 < options.precision_target < 1:
        raise UsageError(f"Invalid precision_target {options.precision_target}: use a fraction such as 0.02 (2%).")
    return options


def _batches(batch: object) -> tuple[int, ...]:
    sizes = tuple(batch) if isinstance(batch, Iterable) and not isinstance(batch, str | bytes) else (batch,)
    if not sizes or any(type(size) is not int for size in sizes):
        raise UsageError(f"Invalid batch {batch!r:.80}: use a whole number, or several, like batch=(4, 64).")
    return sizes


def _phases(phase: object) -> tuple[Phase, ...]:
    words = tuple(_words(phase, "phase"))
    for word in words:
        if word not in get_args(Phase):
            raise UsageError(f"Invalid phase {word!r}: use train, eval or train,eval.")
    return words  # type: ignore[return-value]  # each is one of the two


def _arms(arms: object) -> tuple[Arm, ...]:
    if not isinstance(arms, list | tuple) or any(not isinstance(arm, str | Arm) for arm in arms):
        raise UsageError(f"Invalid arms {arms!r:.80}: use a list such as ['base', 'new=env:OMP_NUM_THREADS=4'].")
    return parse_arms([str(arm) for arm in arms])


def _words(value: object, what: str) -> list[str]:
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not words or any(not isinstance(word, str) for word in words):
        raise UsageError(f"Invalid {what} {value!r:.80}: use a string, like {what}='a,b', or a list of strings.")
    return [word.strip() for word in words]


def _seconds(budget: object) -> float:
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        return float(budget)
    seconds = seconds_of(budget) if isinstance(budget, str) else None
    if seconds is None:
        raise UsageError(f"Invalid budget {budget!r:.80}: use a number of seconds, or a time like '90s', '5m' or '1h'.")
    return seconds
