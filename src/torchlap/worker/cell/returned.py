"""Turns what a user's function returned into a subject: a module, its batch, and its loss, optimizer or step."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from torchlap.schema.own import Role
from torchlap.worker.cell.calls import call_of, loss_of, one_argument, parameters_of, rows_of, split, tensors
from torchlap.worker.cell.form import form_of
from torchlap.worker.cell.subject import Subject, token_count, unit_of
from torchlap.worker.errors import DataError, ModelError

MODULE_AND_DATA = 2
PAIR = 2
FIRST_BATCHES = 16
"""Of a dataset that makes its own batches, to learn their sizes."""

MOST_BATCHES = 100_000
"""Of a batch sampler, to learn the sizes of its batches."""

SHAPE = "module, (inputs, targets)"
"""What the function must return; a DataLoader may replace the pair, and a loss may follow it."""

UNCOUNTED = (
    "{model} counts tokens, but no input is an integer tensor: add the number with --items, "
    "or return it as {{'items': ...}}."
)
"""The message where the unit is tokens, and nothing says how many there are."""

OPTIONS = ("loss", "optimizer", "scheduler", "clip", "step", "items", "unit", "validation")
STEP_NAMES = ("step", "train_step", "training_step")


def subject_of(model: str, returned: object, *, has_batch: bool = True) -> Subject:
    """The subject that the function of this name returned; `has_batch` if it has a parameter named batch.

    Raises:
        ModelError: when it is not a module with its batch, or something after them is not known.
    """
    if not isinstance(returned, tuple | list) or isinstance(returned, str) or len(returned) < MODULE_AND_DATA:
        raise ModelError(f"{model} returned {_kind(returned)}: it must return {SHAPE}, and optionally a loss.")
    module, data, *others = returned
    if not isinstance(module, nn.Module):
        kind = "a class" if isinstance(module, type) else _kind(module)
        raise ModelError(f"{model} returned {kind} instead of a module: it must return {SHAPE}.")
    given = _options(model, others)
    if isinstance(data, DataLoader):
        inputs, targets = first_pair(data)
        rows, sizes = _loader_rows(data, rows_of(inputs, targets))
        source: dict[str, Any] = {"loader": data, "rows": rows, "sizes": sizes}
    else:
        pair = split(data)
        if pair is None:
            raise ModelError(
                f"{model} returned {_kind(data)} instead of (inputs, targets) or a DataLoader.{_pairing(data)}"
            )
        inputs, targets = pair
        source = {"batch": pair, "rows": rows_of(inputs, targets)}
        if next(tensors(pair), None) is None:
            raise ModelError(
                f"{model} returned {_kind(data[0] if targets is not None else inputs)} as inputs: return tensors, such "
                "as torch.from_numpy(x)."
            )
    if _is_lightning(module) and "step" not in given and "loss" not in given:
        given = _of_lightning(module) | given
        module = Lightning(module)
        source |= {"pair": whole} if isinstance(data, DataLoader) else {"batch": whole(data)}
    subject = _subject(model, module, inputs, targets, given | source)
    is_pair = isinstance(data, tuple | list) or (isinstance(data, DataLoader) and targets is not None)
    are_tensors = isinstance(inputs, Tensor) and isinstance(targets, Tensor | None)
    roles = [(_role_of(other), other) for other in others]
    form = form_of(subject, roles, data, pair=is_pair, tensors=are_tensors, has_batch=has_batch)
    return replace(subject, own=replace(form, lightning=isinstance(module, Lightning)))


def _role_of(other: Any) -> Role:
    return "options" if isinstance(other, dict) else _role("", other)


def _subject(model: str, module: nn.Module, inputs: Any, targets: Any, given: dict[str, Any]) -> Subject:
    unit = given.get("unit") or unit_of(inputs)
    if unit == "tokens" and given.get("items") is None and token_count(inputs) is None:
        raise ModelError(UNCOUNTED.format(model=model))
    has_targets = targets is not None and not isinstance(module, Lightning)
    call = one_argument if isinstance(module, Lightning) else call_of(module, inputs)
    if any(map(is_lazy, module.parameters())):
        with torch.no_grad():
            call(module, inputs)  # it takes its shapes from the first inputs
    return Subject(
        module=module,
        loss=loss_of(given.get("loss"), has_targets=has_targets),
        call=call,
        optimizer=given.get("optimizer"),
        scheduler=given.get("scheduler"),
        clip=given.get("clip"),
        step=_own_step(module, given["step"]) if "step" in given else None,
        items=given.get("items"),
        validation=given.get("validation"),
        unit=unit,
        unit_is_own="unit" in given,
        batch=given.get("batch"),
        loader=given.get("loader"),
        rows=given.get("rows"),
        sizes=given.get("sizes"),
        pair=given.get("pair"),
    )


def _options(model: str, others: list[Any]) -> dict[str, Any]:
    """The values after module and data, recognized by type: a loss, optimizer, scheduler, step or dictionary."""
    given: dict[str, Any] = {}
    for other in others:
        if isinstance(other, dict):
            unknown = [name for name in other if name not in OPTIONS]
            if unknown:
                raise ModelError(
                    f"{model} returned the unknown option {unknown[0]!r}: choose from {', '.join(OPTIONS)}."
                )
            given |= {name: value for name, value in other.items() if value is not None}
        else:
            given[_role(model, other)] = other
    if "loss" in given:
        given["loss"] = _loss(model, given["loss"])
    if "optimizer" in given:
        given["optimizer"] = _optimizer(model, given["optimizer"])
    if isinstance(given.get("scheduler"), ReduceLROnPlateau):
        raise ModelError(
            f"{model} returned ReduceLROnPlateau, which takes a metric once per epoch: leave the scheduler out, or "
            "return module, batch, step with a step of your own."
        )
    if isinstance(given.get("scheduler"), LRScheduler):
        given["scheduler"] = partial(_as_it_is, given["scheduler"])
    _check_numbers(model, given)
    return given


def _check_numbers(model: str, given: dict[str, Any]) -> None:
    items, clip, unit = given.get("items"), given.get("clip"), given.get("unit", "items")
    if items is not None and (type(items) is not int or items < 1):
        raise ModelError(f"{model} returned {items!r} as items: it must be the number of items in a batch.")
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or clip <= 0):
        raise ModelError(f"{model} returned {clip!r} as clip: it must be the largest allowed norm of the gradients.")
    if not (isinstance(unit, str) and unit.isprintable() and 0 < len(unit) <= 30):  # noqa: PLR2004  a column's heading
        raise ModelError(f"{model} returned {unit!r} as unit: it must be a plural noun, such as 'tokens'.")


def _role(model: str, other: Any) -> Role:
    if isinstance(other, Optimizer) or _makes_optimizers(other) or _are_optimizers(other):
        return "optimizer"
    if isinstance(other, LRScheduler):
        return "scheduler"
    if not callable(other):
        raise ModelError(f"{model} returned {_kind(other)} as the loss: it must be a function of outputs and targets.")
    return "step" if getattr(other, "__name__", "") in STEP_NAMES else "loss"


def _makes_optimizers(other: Any) -> bool:
    made = other.func if isinstance(other, partial) else other
    return isinstance(made, type) and issubclass(made, Optimizer)


def _are_optimizers(given: Any) -> bool:
    return isinstance(given, tuple | list) and bool(given) and all(isinstance(each, Optimizer) for each in given)


def _loss(model: str, loss: Any) -> Any:
    made = loss() if isinstance(loss, type) and issubclass(loss, nn.Module) else loss
    if not callable(made):
        raise ModelError(f"{model} returned {_kind(made)} as the loss: it must be a function of outputs and targets.")
    required = parameters_of(made) or []
    if len(required) > PAIR:
        raise ModelError(
            f"{model} returned a loss of {len(required)} values ({', '.join(required)}): return a function of outputs "
            "and targets, such as lambda outputs, targets: loss(*outputs)."
        )
    return made


def _optimizer(model: str, given: Any) -> Any:
    if not (isinstance(given, Optimizer) or callable(given)):
        made = f"{len(given)} optimizers" if _are_optimizers(given) else f"{_kind(given)} as the optimizer"
        raise ModelError(
            f"{model} returned {made}: return one, or return module, batch, step with a function step(batch) that "
            "steps them all and returns the loss."
        )
    return partial(_as_it_is, given) if isinstance(given, Optimizer) else given


def _as_it_is(made: Any, _: Any) -> Any:
    """An object that the user's function has already created; an optimizer's state is cleared."""
    if isinstance(made, Optimizer):
        made.state.clear()
    return made


def _own_step(module: nn.Module, step: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The user's step as a function of inputs and targets: it takes the batch, or the module and the batch."""
    required = parameters_of(step) or []

    def run(inputs: Any, targets: Any) -> Any:
        batch = inputs if targets is None else (inputs, targets)
        if not required:
            return step()
        if len(required) == 1:
            return step(batch)
        return step(module, batch) if required[0] in ("model", "module", "net") else step(inputs, targets)

    return run


class Lightning(nn.Module):
    """A lightning module, whose `training_step` is the forward pass up to the loss."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: Any) -> Any:
        """The loss, or a dictionary that has it."""
        return self.inner.training_step(batch, 0)  # type: ignore[operator]  # a method of every lightning module


def _is_lightning(module: nn.Module) -> bool:
    return any(kind.__name__ == "LightningModule" for kind in type(module).__mro__)


def _of_lightning(module: Any) -> dict[str, Any]:
    """The optimizer and scheduler that a lightning module configures.

    Raises:
        ModelError: for several optimizers, which take turns that only lightning knows.
    """
    configured = module.configure_optimizers()
    scheduler = None
    if isinstance(configured, Mapping):
        configured, scheduler = configured["optimizer"], configured.get("lr_scheduler")
    elif isinstance(configured, tuple | list):
        configured, *schedulers = configured if isinstance(configured, tuple) else (configured,)
        scheduler = next(iter(schedulers[0]), None) if schedulers else None
        if isinstance(configured, list) and len(configured) == 1:
            configured = configured[0]
    if not isinstance(configured, Optimizer):
        raise ModelError(
            "The Lightning module does not configure exactly one optimizer: return module, batch, step with your own "
            "step function."
        )
    if isinstance(scheduler, Mapping):
        scheduler = scheduler["scheduler"]
    given: dict[str, Any] = {"optimizer": partial(_as_it_is, configured)}
    return given if scheduler is None else given | {"scheduler": partial(_as_it_is, scheduler)}


def first_pair(loader: DataLoader[Any]) -> tuple[Any, Any]:
    """Inputs and targets of a loader's first batch, loaded in this process.

    Raises:
        DataError: when it has none, or its batches are not pairs.
    """
    samples = loader.dataset
    if loader.batch_sampler is None or isinstance(samples, torch.utils.data.IterableDataset):
        batch = next(iter(loader), None)
    else:
        numbers = next(iter(loader.batch_sampler), None)
        batch = None if numbers is None else loader.collate_fn([samples[number] for number in numbers])
    if batch is None:
        raise DataError("The loader has no batches: its dataset is too small.")
    return pair_of(batch)


def whole(batch: Any) -> tuple[Any, Any]:
    """A batch as the only input: a lightning module takes it apart itself."""
    return batch, None


def pair_of(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a loader's batch.

    Raises:
        DataError: when it is neither a pair nor a dictionary.
    """
    pair = split(batch)
    if pair is None:
        raise DataError(
            f"The loader returned {_kind(batch)}: its dataset must return (inputs, targets) pairs.{_pairing(batch)}"
        )
    return pair


def _loader_rows(loader: DataLoader[Any], first: int | None) -> tuple[int | None, tuple[int, int] | None]:
    """Rows of a loader's batches, and the fewest and the most if its batch sampler makes batches of several sizes."""
    if loader.batch_size is not None:
        return loader.batch_size, None
    if loader.batch_sampler is None:
        pairs = (split(batch) for batch in islice(loader, FIRST_BATCHES))
        counts = [rows for pair in pairs if pair is not None and (rows := rows_of(*pair)) is not None]
        return (round(sum(counts) / len(counts)), (min(counts), max(counts))) if counts else (first, None)
    sizes = [len(numbers) for numbers in islice(loader.batch_sampler, MOST_BATCHES)]
    mean = max(1, round(sum(sizes) / len(sizes)))
    return mean, (min(sizes), max(sizes))


def _pairing(values: Any) -> str:
    """The three lines that make a pair of a longer tuple."""
    if not isinstance(values, tuple | list) or len(values) <= MODULE_AND_DATA:
        return ""
    names = ", ".join(f"x{number}" for number in range(1, len(values)))
    return f" Nest the inputs: return (({names}), y) instead of ({names}, y); the module is called as module({names})."


def _kind(value: object) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) else type(value).__name__
