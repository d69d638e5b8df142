"""`torchlap compare` and `torchlap report` on run files, and the functions behind them."""

import json
from pathlib import Path

import pytest
from judge.speeds import at
from making import facts, pair, plan, run
from support import invoke

import torchlap
from torchlap.errors import UsageError
from torchlap.runs.file import RunFile
from torchlap.schema.events import Run


def written(folder: Path, name: str, measured: Run) -> Path:
    file = RunFile.create(folder / name)
    for event in (measured.header, *measured.events):
        file.append(event)
    file.close()
    return folder / name


def test_the_command_names_differences_first_and_fails_on_request(tmp_path: Path) -> None:
    other = facts(packages={"torch": "2.15.0", "torchvision": "0.28.0"})
    files = [
        written(tmp_path, "a.jsonl", at(10.0, 100.0)),
        written(tmp_path, "b.jsonl", at(10.0, 70.0, machine=other)),
    ]
    result = invoke("compare", *files)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "b.jsonl vs. a.jsonl: 1 slower, 1 same."
    assert lines[1] == "  Differences (b.jsonl): torch 2.13.0 vs. 2.15.0."
    assert [invoke("compare", *files, "--fail-if-slower", limit).exit_code for limit in ("5%", "0.05", "5")] == [1] * 3
    assert invoke("compare", *files, "--fail-if-slower", "40%").exit_code == 0
    assert invoke("compare", tmp_path).stdout == result.stdout


def test_the_gate_has_three_outcomes(tmp_path: Path) -> None:
    before = written(tmp_path, "a.jsonl", at(100.0))
    for speed, codes in ((100.0, [0, 0]), (94.0, [0, 6]), (70.0, [1, 1])):
        after = written(tmp_path, f"{speed}.jsonl", at(speed))
        words = ("compare", before, after, "--fail-if-slower", "5%")
        assert [invoke(*words).exit_code, invoke(*words, "--inconclusive", "fail").exit_code] == codes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.jsonl", "experiment-2022"], "nothing.jsonl"),
        (["m1", "experiment-2022"], "No run file or reference 'm1': check the path, or choose one of "),
        (["experiment-2022"], "There is only one run: name another"),
        (["experiment-2022", "experiment-2022", "--across", "torch"], "All runs have the same torch"),
        (["experiment-2022", "--across", "arm"], "All runs have the same arm"),
        (
            ["experiment-2022", "experiment-2022-h100", "--band", "70"],
            "Invalid band '70%': use a share from 0.1% to 50%",
        ),
        (["experiment-2022", "experiment-2022"], "The same run is named twice"),
        (["."], "No readable run file (*.jsonl) in .: choose another folder."),
    ],
)
def test_an_invalid_command_is_answered_in_a_sentence(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("compare", *words)
    assert result.exit_code in (2, 4), result.output
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_runs_without_a_cell_in_common_are_refused(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "a.jsonl", at(10.0)),
        written(tmp_path, "b.jsonl", run([], plan(pair(model="vgg16")))),
    ]
    with pytest.raises(UsageError, match="no cells in common"):
        torchlap.compare(*files)


def test_files_with_the_same_name_are_distinguished_by_their_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    files = [written(tmp_path / name, "run.jsonl", at(speed)) for name, speed in (("a", 100.0), ("b", 50.0))]
    compared = torchlap.compare(*files)
    assert [column.label for column in compared.columns] == list(map(str, files))
    assert compared.changes[0].verdict == "slower"


def test_an_earlier_run_is_reported_again(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", at(10.0, 55.0))
    result = invoke("report", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Fast Processor 9")
    assert "5.50x" in result.stdout
    assert "bottleneck" in invoke("report", "protocol-2022-h100").stdout
    assert "Bottleneck: input" in invoke("report", "protocol-2022-h100", "--why", "--format", "markdown").stdout
    assert json.loads(invoke("report", file, "--format", "json").stdout)["cells"]
    assert "~5.3 (n = 1)" in invoke("report", "experiment-2022").stdout
    both = invoke("report", file, file)
    assert both.stdout.count("a.jsonl\n") == 2
    refused = invoke("report", file, file, "--format", "csv")
    assert (refused.exit_code, "--format csv" in refused.output) == (2, True)
