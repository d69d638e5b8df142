from pathlib import Path

import pytest
from making import CPU, MPS, cell, facts, failure, pair, plan, rounds, run
from msgspec.structs import replace
from reports.samples import CPU_ONLY, ENDED, FAST, SLOW, TYPICAL

from torchlap.reports.run.next_step import command, next_step
from torchlap.reports.run.rows import judged
from torchlap.schema.base import FailureKind
from torchlap.schema.events import Event, Run, RunFinished
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Plan, Workload

INTERRUPTED = RunFinished(reason="interrupted", wall_seconds=1, start_up_seconds=0)


@pytest.mark.parametrize(
    ("shown", "step"),
    [
        (run([INTERRUPTED]), ("Continue this run", "torchlap run --resume 'my runs/a.jsonl'")),
        (
            run([INTERRUPTED, ENDED]),
            (
                "Try other settings",
                "torchlap run resnet18 --devices cuda:0 --recipe fp32,tf32,bf16+channels_last+fused",
            ),
        ),
        (TYPICAL, ("Measure the rest", "torchlap run resnet18 --batch 64 --budget 41m")),
        (
            run([], None, facts(devices=(CPU, MPS))),
            ("Try other settings", "torchlap run resnet18 --devices mps --recipe fp32,bf16,channels_last"),
        ),
        (
            run([], None, CPU_ONLY),
            ("Try other settings", "torchlap run resnet18 --devices cpu --recipe fp32,bf16"),
        ),
    ],
)
def test_the_next_step_is_the_one_that_shows_more(shown: Run, step: tuple[str, str]) -> None:
    assert next_step(judged(shown), Path("my runs/a.jsonl")) == step


def test_an_interrupted_run_without_a_known_file_names_a_placeholder() -> None:
    assert next_step(judged(run([INTERRUPTED]))) == ("Continue this run", "torchlap run --resume RUN_FILE")


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        (plan(), "torchlap run --batch 4"),
        (plan(pair(), pair(batch=64)), "torchlap run"),
        (plan(pair(), pair(batch=64), suite="experiment-2022"), "torchlap run --suite experiment-2022"),
        (
            plan(pair(model="a b.py:c"), suite="own", data="synthetic", weights="pretrained"),
            "torchlap run 'a b.py:c' --batch 4 --data synthetic --weights pretrained",
        ),
        (
            plan(Group((cell(model="alexnet", phase="eval", recipe=Recipe("bf16", workers=2)),)), suite="own"),
            "torchlap run alexnet --devices cpu --batch 4 --phase eval --recipe bf16 --data-through loader --workers 2",
        ),
    ],
)
def test_a_command_plans_the_same_run_again(planned: Plan, words: str) -> None:
    assert command(run([], planned)) == words


def test_the_next_step_keeps_what_a_batch_counts() -> None:
    own = replace(cell(model="net.py:f"), workload=Workload("net.py:f", 4, unit="words"))
    of = plan(Group((own,)), suite="own", items=96, unit="words")
    assert "net.py:f --batch 4 --items 96 --unit words" in next_step(judged(run([], of, CPU_ONLY)))[1]
    assert "--batch 4 --items 96 --unit words" in command(run([], of, CPU_ONLY))


def late(group: int, seconds: float | None, *, number: int = 0) -> Event:
    """Time ran out for a cell whose step would take that many seconds."""
    kind: FailureKind = "too_slow" if seconds else "no_time"
    return failure(number, kind, group=group, estimate_seconds=seconds)


MODELS = ("vgg16", "alexnet", "resnet18", "mobilenet_v2", "squeezenet1_0", "efficientnet_b0")
SUITE = plan(*(pair(model=model, batch=batch) for model in MODELS for batch in (4, 64)), suite="experiment-2022")


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([late(1, 2.0)], "torchlap run vgg16 --batch 64 --budget 1m"),
        ([late(1, 2.0), late(1, 0.7, number=1)], "torchlap run vgg16 --batch 64 --budget 2m"),
        ([late(1, 2.0), late(3, 1.0)], "torchlap run vgg16 alexnet --batch 64 --budget 2m"),
        ([late(2, 40.0), late(3, 80.0)], "torchlap run alexnet --batch 4,64 --budget 31m"),
        (
            [late(10, 1.0), failure(0, group=0), *rounds(SLOW, FAST)],
            "torchlap run efficientnet_b0 --batch 4 --budget 1m",
        ),
    ],
)
def test_only_the_models_and_batches_without_a_figure_are_measured_again(events: list[Event], words: str) -> None:
    assert next_step(judged(run(events, SUITE))) == ("Measure the rest", words)


def test_the_remaining_models_are_in_the_order_of_the_plan() -> None:
    (_, words) = next_step(judged(run([late(group, 0.1) for group in range(11, 0, -2)], SUITE)))
    assert words == f"torchlap run {' '.join(MODELS)} --batch 64 --budget 1m"


def test_the_remaining_models_keep_the_options_of_the_run() -> None:
    bf16 = [Group((cell("cuda:0", model=model, recipe=Recipe("bf16", workers=2)),)) for model in ("alexnet", "vgg16")]
    assert next_step(judged(run([late(1, 1.0)], plan(*bf16, suite="own", data="synthetic"))))[1] == (
        "torchlap run vgg16 --devices cuda:0 --batch 4 --recipe bf16 --data synthetic --data-through loader "
        "--workers 2 --budget 1m"
    )


def test_remaining_models_without_an_estimate_get_a_larger_budget() -> None:
    unknown = next_step(judged(run([late(1, 1.0), late(3, None)], SUITE)))
    assert unknown == ("Measure the rest", "torchlap run vgg16 alexnet --batch 64 --budget 10m")


@pytest.mark.parametrize(("seconds", "budget"), [(100.0, "10m"), (200.0, "10m"), (600.0, "30m"), (3601.0, "181m")])
def test_a_run_without_any_figure_is_repeated_with_three_times_the_budget_or_ten_minutes(
    seconds: float, budget: str
) -> None:
    planned = plan(pair(), pair(batch=64), budget_seconds=seconds)
    shown = run([late(0, 1.0), late(1, 2.0)], planned)
    assert next_step(judged(shown)) == ("Measure the rest", f"torchlap run --budget {budget}")


@pytest.mark.parametrize("model", ["my models/net.py:build", "resnet18; rm -rf ~", "$(reboot)"])
def test_a_command_is_quoted_for_the_shell(model: str) -> None:
    planned = plan(pair(model=model), pair(), suite="own")
    for events in ([], [late(0, 1.0)]):
        assert next_step(judged(run(events, planned)))[1].startswith(f"torchlap run '{model}' ")
