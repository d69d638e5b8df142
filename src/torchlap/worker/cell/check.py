"""Whether a model can be built, and whether its batches have the requested number of rows and of items."""

from msgspec.structs import replace

from torchlap.schema.replies import Checked
from torchlap.schema.requests import Check
from torchlap.schema.workload import DataName, Workload, is_own_file
from torchlap.worker.cell import own_file
from torchlap.worker.cell.data import digits, held_out
from torchlap.worker.cell.models import build
from torchlap.worker.cell.returned import UNCOUNTED, first_pair
from torchlap.worker.cell.subject import Subject, described, parameters, token_count
from torchlap.worker.errors import ModelError


def check(request: Check) -> Checked:
    """Build a model on the CPU, and load its data.

    Raises:
        ModelError: if it cannot be built, or its batches have a different number of rows than requested.
        DataError: when its data cannot be loaded.
    """
    model = request.model
    subject = build(model, request.batch, request.weights, seq=request.seq)
    subject = counted(model, subject, request.items, request.unit)
    if request.held_out:
        check_held_out(model, subject, request.data)
    if subject.image_size is not None:
        digits(request.data)
        return Checked(parameters(subject.module))
    rows = subject.rows or (request.batch if request.strict else subject.items)
    if rows is None or (subject.rows is None and subject.items is None):
        raise ModelError(
            f"{model} returned tensors without a common number of rows ({', '.join(_shapes(subject))}): return one "
            f"target per row, or return {{'items': ...}} after the batch, or use --items.{_place(model)}"
        )
    if request.strict and rows != request.batch:
        raise ModelError(_disagreement(model, subject, request.batch))
    return Checked(
        parameters=parameters(subject.module),
        rows=rows,
        has_loader=subject.loader is not None,
        unit=subject.unit,
        sha256=own_file.content_hash(model) if is_own_file(model) else "",
        inputs=_shapes(subject),
    )


def check_held_out(model: str, subject: Subject, data: DataName) -> None:
    """Make sure that there are epochs, and data to measure the accuracy on.

    Raises:
        ModelError: for a user's single batch, a loader of unknown length, or no validation data.
        DataError: when the held-out digits cannot be loaded.
    """
    if subject.image_size is not None:
        held_out(data)
        return
    place = _place(model)
    if subject.loader is None or subject.validation is None:
        returned = "a single batch" if subject.loader is None else "no held-out data"
        raise ModelError(
            f"{model} returned {returned}, so it has no accuracy: return a DataLoader, and "
            f"{{'validation': loader}} after it.{place}"
        )
    try:
        len(subject.loader)
    except TypeError:
        raise ModelError(
            f"{model} returned a loader of unknown length, so an epoch is unknown: give its dataset a length.{place}"
        ) from None


def counted(model: str, subject: Subject, items: int | None, unit: str) -> Subject:
    """The subject with the items and the unit that the user gave beside it; its own where the user gave none.

    Raises:
        ModelError: for a number or unit that contradicts the model's own, or that its batches cannot have.
    """
    if unit and subject.unit_is_own and unit != subject.unit:
        raise ModelError(
            f"{model} counts {subject.unit}, but --unit is {unit}: make them equal, or omit --unit.{_place(model)}"
        )
    if items is not None:
        _check_items(model, subject, items)
    if unit == "tokens" and items is None and subject.items is None and _tokens_of(subject) is None:
        raise ModelError(UNCOUNTED.format(model=model))
    return replace(subject, items=items or subject.items, unit=unit or subject.unit)


def _check_items(model: str, subject: Subject, items: int) -> None:
    """Make sure that a batch can have that many items."""
    if subject.items not in (None, items):
        raise ModelError(
            f"{model} has {subject.items} items in a batch, but --items is {items}: make them equal, or omit --items."
            f"{_place(model)}"
        )
    if subject.sizes is not None:
        fewest, most = subject.sizes
        raise ModelError(
            f"{model} returned a loader with batches of {fewest} to {most} rows, which cannot all have {items} items: "
            f"omit --items.{_place(model)}"
        )
    rows = subject.rows or items
    if items % rows and rows % items:
        raise ModelError(
            f"{items} items in a batch of {rows} rows are not a whole number per row: correct --items, or return the "
            f"number from your function as {{'items': {items}}}.{_place(model)}"
        )


def _tokens_of(subject: Subject) -> int | None:
    inputs, _ = subject.batch or (first_pair(subject.loader) if subject.loader is not None else (None, None))
    return token_count(inputs)


def check_rows(subject: Subject, workload: Workload) -> None:
    """Make sure that a batch has as many rows as the table says.

    Raises:
        ModelError: if it has a different number.
    """
    if subject.rows not in (None, workload.batch) and subject.sizes is None:
        raise ModelError(_disagreement(workload.model, subject, workload.batch))


def _disagreement(model: str, subject: Subject, batch: int) -> str:
    returned, remedy = f"{subject.rows} rows", f"or use --batch {subject.rows}"
    if subject.loader is not None:
        returned = f"a loader with batches of {subject.rows} rows"
    if subject.sizes is not None:
        returned = f"a loader with batches of {subject.sizes[0]} to {subject.sizes[1]} rows"
        remedy = "or omit --batch to count the rows that the loader delivers"
        return f"{model} returned {returned}, not {batch}: make them equal, {remedy}.{_place(model)}"
    return (
        f"{model} returned {returned}, but the batch size is {batch}: give the function a parameter named batch, "
        f"{remedy}.{_place(model)}"
    )


def _place(model: str) -> str:
    return own_file.place_of(model) if is_own_file(model) else ""


def _shapes(subject: Subject) -> tuple[str, ...]:
    return described(subject.batch) if subject.batch is not None else ()
