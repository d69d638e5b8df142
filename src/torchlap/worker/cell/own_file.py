"""A model from a file of the user's own: `path/to/file.py:function`, which returns a module and its data."""

import inspect
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import ModelError, printable

PAIR = 2
MODULE_AND_DATA, MODULE_DATA_AND_LOSS = 2, 3
LONGEST_MESSAGE = 300
SHAPE = "module, (inputs, targets)"
"""What the function must return; a DataLoader may replace the pair, and a loss may follow it."""


def build(model: str, batch: int) -> Subject:
    """Call the user's function, and check what it returns.

    Raises:
        ModelError: when it cannot be called, or returns something else.
    """
    path, name = _location(model)
    module, data, loss = _parts(model, _call(path, name, batch))
    rows = data.batch_size if isinstance(data, DataLoader) else _rows(data[0])
    if rows is not None and rows != batch:
        returned = f"a loader with batches of {rows}" if isinstance(data, DataLoader) else f"{rows} inputs"
        raise ModelError(
            f"{model} returned {returned}, but the batch size is {batch}: add a parameter named batch to the function, "
            f"or use --batch {rows}."
        )
    if isinstance(data, DataLoader):
        return Subject(module, loss, loader=data)
    return Subject(module, loss, batch=(data[0], data[1]))


def _location(model: str) -> tuple[Path, str]:
    """The file and the function's name."""
    path_text, _, name = model.rpartition(":")
    if not name or not path_text.endswith(".py"):
        raise ModelError(f"{model} does not name a function: use path/to/file.py:function.")
    path = Path(path_text)
    if not path.is_file():
        raise ModelError(f"The file {path} does not exist in {Path.cwd()}: check the path and the working directory.")
    return path, name


def _parts(model: str, returned: object) -> tuple[nn.Module, Any, Callable[[Any, Any], Tensor]]:
    """Module, data and loss; cross-entropy where the function returns no loss."""
    if not isinstance(returned, tuple) or len(returned) not in (MODULE_AND_DATA, MODULE_DATA_AND_LOSS):
        raise ModelError(f"{model} returned {_kind(returned)}: it must return {SHAPE}, and optionally a loss.")
    module, data, *losses = returned
    loss = losses[0] if losses else nn.functional.cross_entropy
    if not isinstance(module, nn.Module):
        raise ModelError(f"{model} returned {_kind(module)} instead of a module: it must return {SHAPE}.")
    is_pair = isinstance(data, tuple | list) and len(data) == PAIR
    if not is_pair and not isinstance(data, DataLoader):
        raise ModelError(f"{model} returned {_kind(data)} instead of (inputs, targets) or a DataLoader.")
    if not callable(loss):
        raise ModelError(f"{model} returned {_kind(loss)} as the loss: it must be a function of outputs and targets.")
    return module, data, loss


def _call(path: Path, name: str, batch: int) -> object:
    """Call the user's function, with the batch size if it has such a parameter."""
    try:
        function = getattr(_load(path), name, None)
    except BaseException as error:
        raise ModelError(f"Cannot load {path}: {_description(error, path)}.") from error
    if not callable(function):
        raise ModelError(f"{path} has no function {name!r}: check the name after the colon.")
    try:
        has_batch = "batch" in inspect.signature(function).parameters
        returned: object = function(batch=batch) if has_batch else function()
    except BaseException as error:
        raise ModelError(f"{path}:{name} failed: {_description(error, path)}.") from error
    return returned


def _load(path: Path) -> ModuleType:
    name = f"torchlap_own_{path.stem}"  # so that a file named torch.py or queue.py does not replace that module
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"Python cannot import {path}: check the file.")
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # the file may import files beside it
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _description(error: BaseException, path: Path) -> str:
    """The error in one line, with the line of the user's file that raised it."""
    own = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename).name == path.name]
    line = own[-1] if own else getattr(error, "lineno", None)
    place = f"{type(error).__name__} at line {line}" if line else type(error).__name__
    message = (printable(error).splitlines() or [""])[0][:LONGEST_MESSAGE]
    return f"{place}: {message}".rstrip(".") if message else place


def _kind(value: object) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) else type(value).__name__


def _rows(inputs: object) -> int | None:
    """The size of the first dimension, if the inputs are a tensor."""
    return inputs.shape[0] if isinstance(inputs, Tensor) and inputs.dim() else None
