from pathlib import Path

import pytest
from making import CPU, MPS, cell, facts, pair, plan, run
from reports.samples import CPU_ONLY, ENDED, TYPICAL

from torchlap.reports.run.next_step import command, larger_budget, next_step
from torchlap.reports.run.rows import judged
from torchlap.schema.events import Run, RunFinished
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Plan

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
        (TYPICAL, ("Try a larger budget", "torchlap run --budget 10m")),
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


def test_a_larger_budget_is_three_times_the_last_and_at_least_ten_minutes() -> None:
    budgets = {seconds: larger_budget(plan(budget_seconds=seconds)) for seconds in (100.0, 600.0, 3600.0)}
    assert list(budgets.values()) == ["10m", "30m", "180m"]


@pytest.mark.parametrize("model", ["my models/net.py:build", "resnet18; rm -rf ~", "$(reboot)"])
def test_a_command_is_quoted_for_the_shell(model: str) -> None:
    assert next_step(judged(run([], plan(pair(model=model)))))[1].startswith(f"torchlap run '{model}' ")
