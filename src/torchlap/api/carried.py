"""Carry a module from the user's process, such as a notebook, to the workers: as a pickle in a temporary folder.

Limits: a worker is another process, so the module's classes must be importable there (defined in a file or an installed
package); classes defined in the notebook itself need the package cloudpickle. The run cannot be resumed, because the
folder is removed.
"""

import hashlib
import pickle
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from torchlap.errors import UsageError

SOURCE = '''"""Written by torchlap.measure: returns the module and batch that were passed to it. Contents: {sha256}."""

import pickle
import sys
from pathlib import Path

sys.path += {path!r}


def make():
    return pickle.loads(Path(__file__).with_suffix(".pkl").read_bytes())
'''


@contextmanager
def carried(module: object, batch: object, others: tuple[object, ...]) -> Iterator[str]:
    """The name of a model whose function returns the module, its batch and the other values.

    Raises:
        UsageError: if they cannot be pickled, or one of their classes is defined in a notebook.
    """
    data = _pickled((module, batch, *others))
    name = re.sub(r"\W", "_", type(module).__name__)
    with tempfile.TemporaryDirectory(prefix="torchlap-") as folder:
        file = Path(folder) / f"{name}.py"
        file.with_suffix(".pkl").write_bytes(data)
        file.write_text(SOURCE.format(sha256=hashlib.sha256(data).hexdigest(), path=sys.path), encoding="utf-8")
        yield f"{file}:make"


def _pickled(values: tuple[object, ...]) -> bytes:
    if find_spec("cloudpickle") is not None:
        dumped: bytes = import_module("cloudpickle").dumps(values)
        return dumped
    try:
        data = pickle.dumps(values)
    except Exception as error:
        raise UsageError(
            f"Cannot pickle the module for a worker process ({type(error).__name__}: {str(error)[:200]}): install "
            "cloudpickle, or put the module into a file and measure 'path/to/file.py:function'."
        ) from error
    if b"__main__" in data:
        raise UsageError(
            f"{type(values[0]).__name__} or its loss is defined in this notebook or script, so a worker process "
            "cannot import it: install cloudpickle, or import it from a file."
        )
    return data
