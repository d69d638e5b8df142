"""Whether a model can be built, and whether its batches have the requested number of rows."""

from torchlap.schema.messages import Check, Checked
from torchlap.schema.workload import Workload, is_own_file
from torchlap.worker.cell import own_file
from torchlap.worker.cell.data import digits
from torchlap.worker.cell.models import build
from torchlap.worker.cell.subject import Subject, described, parameters
from torchlap.worker.errors import ModelError


def check(request: Check) -> Checked:
    """Build a model on the CPU, and load its data.

    Raises:
        ModelError: if it cannot be built, or its batches have a different number of rows than requested.
        DataError: when its data cannot be loaded.
    """
    model = request.model
    subject = build(model, request.batch, request.weights, seq=request.seq)
    if subject.image_size is not None:
        digits(request.data)
        return Checked(parameters(subject.module))
    if subject.rows is None:
        raise ModelError(
            f"{model} returned tensors without a common number of rows ({', '.join(_shapes(subject))}): return one "
            f"target per row, or return {{'items': ...}} after the batch.{_place(model)}"
        )
    if request.strict and subject.rows != request.batch:
        raise ModelError(_disagreement(model, subject, request.batch))
    return Checked(
        parameters=parameters(subject.module),
        rows=subject.rows,
        unit=subject.unit,
        sha256=own_file.content_hash(model) if is_own_file(model) else "",
        inputs=_shapes(subject),
    )


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
    return f" ({own_file.line_of(model)})" if is_own_file(model) else ""


def _shapes(subject: Subject) -> tuple[str, ...]:
    return described(subject.batch) if subject.batch is not None else ()
