"""What the tracer knows about other processes: CPU time between samples, and children that are not others."""

import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from time import process_time, sleep

import pytest

from torchlap.worker.tracing.load import MOST_SAMPLES, Load, children_seconds
from torchlap.worker.tracing.log import Log

SECONDS = 0.3


def test_the_cpus_that_others_used_between_two_times() -> None:
    load = Load([(0.0, 0.0), (1.0, 0.0), (2.0, 1.5), (3.0, 3.0)])
    assert load.between(0.0, 1.0) == 0.0
    assert load.between(1.0, 3.0) == 1.5
    assert load.between(1.05, 1.95) == 1.5


def test_nothing_is_known_without_samples_near_both_ends() -> None:
    load = Load([(1.0, 0.0), (2.0, 1.0)])
    assert load.between(0.0, 2.0) is None
    assert load.between(1.0, 3.0) is None
    assert Load().between(0.0, 1.0) is None


def test_clocks_that_run_backward_mean_that_others_used_nothing() -> None:
    assert Load([(0.0, 1.0), (1.0, 0.9)]).between(0.0, 1.0) == 0.0


def test_samples_are_thinned_out(tmp_path: Path) -> None:
    load, log = Load(pause=0.0), Log(tmp_path / "train.py")
    for _ in range(MOST_SAMPLES):
        load.record(log)
    assert len(load.samples) == MOST_SAMPLES // 2
    assert log.own_seconds > 0


def busy() -> None:
    start = process_time()
    while process_time() - start < 1.2 * SECONDS:  # clocks of processes count in hundredths of a second
        pass
    sleep(60)


@pytest.mark.parametrize("ends", [True, False])
def test_a_child_that_works_is_not_another_process(*, ends: bool) -> None:
    before = children_seconds()
    if ends:
        code = f"import time\nwhile time.process_time() < {SECONDS}: pass"
        subprocess.run([sys.executable, "-c", code], check=True)
    else:
        child = get_context("fork").Process(target=busy)
        child.start()
        while children_seconds() - before < SECONDS:
            assert child.is_alive()
            sleep(0.01)
        child.kill()
        child.join()
    assert children_seconds() - before >= SECONDS * 0.9
