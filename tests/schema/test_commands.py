"""The commands that install packages: each installer has its own."""

import pytest

from torchlap.schema.commands import Action, command

INDEX = "https://index/whl/cu130"


@pytest.mark.parametrize(
    ("installer", "action", "words"),
    [
        ("pip", "install", "env/bin/python -m pip install torch torchvision"),
        ("pip", "reinstall", "env/bin/python -m pip install --upgrade --force-reinstall torch torchvision"),
        ("unknown", "upgrade", "env/bin/python -m pip install --upgrade torch torchvision"),
        ("uv", "install", "uv pip install --python env/bin/python torch torchvision"),
        ("uv", "reinstall", "uv pip install --python env/bin/python --upgrade --reinstall torch torchvision"),
        ("conda", "install", "conda install --prefix env --channel conda-forge pytorch torchvision"),
        ("conda", "upgrade", "conda update --prefix env --channel conda-forge pytorch torchvision"),
        ("poetry", "install", "poetry add torch torchvision"),
        (
            "poetry",
            "reinstall",
            "poetry run python -m pip uninstall --yes torch torchvision && poetry install",
        ),
        ("poetry", "upgrade", "poetry update torch torchvision"),
    ],
)
def test_each_installer_has_its_command(installer: str, action: Action, words: str) -> None:
    assert command(installer, "env/bin/python", action) == words


@pytest.mark.parametrize(
    ("installer", "words"),
    [
        ("pip", f"python -m pip install torch torchvision --index-url {INDEX}"),
        ("uv", f"uv pip install --python python torch torchvision --index-url {INDEX}"),
        ("conda", "conda install --channel conda-forge pytorch-gpu torchvision"),
        (
            "poetry",
            f"poetry source add --priority explicit pytorch {INDEX} && poetry add --source pytorch torch torchvision",
        ),
    ],
)
def test_a_build_for_an_accelerator_has_its_command(installer: str, words: str) -> None:
    assert command(installer, "python", index=INDEX) == words


def test_conda_has_no_build_for_intel_gpus() -> None:
    assert command("conda", "python", index="https://index/whl/xpu").startswith("python -m pip install")
