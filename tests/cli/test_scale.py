"""`torchlap scale` as a command: its words, and a whole run with ranks in processes of their own."""

import json
from pathlib import Path

import pytest
from known_ranks import measured
from support import ROOT, invoke, own
from typer.testing import Result

from torchlap.runs import file as runfile
from torchlap.runs.file import RunFile
from torchlap.runs.scaling import sizes

TOLERANCE = 0.02


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("resnet18", "--recipe", "fp32,bf16"), "one recipe at a time"),
        (("resnet18", "--ranks", "two"), "Invalid number of ranks 'two'"),
        (("resnet18", "--ranks", "0"), "Invalid number of ranks '0'"),
        (("resnet18", "--batch", "4,8"), "one batch size at a time"),
        (("resnet18", "--batch", "4", "--total-batch", "8"), "give one of them"),
        (("resnet18", "--recipe", "fp32+no_sync"), "omit it"),
        (("resnet18", "--shard", "--recipe", "bucket:1"), "settings of DDP"),
        (("resnet18", "--recipe", "fp16", "--shard"), "use bf16"),
        (("resnet18", "--recipe", "graph"), "omit graph"),
        (("resnet18", "--nodes", "2"), "Invalid rendezvous endpoint"),
        (("resnet18", "--nodes", "2", "--rdzv-endpoint", "host"), "Invalid rendezvous endpoint 'host'"),
        (("resnet18", "--rdzv-endpoint", "host:1"), "add --nodes"),
        (("resnet18", "--nodes", "2", "--rdzv-endpoint", "host:1", "--node-rank", "2"), "number them from 0 to 1"),
        (("resnet18", "--nodes", "2", "--rdzv-endpoint", "host:1", "--node-rank", "1"), "give --ranks one number"),
        (
            ("resnet18", "--nodes", "2", "--rdzv-endpoint", "host:1", "--node-rank", "1", "--ranks", "1"),
            "name the kind of device",
        ),
    ],
)
def test_invalid_words_are_answered_in_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    result = invoke("scale", *words)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("word", ["shard", "bucket:5"])
def test_run_refuses_terms_of_ranks(word: str) -> None:
    result = invoke("run", "resnet18", "--recipe", f"fp32+{word}")
    assert result.exit_code == 2
    assert "use it with torchlap scale" in result.stderr


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The run file of ranks of known speed."""
    run, path = measured(), tmp_path / "scale.jsonl"
    file = RunFile.create(path)
    for event in (run.header, *run.events):
        file.append(event)
    file.close()
    return path


def test_report_shows_a_stored_run_as_scale_does(stored: Path) -> None:
    result = invoke("report", stored)
    assert result.exit_code == 0
    assert "2 GPUs are 1.67" in result.stdout
    assert "communication that is not hidden" in " ".join(result.stdout.split())
    found = json.loads(invoke("report", stored, "--format", "json").stdout)
    assert found["sizes"][0]["ranks"] == 2
    assert "**2 GPUs are 1.67" in invoke("report", stored, "--format", "markdown").stdout


def test_raw_laps_of_every_rank_are_in_the_file(stored: Path) -> None:
    run = runfile.load(stored)
    laps = [lap for event in run.events for lap in getattr(event, "laps", ()) if lap.cell > 0]
    assert laps
    assert all(len(lap.rank_seconds) == 2 for lap in laps)
    assert sizes(run) == sizes(measured())


@pytest.fixture
def _this_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))


def scaled(tmp_path: Path, *words: object) -> Result:
    return invoke(
        "scale", *words, "--devices", "cpu", "--batch", 4, "--out", tmp_path / "run.jsonl", "--format", "json"
    )


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.usefixtures("_this_source")
def test_a_known_cost_of_communication_gives_its_known_efficiency_in_real_time(tmp_path: Path) -> None:
    model = own("known_cost", "ranks.py")
    result = scaled(tmp_path, model, "--budget", "60s")
    assert result.exit_code == 0, (result.exception, result.stderr)
    (size,) = json.loads(result.stdout)["sizes"]
    own_work = size["reasons"][1]
    assert size["efficiency"]["low"] * (1 - TOLERANCE) <= 0.8 <= size["efficiency"]["high"] * (1 + TOLERANCE), own_work


@pytest.mark.long
@pytest.mark.usefixtures("_this_source")
def test_a_rank_that_is_killed_leaves_one_device_and_exit_code_1(tmp_path: Path) -> None:
    result = scaled(tmp_path, own("killed", "ranks.py"), "--budget", "20s", "--no-verify")
    assert result.stdout, (result.exception, result.stderr)
    (size,) = json.loads(result.stdout)["sizes"]
    assert size["failure"].startswith("crashed. Rank 1 was killed by SIGKILL")
    assert size["alone"]["items_per_second"] is not None
    assert size["efficiency"] is None
