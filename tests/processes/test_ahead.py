"""Processes that compile must not disturb what is measured meanwhile."""

import subprocess
import sys

import psutil
import pytest

from torchlap.machine.facts import usable_core_numbers
from torchlap.processes.ahead import LOWEST_PRIORITY, confine


def test_a_process_that_compiles_has_its_own_cores_and_comes_last() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        confine(process.pid, usable_core_numbers()[:1])
        own = psutil.Process(process.pid)
        assert own.nice() == LOWEST_PRIORITY
        if hasattr(own, "cpu_affinity"):
            assert own.cpu_affinity() == usable_core_numbers()[:1]
        process.communicate(b"\n")


def test_a_process_that_has_just_ended_is_left_to_its_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(process: int) -> None:
        raise psutil.NoSuchProcess(process)

    monkeypatch.setattr(psutil, "Process", gone)
    confine(1, [0])
