"""torchlap: how fast does PyTorch train on your machine, and can you believe the number?

The names below are loaded when first used, so that importing torchlap costs nothing; none of them imports torch.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from torchlap.api import Listener, Options, check_up, compare, load, measure, reference, verify
    from torchlap.bounds import Why, why
    from torchlap.doctor import CheckUp, diagnose
    from torchlap.records import Run
    from torchlap.results import figures, peaks
    from torchlap.stats import Interval, Ratio
    from torchlap.suites import parse_recipe
    from torchlap.trust import judge
    from torchlap.versus import Change, Compared

_HOMES = {
    "Change": "versus",
    "CheckUp": "doctor",
    "Compared": "versus",
    "Interval": "stats",
    "Listener": "api",
    "Options": "api",
    "Ratio": "stats",
    "Run": "records",
    "Ladder": "audit.ladder",
    "ScriptRun": "audit.running",
    "Why": "bounds",
    "audit_experiment": "auditing",
    "audit_script": "auditing",
    "check_up": "api",
    "compare": "api",
    "diagnose": "doctor",
    "examine": "audit",
    "figures": "results",
    "judge": "trust",
    "load": "api",
    "measure": "api",
    "parse_recipe": "suites",
    "peaks": "results",
    "reference": "api",
    "verify": "api",
    "why": "bounds",
}

__all__ = [
    "Change",
    "CheckUp",
    "Compared",
    "Interval",
    "Ladder",
    "Listener",
    "Options",
    "Ratio",
    "Run",
    "ScriptRun",
    "Why",
    "__version__",
    "audit_experiment",
    "audit_script",
    "check_up",
    "compare",
    "diagnose",
    "examine",
    "figures",
    "judge",
    "load",
    "measure",
    "parse_recipe",
    "peaks",
    "reference",
    "verify",
    "why",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'torchlap' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  nothing is imported before it is needed

    return getattr(import_module(f"torchlap.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return list(__all__)
