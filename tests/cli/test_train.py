"""torchlap train: seconds until an accuracy on held-out data, on a virtual clock."""

import csv
import io
import json
from pathlib import Path

import pytest
from support import Command, own
from virtual import Clock

from torchlap import load
from torchlap.cli.display import Display
from torchlap.runs.training import trainings
from torchlap.schema.events import Run
from torchlap.schema.training import Evaluated, TrainingEnded, TrainingStarted


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def of(run: Run, kind: type) -> list[object]:
    return [event for event in run.events if isinstance(event, kind)]


def small(out: Path, *more: object, model: str = "learns") -> tuple[object, ...]:
    return ("train", own(model), "--devices", "cpu", "--batch", 32, "--lr", "0.05", "--out", out, *more)


def test_the_time_is_that_of_the_training_steps_and_nothing_else(torchlap: Command, out: Path, clock: Clock) -> None:
    result = torchlap(*small(out, "--until", "90%", "--epochs", 100, "--budget", "10m"))
    assert result.exit_code == 0, result.output
    (cell,) = trainings(load(out))
    assert cell.reached == 6
    for attempt in cell.attempts:
        assert attempt.seconds == pytest.approx(attempt.steps * clock.call_seconds, rel=0.01)
        assert attempt.evaluation_seconds > 0
        assert attempt.warm_up_seconds == pytest.approx(4 * clock.call_seconds, rel=0.01)
    assert cell.time
    assert cell.time.low == min(attempt.seconds for attempt in cell.attempts)
    assert cell.time.high == max(attempt.seconds for attempt in cell.attempts)


def test_trainings_from_different_seeds_differ_and_the_same_seed_repeats(torchlap: Command, tmp_path: Path) -> None:
    losses = []
    for name in ("a", "b"):
        torchlap(*small(tmp_path / name, "--seeds", 2, "--epochs", 2, "--until", "100%"))
        losses.append([event.loss for event in of(load(tmp_path / name), Evaluated)])  # type: ignore[attr-defined]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][2]


def test_the_warm_up_does_not_train(torchlap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--seeds", 1, "--epochs", 1, "--until", "100%", "--evaluate-every", 1)
    torchlap("train", "--batch", 50, "--devices", "cpu", "--out", tmp_path / "warm", *options)
    monkeypatch.setattr("torchlap.worker.training.WARM_UP_STEPS", 0)
    torchlap("train", "--batch", 50, "--devices", "cpu", "--out", tmp_path / "cold", *options)
    warm, cold = ([event.loss for event in of(load(tmp_path / name), Evaluated)] for name in ("warm", "cold"))  # type: ignore[attr-defined]
    assert warm[0] == pytest.approx(cold[0])
    assert warm[1] == pytest.approx(cold[1])


def test_accuracy_is_measured_on_the_bundled_test_digits(torchlap: Command, out: Path) -> None:
    result = torchlap("train", "--devices", "cpu", "--until", "60%", "--seeds", 1, "--out", out)
    assert result.exit_code == 0, result.output
    (started,) = of(load(out), TrainingStarted)
    assert isinstance(started, TrainingStarted)
    assert (started.train_items, started.held_out, started.epoch_steps) == (1000, 1000, 20)
    assert "1,000 held-out examples" in " ".join(result.output.split())


def test_a_training_that_never_gets_there_is_counted(torchlap: Command, out: Path) -> None:
    result = torchlap(*small(out, "--epochs", 3, "--until", "99%", model="guesses"))
    assert result.exit_code == 7
    (cell,) = trainings(load(out))
    assert (cell.reached, cell.counted) == (0, 6)
    assert cell.time
    assert (cell.time.value, cell.time.high) == (None, float("inf"))
    assert "0 of 6" in result.output
    assert "over 0." in result.output
    assert "TL702" in result.output


def test_a_loss_that_is_not_finite_ends_the_training_and_the_next_seed_goes_on(torchlap: Command, out: Path) -> None:
    result = torchlap(*small(out, "--epochs", 9, "--until", "100%", "--seeds", 2, model="diverges"))
    assert result.exit_code == 7
    assert [event.outcome for event in of(load(out), TrainingEnded)] == ["not_finite"] * 2  # type: ignore[attr-defined]
    assert "not finite" in result.output


def test_two_recipes_take_turns_from_seed_to_seed(torchlap: Command, out: Path) -> None:
    result = torchlap(*small(out, "--recipe", "fp32,bf16", "--seeds", 3, "--until", "90%", "--epochs", 100))
    assert result.exit_code == 0, result.output
    order = [(event.cell, event.seed) for event in of(load(out), TrainingStarted)]  # type: ignore[attr-defined]
    assert order == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]
    assert "as fast as fp32" in " ".join(result.output.split())


def test_a_resumed_run_trains_only_what_is_missing(torchlap: Command, out: Path) -> None:
    cut = torchlap(*small(out, "--until", "90%", "--epochs", 100, "--budget", "1s"))
    assert cut.exit_code == 7
    before = len(of(load(out), TrainingEnded))
    result = torchlap("train", "--resume", out, "--budget", "10m")
    assert result.exit_code == 0, result.output
    run = load(out)
    assert trainings(run)[0].reached == 6
    assert before < 6
    reached = [event.seed for event in of(run, TrainingEnded) if event.outcome == "reached"]  # type: ignore[attr-defined]
    assert sorted(reached) == [0, 1, 2, 3, 4, 5]
    assert torchlap("train", "--resume", out, "--seeds", 3).exit_code == 2
    assert "torchlap train --resume" in torchlap("run", "--resume", out).output


def test_every_format_has_the_same_figures(torchlap: Command, out: Path) -> None:
    torchlap(*small(out, "--recipe", "fp32,bf16", "--until", "90%", "--epochs", 100))
    whole = json.loads(torchlap("report", out, "--format", "json").stdout)
    first, second = whole["cells"]
    assert first["seconds"]["value"] == pytest.approx(trainings(load(out))[0].time.value)  # type: ignore[union-attr]
    assert second["sooner"]["count"] == 6
    lines = list(csv.DictReader(io.StringIO(torchlap("report", out, "--format", "csv").stdout)))
    assert [line["outcome"] for line in lines] == ["reached"] * 12
    assert "seconds to 90%" in torchlap("report", out, "--format", "markdown").stdout
    assert "seconds to 90%" in torchlap("report", out).stdout
    page = out.with_suffix(".html")
    assert torchlap("report", out, "--html", page).exit_code == 0
    assert "seconds to 90%" in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--until", "0"), "use a share above 0"),
        (("--until", "101%"), "use a share above 0"),
        (("--lr", "fast"), "Invalid learning rate"),
        (("--seeds", "0"), "whole number"),
        (("--batch", "4,8"), "one batch size"),
        (("--data", "synthetic"), "cannot be learned"),
        (("hf:gpt2",), "no accuracy"),
        (("--format", "bencher"), "no place"),
        (("--devices", "cuda:9"), "not available"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(
    torchlap: Command, out: Path, words: tuple[str, ...], message: str
) -> None:
    result = torchlap("train", "--out", out, *words)
    assert result.exit_code == 2
    assert message in result.output
    assert not out.exists()


@pytest.mark.parametrize(("model", "message"), [("small", "single batch"), ("not_held_out", "no held-out data")])
def test_a_model_without_held_out_data_is_refused_with_the_remedy(
    torchlap: Command, out: Path, model: str, message: str
) -> None:
    result = torchlap(*small(out, "--seeds", 1, model=model))
    assert result.exit_code == 2
    assert message in result.output
    assert "{'validation': loader}" in result.output


def test_an_accelerator_trains_too(torchlap: Command, out: Path) -> None:
    result = torchlap("train", own("learns"), "--batch", 32, "--until", "80%", "--epochs", 30, "--seeds", 1,
                      "--lr", "0.05", "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert trainings(load(out))[0].cell.device == "sim:0"


def test_an_interrupted_run_keeps_what_was_trained_and_can_be_resumed(
    torchlap: Command, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def log(_: Display, line: str) -> None:
        said.append(line)
        if len(said) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Display, "log", log)
    result = torchlap(*small(out, "--until", "90%", "--epochs", 100))
    assert result.exit_code == 130
    assert "2 of 6" in result.output
    assert "torchlap train --resume" in result.output
    assert len(of(load(out), TrainingEnded)) == 2
    assert torchlap("train", "--resume", out).exit_code == 0
    assert trainings(load(out))[0].reached == 6


def test_a_captured_step_trains_like_the_plain_one(torchlap: Command, out: Path) -> None:
    options = ("--devices", "sim:0", "--recipe", "fp32,fp32+graph", "--seeds", 1, "--epochs", 2, "--until", "100%")
    result = torchlap("train", own("learns"), "--batch", 32, "--lr", "0.05", "--out", out, *options)
    assert result.exit_code == 7, result.output
    plain, graph = ([event.loss for event in attempt.evaluations] for cell in trainings(load(out))
                    for attempt in cell.attempts)  # fmt: skip
    assert len(plain) == 2
    assert graph == pytest.approx(plain, rel=1e-4)
