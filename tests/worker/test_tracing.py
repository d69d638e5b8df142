"""The tracer on scripts with known faults."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from audited_scripts import SIMULATED, Known, scripts, verdict
from support import HELPERS

from torchlap.judge.script import examine
from torchlap.schema.trace import ScriptRun, Trace


def test_watched_numbers_compute_as_plain_ones_do() -> None:
    subprocess.run([sys.executable, str(HELPERS / "readings.py")], check=True)


class Template:
    """Processes that have torch imported and are forked for each script: with the simulated accelerator, and "
    "without."""

    def __init__(self, folder: Path) -> None:
        self._trace = folder / "trace.json"
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def audited(self, path: Path, device: str) -> ScriptRun:
        if device not in self._processes:
            environment = os.environ | (SIMULATED if device == "sim" else {})
            command = [sys.executable, str(HELPERS / "audited.py")]
            self._processes[device] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        process = self._processes[device]
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{self._trace}\t{path}\t{device}\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        told = msgspec.json.decode(self._trace.read_bytes(), type=Trace)
        self._trace.unlink()
        return ScriptRun(told, code)

    def close(self) -> None:
        for process in self._processes.values():
            process.communicate()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    made = Template(tmp_path_factory.mktemp("traces"))
    yield made
    made.close()


IN_CI = (
    "clock_without_wait",
    "item_every_step",
    "warm_up_inside",
    "slow_input",
    "validation_inside",
    "one_after_the_other",
    "soft_targets_by_accident",
    "broadcast",
    "never_changes",
    "no_zero_grad",
    "stale_optimizer",
    "same_copy_every_step",
    "idle_workers",
    "percentage",
    "gan",
    "gradient_accumulation",
    "own_trainer",
    "torch_function",
)
"""Some of the scripts, for each takes seconds; `python benchmarks/audited_scripts.py` runs all."""


def known() -> Iterator[tuple[Known, str]]:
    """Some scripts, each on one device: the simulated accelerator where it can be, otherwise the CPU."""
    for script in sorted({*scripts("cpu"), *scripts("sim")}):
        if script.path.stem in IN_CI:
            yield script, "sim" if "sim" in script.devices else "cpu"


@pytest.mark.parametrize(
    ("script", "device"), [pytest.param(*each, id=f"{each[0].path.stem}-{each[1]}") for each in known()]
)
def test_a_fault_is_found_at_its_line_and_a_clean_script_has_no_error(
    template: Template, script: Known, device: str
) -> None:
    of = template.audited(script.path, device)
    right, others = verdict(script, of)
    assert right, (of.exit_code, others, examine(of.trace))


def test_the_work_that_was_not_timed_is_measured(template: Template) -> None:
    of = template.audited(next(each.path for each, _ in known() if each.path.stem == "clock_without_wait"), "sim")
    (told,) = examine(of.trace)
    (spans,) = of.trace.spans
    assert (told.code, told.severity) == ("TL401", "error")
    assert spans.looked_at == spans.unwaited == 5
    operators_enqueued = 0.0002 * 10 * 30  # seconds that ten steps keep the device busy, at least
    assert spans.looked_at_seconds + spans.unfinished_seconds >= 5 * operators_enqueued
