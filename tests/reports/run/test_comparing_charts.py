"""The charts and the sections of runs of arms, of ranks, and of several accelerators."""

import re

import pytest
from known_ranks import measured as measured_ranks
from making import CPU, cell, facts, plan, prepared, rounds, run
from msgspec.structs import replace
from reports.samples import FAST, SLOW

from torchlap.reports.run import charts
from torchlap.reports.run.arms_chart import arms
from torchlap.reports.run.page import as_html
from torchlap.reports.run.rows import judged
from torchlap.runs.find import Named, reference
from torchlap.schema.arm import Arm
from torchlap.schema.events import Event, Run
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.workload import Group

DEVICES = (
    CPU,
    *(
        DeviceFacts(f"cuda:{number}", "cuda", model)
        for number, model in enumerate(("Alpha", "Beta & Sons", "A long name of an accelerator"))
    ),
)


def page_of(shown: Run) -> str:
    return as_html([Named("night.jsonl", shown)], "1.2.3")


def of_arms(*names: str) -> Run:
    cells = tuple(replace(cell(), arm=name) for name in names)
    laps = rounds(SLOW, *[FAST] * (len(names) - 1))
    events: list[Event] = [*(prepared(place) for place in range(len(names))), *laps]
    return run(events, plan(Group(cells), arms=tuple(map(Arm, names))))


def of_devices(count: int) -> Run:
    devices = DEVICES[:count]
    cells = tuple(cell(device.name) for device in devices)
    events: list[Event] = [*(prepared(place) for place in range(count)), *rounds(SLOW, *[FAST] * (count - 1))]
    return run(events, plan(Group(cells)), facts(devices=devices))


def test_arms_are_drawn_side_by_side_with_their_ratios() -> None:
    drawn = charts.of_run(judged(of_arms("old", "new")), "a")
    assert "speed-ups" not in drawn
    assert drawn["arms"].title == "new and old side by side"
    assert "resnet18, batch 4: new is 5.00x (4.96 to 5.04) as fast as old" in drawn["arms"].summary
    tips = re.findall(r'<g id="a-arms-(tip-[^"]+)"><title>([^<]+)</title>', drawn["arms"].svg)
    assert dict(tips) == {
        "tip-speed-0-0": "resnet18, batch 4, old: 40.0 (39.6 to 40.4) images/s",
        "tip-speed-0-1": "resnet18, batch 4, new: 200.0 (199.0 to 201.0) images/s",
        "tip-ratio-0-1": "resnet18, batch 4: new is 5.00x (4.96 to 5.04) as fast as old",
    }


def test_a_run_of_arms_without_a_ratio_has_no_such_chart() -> None:
    alone = replace(of_arms("old", "new"), events=(prepared(0), *rounds(SLOW)))
    assert "arms" not in charts.of_run(judged(alone), "a")


def test_scaling_is_drawn_by_number_of_devices_with_every_figure() -> None:
    drawn = charts.of_run(judged(measured_ranks(ranks=(2, 4))), "a")
    assert "speed-ups" not in drawn
    assert drawn["scaling"].title == "Throughput and efficiency by number of GPUs; dashed: perfect"
    svg = drawn["scaling"].svg
    assert re.findall(r'id="a-scaling-tip-([a-z]+-\d)"', svg) == [
        "speed-1",
        "speed-2",
        "speed-4",
        "efficiency-2",
        "efficiency-4",
    ]
    assert re.search(r"<title>2 GPUs: efficiency 0\.83\d \(0\.8\d+ to 0\.8\d+\)</title>", svg)


def test_a_step_on_several_devices_is_that_of_one_and_what_is_added() -> None:
    parts = charts.of_run(judged(measured_ranks()), "a")["step-parts"].summary
    found = re.fullmatch(
        r"2 GPUs: as on one device ([\d.]+) ms, without synchronization ([\d.]+) ms, communication ([\d.]+) ms\. .*",
        parts,
    )
    assert found is not None
    assert [float(text) for text in found.groups()] == pytest.approx([30, 1, 5], rel=0.15)


def test_the_page_of_ranks_has_the_answer_of_scale_and_its_findings() -> None:
    text = page_of(measured_ranks(ranks=(2, 4)))
    assert re.search(r"<h1[^>]*>2 NVIDIA H100 GPUs are 1\.6\d+x \([^)]+\) as fast as one, efficiency 0\.8", text)
    assert "TL606" in text
    assert "Why the efficiency is not 1" in text
    assert "Results by number of devices" in text
    assert 'id="run-1-step-parts"' in text


def test_several_accelerators_share_a_line_and_a_legend_names_them() -> None:
    drawn = charts.of_run(judged(of_devices(4)), "a")["speed-ups"]
    labels = re.findall(r">([^<>]+)</text>", drawn.svg)
    assert labels.count("resnet18, batch 4") == 1
    assert {"Alpha", "Beta &amp; Sons", "A long name of an accelerator"} <= set(labels)


@pytest.mark.parametrize(("count", "cards"), [(2, 0), (3, 1), (4, 1)])
def test_the_rows_of_a_wide_table_are_cards_on_a_phone(count: int, cards: int) -> None:
    assert page_of(of_devices(count)).count('class="sortable cards" role="table"') == cards


@pytest.mark.parametrize(
    "name",
    [
        "apple-2022-h100",
        "default-h100",
        "experiment-2022",
        "experiment-2022-h100",
        "ladder-2022-h100",
        "protocol-2022-h100",
        "scale-2xh200",
        "upgrade-cpu",
    ],
)
def test_the_page_of_every_reference_has_at_most_600_kilobytes(name: str) -> None:
    assert len(page_of(reference(name)).encode()) <= 600_000


def test_the_legend_of_a_picture_is_below_its_title() -> None:
    for shown in (of_arms("old", "new"), of_devices(4)):
        drawn = arms(judged(shown)) or charts.speed_ups(judged(shown))
        assert drawn is not None
        assert drawn.figure.legends
        charts._legend_below_title(drawn.figure)
        assert not drawn.figure.legends
        assert drawn.figure.axes[0].get_legend() is not None
