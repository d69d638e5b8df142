"""From a meter's readings to joules an item, watts and costs."""

from random import Random

import pytest
from making import header, plan, prepared, rounds
from msgspec.structs import replace

from torchlap.runs.energy import MeteredTurn, Prices, cost_per_million, energy_of, interval_of_sums
from torchlap.runs.figures import figures
from torchlap.schema.energy import TurnEnergy
from torchlap.schema.events import Run
from torchlap.stats import Interval

HALF_SECONDS = [MeteredTurn(joules=100.0, seconds=0.5, items=50)] * 6


def test_energy_is_all_joules_over_all_items_and_over_all_seconds() -> None:
    turns = [MeteredTurn(90.0, 0.5, 50), MeteredTurn(110.0, 0.5, 50), MeteredTurn(200.0, 1.0, 100)]
    energy = energy_of(turns, 0.95)
    assert energy
    assert energy.joules_per_item
    assert energy.watts
    assert energy.joules_per_item.value == pytest.approx(2.0)
    assert energy.watts.value == pytest.approx(200.0)
    assert energy.watts.low < 200 < energy.watts.high


def test_a_turn_in_which_the_counter_stood_still_is_no_zero() -> None:
    energy = energy_of([MeteredTurn(0.0, 0.5, 50), MeteredTurn(200.0, 0.5, 50)] * 3, 0.95)
    assert energy
    assert energy.watts
    assert energy.watts.value == pytest.approx(200.0)


def test_too_little_has_a_reason_instead_of_a_figure() -> None:
    short = energy_of(HALF_SECONDS[:3], 0.95)
    few = energy_of([MeteredTurn(900.0, 3.0, 50)] * 2, 0.95)
    still = energy_of([MeteredTurn(0.0, 0.5, 50)] * 6, 0.95)
    assert short
    assert few
    assert still
    assert "too short" in short.reason
    assert "too short" in few.reason
    assert "stood still" in still.reason
    assert {known.joules_per_item for known in (short, few, still)} == {None}
    assert energy_of([], 0.95) is None
    assert energy_of([MeteredTurn(5.0, 9.0, 0)] * 9, 0.95) is None


def test_the_interval_of_sums_contains_the_truth_as_often_as_it_says() -> None:
    random = Random(4)
    contained = 0
    for _ in range(400):
        lengths = [random.uniform(0.4, 0.8) for _ in range(8)]
        joules = [max(0.0, 300 * seconds + random.gauss(0, 20)) for seconds in lengths]
        found = interval_of_sums(joules, lengths)
        contained += found.low <= 300 <= found.high
    assert 370 <= contained <= 392  # 380 of 400, and two standard deviations either way, rounded up


def test_intervals_of_sums_need_two_pairs_and_a_positive_sum() -> None:
    for numerators in ([1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="at least two pairs"):
            interval_of_sums(numerators, [1.0] * len(numerators))


def test_costs_are_those_of_energy_and_of_time() -> None:
    throughput, energy = Interval(1000.0, 900.0, 1100.0, 9), energy_of(HALF_SECONDS, 0.95)
    by_energy = cost_per_million(throughput, energy, Prices(per_kwh=0.36))
    by_time = cost_per_million(throughput, None, Prices(per_hour=3.6))
    both = cost_per_million(throughput, energy, Prices(per_kwh=0.36, per_hour=3.6))
    assert by_energy
    assert by_time
    assert both
    assert by_energy.value == pytest.approx(0.2)  # 2 J an item are 2 MJ a million, or 0.556 kWh
    assert by_time.value == pytest.approx(1.0)  # a million items take 1000 s
    assert by_time.low < by_time.value < by_time.high
    assert both.value == pytest.approx(1.2)
    assert cost_per_million(throughput, None, Prices(per_kwh=1.0)) is None
    assert cost_per_million(None, energy, Prices(per_hour=1.0)) is None
    assert cost_per_million(throughput, energy, Prices()) is None


def test_figures_are_recomputed_from_the_rounds_of_the_run_file() -> None:
    events = rounds([0.5] * 6, [0.25] * 6)
    metered = [replace(each, energy=(TurnEnergy(1, 50.0, 0.5),)) for each in events]
    run = Run(header(plan(energy=True)), (prepared(0), prepared(1), *metered))
    first, second = figures(run)[0].cells
    assert first.energy is None
    assert second.energy
    assert second.energy.joules_per_item
    assert second.energy.joules_per_item.value == pytest.approx(50 / 4)
