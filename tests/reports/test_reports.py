import csv
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from making import CPU, CUDA, FP32, MPS, cell, facts, failure, pair, plan, prepared, rounds, run
from rich.cells import cell_len

from torchlap.reports.run import terminal
from torchlap.reports.run.plain import as_csv, as_json, as_markdown
from torchlap.reports.run.rows import (
    FAILURE_WORDS,
    LONGEST_TEXT,
    clean,
    judged,
    model_names,
    number,
    short_failure,
    with_interval,
)
from torchlap.schema.base import FailureKind
from torchlap.schema.events import Event, GroupFinished, GroupStarted, Run, RunFinished
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan
from torchlap.stats import Interval

SLOW = [0.1, 0.101, 0.099, 0.1, 0.102, 0.098, 0.1, 0.1]
FAST = [0.02, 0.0202, 0.0198, 0.02, 0.0201, 0.0199, 0.02, 0.02]
"""With ties, so that the snapshots do not hang on how many pairwise means an interval leaves out."""

ENDED = RunFinished(reason="complete", wall_seconds=98.5, start_up_seconds=7.25)
TYPICAL = run(
    [
        GroupStarted(0),
        prepared(0),
        prepared(1),
        *rounds(SLOW, FAST),
        GroupFinished(0, "precise"),
        GroupStarted(1),
        failure(0, "too_slow", "A step would take longer than what is left.", group=1, estimate_seconds=160.0),
        prepared(1, group=1, steady=False, warm_up_steps=1),
        *rounds([None] * 3, [0.2, 0.21, 0.2], group=1),
        GroupFinished(1, "budget"),
        ENDED,
    ],
    plan(pair(), pair(batch=64)),
)
ALONE = facts(devices=(CPU,), looked_for="Looked for CUDA (no driver).")
OWN = run(
    [prepared(0), *rounds(SLOW)],
    plan(
        Group(
            (
                cell(
                    model="/home/me/net.py:build",
                    phase="eval",
                    recipe=Recipe("bf16", "channels_last", fused=True, workers=2),
                ),
            )
        )
    ),
    ALONE,
)


def table(of: Run, width: int, path: Path | None = None) -> str:
    return "\n" + terminal.report(of, path, width, color=False)


def rounded(text: str) -> str:
    """The text with six digits of every decimal: machines may differ in the last of them."""
    return re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.6g}", text)


def test_a_report_in_80_columns() -> None:
    singles = plan(*(Group((cell(model=model, batch=batch),)) for model in ("resnet18", "vgg16") for batch in (4, 64)))
    events: list[Event] = [
        *[prepared(0, group=each, steady=each != 1) for each in range(3)],
        *rounds(SLOW),
        *rounds([each * 10 for each in SLOW], group=1),
        *rounds([3.0, 3.1, 3.0], group=2),
        failure(0, "out_of_memory", "It asked for 12 GiB more than there is.", group=3),
    ]
    assert (
        table(run(events, singles, ALONE, ["The last line was torn off."]), 80, Path("runs/a.jsonl"))
        == """
cpu trains 1.3 to 64 images/s, by model and batch.

 model     batch  device  images/s             laps
 ──────────────────────────────────────────────────
 resnet18      4  cpu     40.0 (39.6 to 40.4)     8
              64  cpu     64.0 (63.4 to 64.6)     8
 vgg16         4  cpu     1.32 (1.26 to 1.38)     3
              64  cpu     out of memory

In brackets: the 95% interval. Data: mnist-1k digits. Training is forward,
backward and Adam.

Without a figure
  vgg16, batch 64, cpu: out of memory. It asked for 12 GiB more than there is.

Findings
  TL101 no accelerator: Only the CPU can be used. Looked for CUDA (no driver).
  If this machine has a GPU, check its driver, and that the installed torch was
  built for it.
  TL201 few rounds: vgg16, batch 4, cpu: n = 3. Give it more time with --budget.
  TL203 warm-up cut short: resnet18, batch 64, cpu: 10 steps in 1.5 s. Give it
  more time with --budget.
The last line was torn off.

Run file: runs/a.jsonl
Try next: other settings: torchlap run resnet18 --devices cpu --recipe fp32,bf16
"""
    )


def test_a_report_of_two_devices_in_100_columns() -> None:
    assert (
        table(TYPICAL, 100, Path("runs/a.jsonl"))
        == """
cuda:0 is 5.0x as fast as cpu.

 model     batch  device  images/s                 speed-up              laps
 ────────────────────────────────────────────────────────────────────────────
 resnet18      4  cpu     40.0 (39.6 to 40.4)                               8
                  cuda:0  200.0 (199.0 to 201.0)   5.00x (4.96 to 5.04)     8
              64  cpu     too slow: ~160 s a step
                  cuda:0  315 (294 to 338)                                  3

In brackets: the 95% interval. Speed-up: over cpu in fp32, from paired rounds. Data: mnist-1k
digits. Training is forward, backward and Adam. Numbers beside float64: 2 right. fp32: TF32 off.

Without a figure
  resnet18, batch 64, cpu: too slow. A step would take longer than what is left.
  What did not fit into the budget of 100 s needs more: --budget 10m.

Findings
  TL201 few rounds: resnet18, batch 64, cuda:0: n = 3. Give it more time with --budget.
  TL203 warm-up cut short: resnet18, batch 64, cuda:0: 1 step in 1.5 s. Give it more time with
  --budget.

Run file: runs/a.jsonl
Try next: more time for what did not fit: torchlap run --budget 10m
"""
    )


def test_a_report_of_two_devices_in_80_columns() -> None:
    assert (
        table(TYPICAL, 80, Path("runs/a.jsonl"))
        == """
cuda:0 is 5.0x as fast as cpu.

 model     batch  device  images/s                 speed-up              laps
 ────────────────────────────────────────────────────────────────────────────
 resnet18      4  cpu     40.0 (39.6 to 40.4)                               8
                  cuda:0  200.0 (199.0 to 201.0)   5.00x (4.96 to 5.04)     8
              64  cpu     too slow: ~160 s a step
                  cuda:0  315 (294 to 338)                                  3

In brackets: the 95% interval. Speed-up: over cpu in fp32, from paired rounds.
Data: mnist-1k digits. Training is forward, backward and Adam. Numbers beside
float64: 2 right. fp32: TF32 off.

Without a figure
  resnet18, batch 64, cpu: too slow. A step would take longer than what is left.
  What did not fit into the budget of 100 s needs more: --budget 10m.

Findings
  TL201 few rounds: resnet18, batch 64, cuda:0: n = 3. Give it more time with
  --budget.
  TL203 warm-up cut short: resnet18, batch 64, cuda:0: 1 step in 1.5 s. Give it
  more time with --budget.

Run file: runs/a.jsonl
Try next: more time for what did not fit: torchlap run --budget 10m
"""
    )


def test_where_the_table_does_not_fit_it_leaves_out_the_laps_and_then_it_is_a_list() -> None:
    assert " laps\n" in table(TYPICAL, 80)
    assert " speed-up\n" in table(TYPICAL, 75)
    assert "\n  cpu: 40.0" in table(TYPICAL, 60)


def test_a_report_in_40_columns() -> None:
    assert (
        table(TYPICAL, 40, Path("runs/a.jsonl"))
        == """
cuda:0 is 5.0x as fast as cpu.
resnet18, batch 4
  cpu: 40.0 (39.6 to 40.4) images/s
  cuda:0: 200.0 (199.0 to 201.0)
  images/s
  5.00x (4.96 to 5.04) cpu
resnet18, batch 64
  cpu: too slow: ~160 s a step
  cuda:0: 315 (294 to 338) images/s

In brackets: the 95% interval. Speed-up:
over cpu in fp32, from paired rounds.
Data: mnist-1k digits. Training is
forward, backward and Adam. Numbers
beside float64: 2 right. fp32: TF32 off.

Without a figure
  resnet18, batch 64, cpu: too slow. A
  step would take longer than what is
  left.
  What did not fit into the budget of
  100 s needs more: --budget 10m.

Findings
  TL201 few rounds: resnet18, batch 64,
  cuda:0: n = 3. Give it more time with
  --budget.
  TL203 warm-up cut short: resnet18,
  batch 64, cuda:0: 1 step in 1.5 s.
  Give it more time with --budget.

Run file: runs/a.jsonl
Try next: more time for what did not
fit: torchlap run --budget 10m
"""
    )


def test_a_report_in_20_columns() -> None:
    assert (
        table(TYPICAL, 20, Path("runs/a.jsonl"))
        == """
cuda:0 is 5.0x as
fast as cpu.
resnet18, batch 4
  cpu: 40.0 (39.6 to
  40.4) images/s
  cuda:0: 200.0
  (199.0 to 201.0)
  images/s
  5.00x (4.96 to
  5.04) cpu
resnet18, batch 64
  cpu: too slow:
  ~160 s a step
  cuda:0: 315 (294
  to 338) images/s

In brackets: the 95%
interval. Speed-up:
over cpu in fp32,
from paired rounds.
Data: mnist-1k
digits. Training is
forward, backward
and Adam. Numbers
beside float64: 2
right. fp32: TF32
off.

Without a figure
  resnet18, batch
  64, cpu: too slow.
  A step would take
  longer than what
  is left.
  What did not fit
  into the budget of
  100 s needs more:
  --budget 10m.

Findings
  TL201 few rounds:
  resnet18, batch
  64, cuda:0: n = 3.
  Give it more time
  with --budget.
  TL203 warm-up cut
  short: resnet18,
  batch 64, cuda:0:
  1 step in 1.5 s.
  Give it more time
  with --budget.

Run file:
runs/a.jsonl
Try next: more time
for what did not
fit: torchlap run
--budget 10m
"""
    )


def test_an_own_model_in_eval_with_a_recipe_in_80_columns() -> None:
    assert (
        table(OWN, 80)
        == """
cpu evaluates 40 images/s.
net.py:build, batch 4
  cpu eval bf16+channels_last+fused+loader(2): 40.0 (39.6 to 40.4) images/s

In brackets: the 95% interval.

Findings
  TL101 no accelerator: Only the CPU can be used. Looked for CUDA (no driver).
  If this machine has a GPU, check its driver, and that the installed torch was
  built for it.
Try next: other settings: torchlap run /home/me/net.py:build --devices cpu
--recipe fp32,bf16
"""
    )


def test_the_machine_is_wrapped_where_the_terminal_is_narrow() -> None:
    assert terminal.machine(TYPICAL, 80, color=False) == (
        "Fast Processor 9 · 8 cores · 32 GiB · cuda:0 NVIDIA H200 · Linux 6.8 · Python\n"
        "3.11.9 · torch 2.13.0 torchvision 0.28.0\n"
        "Check-up: fine.\n"
    )
    assert terminal.machine(TYPICAL, 20, color=False) == (
        "Fast Processor 9 · 8\ncores · 32 GiB ·\ncuda:0 NVIDIA H200 ·\nLinux 6.8 · Python\n3.11.9 · torch\n"
        "2.13.0 torchvision\n0.28.0\nCheck-up: fine.\n"
    )


@pytest.mark.parametrize("width", [1, 20, 33, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_or_20_columns(width: int) -> None:
    for of in (TYPICAL, OWN):
        text = table(of, width, Path("a_folder_with_a_long_name/and_a_file_with_a_longer_one.jsonl"))
        assert max(cell_len(line) for line in text.splitlines()) <= max(20, width)


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_without_color_there_are_no_escapes_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in table(TYPICAL, 80) + terminal.machine(TYPICAL, 80, color=False)


def test_with_color_the_text_is_the_same_but_for_the_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    colored = terminal.report(TYPICAL, None, 100, color=True)
    assert "\x1b[" in colored
    bare = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in bare.splitlines()] == table(TYPICAL, 100)[1:].splitlines()


def test_findings_of_one_kind_share_a_line_with_three_examples() -> None:
    cells = tuple(cell(f"cuda:{each}") for each in range(5))
    text = " ".join(table(run(rounds(*[[0.1, 0.1]] * 5), plan(Group(cells))), 200).split())
    assert text.count("TL201") == 1
    assert "cuda:2: n = 2; and 2 more. Give it more time" in text
    assert "cuda:3: n = 2" not in text


def test_the_markdown_has_the_table_the_failures_and_the_findings() -> None:
    assert (
        "\n" + as_markdown(TYPICAL)
        == """
Fast Processor 9 · 8 cores · 32 GiB · cuda:0 NVIDIA H200 · Linux 6.8 · Python 3.11.9 · torch 2.13.0 torchvision 0.28.0

**cuda:0 is 5.0x as fast as cpu.**

| model | batch | phase | recipe | device | images/s | speed-up | laps |
| --- | --- | --- | --- | --- | --- | --- | --- |
| resnet18 | 4 | train | fp32 | cpu | 40.0 (39.6 to 40.4) |  | 8 |
| resnet18 | 4 | train | fp32 | cuda:0 | 200.0 (199.0 to 201.0) | 5.00x (4.96 to 5.04) | 8 |
| resnet18 | 64 | train | fp32 | cpu | too slow: \\~160 s a step |  |  |
| resnet18 | 64 | train | fp32 | cuda:0 | 315 (294 to 338) |  | 3 |

In brackets: the 95% interval. Speed-up: over cpu in fp32, from paired rounds.

- resnet18, batch 64, cpu: A step would take longer than what is left.

- **TL201** resnet18, batch 64, cuda:0: n = 3. Give it more time with --budget.
- **TL203** resnet18, batch 64, cuda:0: 1 step in 1.5 s. Give it more time with --budget.
"""
    )


def test_markdown_of_one_device_has_no_speed_up() -> None:
    lines = as_markdown(OWN).splitlines()
    assert lines[2] == "**cpu evaluates 40 images/s.**"
    assert lines[4:7] == [
        "| model | batch | phase | recipe | device | images/s | laps |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| net.py:build | 4 | eval | bf16+channels\\_last+fused+loader(2) | cpu | 40.0 (39.6 to 40.4) | 8 |",
    ]
    assert "Speed-up" not in "".join(lines)


def test_no_sentence_of_the_markdown_ends_twice() -> None:
    assert ".." not in as_markdown(OWN)


def test_the_csv_has_one_line_a_cell_and_plain_numbers() -> None:
    assert (
        "\n" + rounded(as_csv(TYPICAL))
        == """
model,batch,phase,recipe,device,images_per_second,images_per_second_low,images_per_second_high,speed_up,speed_up_low,speed_up_high,void,numbers,bound_by,laps,first_step_seconds,warm_up_seconds,flops_per_step,utilisation,peak_memory_bytes,joules_per_step,failure,reason
resnet18,4,train,fp32,cpu,40,39.6059,40.4061,,,,,,,8,0.25,1.5,,,,,,
resnet18,4,train,fp32,cuda:0,200,199.007,201.008,5,4.96217,5.03718,,right,,8,0.25,1.5,,,,,,
resnet18,64,train,fp32,cpu,,,,,,,,,,0,,,,,,,too_slow,A step would take longer than what is left.
resnet18,64,train,fp32,cuda:0,314.838,293.56,337.658,,,,,right,,3,0.25,1.5,,,,,,
"""
    )


def test_the_json_is_one_object_with_every_cell() -> None:
    seen = json.loads(as_json(TYPICAL, Path("runs/a.jsonl")))
    assert list(seen) == [
        "schema",
        "torchlap",
        "started",
        "published",
        "headline",
        "finished",
        "wall_seconds",
        "start_up_seconds",
        "run_file",
        "machine",
        "plan",
        "cells",
        "peaks",
        "findings",
        "check_up",
        "remarks",
    ]
    assert [seen[name] for name in ("schema", "finished", "wall_seconds", "run_file")] == [
        1,
        "complete",
        98.5,
        "runs/a.jsonl",
    ]
    first, fast, failed, other = seen["cells"]
    assert (first["is_baseline"], first["speed_up"], first["laps"]) == (True, None, 8)
    assert fast["images_per_second"]["value"] == pytest.approx(200)
    assert fast["speed_up"]["value"] == pytest.approx(5)
    assert (fast["first_loss"], fast["last_loss"]) == (2.75, 2.5)
    assert failed["failure"]["kind"] == "too_slow"
    assert [failed[name] for name in ("images_per_second", "first_loss", "last_loss", "prepared")] == [None] * 4
    assert other["prepared"]["steady"] is False
    assert [finding["code"] for finding in seen["findings"]] == ["TL201", "TL203"]


def test_the_json_of_a_run_that_goes_on_has_no_end() -> None:
    seen = json.loads(as_json(run(rounds(SLOW, FAST)), None))
    assert [seen[name] for name in ("finished", "wall_seconds", "start_up_seconds", "run_file")] == [None] * 4


def test_an_empty_run_has_a_row_for_each_cell_in_every_format() -> None:
    assert [row.throughput for row in judged(run()).rows] == ["not measured", "not measured"]
    assert table(run(), 80).count("not measured") == 2
    assert as_markdown(run()).count("| not measured |") == 2
    assert len(as_csv(run()).splitlines()) == 3
    assert len(json.loads(as_json(run(), None))["cells"]) == 2


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (1234.5, 10.0, "1234"),
        (1234.5, 0.5, "1234.5"),
        (6.1049, 0.2, "6.1"),
        (6.1049, 0.03, "6.10"),
        (0.0123, 0.01, "0.012"),
        (9.96, 5.0, "10.0"),
        (100.0, 0.0, "100"),
        (3.14159265, 1e-9, "3.1416"),
        (1e-9, 1e-9, "0.0000"),
    ],
)
def test_a_figure_has_the_digits_that_its_spread_justifies(value: float, spread: float, text: str) -> None:
    assert number(value, spread) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(6.1, 5.9, 6.31, 12), "6.1x (5.9 to 6.3)"),
        (Interval(40.0, 39.98, 40.02, 12), "40.00x (39.98 to 40.02)"),
        (Interval(40.0, 40.0, 40.0, 5), "40.0x (40.0 to 40.0)"),
        (Interval(6.1, 2.0, 20.0, 2), "~6.1x (n = 2, wide)"),
        (Interval(6.1, 6.1 / 2.7, 6.1 * 2.7, 3), "6.1x (2.3 to 16.5)"),
        (Interval(512.3, 1.0, 1e9, 2), "~512x (n = 2, wide)"),
    ],
)
def test_limits_that_are_beyond_sense_are_not_written_out(interval: Interval, text: str) -> None:
    assert with_interval(interval, "x") == text


@pytest.mark.parametrize("kind", FAILURE_WORDS)
def test_every_failure_has_its_words(kind: FailureKind) -> None:
    assert short_failure(failure(kind=kind)) == FAILURE_WORDS[kind]


def test_a_cell_that_was_too_slow_says_how_slow() -> None:
    assert short_failure(failure(kind="too_slow", estimate_seconds=12.345)) == "too slow: ~12 s a step"
    assert short_failure(failure(kind="crash", estimate_seconds=12.345)) == "crashed"


@pytest.mark.parametrize(
    ("model", "name"),
    [("resnet18", "resnet18"), ("/home/me/net.py:build", "net.py:build"), ("net.py:build", "net.py:build")],
)
def test_an_own_model_is_named_without_its_folders(model: str, name: str) -> None:
    assert model_names(run(of=plan(pair(model=model)))) == {model: name}


INTERRUPTED = RunFinished(reason="interrupted", wall_seconds=1, start_up_seconds=0)


@pytest.mark.parametrize(
    ("of", "step"),
    [
        (run([INTERRUPTED]), "continue this run with --resume and its file."),
        (
            run([INTERRUPTED, ENDED]),
            "other settings: torchlap run resnet18 --devices cuda:0 --recipe fp32,tf32,bf16+channels_last+fused",
        ),
        (TYPICAL, "more time for what did not fit: torchlap run --budget 10m"),
        (
            run(machine=facts(devices=(CPU, MPS))),
            "other settings: torchlap run resnet18 --devices mps --recipe fp32,bf16,channels_last",
        ),
        (run(machine=ALONE), "other settings: torchlap run resnet18 --devices cpu --recipe fp32,bf16"),
    ],
)
def test_the_next_step_is_the_one_that_tells_more(of: Run, step: str) -> None:
    assert terminal.next_step(judged(of)) == step


@pytest.mark.parametrize(
    ("of", "words"),
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
def test_a_run_can_be_planned_again_by_its_command(of: Plan, words: str) -> None:
    assert terminal.command(run(of=of)) == words


def test_a_larger_budget_is_three_times_the_last_and_ten_minutes_at_least() -> None:
    budgets = {seconds: terminal.larger_budget(plan(budget_seconds=seconds)) for seconds in (100.0, 600.0, 3600.0)}
    assert list(budgets.values()) == ["10m", "30m", "180m"]


@pytest.mark.parametrize("model", ["my models/net.py:build", "resnet18; rm -rf ~", "$(reboot)"])
def test_the_command_to_try_next_is_quoted_for_the_shell(model: str) -> None:
    assert f"torchlap run '{model}' " in terminal.next_step(judged(run(of=plan(pair(model=model)))))


HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\rb",
    "a\nb",
    "a\tb",
    "a\x00b",
    "a\x7fb",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "\u200fa",
    "\u200ba",
    "a\u2028b",
    "a\u2029b",
    "a\x85b",
    "\ud800",
    "\U000e0041",
]


def everywhere(text: str) -> Run:
    """A run that has the text wherever a run file can have one, and a figure, failures and findings to show it in."""
    devices = DeviceFacts(text, "cpu", text), DeviceFacts("other", text, text)
    cells = tuple(cell(device, model=text) for device in (text, "other", f"x{text}"))
    of = plan(Group(cells), Group((cell(text, model=f"folder/{text}.py:{text}", batch=64),)), suite=text)
    machine = facts(
        cpu=text, system=text, python=text, packages={"torch": text, text: text}, devices=devices, looked_for=text
    )
    laps = rounds([0.1, 0.1], [0.02, 0.02], [None, None])
    events: list[Event] = [*laps, failure(2, "error", text, detail=text), *rounds([0.1, 0.1], group=1), ENDED]
    return run(events, of, machine, [text])


def steers(text: str) -> set[str]:
    """What steers a terminal or turns the reading direction, line ends apart."""
    return {char for char in text if unicodedata.category(char)[0] in "CZ"} - {"\n", " "}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_that_steers_a_terminal_comes_through_any_text_format(text: str) -> None:
    of = everywhere(text)
    tidy = everywhere("tidy")
    texts = {
        "narrow": (table(of, 30, Path(text)), ""),
        "wide": (table(of, 300, Path(text)), table(tidy, 300, Path("tidy"))),
        "machine": (terminal.machine(of, 1000, color=False), terminal.machine(tidy, 1000, color=False)),
        "markdown": (as_markdown(of), as_markdown(tidy)),
        "csv": (as_csv(of), as_csv(tidy)),
    }
    for name, (seen, expected) in texts.items():
        assert not steers(seen), name
        assert name == "narrow" or seen.count("\n") == expected.count("\n"), name


@settings(max_examples=60, database=None, derandomize=True, deadline=None)
@given(text=some.text(min_size=1, max_size=40))
@example("=1+1")
@example("[bold]a[/bold]")
@example(":smile:")
@example("[link=file:///etc/passwd]a")
def test_no_name_breaks_a_format(text: str) -> None:
    of = everywhere(text)
    for seen in (table(of, 40, Path("a")), as_markdown(of), as_csv(of)):
        assert not steers(seen)
    assert all(len(line) == 23 for line in csv.reader(as_csv(of).splitlines()))
    assert json.loads(as_json(of, None))["cells"][0]["device"] == text
    assert [pipes(line) for line in as_markdown(of).splitlines() if line.startswith("|")] == [9] * 6


def pipes(line: str) -> int:
    """How many pipes of a Markdown line are not escaped."""
    return re.sub(r"\\.", "", line).count("|")


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    markup = "[bold]a[red] :smile: `b`"
    text = terminal.report(everywhere(markup), Path(markup), 300, color=False)
    for part in (
        f"\n {markup} ",
        f"\n{markup}\n",
        f"Run file: {markup}\n",
        f"failed. {markup}\n",
        f"torchlap run '{markup}' ",
    ):
        assert part in text


def test_two_own_files_of_the_same_name_are_told_apart() -> None:
    both = plan(*(Group((cell(model=f"{folder}/net.py:build"),)) for folder in ("old", "new")))
    assert [row.model for row in judged(run(of=both)).rows] == ["old/net.py:build", "new/net.py:build"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_spreadsheet_takes_no_text_for_a_formula(start: str) -> None:
    formula = f"{start}cmd|'/C calc'!A1"
    of = everywhere(formula)
    fields = [field for line in csv.reader(as_csv(of).splitlines()) for field in line]
    assert not [field for field in fields if field.startswith(("=", "+", "-", "@"))]
    assert f"'{formula}" in fields


def test_markdown_is_not_taken_over_by_a_name() -> None:
    text = as_markdown(everywhere("a|b<img src=x>`c`[d](e)*f*_g_~h~#i\\"))
    bare = re.sub(r"\\.", "", re.sub(r"\*\*(.*)\*\*", r"\1", text))
    assert not set("<>`[]*_~#\\") & set(bare)
    table_lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [pipes(line) for line in table_lines] == [9] * 6
    assert "a\\|b\\<img src=x\\>\\`c\\`\\[d\\](e)\\*f\\*\\_g\\_\\~h\\~\\#i\\\\" in text


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "a\x00b", "a\x07b"], ids=ascii)
def test_json_has_no_raw_control_characters_and_the_name_unchanged(text: str) -> None:
    seen = as_json(everywhere(text), None)
    assert "\x1b" not in seen
    assert not [char for char in seen if char < " " and char != "\n"]
    assert json.loads(seen)["cells"][0]["model"] == text


@pytest.mark.parametrize("text", ["\x9b2J", "\x7f", "\u202egnp.exe"], ids=ascii)
def test_json_has_nothing_that_steers_a_terminal(text: str) -> None:
    seen = as_json(everywhere(text), None)
    assert not steers(seen)
    assert json.loads(seen)["cells"][0]["model"] == text


def test_long_text_is_cut() -> None:
    assert clean("x" * (LONGEST_TEXT + 1)) == "x" * LONGEST_TEXT


def test_letters_of_every_script_are_kept() -> None:
    assert clean("Café naïve 模型 модель 🚀 e\u0301") == "Café naïve 模型 модель 🚀 e\u0301"


@pytest.mark.parametrize(
    ("cells", "heads"),
    [
        ((cell(),), "model batch device images/s laps"),
        ((cell(), cell("cuda:0")), "model batch device images/s speed-up laps"),
        ((cell(), cell(recipe=Recipe("bf16"))), "model batch recipe device images/s speed-up laps"),
        ((cell(phase="eval"),), "model batch phase device images/s laps"),
        ((cell(recipe=Recipe("bf16")),), "model batch recipe device images/s laps"),
    ],
)
def test_a_column_is_there_where_it_tells_something(cells: tuple[Cell, ...], heads: str) -> None:
    assert " ".join(table(run(of=plan(Group(cells))), 200).split("\n")[3].split()) == heads


@pytest.mark.parametrize(
    ("recipe", "devices", "said"),
    [(FP32, (CPU, CUDA), True), (FP32, (CPU, MPS), False), (Recipe("bf16"), (CPU, CUDA), False)],
)
def test_tf32_is_spoken_of_where_it_could_be_on(recipe: Recipe, devices: tuple[DeviceFacts, ...], said: object) -> None:
    text = table(run(of=plan(Group((cell(recipe=recipe),))), machine=facts(devices=devices)), 200)
    assert ("fp32: TF32 off." in text) is said


@pytest.mark.parametrize(("device", "said"), [("cpu", True), ("cuda:0", False)])
def test_a_device_without_tf32_is_said_to_be_left_out(device: str, said: object) -> None:
    of = plan(Group((cell(device), cell("cuda:0", recipe=Recipe("tf32")))))
    assert ("tf32: a mode of NVIDIA GPUs, so there alone." in " ".join(table(run(of=of), 200).split())) is said


@pytest.mark.parametrize(("model", "said"), [("resnet18", True), ("net.py:build", False)])
def test_the_digits_are_spoken_of_where_they_are_used(model: str, said: object) -> None:
    assert ("Data: mnist-1k digits." in table(run(of=plan(pair(model=model))), 200)) is said
