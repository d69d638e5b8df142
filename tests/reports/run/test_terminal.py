import re
from pathlib import Path

import pytest
from making import cell, failure, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from reports.samples import CORRECT, CPU_ONLY, FAST, OWN, SLOW, TYPICAL, in_brief, of_units, table, wrapped
from rich.cells import cell_len

from torchlap.judge.measurement import findings
from torchlap.reports.run import terminal
from torchlap.reports.run.headline import headline
from torchlap.reports.run.labels import cell_label, variant
from torchlap.reports.run.rows import judged
from torchlap.runs.find import Named
from torchlap.schema.arm import Arm
from torchlap.schema.events import Event, Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group

LEGEND = (
    "In parentheses: the 95% interval. Speed-up: over cpu in fp32, from paired rounds. Data: mnist-1k digits. "
    f"Training: forward, backward and Adam. Numerics (against float64): 2 {CORRECT}. fp32: TF32 off."
)
RUN_FILE = Path("runs/a.jsonl")


def test_a_report_in_80_columns() -> None:
    singles = plan(*(Group((cell(model=model, batch=batch),)) for model in ("resnet18", "vgg16") for batch in (4, 64)))
    events: list[Event] = [
        *[prepared(0, group=group, steady=group != 1) for group in range(3)],
        *rounds(SLOW),
        *rounds([seconds * 10 for seconds in SLOW], group=1),
        *rounds([3.0, 3.1, 3.0], group=2),
        failure(0, "out_of_memory", "It asked for 12 GiB more than there is.", group=3),
    ]
    shown = run(events, singles, CPU_ONLY, ["The last line was torn off."])
    assert (
        table(shown, 80, RUN_FILE)
        == f"""

 model     batch  device  images/s             laps
 ──────────────────────────────────────────────────
 resnet18      4  cpu     40.0 (39.6 to 40.4)     8
              64  cpu     64.0 (63.4 to 64.6)     8
 vgg16         4  cpu     1.32 (1.26 to 1.38)     3
              64  cpu     out of memory

In parentheses: the 95% interval. Data: mnist-1k digits. Training: forward,
backward and Adam.

Cells without a result
  vgg16, batch 64, cpu: out of memory. It asked for 12 GiB more than there is.

Findings
{in_brief(shown, 80)}
The last line was torn off.

Run file: runs/a.jsonl
Try other settings: torchlap run resnet18 --devices cpu --recipe fp32,bf16

cpu trains 1.3 to 64 images/s, depending on model and batch size.
"""
    )


@pytest.mark.parametrize("width", [80, 100])
def test_a_report_of_two_devices(width: int) -> None:
    assert (
        table(TYPICAL, width, RUN_FILE)
        == f"""

 model     batch  device  images/s                speed-up              laps
 ───────────────────────────────────────────────────────────────────────────
 resnet18      4  cpu     40.0 (39.6 to 40.4)                              8
                  cuda:0  200.0 (199.0 to 201.0)  5.00x (4.96 to 5.04)     8
              64  cpu     too slow: ~160 s/step
                  cuda:0  315 (294 to 338)                                 3

{wrapped(LEGEND, width)}

Cells without a result
  Not measured, because the budget was too small: resnet18, batch 64, cpu.

Findings
{in_brief(TYPICAL, width)}

Run file: runs/a.jsonl
Measure the rest: torchlap run resnet18 --batch 64 --budget 41m

cuda:0 is 5.0x as fast as cpu.
"""
    )


def test_a_table_that_does_not_fit_loses_the_laps_and_then_becomes_a_list() -> None:
    assert " laps\n" in table(TYPICAL, 80)
    assert " speed-up\n" in table(TYPICAL, 74)
    assert "\n  cpu: 40.0" in table(TYPICAL, 60)


def test_a_report_in_40_columns() -> None:
    assert (
        table(TYPICAL, 40, RUN_FILE)
        == f"""
resnet18, batch 4
  cpu: 40.0 (39.6 to 40.4) images/s
  cuda:0: 200.0 (199.0 to 201.0)
  images/s
  5.00x (4.96 to 5.04) vs. cpu
resnet18, batch 64
  cpu: too slow: ~160 s/step
  cuda:0: 315 (294 to 338) images/s

{wrapped(LEGEND, 40)}

Cells without a result
  Not measured, because the budget was
  too small: resnet18, batch 64, cpu.

Findings
{in_brief(TYPICAL, 40)}

Run file: runs/a.jsonl
Measure the rest: torchlap run resnet18
--batch 64 --budget 41m

cuda:0 is 5.0x as fast as cpu.
"""
    )


def test_a_report_in_20_columns() -> None:
    lines = table(TYPICAL, 20, RUN_FILE).splitlines()
    assert lines[1:7] == [
        "resnet18, batch 4",
        "  cpu: 40.0 (39.6 to",
        "  40.4) images/s",
        "  cuda:0: 200.0",
        "  (199.0 to 201.0)",
        "  images/s",
    ]
    assert lines[-9:] == [
        "Run file:",
        "runs/a.jsonl",
        "Measure the rest:",
        "torchlap run",
        "resnet18 --batch 64",
        "--budget 41m",
        "",
        "cuda:0 is 5.0x as",
        "fast as cpu.",
    ]


def test_a_custom_model_in_eval_with_a_recipe_in_80_columns() -> None:
    assert (
        table(OWN, 80)
        == f"""
net.py:build, batch 4
  cpu eval bf16+channels_last+fused+workers:2: 40.0 (39.6 to 40.4) images/s

In parentheses: the 95% interval.

Findings
{in_brief(OWN, 80)}

Try other settings: torchlap run /home/me/net.py:build --devices cpu --recipe
fp32,bf16

cpu evaluates 40 images/s.
"""
    )


def test_a_run_of_mixed_units_has_the_unit_in_each_row() -> None:
    mixed = of_units("images", "tokens")
    assert "items/s" in table(mixed, 80)
    assert "cpu     40.0 tokens/s (39.6 to 40.4)" in table(mixed, 80)
    assert "\n  cpu: 40.0 images/s (39.6 to 40.4)\n" in table(mixed, 40)


def test_the_machine_wraps_in_a_narrow_terminal() -> None:
    assert terminal.machine(TYPICAL, 80, color=False) == (
        "Fast Processor 9 · 8 cores · 32 GiB · cuda:0 NVIDIA H200 · Linux 6.8 · Python\n"
        "3.11.9 · torch 2.13.0 torchvision 0.28.0\n"
        "Check-up: no problems found.\n"
    )
    assert terminal.machine(TYPICAL, 20, color=False) == (
        "Fast Processor 9 · 8\ncores · 32 GiB ·\ncuda:0 NVIDIA H200 ·\nLinux 6.8 · Python\n3.11.9 · torch\n"
        "2.13.0 torchvision\n0.28.0\nCheck-up: no\nproblems found.\n"
    )


@pytest.mark.parametrize("width", [1, 20, 33, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_or_20_columns(width: int) -> None:
    for shown in (TYPICAL, OWN):
        text = table(shown, width, Path("a_folder_with_a_long_name/and_a_file_with_a_longer_one.jsonl"))
        assert max(cell_len(line) for line in text.splitlines()) <= max(20, width)


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_without_color_there_are_no_escapes_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in table(TYPICAL, 80) + terminal.machine(TYPICAL, 80, color=False)


def test_color_changes_nothing_but_the_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    colored = terminal.report(TYPICAL, None, 100, color=True)
    assert "\x1b[" in colored
    bare = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in bare.splitlines()] == table(TYPICAL, 100)[1:].splitlines()


def test_findings_of_one_code_share_a_paragraph_with_three_examples() -> None:
    cells = tuple(cell(f"cuda:{number}") for number in range(5))
    warm = [prepared(number, first_loss=0.0) for number in range(5)]
    shown = run([*warm, *rounds(*[[0.1, 0.1]] * 5, loss=0.0)], plan(Group(cells)))
    text = " ".join(table(shown, 200).split())
    no_loss = [finding for finding in findings(shown) if finding.code == "TL222"]
    assert (len(no_loss), text.count("TL222")) == (5, 1)
    assert f"{no_loss[2].where}: {no_loss[2].evidence.rstrip('.')}; and 2 more. {no_loss[2].remedy}" in text
    assert f"{no_loss[3].where}: {no_loss[3].evidence}" not in text
    assert "\n  TL201 few laps (5 cases)\n" in table(shown, 200)


def test_errors_come_first_then_warnings_then_a_line_for_each_note() -> None:
    nan = failure(1, "not_finite")
    shown = run([prepared(0, first_loss=0.0), prepared(1), *rounds([0.1] * 3, [0.1] * 3, loss=0.0), nan])
    codes = dict.fromkeys(finding.code for finding in findings(shown))
    assert list(codes) != ["TL215", "TL222", "TL201"]
    below = table(shown, 200).partition("\nFindings\n")[2].splitlines()
    assert [line.split(":")[0] for line in below[:3]] == [
        "  TL215 loss is not finite",
        "  TL222 loss is zero from the first step",
        "  TL201 few laps (2 cases)",
    ]
    assert below[3] == ""


def two_dozen(measured: int) -> Run:
    """A run of 24 models, the first of which have a figure and the next of which failed."""
    groups = [pair(model=f"model{number:02}") for number in range(24)]
    laps = [event for number in range(measured) for event in rounds(SLOW, FAST, group=number)]
    return run([*laps, failure(0, group=measured)], plan(*groups))


def test_during_a_run_the_table_has_only_rows_with_a_figure() -> None:
    assert (
        "\n" + terminal.so_far(two_dozen(1), 80, 20)
        == """

 model    batch  device  images/s                speed-up              laps
 ──────────────────────────────────────────────────────────────────────────
 model00      4  cpu     40.0 (39.6 to 40.4)                              8
                 cuda:0  200.0 (199.0 to 201.0)  5.00x (4.96 to 5.04)     8

"""
    )
    assert terminal.so_far(two_dozen(0), 80, 20) == ""


@pytest.mark.parametrize("height", range(-2, 30))
def test_during_a_run_the_table_has_the_last_rows_that_fit(height: int) -> None:
    lines = terminal.so_far(two_dozen(5), 80, height).splitlines()
    assert len(lines) <= max(0, height)
    rows = [line.split() for line in lines[3:-1]]
    assert len(rows) == min(10, max(0, height - 4))
    if rows:
        assert rows[0][0].startswith("model")  # also where the row above it, of the same model, is cut off
        assert rows[-1][-5:] == ["5.00x", "(4.96", "to", "5.04)", "8"]


def test_during_a_run_a_narrow_terminal_has_no_table() -> None:
    assert terminal.so_far(two_dozen(5), 30, 20) == ""


def test_the_headline_is_the_last_line_of_a_report() -> None:
    for shown in (TYPICAL, OWN, run(), replace(run(), header=replace(run().header, published="a paper"))):
        assert table(shown, 200, RUN_FILE).splitlines()[-1] == headline(judged(shown))


def test_an_overview_has_a_line_for_each_run() -> None:
    assert terminal.overview([Named("a", TYPICAL), Named("b", OWN)], 100, color=False) == (
        "a: cuda:0 is 5.0x as fast as cpu.\n"
        "b: cpu evaluates 40 images/s.\n"
        "\n"
        "Name one run to see it in full, or use --html to write a page of all runs.\n"
    )


def test_an_arm_that_is_named_after_its_recipe_is_named_once() -> None:
    arms = Arm("fp32"), Arm("bf16", recipe=Recipe("bf16"))
    cells = tuple(replace(cell(recipe=arm.recipe or Recipe()), arm=arm.name) for arm in arms)
    named = run([prepared(0), prepared(1), *rounds(SLOW, FAST)], plan(Group(cells), arms=arms))
    lines = [line.strip() for line in table(named, 30).splitlines()]
    assert any(line.startswith("cpu fp32: 40.0") for line in lines)
    assert any(line.startswith("cpu bf16: 200.0") for line in lines)
    assert [variant(row) for row in judged(named).rows] == ["cpu fp32", "cpu bf16"]
    assert cell_label(judged(named).rows[0], judged(named).rows) == "resnet18, batch 4, fp32"
