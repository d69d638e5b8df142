import pytest
from making import CPU, CUDA, FP32, MPS, cell, explained, facts, failure, pair, plan, prepared, reached, rounds, run
from reports.samples import FAST, SLOW, measured, of_units

from torchlap.reports.run.rows import Results, judged
from torchlap.reports.run.table import failures, legend, table
from torchlap.schema.breakdown import Peaks
from torchlap.schema.events import Event, NumericsChecked, PeaksMeasured
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Precision, Recipe
from torchlap.schema.workload import Cell, Group


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
def test_a_column_is_shown_only_if_it_has_information(cells: tuple[Cell, ...], heads: str) -> None:
    shown = table(judged(run([], plan(Group(cells)))))
    assert " ".join(column.head for column in shown.columns) == heads
    assert {len(row) for row in shown.rows} == {len(shown.columns)}


@pytest.mark.parametrize(("recipes", "constant"), [(("bf16", "bf16"), True), (("fp32", "bf16"), False)])
def test_a_recipe_that_all_cells_share_is_a_constant_column(
    recipes: tuple[Precision, Precision], constant: bool
) -> None:
    cells = tuple(cell(device, recipe=Recipe(name)) for device, name in zip(("cpu", "cuda:0"), recipes, strict=True))
    (column,) = [column for column in table(judged(run([], plan(Group(cells))))).columns if column.head == "recipe"]
    assert column.is_constant is constant


def test_bottlenecks_and_verdicts_that_differ_have_columns() -> None:
    assert table(judged(measured())).columns[-1].head == "bottleneck"
    inexact = NumericsChecked(group=0, cell=1, numerics=Numerics(products=9, imprecise=1))
    cells = (cell(), cell("cuda:0"), cell("cuda:1"))
    shown = table(judged(run([*rounds(SLOW, FAST, FAST), inexact], plan(Group(cells)))))
    assert shown.columns[-1].head == "numerics"
    assert [row[-1].text for row in shown.rows][:2] == ["", "inexact"]


def of_one(*events: Event, recipe: Recipe | None = None) -> Results:
    """A cell with these events, and the column of utilization."""
    of = plan(Group((cell("cuda:0", recipe=recipe or Recipe()),)))
    return judged(run([prepared(0), *rounds(SLOW), *events], of), ("utilization",))


def test_utilization_is_a_column_on_request_and_a_ratio() -> None:
    assert "utilization" not in [column.head for column in table(judged(measured())).columns]
    results = judged(measured(), ("utilization",))
    shown = table(results)
    place = [column.head for column in shown.columns].index("utilization")
    assert [row[place].text for row in shown.rows] == ["0.50", "2.5", "0.50", "2.5"]
    assert float(shown.rows[0][place].sort_by or "") == pytest.approx(0.5)
    assert "Utilization: FLOP/s of the matrix products over the measured peak" in legend(results)
    assert "unknown" not in legend(results)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((), "out of time, or --no-why was used"),
        (
            (explained(0, reason="would take about 2 s; raise --budget"),),
            "the analysis did not fit into the budget: raise --budget",
        ),
        ((explained(0, reason="the analysis failed (hang)"),), "the analysis failed (hang)"),
        ((explained(0),), "the device's peak in bf16 was not measured (out of time)"),
        (
            (explained(0), PeaksMeasured(Peaks(device="cuda:0", refused={"bf16": "Not here."}))),
            "the device's peak in bf16 was not measured (Not here)",
        ),
        ((explained(0, operators=(), left_out=("Counting failed.",)), reached("cuda:0")), "Counting failed"),
    ],
)
def test_an_unknown_utilization_says_why(events: tuple[Event, ...], reason: str) -> None:
    results = of_one(*events, recipe=Recipe("bf16"))
    (row,) = table(results).rows
    assert "unknown" in [field.text for field in row]
    assert legend(results).count(f"Utilization unknown for resnet18, batch 4, cuda:0, bf16: {reason}.") == 1


def test_cells_without_a_figure_need_no_utilization() -> None:
    results = judged(run([failure(0)], plan(Group((cell(),)))), ("utilization",))
    assert "unknown" not in legend(results)


def test_the_column_header_names_the_unit() -> None:
    heads = [table(judged(of_units(*units))).columns[3].head for units in (["tokens"], ["images", "tokens"])]
    assert heads == ["tokens/s", "items/s"]


def test_a_void_figure_is_marked_and_names_its_finding() -> None:
    nan = run([prepared(0), *rounds(SLOW), failure(0, "not_finite")], plan(Group((cell(),))))
    (row,) = table(judged(nan)).rows
    assert [field.text for field in row if field.is_void] == ["void (TL215): 40.0 (39.6 to 40.4)"]


@pytest.mark.parametrize(
    ("recipe", "devices", "stated"),
    [(FP32, (CPU, CUDA), True), (FP32, (CPU, MPS), False), (Recipe("bf16"), (CPU, CUDA), False)],
)
def test_tf32_is_mentioned_only_where_it_could_be_on(
    recipe: Recipe, devices: tuple[DeviceFacts, ...], stated: bool
) -> None:
    text = legend(judged(run([], plan(Group((cell(recipe=recipe),))), facts(devices=devices))))
    assert ("fp32: TF32 off." in text) is stated


@pytest.mark.parametrize(("device", "stated"), [("cpu", True), ("cuda:0", False)])
def test_a_legend_says_why_a_device_has_no_tf32(device: str, stated: bool) -> None:
    cells = (cell(device), cell("cuda:0", recipe=Recipe("tf32")))
    assert ("tf32: NVIDIA GPUs only." in legend(judged(run([], plan(Group(cells)))))) is stated


@pytest.mark.parametrize(("model", "stated"), [("resnet18", True), ("net.py:build", False)])
def test_the_digits_are_mentioned_where_they_are_used(model: str, stated: bool) -> None:
    assert ("Data: mnist-1k digits." in legend(judged(run([], plan(pair(model=model)))))) is stated


def test_a_failure_is_one_line_and_all_cells_that_time_ran_out_for_share_one() -> None:
    cells = (cell(), cell("cuda:0"), cell("cuda:0", phase="eval", recipe=Recipe("bf16")), cell("cuda:1"))
    failed = [
        failure(0, "too_slow", "A step would take longer than what is left."),
        failure(1, "out_of_memory", "It asked for 12 GiB more than there is"),
        failure(2, "no_time", "Nothing is left."),
    ]
    assert failures(judged(run(failed, plan(Group(cells))))) == (
        "resnet18, batch 4, cuda:0: out of memory. It asked for 12 GiB more than there is.",
        (
            "Not measured, because the budget was too small: resnet18, batch 4, cpu; resnet18, batch 4, cuda:0, eval, "
            "bf16."
        ),
    )
    assert failures(judged(run(failed[1:2]))) == (
        "resnet18, batch 4, cuda:0: out of memory. It asked for 12 GiB more than there is.",
    )
    assert failures(judged(run())) == ()
