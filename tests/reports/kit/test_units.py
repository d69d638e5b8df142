import pytest

from torchlap.reports.kit.units import binary, is_vague, number, scaled, significant, with_interval
from torchlap.stats import Interval


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (1234.5, 10.0, "1234"),
        (33123.0, 2000.0, "33100"),
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
def test_a_value_has_the_digits_that_its_spread_justifies(value: float, spread: float, text: str) -> None:
    assert number(value, spread) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(6.1, 5.9, 6.31, 12), "6.1x (5.9 to 6.3)"),
        (Interval(40.0, 39.98, 40.02, 12), "40.00x (39.98 to 40.02)"),
        (Interval(40.0, 40.0, 40.0, 5), "40.0x (40.0 to 40.0)"),
        (Interval(6.1, 2.0, 20.0, 2), "~6.1x (n = 2, wide)"),
        (Interval(6.1, 6.1 / 2.7, 6.1 * 2.7, 3), "6.1x (2.3 to 16.5)"),
        (Interval(512.3, 1.0, 1e9, 2), "~510x (n = 2, wide)"),
        (Interval(15396.0, 1329.0, 178350.0, 3), "~15000x (n = 3, wide)"),
        (Interval(15396.0, 12011.0, 18004.0, 9), "15400x (12000 to 18000)"),
        (Interval(94688.0, 94394.0, 95211.0, 9), "94690x (94390 to 95210)"),
    ],
)
def test_limits_that_are_too_wide_are_left_out(interval: Interval, text: str) -> None:
    assert with_interval(interval, "x") == text
    assert is_vague(interval) is text.endswith("wide)")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0180, "0.0180"), (79.12, "79.1"), (999.7, "1000"), (12345, "12300"), (1e-300, "0.000000000")],
)
def test_three_digits_are_significant(value: float, text: str) -> None:
    assert significant(value) == text


def test_prefixes_keep_values_short() -> None:
    assert (scaled(640, "FLOP"), scaled(2.5e13, "FLOP/s")) == ("640 FLOP", "25.0 TFLOP/s")
    assert (binary(961 * 2**20), binary(12)) == ("961 MiB", "12.0 B")
