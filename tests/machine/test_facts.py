import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import CPU, CUDA, MPS, facts

from torchlap.machine import facts as module
from torchlap.machine import privacy, probes
from torchlap.machine.facts import (
    apple_fields,
    begin,
    cpu_name,
    cpu_threads,
    usable_cores,
    with_torch,
    with_unread,
    without_torch,
)
from torchlap.machine.probes import ProbeError
from torchlap.reports.kit.machine import machine_line
from torchlap.schema.machine import Facts, Power, TorchFacts
from torchlap.schema.replies import Description


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
    assert cpu_threads() == (8, "one per physical core")


def test_the_cpu_gets_no_more_threads_than_cores_that_it_may_use(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(module, "usable_cores", lambda: 3)
    assert cpu_threads() == (3, "one per core that this process may use")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_set_by_the_user_is_kept(machine: pytest.MonkeyPatch, name: str) -> None:
    machine.setenv(name, "5")
    assert cpu_threads() == (5, f"{name} is set")


def test_openmps_variable_has_priority_over_mkls(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("MKL_NUM_THREADS", "2")
    machine.setenv("OMP_NUM_THREADS", "3")
    assert cpu_threads() == (3, "OMP_NUM_THREADS is set")


@pytest.mark.parametrize("value", ["", "0", "-4", "many", "1.5"])
def test_a_variable_that_is_not_a_number_of_threads_is_ignored(machine: pytest.MonkeyPatch, value: str) -> None:
    machine.setenv("OMP_NUM_THREADS", value)
    assert cpu_threads() == (8, "one per physical core")


def test_a_superscript_is_not_a_number_of_threads(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("OMP_NUM_THREADS", "²")
    assert cpu_threads() == (8, "one per physical core")


@pytest.mark.parametrize(
    ("answer", "threads"), [("6", (6, "one per performance core")), ("", (8, "one per physical core"))]
)
def test_an_apple_cpu_gets_a_thread_for_each_performance_core_if_known(
    machine: pytest.MonkeyPatch, answer: str, threads: tuple[int, str]
) -> None:
    machine.setattr(sys, "platform", "darwin")
    machine.setattr(module, "_sysctl", lambda name: answer)
    assert cpu_threads() == threads


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (2.5, 3), (2.0, 2), (0.5, 1), (9.0, 4)])
def test_the_quota_of_a_container_limits_the_usable_cores_rounded_up(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(probes, "cpu_quota", lambda: quota)
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
def test_the_name_of_the_cpu_is_its_model_or_else_its_architecture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, name: str
) -> None:
    file = tmp_path / "cpuinfo"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "Path", {"/proc/cpuinfo": file}.__getitem__)
    monkeypatch.setattr(module, "platform", SimpleNamespace(processor=str, machine=lambda: "riscv64"))
    assert cpu_name.__wrapped__() == name


def test_the_facts_of_this_machine_are_read_and_those_of_torch_added(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4" * 2000)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "private")
    result = begin()()
    assert result.environment == {"OMP_NUM_THREADS": "4" * 1000}
    assert result.python == platform.python_version()
    assert {"torch", "torchvision", "numpy"} <= set(result.packages)
    assert result.usable_cores >= 1
    assert result.memory_bytes > 2**20
    assert result.torch_build is not None
    assert result.torch is None
    whole = with_torch(result, Description((CPU, CUDA), ("resnet18",), "Looked for CUDA (available).", TorchFacts()))
    assert (whole.devices, whole.looked_for) == ((CPU, CUDA), "Looked for CUDA (available).")
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Facts) == whole


def test_a_probe_that_fails_or_answers_nonsense_is_recorded_as_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Mapping[str, object]:
        raise ProbeError("the driver said no")

    answers: dict[str, Callable[[], Mapping[str, object]]] = {
        "the driver": fails,
        "the load": lambda: {"load": -1.0},
        "the cores": lambda: {"logical_cores": "many"},
        "the bus": lambda: {"display_adapters": ("AMD",)},
    }
    monkeypatch.setattr(module, "_probes", lambda: answers)
    result = begin()()
    assert [unread_fact.what for unread_fact in result.unread] == ["the driver", "the load", "the cores"]
    assert result.unread[0].why == "the driver said no"
    assert (result.load, result.logical_cores, result.display_adapters) == (None, None, ("AMD",))


COMMANDS = st.dictionaries(st.sampled_from(["sysctl", "sw_vers", "pmset", "notifyutil"]), st.text())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(COMMANDS)
def test_any_output_of_macos_gives_facts(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    def output(words: list[str], *, whatever_status: bool = False) -> str:
        name = Path(words[0]).name
        if name not in answers:
            raise ProbeError(f"{name} is not there")
        return answers[name]

    with monkeypatch.context() as patch:
        patch.setattr(probes, "output", output)
        patch.setattr(sys, "platform", "darwin")
        cpu_name.cache_clear()
        result = begin()()
    cpu_name.cache_clear()
    assert result.cpu
    assert msgspec.json.decode(msgspec.json.encode(result), type=Facts) == result
    unread = {"the chip", "the system's version", "the power mode", "the thermal pressure", "the speed limit"}
    assert {unread_fact.what for unread_fact in result.unread} <= unread


def test_a_mac_is_read_from_the_output_of_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "sysctl": "machdep.cpu.brand_string: Apple M2\nhw.perflevel0.physicalcpu: 4\nsysctl.proc_translated: 1\n",
        "sw_vers": "ProductVersion:\t\t14.5\nBuildVersion:\t\t23F79\n",
        "pmset": " lowpowermode 1\n",
        "notifyutil": "com.apple.system.thermalpressurelevel 1\n",
    }
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(probes, "output", lambda words, **_: answers[Path(words[0]).name])
    cpu_name.cache_clear()
    result = begin()()
    cpu_name.cache_clear()
    assert (result.cpu, result.os_version, result.os_build) == ("Apple M2", "14.5", "23F79")
    assert (result.performance_cores, result.translated) == (4, True)
    assert (result.power.power_saving, result.power.thermal_pressure, result.power.speed_limit) == (True, 1, None)
    assert result.unread == ()


def test_a_command_that_fails_does_not_affect_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def output(words: list[str], **_: object) -> str:
        if Path(words[0]).name == "notifyutil":
            return "com.apple.system.thermalpressurelevel 3\n"
        raise ProbeError("not there")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(probes, "output", output)
    monkeypatch.setattr(probes, "battery", lambda: Power(on_battery=True, battery_share=0.5))
    cpu_name.cache_clear()
    result = begin()()
    cpu_name.cache_clear()
    assert result.power == Power(on_battery=True, battery_share=0.5, thermal_pressure=3)
    assert len(result.unread) == 4


def test_the_facts_are_read_once() -> None:
    end = begin()
    assert end() is end()


def test_the_end_of_a_long_output_is_kept() -> None:
    result = without_torch(facts(), "crash", "why", f"{'x' * 40_000}\nRuntimeError: the cause")
    assert result.import_failure is not None
    assert result.import_failure.output.endswith("RuntimeError: the cause")


def test_an_intel_mac_has_no_performance_cores() -> None:
    assert apple_fields({}) == {"performance_cores": None, "translated": False, "virtual": False}


def test_a_virtual_mac_says_so() -> None:
    assert apple_fields({"kern.hv_vmm_present": "1"})["virtual"] is True


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names that stand in everything that is read."""
    monkeypatch.setenv("HOME", "/srv/people/alice")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr(socket, "gethostname", lambda: "wonderland")
    caches: list[Any] = [privacy._homes, privacy._names]
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


def test_no_fact_names_the_user_the_host_the_home_or_a_serial_number(
    alice: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = "d3485a4e-2ab2-2de8-4199-15734f976753"
    answers = f"/srv/people/alice/x: alice@wonderland, /home/alice, GPU-{serial}"
    monkeypatch.setenv("LD_PRELOAD", answers)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-{serial}")
    monkeypatch.setattr(sys, "executable", "/srv/people/alice/env/bin/python")
    result = with_unread(begin()(), "torch's devices", answers)
    result = without_torch(result, "crash", answers, answers)
    result = with_torch(result, Description((CPU,), (), "", TorchFacts(warnings=answers)))
    text = msgspec.json.encode(result).decode()
    assert result.interpreter == "~/env/bin/python"
    assert [word for word in ("alice", "wonderland", serial) if word in text] == []


def test_the_machine_is_one_line() -> None:
    assert machine_line(facts()) == (
        "Fast Processor 9 · 8 cores · 32 GiB · cuda:0 NVIDIA H200 · Linux 6.8 · Python 3.11.9 · "
        "torch 2.13.0 torchvision 0.28.0"
    )


def test_the_machine_line_shows_unusable_cores_and_a_missing_accelerator() -> None:
    assert machine_line(facts(usable_cores=2, devices=(CPU,), packages={"torch": "2.13.0"})) == (
        "Fast Processor 9 · 8 cores (2 usable) · 32 GiB · no accelerator · Linux 6.8 · Python 3.11.9 · torch 2.13.0"
    )


def test_the_machine_line_names_every_accelerator() -> None:
    assert " · cuda:0 NVIDIA H200, mps Apple M1 Max · " in machine_line(facts(devices=(CPU, CUDA, MPS)))


def test_a_containers_memory_stands_in_the_facts_and_not_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(probes, "memory_limit", lambda: (3 << 20, 1 << 20))
    limited = begin()()
    assert (limited.memory_bytes, limited.memory_limit_bytes, limited.available_bytes) == (3 << 20, 3 << 20, 1 << 20)
    assert limited.swap_used_bytes is None
    monkeypatch.setattr(probes, "memory_limit", lambda: None)
    assert begin()().memory_limit_bytes is None


def test_the_machine_line_counts_accelerators_that_are_alike() -> None:
    devices = [msgspec.structs.replace(CUDA, name=f"cuda:{number}") for number in range(8)]
    assert " · 8 x NVIDIA H200 (cuda:0 to cuda:7) · " in machine_line(facts(devices=(CPU, *devices)))
    assert " · cuda:0 NVIDIA H200, cuda:1 NVIDIA H200 · " in machine_line(facts(devices=(CPU, *devices[:2])))
