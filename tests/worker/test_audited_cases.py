"""Small scripts, each of one kind that people write: what the audit must find in them, and what it must not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_template import IN_CPU_TIME, Template
from support import TESTS

from torchlap.judge.script import examine
from torchlap.judge.script.coverage import nothing_audited
from torchlap.schema.trace import ScriptRun

CASES = sorted((TESTS / "scripts" / "cases").glob("*.py"))
PROCESSES = ("exit_code_of_nothing", "dataset_run_after_the_end", "recompiles_each_length", "graph_breaks")
"""They start processes or compile, which takes long."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    made = Template(tmp_path_factory.mktemp("traces"), IN_CPU_TIME)
    yield made
    made.close()


def in_head(path: Path) -> tuple[str, list[str], str]:
    """The kind of answer, its words, and the device, from the script's first line."""
    answer, *more = path.read_text().splitlines()[0].removeprefix("# ").split("; ")
    kind, _, words = answer.partition(": ")
    return kind, words.split(), "sim" if "device: sim" in more else "cpu"


def check(path: Path, run: ScriptRun) -> None:
    kind, words, _ = in_head(path)
    found = {finding.code for finding in examine(run.trace)} | {
        f"{finding.severity}s" for finding in examine(run.trace)
    }
    assert run.exit_code == 0
    assert bool(nothing_audited(run.trace)) == (kind == "nothing")
    if kind == "found":
        assert {word for word in words if word.startswith("TL")} <= found
    elif kind == "not found":
        assert not found & set(words)
    elif kind == "steps":
        assert run.trace.steps == int(words[0])
    elif kind == "spans":
        assert {f"{spans.count}x{spans.steps / spans.count:g}" for spans in run.trace.spans} == set(words)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.long] * (path.stem in PROCESSES)) for path in CASES],
)
def test_the_audit_gives_the_right_answer(template: Template, path: Path) -> None:
    check(path, template.audited(path, in_head(path)[2]))


def test_each_part_of_a_step_that_is_timed_without_waiting_is_named(template: Template) -> None:
    path = TESTS / "scripts" / "cases" / "phases_without_waiting.py"
    run = template.audited(path, "sim")
    lines = path.read_text().splitlines()
    reads = {
        line.split()[0] for line in (_line(lines, finding.where) for finding in examine(run.trace)) if "clock" in line
    }
    assert reads >= {"b", "c", "d"}


def test_the_lines_that_call_a_helper_which_reads_the_clock_are_named(template: Template) -> None:
    path = TESTS / "scripts" / "cases" / "phases_by_a_helper.py"
    run = template.audited(path, "sim")
    lines = path.read_text().splitlines()
    found = [_line(lines, finding.where) for finding in examine(run.trace) if finding.severity == "error"]
    assert {phase for phase in ("fwd", "bwd", "opt") for line in found if f'T.stop("{phase}")' in line} == {
        "fwd",
        "bwd",
        "opt",
    }


def _line(lines: list[str], where: str) -> str:
    return lines[int(where.rpartition(":")[2]) - 1] if ":" in where else ""


def test_a_batch_of_keyword_inputs_is_known(template: Template) -> None:
    run = template.audited(TESTS / "scripts" / "cases" / "keyword_inputs.py", "cpu")
    assert [spans.batch for spans in run.trace.spans] == [8]
