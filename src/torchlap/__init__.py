"""How fast does PyTorch train here, and can you believe it?

    run = torchlap.measure("resnet18", batch=64, budget="30s")
    run.rows()                   # one dictionary a cell, for pandas

    measure(model, batch, ...)   measure models, or a module with its batch
    load(path)                   a run file
    compare(path, path)          which cells got faster or slower
    verify(options)              whether the devices compute correct results
    check_up()                   whether the accelerators work

help(torchlap.measure) explains its arguments, dir(torchlap) lists the rest.
They are loaded when first used, so importing torchlap costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from torchlap.api import *  # noqa: F403  the one list of public names


def __getattr__(name: str) -> object:
    """Load the public names.

    There is no `__all__`: with it, `help(torchlap)` would print every class of the API instead of one screen.
    """
    if name.startswith("__"):
        raise AttributeError(f"module 'torchlap' has no attribute {name!r}")
    api = import_module("torchlap.api")  # `from torchlap import api` would ask this function for it
    if name not in api.__all__:
        raise AttributeError(f"module 'torchlap' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*import_module("torchlap.api").__all__, "__version__"])
