"""The tracer on scripts with known faults: each is found at its line, and a clean script has no error."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_template import COST_SECONDS, IN_CPU_TIME, IN_REAL_TIME, Template
from audited_scripts import Known, scripts, verdict

from torchlap.judge.script import examine


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    made = Template(tmp_path_factory.mktemp("traces"), IN_CPU_TIME)
    yield made
    made.close()


@pytest.fixture(scope="module")
def in_real_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    made = Template(tmp_path_factory.mktemp("traces"), IN_REAL_TIME)
    yield made
    made.close()


WATCHED_READS = """
import os, threading, time, torch
from torchlap.worker.tracing import script
script.WRITE_SECONDS, script.WRITE_FACTOR = 0.0, 1  # the trace is written all the time
main, grad, end = threading.get_ident(), torch._C.TensorBase.grad, os._exit
def read(tensor):
    if threading.get_ident() != main:
        os.write(2, b"another thread read a gradient")
        end(70)
    return grad.__get__(tensor)
torch.Tensor.grad = property(read, lambda tensor, value: grad.__set__(tensor, value))
import audited; audited.main()
"""


IN_SHORT = (
    "item_every_step",
    "warm_up_inside",
    "slow_input",
    "one_after_the_other",
    "broadcast",
    "no_zero_grad",
    "same_copy_every_step",
)
"""Scripts of `make test`; `make test-all` runs all of them, in real time."""


def known() -> Iterator[tuple[Known, str]]:
    """Each script on one device: on the simulated accelerator where it can be, otherwise on the CPU."""
    for script in sorted({*scripts("cpu"), *scripts("sim")}):
        yield script, "sim" if "sim" in script.devices else "cpu"


ALL = [pytest.param(*case, id=f"{case[0].path.stem}-{case[1]}") for case in known()]


@pytest.mark.parametrize(("script", "device"), [case for case in ALL if str(case.id).rpartition("-")[0] in IN_SHORT])
def test_a_fault_is_found_at_its_line_and_a_clean_script_has_no_error(
    template: Template, script: Known, device: str
) -> None:
    run = template.audited(script.path, device)
    right, others = verdict(script, run)
    assert right, (run.exit_code, others, examine(run.trace))


@pytest.mark.long
@pytest.mark.parametrize(("script", "device"), ALL)
def test_the_same_holds_of_every_script_in_real_time(in_real_time: Template, script: Known, device: str) -> None:
    run = in_real_time.audited(script.path, device)
    right, others = verdict(script, run)
    assert right, (run.exit_code, others, examine(run.trace))


def test_gradients_are_read_by_the_thread_that_trains_alone(tmp_path: Path) -> None:
    """Backward writes them on threads of its own; a reader beside it corrupts the script's memory."""
    template = Template(tmp_path, WATCHED_READS)
    path = next(script.path for script, _ in known() if script.path.stem == "broadcast")
    assert template.audited(path, "cpu").exit_code == 0
    template.close()


def test_the_work_that_was_not_timed_is_measured(template: Template) -> None:
    path = next(script.path for script, _ in known() if script.path.stem == "clock_without_wait")
    run = template.audited(path, "sim")
    (finding,) = examine(run.trace)
    (spans,) = run.trace.spans
    assert (finding.code, finding.severity) == ("TL401", "error")
    assert (spans.looked_at, spans.unwaited, spans.count) == (2, 5, 5)
    operators_enqueued = COST_SECONDS * 10 * 30  # seconds that ten steps keep the device busy, at least
    assert spans.looked_at_seconds + spans.unfinished_seconds >= 2 * operators_enqueued
