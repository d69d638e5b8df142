"""A model from a file of the user's own: `path/to/file.py:function`, which returns a module and its data."""

import inspect
import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from msgspec.structs import replace

from torchlap.worker.cell.returned import subject_of
from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import ModelError, printable

LONGEST_MESSAGE = 300
CARRIED = "torchlap-"
"""The folder of such a file begins so."""


def build(model: str, batch: int) -> Subject:
    """Call the user's function, and check what it returns.

    Raises:
        ModelError: when it cannot be called, or returns something else.
    """
    path, name = _location(model)
    returned, has_batch = _call(path, name, batch)
    try:
        return replace(subject_of(model, returned, has_batch=has_batch), place=place_of(model))
    except ModelError as error:
        raise ModelError(f"{error}{place_of(model)}") from None
    except Exception as error:
        raise ModelError(f"{path}:{name} failed: {_description(error, path)}.") from error


def _location(model: str) -> tuple[Path, str]:
    """The file and the function's name."""
    path_text, _, name = model.rpartition(":")
    if not name or not path_text.endswith(".py"):
        raise ModelError(f"{model} does not name a function: use path/to/file.py:function.")
    path = Path(path_text)
    if not path.is_file():
        raise ModelError(f"The file {path} does not exist in {Path.cwd()}: check the path and the working directory.")
    return path, name


def _call(path: Path, name: str, batch: int) -> tuple[object, bool]:
    """What the user's function returns, called with the batch size if it has such a parameter; whether it has."""
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
    return returned, has_batch


def line_of(model: str) -> str:
    """Where the user's function begins, such as `net.py, line 12`; the file where Python cannot tell."""
    path, name = _location(model)
    module = sys.modules.get(f"torchlap_own_{path.stem}")
    function = getattr(module, name, None)
    code = getattr(function, "__code__", None)
    return f"{path.name}, line {code.co_firstlineno}" if code else path.name


def place_of(model: str) -> str:
    """The same in parentheses after a blank; empty for the file that `torchlap.measure` has written for a module."""
    return "" if _location(model)[0].parent.name.startswith(CARRIED) else f" ({line_of(model)})"


def content_hash(model: str) -> str:
    """The SHA-256 of the user's file."""
    return sha256(_location(model)[0].read_bytes()).hexdigest()


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
