"""torchlap run --energy: a meter of known power on a virtual clock."""

import csv
import io
import json
from collections.abc import Callable
from math import floor
from pathlib import Path

import pytest
from support import Command, only_cell, own, step_seconds
from virtual import Clock

from torchlap import figures, load
from torchlap.schema.events import IdleMeasured, Round
from torchlap.worker import meters

BUSY_WATTS, IDLE_WATTS = 250.0, 40.0
BATCH = 4


class Bench:
    """A device that uses `IDLE_WATTS` while anything sleeps, and `BUSY_WATTS` at any other time."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch, period: float = 0.0) -> None:
        self.slept, self.clock, self.period = 0.0, clock, period
        sleep = clock.sleep

        def counted(seconds: float) -> None:
            self.slept += max(0.0, seconds)
            sleep(seconds)

        monkeypatch.setattr(clock, "sleep", counted)
        monkeypatch.setattr(meters, "meter", lambda _: meters.Meter("a stub", self.read))

    def read(self) -> float:
        """Joules; with a period, those at the last time when the counter moved."""
        late = self.clock.now - floor(self.clock.now / self.period) * self.period if self.period else 0.0
        return IDLE_WATTS * self.slept + BUSY_WATTS * (self.clock.now - self.slept - late)


Install = Callable[..., Bench]


@pytest.fixture
def install(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Install:
    return lambda **options: Bench(clock, monkeypatch, **options)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def options(out: Path, *more: object) -> tuple[object, ...]:
    devices = ("--devices", "cpu", "--batch", BATCH, "--budget", "60s", "--no-why", "--no-verify")
    return ("run", own("small"), *devices, "--energy", "--out", out, *more)


def test_a_known_power_gives_the_known_energy_per_item(torchlap: Command, install: Install, out: Path) -> None:
    install()
    result = torchlap(*options(out))
    assert result.exit_code == 0, result.output
    run = load(out)
    energy = only_cell(run).energy
    (step,) = step_seconds(run)
    assert energy
    assert energy.watts
    assert energy.joules_per_item
    assert energy.watts.value == pytest.approx(BUSY_WATTS, rel=1e-3)
    assert energy.joules_per_item.value == pytest.approx(BUSY_WATTS * step / BATCH, rel=1e-3)
    assert energy.seconds >= 5
    assert "250" in result.output
    assert "J/image" in result.output


def test_idle_power_is_measured_before_the_first_lap(torchlap: Command, install: Install, out: Path) -> None:
    install()
    result = torchlap(*options(out))
    events = [event for event in load(out).events if isinstance(event, IdleMeasured | Round)]
    first = events[0]
    assert isinstance(first, IdleMeasured)
    assert first.idle.joules / first.idle.seconds == pytest.approx(IDLE_WATTS, rel=1e-3)
    assert "idle: 40.0 W" in " ".join(result.output.split())


def test_a_counter_that_moves_ten_times_a_second_is_right_over_all_turns(
    torchlap: Command, install: Install, out: Path
) -> None:
    install(period=0.1)
    torchlap(*options(out, "--recipe", "fp32,fp32+contiguous"))
    for cell in figures(load(out))[0].cells:
        assert cell.energy
        assert cell.energy.watts
        assert cell.energy.watts.value == pytest.approx(BUSY_WATTS, rel=0.03)
        assert cell.energy.watts.low < BUSY_WATTS < cell.energy.watts.high


def test_costs_follow_from_energy_and_time(torchlap: Command, install: Install, out: Path) -> None:
    install()
    result = torchlap(*options(out, "--price-kwh", "0.5", "--price-hour", "2", "--format", "json"))
    (cell,) = json.loads(result.stdout)["cells"]
    energy = 1e6 * cell["energy"]["joules_per_item"]["value"] / 3.6e6 * 0.5
    hours = 1e6 / cell["items_per_second"]["value"] / 3600 * 2
    assert cell["cost_per_million_items"]["value"] == pytest.approx(energy + hours)
    reported = torchlap("report", out, "--price-kwh", "0.5", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(reported.stdout))
    assert float(row["cost_per_million_items"]) == pytest.approx(energy)
    assert float(row["watts"]) == pytest.approx(BUSY_WATTS, rel=1e-3)
    table = torchlap("report", out, "--price-hour", "2", "--format", "markdown").stdout
    assert "cost/million images" in table


def test_a_device_without_a_meter_says_why_and_is_measured_anyway(torchlap: Command, out: Path) -> None:
    result = torchlap("run", own("small"), "--devices", "sim:0", "--batch", BATCH, "--no-why", "--energy", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Energy: no supported energy meter for sim (sim:0)." in " ".join(result.output.split())
    cost = torchlap("report", out, "--price-kwh", "0.3").output
    assert "unknown" in cost
    assert "J/image" not in result.output
    assert only_cell(load(out)).energy is None


def test_too_short_a_time_has_no_figure(torchlap: Command, install: Install, out: Path, clock: Clock) -> None:
    install()
    clock.call_seconds = 0.2
    torchlap("run", own("small"), "--devices", "cpu", "--batch", BATCH, "--budget", "8s", "--no-why", "--energy",
             "--out", out)  # fmt: skip
    energy = only_cell(load(out)).energy
    assert energy is None or energy.joules_per_item is None


def test_prices_that_are_none_are_refused(torchlap: Command, out: Path) -> None:
    for price in ("0", "cheap", "-1", "1e9", ""):
        result = torchlap(*options(out, "--price-hour", price))
        assert result.exit_code == 2
        assert "positive number" in result.output
    without = torchlap("run", own("small"), "--price-kwh", "0.3", "--out", out)
    assert without.exit_code == 2
    assert "add --energy" in without.output
