"""Workers in processes of their own: how each kind of failure is reported, and that no process is left behind."""

import os
import queue
import signal
import sys
from pathlib import Path

import psutil
import pytest
from support import PATIENCE_SECONDS, ROOT, Shared, has_ended, own

from torchlap.processes.failures import CellFailedError, ImportFailedError
from torchlap.processes.start import ForkLauncher, Interpreter, SpawnLauncher
from torchlap.processes.system import DETAIL_BYTES, Log
from torchlap.processes.worker import Worker
from torchlap.schema.messages import encode
from torchlap.schema.recipe import Recipe
from torchlap.schema.replies import Built, Checked, Description, LapsDone, Prepared, Progress
from torchlap.schema.requests import Build, Check, Describe, RunLaps, WarmUp
from torchlap.schema.workload import Cell, Workload


@pytest.fixture
def worker(workers: Shared) -> Worker:
    return workers.start()


def prepare(worker: Worker, function: str) -> None:
    """Build a model on the CPU, and warm it up."""
    cell = Cell(Workload(own(function), 4), Recipe(), "cpu")
    build = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=1, threads_reason="a test")
    worker.ask(build, Built, PATIENCE_SECONDS)
    warm_up = WarmUp(slot=0, limit_seconds=1.0, memory_format="contiguous")
    worker.ask(warm_up, Prepared, PATIENCE_SECONDS)


def failure(worker: Worker, function: str, limit_seconds: float = PATIENCE_SECONDS) -> CellFailedError:
    """How a lap of a model fails that works while it warms up."""
    prepare(worker, function)
    with pytest.raises(CellFailedError) as caught:
        worker.ask(RunLaps(slot=0, steps=40, lead_in=0), LapsDone, limit_seconds)
    return caught.value


def test_a_worker_answers_laps_with_seconds_and_a_loss(worker: Worker) -> None:
    prepare(worker, "small")
    turn = worker.ask(RunLaps(slot=0, steps=5, lead_in=1, laps=2), LapsDone, PATIENCE_SECONDS)
    assert len(turn.laps) == 2
    assert all(lap.seconds > 0 and 0 < lap.loss < 10 for lap in turn.laps)
    worker.kill()


@pytest.mark.parametrize(
    ("function", "name"), [("killed", "SIGKILL"), ("segmentation_fault", "SIGSEGV"), ("aborts", "SIGABRT")]
)
def test_a_worker_that_dies_is_a_crash_with_its_signal(function: str, name: str, worker: Worker) -> None:
    failed = failure(worker, function)
    assert (failed.kind, name in failed.reason) == ("crash", True)
    assert has_ended(worker.pid)


def test_a_signal_without_a_name_has_its_number(worker: Worker) -> None:
    request = Check(own("killed_by_a_signal_without_a_name", "odd.py"), 4, "random", "mnist-1k")
    with pytest.raises(CellFailedError, match="signal 40"):
        worker.ask(request, Checked, PATIENCE_SECONDS)


def test_a_worker_that_is_silent_for_too_long_hangs(worker: Worker) -> None:
    failed = failure(worker, "hangs", limit_seconds=1.0)
    assert (failed.kind, "No answer for 1 s" in failed.reason) == ("hang", True)
    assert has_ended(worker.pid)


def test_the_hang_limit_restarts_at_every_sign_of_life(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    class Silent(queue.Queue[bytes | None]):
        def get(self, block: bool = True, timeout: float | None = None) -> bytes:  # noqa: FBT002  as its base has it
            limits.append(timeout)
            if len(limits) > 1:
                raise queue.Empty
            return encode(Progress("doing something"))

    monkeypatch.setattr(worker, "_lines", Silent())
    with pytest.raises(CellFailedError, match="No answer for 7 s"):
        worker.ask(Describe(), Description, 7.0)
    assert limits == [7.0, 7.0]


def test_an_error_in_a_models_code_is_a_failure_with_its_traceback(worker: Worker) -> None:
    failed = failure(worker, "refused")
    assert (failed.kind, "aten::nothing" in failed.reason) == ("refused", True)
    assert "models.py" in failed.detail


def test_what_a_model_prints_is_not_taken_for_an_answer(worker: Worker) -> None:
    request = Check(own("prints", "odd.py"), 4, "random", "mnist-1k")
    assert worker.ask(request, Checked, PATIENCE_SECONDS).parameters > 0
    assert "a line of its own" in worker.kill()


def test_processes_that_a_model_started_end_with_its_worker(worker: Worker) -> None:
    worker.ask(Check(own("starts_a_process", "odd.py"), 4, "random", "mnist-1k"), Checked, PATIENCE_SECONDS)
    (child,) = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    assert has_ended(child.pid)
    assert has_ended(worker.pid)


def test_a_worker_that_was_killed_from_outside_is_a_crash_and_the_next_one_works(workers: Shared) -> None:
    worker = workers.start()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(CellFailedError, match="SIGKILL"):
        worker.ask(Describe(), Description, PATIENCE_SECONDS)
    other = workers.start()
    assert [device.name for device in other.ask(Describe(), Description, PATIENCE_SECONDS).devices][:1] == ["cpu"]
    other.kill()


def test_of_what_a_process_prints_only_the_end_is_kept() -> None:
    log = Log()
    for number in range(1000):
        os.write(log.writer, b"%04d" % number * 1000)
    log.handed_over()
    assert log.tail().endswith("0998" * 1000 + "0999" * 1000)
    assert len(log.tail()) == DETAIL_BYTES


@pytest.mark.long
def test_workers_that_are_started_anew_share_nothing_with_those_before() -> None:
    for processes in (ForkLauncher(), SpawnLauncher()) if sys.platform == "linux" else (SpawnLauncher(),):
        pids: list[int] = []
        try:
            for _ in range(2):
                worker = processes.start()
                prepare(worker, "small")
                pids += [worker.pid, psutil.Process(worker.pid).ppid()]
                processes.renew()
                assert has_ended(worker.pid)
        finally:
            processes.close()
        assert pids[0] != pids[2]
        assert (pids[1] != pids[3]) == isinstance(processes, ForkLauncher)  # forked ones have another template
        assert all(has_ended(pid) for pid in pids if pid != os.getpid())
        assert processes.start_up_seconds > 0.0


@pytest.mark.long
def test_a_launcher_whose_torch_is_gone_when_it_starts_anew_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "sitecustomize.py"
    processes = ForkLauncher(interpreter=Interpreter(environment={"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}))
    try:
        broken.write_text("import os; os._exit(3)")
        processes.renew()
        with pytest.raises(ImportFailedError):
            processes.start()
    finally:
        processes.close()
