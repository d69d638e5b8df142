"""The compact table, and what devices are called in it."""

from dataclasses import dataclass

import pytest
from making import cell, facts, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from reports.samples import FAST, SLOW, TYPICAL

from torchlap.reports.kit.text import date
from torchlap.reports.run.hardware import hardware_names
from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import judged
from torchlap.reports.run.side_by_side import MOST_VARIANTS, side_by_side
from torchlap.schema.events import Run
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group

NAMES = {"cpu": "Fast 9", "cuda:0": "Quick GPU"}


@dataclass(frozen=True)
class Shown:
    heads: list[str]
    rows: list[list[str]]


def compact(shown: Run) -> Shown | None:
    table = side_by_side(judged(shown), NAMES)
    if table is None:
        return None
    return Shown([column.head for column in table.columns], [[field.text for field in row] for row in table.rows])


def test_a_workload_has_one_row_with_its_devices_side_by_side() -> None:
    shown = compact(TYPICAL)
    assert shown
    assert shown.heads == [
        "model",
        "batch",
        "Fast 9, images/s",
        "Quick GPU, images/s",
        "speed-up",
        "numerics",
    ]
    assert shown.rows == [
        ["resnet18", "4", "40.0 (39.6 to 40.4)", "200.0 (199.0 to 201.0)", "5.00x (4.96 to 5.04)", "✓ correct"],
        ["resnet18", "64", "too slow: ~160 s/step", "315 (294 to 338)", "", "✓ correct"],
    ]


def test_recipes_of_one_device_are_told_apart_by_their_words() -> None:
    group = Group((cell(), cell(recipe=Recipe("bf16")), cell(recipe=Recipe("bf16", fused=True))))
    shown = compact(run([prepared(0), prepared(1), prepared(2), *rounds(SLOW, FAST, FAST)], plan(group)))
    assert shown
    assert shown.heads[2:] == [
        "fp32, images/s",
        "bf16, images/s",
        "speed-up",
        "bf16+fused, images/s",
        "speed-up",
    ]


def test_without_a_comparison_or_with_too_many_there_is_no_compact_table() -> None:
    alone = plan(replace(pair(), cells=pair().cells[:1]))
    assert compact(run([prepared(0), *rounds(SLOW)], alone)) is None
    many = Group(tuple(cell(f"cuda:{number}") for number in range(MOST_VARIANTS + 1)))
    assert compact(run([*rounds(*[SLOW] * (MOST_VARIANTS + 1))], plan(many))) is None


def test_an_answer_names_the_hardware() -> None:
    assert headline(judged(TYPICAL), NAMES) == "Quick GPU is 5.0x as fast as Fast 9."


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Intel(R) Xeon(R) Processor", "Intel Xeon"),
        ("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "Intel Core i7-9750H"),
        ("AMD Ryzen 9 5950X 16-Core Processor", "AMD Ryzen 9 5950X"),
        ("Apple M1 Max", "Apple M1 Max"),
        ("x" * 60, "x" * 39 + "…"),
    ],
)
def test_a_processor_is_called_by_its_name_alone(model: str, name: str) -> None:
    assert hardware_names(facts(cpu=model, devices=()))["cpu"] == name


def test_of_two_alike_each_has_its_device() -> None:
    gpus = tuple(DeviceFacts(name=f"cuda:{number}", kind="cuda", model="Quick GPU") for number in range(2))
    names = hardware_names(facts(devices=gpus))
    assert [names["cuda:0"], names["cuda:1"]] == ["Quick GPU (cuda:0)", "Quick GPU (cuda:1)"]


@pytest.mark.parametrize(
    ("timestamp", "words"),
    [
        ("2026-11-27T16:18:18+00:00", "27 November 2026, 16:18 UTC"),
        ("2026-03-01T01:30:00+02:00", "28 February 2026, 23:30 UTC"),
        ("2022-05-18", "18 May 2022"),
        ("yesterday\x1b", "yesterday "),
    ],
)
def test_a_date_is_written_as_people_write_it(timestamp: str, words: str) -> None:
    assert date(timestamp) == words
