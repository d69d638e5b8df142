import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from making import CPU, CUDA, MPS, facts

from torchlap import facts as module
from torchlap.errors import EXIT_INSTALL, InstallError
from torchlap.facts import check_installation, cpu_name, cpu_threads, difference, gather, machine_line, usable_cores
from torchlap.protocol import Description
from torchlap.records import Facts

REINSTALL = f"{sys.executable} -m pip install --upgrade --force-reinstall torch torchvision"


def install(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str], wants: Sequence[str] | None = ("numpy", "torch>=2.10")
) -> None:
    """Make these packages the only ones; torchvision wants what is given."""

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    def requires(name: str) -> Sequence[str] | None:
        return wants if name == "torchvision" else None

    fake = SimpleNamespace(version=version, requires=requires, PackageNotFoundError=PackageNotFoundError)
    monkeypatch.setattr(module, "metadata", fake)


def refusal() -> str:
    with pytest.raises(InstallError) as caught:
        check_installation()
    assert caught.value.exit_code == EXIT_INSTALL
    return str(caught.value)


@pytest.mark.parametrize(
    ("torch", "torchvision", "wants"),
    [
        ("2.13.0", "0.28.0", ["numpy", "torch==2.13.0", "pillow!=8.3.*,>=5.3.0"]),
        ("2.13.0+cu130", "0.28.0+cu130", ["torch==2.13.0"]),
        ("2.13.0+cu130", "0.28.0", ["torch==2.13.0"]),
        ("2.13.0", "0.28.0+cpu", ["torch==2.13.0"]),
        ("2.14.0.dev20260101+cu130", "0.29.0.dev20260101+cu130", ["torch>=2.14.0.dev0"]),
        ("2.13.0", "0.28.0", None),
        ("2.13.0", "0.28.0", ["numpy", "torchaudio==9"]),
    ],
)
def test_torch_and_torchvision_that_fit_are_fine(
    monkeypatch: pytest.MonkeyPatch, torch: str, torchvision: str, wants: Sequence[str] | None
) -> None:
    install(monkeypatch, {"torch": torch, "torchvision": torchvision}, wants)
    check_installation()


@pytest.mark.parametrize(
    ("versions", "missing"),
    [
        ({}, "torch and torchvision"),
        ({"torch": "2.13.0"}, "torchvision"),
        ({"torchvision": "0.28.0"}, "torch"),
    ],
)
def test_what_is_missing_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str], missing: str
) -> None:
    install(monkeypatch, versions)
    assert refusal() == f"{missing} not installed: {sys.executable} -m pip install torch torchvision."


def test_a_torchvision_that_needs_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0", "torchvision": "0.29.0"}, ["numpy", "torch>=2.14"])
    assert refusal() == f"torchvision 0.29.0 needs torch>=2.14, but torch 2.13.0 is here: {REINSTALL}."


def test_an_earlier_torchvision_that_needs_an_earlier_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0+cpu", "torchvision": "0.27.0+cpu"}, ["torch==2.12.0"])
    assert "needs torch==2.12.0, but torch 2.13.0+cpu is here" in refusal()


def test_different_local_builds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0+cu130", "torchvision": "0.28.0+cpu"}, ["torch==2.13.0"])
    assert refusal() == (f"torch 2.13.0+cu130 and torchvision 0.28.0+cpu come from different builds: {REINSTALL}.")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine with 8 physical cores, all of which may be used, and no variables set."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)
    monkeypatch.setattr(module, "usable_cores", lambda: 16)
    return monkeypatch


def test_the_cpu_gets_a_thread_for_each_physical_core(machine: pytest.MonkeyPatch) -> None:
    assert cpu_threads() == (8, "its physical cores")


def test_the_cpu_gets_no_more_threads_than_cores_that_it_may_use(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(module, "usable_cores", lambda: 3)
    assert cpu_threads() == (3, "the cores that this process may use")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_that_the_user_set_is_kept(machine: pytest.MonkeyPatch, name: str) -> None:
    machine.setenv(name, "5")
    assert cpu_threads() == (5, f"{name} is set")


def test_openmps_variable_goes_before_mkls(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("MKL_NUM_THREADS", "2")
    machine.setenv("OMP_NUM_THREADS", "3")
    assert cpu_threads() == (3, "OMP_NUM_THREADS is set")


@pytest.mark.parametrize("value", ["", "0", "-4", "many", "1.5"])
def test_a_variable_that_is_no_number_of_threads_is_passed_over(machine: pytest.MonkeyPatch, value: str) -> None:
    machine.setenv("OMP_NUM_THREADS", value)
    assert cpu_threads() == (8, "its physical cores")


def test_a_superscript_is_no_number_of_threads(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("OMP_NUM_THREADS", "²")
    assert cpu_threads() == (8, "its physical cores")


@pytest.mark.parametrize(("answer", "threads"), [("6", (6, "its performance cores")), ("", (8, "its physical cores"))])
def test_an_apple_cpu_gets_its_performance_cores_where_they_are_known(
    machine: pytest.MonkeyPatch, answer: str, threads: tuple[int, str]
) -> None:
    machine.setattr(sys, "platform", "darwin")
    machine.setattr(module, "_sysctl", lambda name: answer)
    assert cpu_threads() == threads


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 4),
        ("250000 100000", 3),
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("900000 100000", 4),
        ("unheard", 4),
        ("", 4),
        (None, 4),
    ],
)
def test_a_containers_quota_limits_the_usable_cores_rounded_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str | None, cores: int
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(module, "Path", {"/sys/fs/cgroup/cpu.max": file}.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert usable_cores() == cores


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("processor : 0\nmodel name\t: Fast: Processor 9 \nmodel name : Other\n", "Fast: Processor 9"),
        ("processor : 0\n", "riscv64"),
        (None, "riscv64"),
    ],
)
def test_the_cpus_name_is_its_makers_or_else_its_architecture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, name: str
) -> None:
    file = tmp_path / "cpuinfo"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "Path", {"/proc/cpuinfo": file}.__getitem__)
    monkeypatch.setattr(module, "platform", SimpleNamespace(processor=str, machine=lambda: "riscv64"))
    assert cpu_name.__wrapped__() == name


def test_facts_are_gathered_from_the_machine_and_the_workers_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0", "numpy": "2.4.0"})
    for name in module.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4" * 2000)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "private")
    monkeypatch.setattr(module, "cpu_name", lambda: "Fast Processor 9")
    seen = gather(Description((CPU, CUDA), ("resnet18",), "Looked for CUDA (available)."))
    assert seen.cpu == "Fast Processor 9"
    assert seen.devices == (CPU, CUDA)
    assert seen.looked_for == "Looked for CUDA (available)."
    assert seen.packages == {"torch": "2.13.0", "numpy": "2.4.0"}
    assert seen.environment == {"OMP_NUM_THREADS": "4" * 1000}
    assert seen.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert seen.usable_cores >= 1
    assert seen.memory_bytes > 2**20


def test_machines_that_are_alike_in_what_counts_do_not_differ() -> None:
    theirs = facts(python="3.13.0", system="Linux 7", environment={"OMP_NUM_THREADS": "1"}, memory_bytes=1)
    assert difference(facts(), theirs) == ""


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (facts(cpu="Old Processor"), "CPU Old Processor there, Fast Processor 9 here"),
        (facts(usable_cores=2), "cores 2 there, 8 here"),
        (facts(devices=(CPU, MPS)), "devices cpu , mps Apple M1 Max there, cpu , cuda:0 NVIDIA H200 here"),
        (facts(packages={"torch": "2.12.0"}), "torch 2.12.0 there, 2.13.0 here; torchvision none there, 0.28.0 here"),
    ],
)
def test_what_makes_two_machines_differ_is_said_theirs_first(theirs: Facts, said: str) -> None:
    assert difference(facts(), theirs) == said


def test_the_machine_is_one_line() -> None:
    assert machine_line(facts()) == (
        "Fast Processor 9 · 8 cores · 32 GiB · cuda:0 NVIDIA H200 · Linux 6.8 · Python 3.11.9 · "
        "torch 2.13.0 torchvision 0.28.0"
    )


def test_the_machine_line_tells_of_cores_that_may_not_be_used_and_of_a_missing_accelerator() -> None:
    assert machine_line(facts(usable_cores=2, devices=(CPU,), packages={"torch": "2.13.0"})) == (
        "Fast Processor 9 · 8 cores (2 usable) · 32 GiB · no accelerator · Linux 6.8 · Python 3.11.9 · torch 2.13.0"
    )


def test_the_machine_line_names_every_accelerator() -> None:
    assert " · cuda:0 NVIDIA H200, mps Apple M1 Max · " in machine_line(facts(devices=(CPU, CUDA, MPS)))
