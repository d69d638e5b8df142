"""The commands that install packages, for the installer that an environment uses.

Needs only the standard library, because the doctor also advises where no other package can be imported.
"""

from typing import Literal

Action = Literal["install", "reinstall", "upgrade"]
BOTH = ("torch", "torchvision")
CONDA_NAMES = {"torch": "pytorch"}
"""What conda-forge calls a package, where that differs."""

OPTIONS: dict[str, dict[Action, str]] = {
    "pip": {"install": "", "reinstall": " --upgrade --force-reinstall", "upgrade": " --upgrade"},
    "uv": {"install": "", "reinstall": " --upgrade --reinstall", "upgrade": " --upgrade"},
    "conda": {"install": " install", "reinstall": " install --force-reinstall", "upgrade": " update"},
}


def command(
    installer: str, python: str, action: Action = "install", packages: tuple[str, ...] = BOTH, *, index: str = ""
) -> str:
    """The shell command that installs, reinstalls or upgrades packages.

    Args:
        installer: pip, uv, conda or poetry; anything else counts as pip.
        python: how a shell calls the Python of the environment.
        action: what to do with the packages.
        packages: their names on PyPI.
        index: the address of a package index with builds for one kind of accelerator; empty for the usual one.
    """
    names = " ".join(packages)
    match installer:
        case "uv":
            return f"uv pip install --python {python}{OPTIONS['uv'][action]} {names}{_option(index)}"
        case "conda" if "/xpu" not in index:
            return _conda(python, action, packages, cuda=bool(index))
        case "poetry":
            return _poetry(action, names, index)
        case _:
            return f"{python} -m pip install{OPTIONS['pip'][action]} {names}{_option(index)}"


def _option(index: str) -> str:
    return f" --index-url {index}" if index else ""


def _conda(python: str, action: Action, packages: tuple[str, ...], *, cuda: bool) -> str:
    """Of conda-forge, whose package pytorch-gpu is the build for CUDA; it has none for Intel GPUs."""
    names = [CONDA_NAMES.get(name, name) for name in packages]
    if cuda:
        names = ["pytorch-gpu" if name == "pytorch" else name for name in names]
    prefix = python.rpartition("/bin/")[0]
    place = f" --prefix {prefix}" if prefix else ""
    return f"conda{OPTIONS['conda'][action]}{place} --channel conda-forge {' '.join(names)}"


def _poetry(action: Action, names: str, index: str) -> str:
    if index:
        return f"poetry source add --priority explicit pytorch {index} && poetry add --source pytorch {names}"
    return {
        "install": f"poetry add {names}",
        "reinstall": f"poetry run python -m pip uninstall --yes {names} && poetry install",
        "upgrade": f"poetry update {names}",
    }[action]
