"""torchlap gate: a slow-down fails only if two runs are certain of it; and the GitHub Action that calls it."""

import os
import subprocess
from pathlib import Path

import pytest
from judge.speeds import at
from making import cell, plan, prepared, rounds, run
from msgspec.structs import replace
from support import ROOT, Command, invoke, own

from torchlap import errors
from torchlap.cli import gate as command
from torchlap.judge.compare import Compared, compare, repeated
from torchlap.judge.compare import gate as outcome_of
from torchlap.judge.measurement import conditions
from torchlap.runs.find import Named
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions, Run
from torchlap.schema.workload import Group

ARMS = ("--arm", "before", "--arm", "after")
NOISE = (1.0, 1.01, 0.99, 1.0, 1.005, 0.995, 1.0, 1.0)


def sides(speed: float, *, noise: float = 1.0, others: float = 0.0) -> Run:
    """A run of two arms, the second of which has this many times the speed of the first."""
    cells = tuple(replace(cell(), arm=name) for name in ("before", "after"))
    first = [0.1 * factor for factor in NOISE]
    second = [0.1 / speed * (1.0 + noise * (factor - 1.0)) for factor in reversed(NOISE)]
    busy = Conditions(group=0, seconds=10.0, others_cpu_share=others)
    measured = replace(plan(Group(cells)), arms=(Arm("before"), Arm("after")))
    return run([prepared(0), prepared(1), *rounds(first, second), busy], measured)


def arms(measured: Run) -> Compared:
    return compare([Named("run", measured)], across="arm")


SAME, SLOWER, UNSURE = sides(1.0), sides(0.8), sides(0.94, noise=4.0)


def test_the_samples_are_what_their_names_say() -> None:
    assert [outcome_of(arms(one), 0.05) for one in (SAME, SLOWER, UNSURE)] == ["pass", "slower", "inconclusive"]


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (SLOWER, SLOWER, "slower"),
        (SLOWER, SAME, "inconclusive"),
        (SLOWER, UNSURE, "inconclusive"),
        (UNSURE, SLOWER, "inconclusive"),
        (UNSURE, SAME, "pass"),
        (UNSURE, UNSURE, "inconclusive"),
        (SLOWER, sides(0.8, others=0.5), "inconclusive"),
    ],
)
def test_a_repeated_run_is_slower_only_if_both_are(first: Run, second: Run, outcome: str) -> None:
    assert repeated(arms(first), arms(second), 0.05) == outcome


def gated(monkeypatch: pytest.MonkeyPatch, *runs: Run, code: int = 0) -> list[Path | None]:
    """Let the command measure these runs, one after the other; the files that it asked for."""
    left, files = list(runs), []

    def shown(options: object, _output: object, *, why: bool) -> tuple[int, Run]:
        files.append(getattr(options, "out", None))
        return code, left.pop(0)

    monkeypatch.setattr(command, "shown", shown)
    return files


@pytest.mark.parametrize(
    ("runs", "codes", "words"),
    [
        ((SAME,), (0, 0), "Pass: every cell is certainly at least 0.95x as fast as before."),
        ((SLOWER, SLOWER), (1, 1), "Slower: a cell is certainly less than 0.95x as fast as before in 2 runs."),
        ((SLOWER, SAME), (0, 6), "Inconclusive: it is not certain in 2 runs whether"),
        ((UNSURE, UNSURE), (0, 6), "Inconclusive: it is not certain in 2 runs whether"),
    ],
)
def test_the_gate_has_three_outcomes_and_repeats_before_it_fails(
    runs: tuple[Run, ...], codes: tuple[int, int], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = tmp_path / "comment.md"
    for inconclusive, code in zip(("pass", "fail"), codes, strict=True):
        files = gated(monkeypatch, *runs)
        options = ("--inconclusive", inconclusive, "--comment", comment, "--out", tmp_path / "run.jsonl")
        result = invoke("gate", "resnet18", *ARMS, *options)
        assert result.exit_code == code, result.output
        assert words in result.stdout
        assert [file.name for file in files if file] == ["run.jsonl", "run-again.jsonl"][: len(runs)]
        text = comment.read_text()
        assert text.startswith("<!-- torchlap gate -->\n### torchlap: ")
        assert words in text.replace("\\", "")
        assert text.count("| resnet18 | 4 | cpu | after |") == len(runs)
        assert text.count("<details>") == len(runs) - 1


def test_a_comment_says_why_there_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comment = tmp_path / "comment.md"
    gated(monkeypatch, sides(0.8, others=0.5), sides(0.8, others=0.5))
    assert invoke("gate", "resnet18", *ARMS, "--comment", comment).exit_code == 0
    assert "resnet18, batch 4, cpu, after: other processes used the CPU (TL208: 50% of all cores" in comment.read_text()


def test_cells_without_a_valid_result_fail_whatever_else_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = tmp_path / "comment.md"
    gated(monkeypatch, SAME, code=errors.EXIT_SOME_CELLS_FAILED)
    result = invoke("gate", "resnet18", *ARMS, "--comment", comment)
    assert (result.exit_code, "Failed: at least one cell has no valid result." in result.stdout) == (1, True)
    assert "### torchlap: no valid result" in comment.read_text()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("resnet18",), 2, "Give the two sides: --against REVISION, or --arm twice."),
        (("resnet18", *ARMS, "--fail-if-slower", "70%"), 2, "Invalid limit '70%'"),
        (("net.py:make", "--against", "no-such-revision"), 2, "git does not know the revision"),
        (("resnet18", *ARMS, "--comment", "{folder}"), 4, "is a folder: choose another file"),
        (("resnet18", *ARMS, "--comment", "{folder}/thesis.md"), 4, "was not written by torchlap"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    words: tuple[str, ...], code: int, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "thesis.md").write_text("precious")
    result = invoke("gate", *(word.format(folder=tmp_path) for word in words))
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), result.output
    assert reason in result.stderr
    assert (tmp_path / "thesis.md").read_text() == "precious"


def test_equal_sides_pass_on_the_simulated_accelerator(
    torchlap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "OTHERS_CPU_SHARE", 1.0)  # whatever else this machine is doing
    comment = tmp_path / "comment.md"
    options = ("--devices", "sim:0", "--batch", 4, "--budget", "20s", "--out", tmp_path / "run.jsonl")
    result = torchlap("gate", own("small"), *ARMS, *options, "--comment", comment)
    assert result.exit_code == 0, result.output
    assert "Pass: every cell is certainly at least 0.95x" in result.stdout
    assert "| sim:0 | after |" in comment.read_text()


def script() -> str:
    """The script of the Action's step that measures."""
    lines = (ROOT / "action.yml").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == "- id: gate")
    start = next(number for number in range(start, len(lines)) if lines[number].strip() == "run: |") + 1
    indent = len(lines[start]) - len(lines[start].lstrip())
    block = []
    for line in lines[start:]:
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            break
        block.append(line[indent:])
    return "\n".join(block)


def act(folder: Path, code: int, **inputs: str) -> tuple[int, str, str, str]:
    """Run the Action's script with a stand-in of torchlap: its exit code, arguments, outputs and summary."""
    stand_in = folder / "torchlap"
    stand_in.write_text(
        '#!/bin/sh\nfor word; do echo "$word" >> "$RUNNER_TEMP/words"; last="$word"; done\n'
        f'echo "### torchlap" > "$last"\nexit {code}\n'
    )
    stand_in.chmod(0o755)
    variables = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "RUNNER_TEMP": str(folder),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "MODEL": "net.py:make",
        "AGAINST": "HEAD^1",
        "LIMIT": "5%",
        "INCONCLUSIVE": "pass",
        "OPTIONS": "",
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script()],
        env=variables | inputs,
        capture_output=True,
        text=True,
        check=False,
    )
    texts = [(folder / name).read_text() if (folder / name).exists() else "" for name in ("words", "output", "summary")]
    return done.returncode, texts[0], texts[1], texts[2]


@pytest.mark.skipif(not os.access("/bin/bash", os.X_OK), reason="the Action's script is written for bash")
@pytest.mark.parametrize(
    ("code", "inconclusive", "ended", "outcome"),
    [
        (0, "pass", 0, "pass"),
        (1, "pass", 1, "slower"),
        (6, "pass", 0, "inconclusive"),
        (6, "fail", 6, "inconclusive"),
        (2, "pass", 2, "error"),
    ],
)
def test_the_actions_script_reports_the_outcome(
    code: int, inconclusive: str, ended: int, outcome: str, tmp_path: Path
) -> None:
    returned, words, output, summary = act(tmp_path, code, INCONCLUSIVE=inconclusive)
    assert returned == ended
    assert output.splitlines() == [f"outcome={outcome}", f"comment={tmp_path}/torchlap-comment.md"]
    assert summary == "### torchlap\n"
    assert words.splitlines()[:5] == ["gate", "net.py:make", "--against", "HEAD^1", "--fail-if-slower"]


@pytest.mark.skipif(not os.access("/bin/bash", os.X_OK), reason="the Action's script is written for bash")
def test_the_actions_inputs_are_words_and_never_code(tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/evil)"
    _, words, _, _ = act(tmp_path, 0, MODEL=f"net.py:make {evil}", AGAINST=evil, OPTIONS=f"--batch 8 {evil} *")
    assert not (tmp_path / "evil").exists()
    assert {"--batch", "8", "*", "net.py:make"} <= set(words.splitlines())
    steps = (ROOT / "action.yml").read_text().partition("steps:")[2]
    assert all("${{ inputs." in line for line in steps.splitlines() if "${{" in line)
    assert "${{" not in script()


def test_every_option_that_the_action_gives_exists() -> None:
    shown = invoke("gate", "--help").stdout
    for option in ("--against", "--fail-if-slower", "--inconclusive", "--comment"):
        assert option in shown
        assert option in script()


def test_a_comparison_of_files_can_be_repeated_too() -> None:
    found = compare([Named("a", at(100.0)), Named("b", at(70.0))])
    assert repeated(found, found, 0.05) == "slower"
