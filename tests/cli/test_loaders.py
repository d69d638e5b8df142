"""A model with a loader of its own, and a run without its breakdowns, as a user types it."""

import json
from pathlib import Path

from support import OWN, TESTS, Command

from torchlap import load
from torchlap.schema.events import BreakdownMeasured, PeaksMeasured

QUICKLY = ("--budget", "20s", "--precision-target", "20%")


def test_a_loader_of_ones_own_is_used_and_a_wrong_one_is_told(torchlap: Command, tmp_path: Path) -> None:
    known = TESTS / "own" / "known.py"
    words = ("--devices", "cpu", "--budget", "5s", "--out")
    result = torchlap("run", f"{known}:loader_of_three", "--batch", 4, *words, tmp_path / "three.jsonl")
    assert result.exit_code == 2, result.output
    assert "returned a loader with batches of 3, but the batch size is 4" in result.output
    for model, said in (
        ("loader_of_tensors", "The loader returned Tensor: its dataset must return pairs (inputs, targets)."),
        ("empty_loader", "The loader has no batch of 3: its dataset is too small"),
    ):
        result = torchlap("run", f"{known}:{model}", "--batch", 3, *words, tmp_path / model)
        assert result.exit_code == 1, result.output
        assert said in " ".join(result.output.split())


def test_a_loader_that_never_gives_the_same_batch_is_verified_with_one(torchlap: Command) -> None:
    model = f"{TESTS / 'own' / 'known.py'}:shuffled_loader"
    for recipe in ("fp32", "compile"):
        words = ("--devices", "cpu", "--batch", 4, "--recipe", recipe, "--no-suite", "--format", "json")
        (seen,) = json.loads(torchlap("verify", model, *words).stdout)["cells"]
        assert (seen["verdict"], seen["numbers"]["spread"]) == ("right", 0.0)


def test_without_why_nothing_is_looked_at(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    words = ("--devices", "cpu", "--batch", 4, *QUICKLY, "--out", out)
    assert torchlap("run", f"{OWN}:small", "--no-why", *words).exit_code == 0
    assert not any(isinstance(event, BreakdownMeasured | PeaksMeasured) for event in load(out).events)
    shown = torchlap("run", "--resume", out, "--why")
    assert "Not looked at: no time was left, or --no-why was given." in " ".join(shown.output.split())
