from collections.abc import Sequence
from itertools import combinations_with_replacement, product
from math import exp, log
from statistics import geometric_mean, median

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats as scipy_stats

from torchlap.judge.measurement.series import Trend, trend, two_levels
from torchlap.stats import (
    EXACT,
    FEW,
    MANY,
    SHOWN_ERRORS,
    STOP_ERRORS,
    Interval,
    _widened,
    autocorrelation,
    interval,
    lap_interval,
    next_look,
    paired_ratio,
    signed_rank_margin,
    turn_interval,
    verdict,
)

TRIALS = 2000


def single(values: Sequence[float]) -> list[list[float]]:
    """Turns of one lap."""
    return [[value] for value in values]


def noisy(count: int, sigma: float = 0.02, seed: int = 1) -> list[float]:
    return [float(value) for value in 100 * np.exp(sigma * default_rng(seed).standard_normal(count))]


def left_out_by_counting(count: int, confidence: float) -> int:
    """How many may be left out, from all 2**count ways to give signs to the ranks."""
    sums = [sum(rank for rank, sign in enumerate(signs, start=1) if sign) for signs in product((0, 1), repeat=count)]
    margin = 0
    while 1 - 2 * sum(item <= margin for item in sums) / len(sums) >= confidence:
        margin += 1
    return margin - 1


def left_out_by_recurrence(count: int, confidence: float) -> int:
    ways = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    margin, below = 0, ways[0]
    while 1 - 2 * below / 2**count >= confidence:
        margin += 1
        below += ways[margin]
    return margin - 1


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", range(2, FEW))
def test_few_values_get_the_t_interval_that_scipy_gives_their_logarithms(count: int, confidence: float) -> None:
    values = noisy(count)
    logs = np.log(values)
    low, high = scipy_stats.t.interval(confidence, count - 1, loc=logs.mean(), scale=scipy_stats.sem(logs))
    result = interval(values, confidence)
    assert result.value == pytest.approx(geometric_mean(values), rel=1e-12)
    assert (result.low, result.high) == pytest.approx((exp(low), exp(high)), rel=1e-9)
    assert result.count == count


@pytest.mark.parametrize("count", [FEW, 9, 20])
def test_from_six_values_on_the_centre_is_the_median_of_the_pairwise_means(count: int) -> None:
    values = noisy(count)
    means = [(log(a) + log(b)) / 2 for a, b in combinations_with_replacement(values, 2)]
    assert interval(values).value == pytest.approx(exp(median(means)), rel=1e-12)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("count", range(FEW, 11))
def test_the_signed_rank_margin_is_the_one_found_by_counting_all_signs(count: int, confidence: float) -> None:
    assert signed_rank_margin(count, confidence) == left_out_by_counting(count, confidence)


def test_the_interval_of_six_values_spans_them_all() -> None:
    values = noisy(6)
    result = interval(values)
    assert (result.low, result.high) == pytest.approx((min(values), max(values)), rel=1e-12)


@pytest.mark.parametrize("count", [8, 12, 20])
def test_the_interval_holds_just_the_centres_that_scipys_signed_rank_test_does_not_reject(count: int) -> None:
    values = np.asarray(noisy(count))
    result = interval(list(values))

    def p_value(centre: float) -> float:
        return float(scipy_stats.wilcoxon(np.log(values / centre), method="exact").pvalue)

    assert p_value(result.low * (1 + 1e-9)) > 0.05
    assert p_value(result.high * (1 - 1e-9)) > 0.05
    assert p_value(result.low * (1 - 1e-9)) <= 0.05
    assert p_value(result.high * (1 + 1e-9)) <= 0.05


@pytest.mark.parametrize("count", [EXACT + 1, 80, 120])
def test_the_normal_approximation_is_within_two_of_the_exact_margin(count: int) -> None:
    assert abs(signed_rank_margin(count, 0.95) - left_out_by_recurrence(count, 0.95)) <= 2


@pytest.mark.parametrize("count", [6, 20, 60, 61, 100])
def test_more_confidence_leaves_out_fewer(count: int) -> None:
    margins = [signed_rank_margin(count, confidence) for confidence in (0.8, 0.9, 0.95)]
    assert margins == sorted(margins, reverse=True)
    assert margins[0] > margins[-1]


def test_the_interval_does_not_depend_on_the_order_of_the_values() -> None:
    values = noisy(12)
    assert interval(values) == interval(sorted(values))


def test_an_interval_of_equal_values_has_no_width() -> None:
    for count in (2, 5, 6, 20):
        result = interval([40.0] * count)
        assert result.half_width == 0
        assert result.value == pytest.approx(40.0)


@pytest.mark.parametrize("count", [4, 12])
def test_the_interval_of_the_inverses_is_the_inverse_of_the_interval(count: int) -> None:
    values = noisy(count)
    result, inverse = interval(values), interval([1 / value for value in values])
    assert (1 / inverse.value, 1 / inverse.high, 1 / inverse.low) == pytest.approx(
        (result.value, result.low, result.high)
    )


def test_the_half_width_is_on_the_log_scale() -> None:
    assert Interval(1.0, 0.5, 2.0, 9).half_width == pytest.approx(log(2))


def test_an_interval_is_written_with_its_limits() -> None:
    assert str(Interval(6.1049, 5.904, 6.309, 12)) == "6.1 (5.9 to 6.31)"


@pytest.mark.parametrize("factor", [10, 0.1])
def test_one_disturbed_lap_of_twenty_hardly_moves_the_figure(factor: float) -> None:
    values = noisy(20)
    disturbed = [values[0] * factor, *values[1:]]
    assert interval(disturbed).value == pytest.approx(interval(values).value, rel=0.005)
    assert geometric_mean(disturbed) != pytest.approx(geometric_mean(values), rel=0.1)
    assert interval(disturbed).half_width < 0.02


def test_only_the_latest_of_very_many_values_count_but_all_are_numbered() -> None:
    result = interval([1.0] * 500 + [5.0] * MANY)
    assert result.value == pytest.approx(5.0)
    assert result.count == MANY + 500


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 0.0], [3.0, -1.0], [1.0] * 9 + [0.0]])
def test_too_few_values_or_one_that_is_not_positive_are_refused(values: Sequence[float]) -> None:
    with pytest.raises(ValueError, match=r"at least two|math domain error|positive"):
        interval(values)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused(bad: float) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="positive"):
        interval([3.0, 3.1, bad])


def in_time(phi: float, count: int, seed: int, sigma: float = 0.02) -> list[float]:
    """Values around 100, each of which resembles the one before it: AR(1) with that lag-1 autocorrelation."""
    random, state, values = default_rng(seed), 0.0, []
    for _ in range(count):
        state = phi * state + (1 - phi**2) ** 0.5 * random.standard_normal()
        values.append(100 * exp(sigma * state))
    return values


@pytest.mark.parametrize("phi", [0.2, 0.5])
def test_the_autocorrelation_of_long_series_is_the_true_one_and_of_short_ones_too_on_average(phi: float) -> None:
    assert autocorrelation(np.log(in_time(phi, 20_000, 1)).tolist()) == pytest.approx(phi, abs=0.03)
    short = [autocorrelation(np.log(in_time(phi, 20, seed)).tolist()) for seed in range(400)]
    assert sum(short) / len(short) == pytest.approx(phi, abs=0.07)


@pytest.mark.parametrize("slope", [0.0, 0.002, -0.01])
def test_a_trend_is_that_of_scipys_theil_sen_slope_and_kendalls_test(slope: float) -> None:
    values = [value * exp(slope * place) for place, value in enumerate(noisy(30))]
    logs, result = np.log(values), trend(values)
    assert result.change == pytest.approx(exp(29 * scipy_stats.theilslopes(logs).slope))
    expected = scipy_stats.kendalltau(range(30), logs, method="asymptotic").pvalue
    assert result.p == pytest.approx(expected, rel=0.25, abs=1e-9)  # scipy makes no correction for continuity


def test_values_that_do_not_change_have_no_trend_and_one_speed() -> None:
    assert trend([40.0] * 12) == Trend(1.0, 1.0)
    assert two_levels([40.0] * 12) is None


def test_one_disturbed_value_is_no_trend() -> None:
    values = noisy(20)
    values[-1] *= 5
    assert trend(values).change == pytest.approx(trend(values[:-1]).change, abs=0.02)


def test_two_speeds_are_found_with_their_share_and_one_speed_is_not() -> None:
    values = [value * (1.2 if place % 3 else 1.0) for place, value in enumerate(noisy(30, 0.005))]
    levels = two_levels(values)
    assert levels is not None
    assert (levels.low, levels.high, levels.share) == pytest.approx((100, 120, 2 / 3), rel=0.01)
    assert two_levels(values[:11]) is None
    assert not any(two_levels(noisy(30, seed=seed)) for seed in range(50))


def test_laps_that_are_alike_widen_the_interval_and_those_that_alternate_do_not() -> None:
    alike, alternating = in_time(0.7, 18, 5), [100.0, 104.0] * 6
    assert lap_interval(alike).half_width > 1.5 * interval(alike).half_width
    assert lap_interval(alternating) == interval(alternating)
    assert lap_interval(alike).value == interval(alike).value


def test_laps_are_never_worth_more_than_their_number_nor_less_than_three() -> None:
    for seed in range(50):
        values = in_time(0.9, 8, seed)
        assert 1 <= lap_interval(values).half_width / interval(values).half_width < 7


def test_no_interval_of_laps_reaches_beyond_them() -> None:
    lasting = sorted(noisy(18, 0.05))
    result, wide = lap_interval(lasting), _widened(single(lasting), 0.95, SHOWN_ERRORS)
    assert (result.low, result.high) == (min(lasting), max(lasting))
    assert wide.low < result.low < result.high < wide.high


def test_equal_laps_depend_on_nothing() -> None:
    assert autocorrelation([1.0] * 8) == 0
    assert lap_interval([40.0] * 8).half_width == 0


def test_laps_that_resemble_the_last_are_allowed_for() -> None:
    studies = [in_time(0.4, 18, seed) for seed in range(TRIALS // 2)]
    assert 0.90 <= covered(100, [lap_interval(study) for study in studies]) <= 0.98
    assert covered(100, [interval(study) for study in studies]) < 0.86


def test_turns_that_differ_by_more_than_their_laps_widen_the_interval() -> None:
    alike = [noisy(6, 0.02, seed) for seed in range(6)]
    apart = [
        [value * factor for value in turn] for turn, factor in zip(alike, (1, 1.1, 0.9, 1.05, 0.95, 1), strict=True)
    ]
    flat = [value for turn in apart for value in turn]
    assert turn_interval(apart).half_width > 1.5 * interval(flat).half_width
    assert turn_interval(apart).value == interval(flat).value


def test_the_interval_of_laps_in_turns_covers_the_truth() -> None:
    random = default_rng(5)
    studies = []
    for _ in range(TRIALS // 4):
        turns = 0.02 * random.standard_normal((8, 1)) + 0.01 * random.standard_normal((8, 5))
        studies.append([[float(value) for value in np.exp(turn)] for turn in turns])
    assert covered(1, [turn_interval(study) for study in studies]) >= 0.93
    assert covered(1, [interval([value for turn in study for value in turn]) for study in studies]) < 0.8


def test_a_common_drift_cancels_in_the_paired_ratio() -> None:
    drift = np.linspace(1, 3, 12)
    slow, fast = drift * noisy(12, 0.002, seed=2), 4 * drift * noisy(12, 0.002, seed=3)
    ratio = paired_ratio(list(fast), list(slow))
    assert ratio.value == pytest.approx(4, rel=0.003)
    assert ratio.half_width < 0.005
    assert interval(list(fast)).half_width > 0.2
    assert interval(list(slow)).half_width > 0.2


def test_a_ratio_of_rounds_that_do_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize(("numerators", "denominators"), [([1.0], [2.0]), ([1.0, -2.0], [1.0, 2.0])])
def test_a_ratio_of_one_round_or_of_what_is_not_positive_is_refused(
    numerators: Sequence[float], denominators: Sequence[float]
) -> None:
    with pytest.raises(ValueError, match=r"at least two|math domain error|positive"):
        paired_ratio(numerators, denominators)


def test_the_looks_are_on_a_geometric_schedule() -> None:
    assert sorted({next_look(count) for count in range(90)}) == [8, 12, 18, 27, 41, 62, 93]


def test_narrow_intervals_at_a_look_are_precise() -> None:
    assert verdict([single([10.0] * 8), single([20.0] * 8)], 0.02) == "precise"


def test_between_two_checks_the_last_one_holds() -> None:
    assert verdict([single([10.0] * 7)], 0.02) is None
    assert verdict([single([10.0] * 8 + [1e6] * 3)], 0.02) == "precise"
    assert verdict([single([10.0] * 8 + [1e6] * 4)], 0.02) is None


def test_one_wide_interval_among_narrow_ones_keeps_a_measurement_going() -> None:
    assert verdict([single([10.0] * 8), single(noisy(8, 0.2))], 0.02) is None


def test_the_target_decides_what_is_precise() -> None:
    values = noisy(8, 0.02)
    width = _widened(single(values), 0.95, STOP_ERRORS).half_width
    assert verdict([single(values)], width) == "precise"
    assert verdict([single(values)], width * 0.99) is None


def test_more_confidence_asks_for_more() -> None:
    values = noisy(8, 0.02)
    between = (
        _widened(single(values), 0.8, STOP_ERRORS).half_width + _widened(single(values), 0.95, STOP_ERRORS).half_width
    ) / 2
    assert verdict([single(values)], between, 0.8) == "precise"
    assert verdict([single(values)], between, 0.95) is None


@pytest.mark.parametrize(("rounds", "expected"), [(12, None), (18, "plateau"), (27, "plateau")])
def test_a_half_width_that_does_not_shrink_is_a_plateau_from_eighteen_rounds_on(
    rounds: int, expected: str | None
) -> None:
    assert verdict([single([1.2**number for number in range(rounds)])], 0.02) == expected


def test_a_half_width_that_stays_the_same_is_a_plateau() -> None:
    two_levels = [1.0, 1.1] * 9
    assert interval(two_levels).half_width == pytest.approx(interval(two_levels[:8]).half_width, rel=1e-9)
    assert verdict([single(two_levels)], 0.02) == "plateau"


def test_independent_noise_that_averages_out_is_no_plateau() -> None:
    expected = [verdict([single(noisy(18, 0.2, seed))], 0.001) for seed in range(20)]
    assert expected.count(None) >= 16


def covered(truth: float, intervals: Sequence[Interval]) -> float:
    return sum(item.low <= truth <= item.high for item in intervals) / len(intervals)


@pytest.mark.parametrize("count", [5, 8, 20])
@pytest.mark.parametrize("shape", ["normal", "log-normal"])
def test_the_interval_holds_the_truth_in_95_of_100_studies(shape: str, count: int) -> None:
    random = default_rng(count)
    noise = random.uniform(0.01, 0.05, (TRIALS, 1)) * random.standard_normal((TRIALS, count))
    studies = 100 * (np.exp(noise) if shape == "log-normal" else 1 + noise)
    assert 0.93 <= covered(100, [interval(list(study)) for study in studies]) <= 0.98


@pytest.mark.parametrize("count", [5, 8, 20])
def test_a_device_against_itself_is_no_faster_in_95_of_100_studies(count: int) -> None:
    random = default_rng(100 + count)
    drift = np.exp(np.cumsum(0.05 * random.standard_normal((TRIALS, count)), axis=1))
    first, second = (drift * np.exp(0.03 * random.standard_normal((TRIALS, count))) for _ in range(2))
    ratios = [paired_ratio(list(a), list(b)) for a, b in zip(first, second, strict=True)]
    assert 0.93 <= covered(1, ratios) <= 0.98


def test_looking_until_it_is_precise_hardly_spoils_the_coverage() -> None:
    random = default_rng(7)
    looks = [8, 12, 18, 27, 41]
    last = []
    for study in np.exp(0.03 * random.standard_normal((TRIALS // 2, looks[-1]))):
        rounds = next((item for item in looks if verdict([single(list(study[:item]))], 0.02)), looks[-1])
        last.append(lap_interval(list(study[:rounds])))
    assert 0.93 <= covered(1, last) <= 0.98
    assert len({item.count for item in last}) > 2


def test_an_interval_is_written_without_an_exponent() -> None:
    assert str(Interval(33123.0, 31123.0, 35123.0, 9)) == "33100 (31100 to 35100)"
    assert str(Interval(0.0123, 0.0111, 0.0135, 9)) == "0.0123 (0.0111 to 0.0135)"
