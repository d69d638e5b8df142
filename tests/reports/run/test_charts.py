import pytest
from making import cell, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from reports.samples import FAST, SLOW, measured, of_units

from torchlap.reports.kit.drawing import MOST_POINTS, MOST_ROWS, Chart
from torchlap.reports.kit.units import with_interval
from torchlap.reports.run import charts
from torchlap.reports.run.labels import cell_label
from torchlap.reports.run.lap_charts import trend
from torchlap.reports.run.rows import judged
from torchlap.runs.find import Named
from torchlap.schema.events import Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group


def drawn(shown: Run) -> dict[str, Chart]:
    """The charts of a run, by their titles."""
    return {chart.title: chart for chart in charts.of_run(judged(shown), "a").values()}


def test_a_run_has_every_chart_that_it_has_data_for_with_a_summary() -> None:
    summaries = {title: chart.summary for title, chart in drawn(measured()).items()}
    assert list(summaries) == [
        "Speed-up over Fast 9 in fp32",
        "Throughput by batch size",
        "Laps over time",
        "Where the time of a step goes",
        "Roofline",
    ]
    assert summaries["Speed-up over Fast 9 in fp32"] == (
        "2 cells with 95% intervals: from 5.0x (resnet18, batch 4) to 5.0x (resnet18, batch 64). "
        "The table has all values."
    )
    assert "resnet18: cpu 40.0 to 640 images/s, cuda:0 200 to 3200 images/s" in summaries["Throughput by batch size"]
    assert "resnet18, batch 4, cpu: 0.98 to 1.02" in summaries["Laps over time"]
    assert (
        "resnet18, batch 4, cpu: input 0.00, transfer 0.01, forward 0.30" in summaries["Where the time of a step goes"]
    )
    assert "cpu: resnet18, batch 4 100 GFLOP/s at 38.3 FLOP per byte" in summaries["Roofline"]


def test_a_run_of_one_device_shows_its_throughput_and_an_empty_one_nothing() -> None:
    alone = run([prepared(0), *rounds(SLOW)], plan(replace(pair(), cells=pair().cells[:1])))
    assert list(drawn(alone)) == ["Images per second", "Laps over time"]
    assert drawn(run()) == {}


def test_a_chart_of_throughputs_has_their_unit() -> None:
    assert drawn(of_units("tokens"))["Tokens per second"].summary == (
        "1 cell with 95% intervals: 40 tokens/s (model0, batch 4). The table has all values."
    )
    assert "Items per second" in drawn(of_units("tokens", "images"))


def test_the_title_names_the_recipe_of_all_speed_ups() -> None:
    shown = run(rounds(SLOW, FAST), plan(Group((cell(), cell("cuda:0", recipe=Recipe("bf16"))))))
    assert next(iter(drawn(shown))) == "Speed-up in bf16 over Fast 9 in fp32"


def test_a_label_has_what_differs_between_the_cells_of_a_chart() -> None:
    cells = (cell(), cell("cuda:0"), cell("cuda:0", recipe=Recipe("bf16")))
    rows = judged(run([], plan(Group(cells)))).rows
    assert cell_label(rows[0], rows[:1]) == "resnet18, batch 4"
    assert cell_label(rows[1], rows[:2]) == "resnet18, batch 4, cuda:0"
    assert cell_label(rows[2], rows[1:]) == "resnet18, batch 4, bf16"
    assert cell_label(rows[2], rows) == "resnet18, batch 4, cuda:0, bf16"


def test_many_laps_are_drawn_as_medians() -> None:
    long = run([prepared(0), *rounds([0.1, 0.11] * 4000)])
    assert 0 < drawn(long)["Laps over time"].svg.count("<use") < MOST_POINTS + 100


def test_a_chart_says_how_many_cells_it_has_no_room_for() -> None:
    count = MOST_ROWS + 2
    laps = [event for place in range(count) for event in rounds(SLOW, FAST, group=place)]
    many = run(laps, plan(*(pair(model=f"net{place}") for place in range(count))))
    speed_ups = charts.of_run(judged(many), "a")["speed-ups"]
    assert speed_ups.summary.startswith(f"{count} cells")
    assert f"The first {MOST_ROWS} are drawn." in speed_ups.summary


@pytest.mark.parametrize(("count", "titles"), [(2, []), (3, ["Changes from run to run"])])
def test_a_trend_needs_three_runs(count: int, titles: list[str]) -> None:
    runs = [(Named(str(place), measured()), judged(measured())) for place in range(count)]
    assert [chart.title for chart in charts.of_runs(runs, "runs")] == titles


def test_a_trend_draws_and_says_the_interval_of_each_run() -> None:
    shown = [judged(run([prepared(0), *rounds(seconds)])) for seconds in (SLOW, FAST, SLOW)]
    alone = [judged(run([prepared(0), *rounds([seconds])])) for seconds in (0.1, 0.02, 0.1)]
    drawing, flat = trend(shown), trend(alone)
    assert drawing is not None
    assert flat is not None
    (bars,) = drawing.figure.axes[0].collections
    (points,) = flat.figure.axes[0].collections
    heights = [path.get_extents().height for path in bars.get_paths()]
    assert (len(heights), min(heights) > 0) == (3, True)
    assert {path.get_extents().height for path in points.get_paths()} == {0}
    interval = shown[0].rows[0].result.throughput
    assert interval is not None
    assert f"first {with_interval(interval)}, last {with_interval(interval)} images/s" in drawing.summary


@pytest.mark.parametrize("shown", [measured(), of_units("tokens"), run()], ids=["compared", "alone", "empty"])
def test_a_picture_says_in_its_first_2000_bytes_that_torchlap_made_it(shown: Run) -> None:
    picture = charts.headline_png(judged(shown))
    assert picture.startswith(b"\x89PNG")
    assert b"tEXtSoftware\x00torchlap" in picture[:2000]


def test_the_same_run_gives_the_same_picture() -> None:
    assert charts.headline_png(judged(measured())) == charts.headline_png(judged(measured()))
