"""torchlap: how fast does PyTorch train on your machine, and can you believe the number?

    run = torchlap.measure("resnet18", batch=64, devices="cuda:0", budget="30s")
    run.rows()

The public names are those of `torchlap.api`: measure, load, compare, verify, check_up and others (docs/api.md). They
are loaded when one of them is first used, so that importing torchlap costs nothing; none of them imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from torchlap.api import *  # noqa: F403  the one list of public names


def __getattr__(name: str) -> object:
    """Load the public names."""
    if name == "__all__":
        return __dir__()
    api = import_module("torchlap.api")  # `from torchlap import api` would ask this function for it
    if name not in api.__all__:
        raise AttributeError(f"module 'torchlap' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*import_module("torchlap.api").__all__, "__version__"])
