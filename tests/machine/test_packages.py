"""What packages' own files say, with stub packages in a folder."""

import platform
import sys
import sysconfig
from pathlib import Path

import pytest

from torchlap.machine.packages import faults, installer, versions


def install(
    folder: Path, name: str, version: str = "2.13.0", *, files: tuple[str, ...] = (), by: str = "pip", tag: str = ""
) -> Path:
    """A stub package as an installer leaves it."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text(f"{by}\n")
    (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag or 'py3-none-any'}\n")
    listed = (f"{name}/__init__.py", *files)
    (info / "RECORD").write_text("".join(f"{file},sha256=0,1\n" for file in listed))
    for file in listed:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def kinds(*path: Path, prefix: Path | None = None) -> list[tuple[str, str]]:
    found = faults(path=[str(folder) for folder in path], prefix=prefix or path[0])
    return [(fault.kind, fault.package) for fault in found]


def test_a_clean_install_has_no_faults(tmp_path: Path) -> None:
    tag = f"cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-{platform.machine()}"
    install(tmp_path, "torch", files=("torch/lib/libtorch.so",), tag=tag)
    install(tmp_path, "torchvision", "0.28.0", by="pip")
    install(tmp_path, "numpy", "2.3.0", by="uv")
    assert kinds(tmp_path) == []


def test_this_environment_has_no_faults() -> None:
    assert faults() == ()


def test_an_editable_install_is_not_imported_from_elsewhere(tmp_path: Path) -> None:
    install(tmp_path, "torch")
    (tmp_path / "torch" / "__init__.py").unlink()
    (tmp_path / "torch-2.13.0.dist-info" / "RECORD").write_text("__editable__.torch.pth,,\n")
    install(tmp_path / "source", "numpy")
    (tmp_path / "source" / "torch").mkdir()
    (tmp_path / "source" / "torch" / "__init__.py").touch()
    assert kinds(tmp_path, tmp_path / "source") == []


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("py3-none-any", True),
        ("cp39-abi3-any", True),
        ("cp399-abi3-any", False),
        ("cp399-cp399-any", False),
        ("py2.py3-none-any", True),
        ("gibberish", True),
        ("py3-none-win_amd64", False),
        ("py3-none-manylinux_2_28_s390x", False),
    ],
)
def test_a_wheel_fits_this_python_and_machine_or_not(tag: str, fits: bool, tmp_path: Path) -> None:
    install(tmp_path, "torch", tag=tag)
    assert kinds(tmp_path) == ([] if fits else [("wheel", "torch")])


def test_torch_of_conda_beside_torchvision_of_pip_is_a_mixture(tmp_path: Path) -> None:
    install(tmp_path, "torch", by="conda")
    install(tmp_path, "torchvision", by="pip")
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "pytorch-2.13.0-cpu_generic.json").touch()
    assert kinds(tmp_path) == [("mixture", "torch")]
    assert "torch is installed by conda, torchvision by pip" in faults(path=[str(tmp_path)], prefix=tmp_path)[0].clause


def test_pip_over_conda_is_a_mixture(tmp_path: Path) -> None:
    install(tmp_path, "numpy", by="pip")
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "numpy-2.1.0-py312_0.json").touch()
    assert kinds(tmp_path) == [("mixture", "numpy")]


def test_a_python_for_musl_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "x86_64-linux-musl")
    assert kinds(tmp_path) == [("musl", "torch")]


@pytest.mark.parametrize(
    ("by", "environment", "answer"),
    [
        ("pip", "", "pip"),
        ("uv", "", "uv"),
        ("pip", "uv = 0.9.1", "uv"),
        ("poetry", "", "poetry"),
        ("conda", "", "conda"),
        ("homegrown", "", "pip"),
        (None, "uv = 0.9.1", "uv"),
        (None, "", "pip"),
        (None, "conda-meta", "conda"),
        (None, "pypoetry", "poetry"),
    ],
)
def test_the_installer_in_use_is_recognized(
    by: str | None, environment: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POETRY_ACTIVE", raising=False)
    prefix = tmp_path / environment if environment == "pypoetry" else tmp_path
    prefix.mkdir(exist_ok=True)
    if environment == "conda-meta":
        (prefix / environment).mkdir()
    (prefix / "pyvenv.cfg").write_text(f"home = /usr/bin\n{environment}\n")
    if by:
        install(prefix, "torch", by=by)
    assert installer([str(prefix)], prefix) == answer


def test_the_folders_of_pythonpath_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "torch", "1.0")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert versions(("torch",)) == {"torch": "1.0"}
