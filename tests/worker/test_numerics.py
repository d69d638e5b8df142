"""What is checked of a device's results: the limits, and the suite of operators on a device with one fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numerics_rates import checked
from support import PATIENCE_SECONDS, own
from virtual import Clock, Here

from torchlap.judge.numerics import verdict
from torchlap.schema.numerics import OperatorSuite
from torchlap.schema.replies import SuiteChecked
from torchlap.schema.requests import CheckSuite
from torchlap.worker.numerics.tolerance import GROWTH, SINGLE, allowed, allowed_worst


@given(st.floats(0, 1, allow_subnormal=False), st.integers(1, 10**7), st.sampled_from([0.0, 2.0**-8, 2.0**-11]))
def test_a_right_implementation_is_within_its_own_limits(own_error: float, elements: int, unit: float) -> None:
    assert allowed(own_error, elements, unit) >= own_error
    assert allowed(own_error, elements, unit) >= GROWTH * SINGLE
    assert allowed_worst(own_error, elements, unit) >= allowed(own_error, elements, unit)
    assert allowed(0.0, 10**6) < 2e-4  # a product in TF32 is not within float32's limit


def test_an_error_of_a_hundredth_is_too_much_even_in_bfloat16() -> None:
    rounding = 1.7e-3  # what storing values in bfloat16 costs, relative
    assert allowed(rounding, 10**5, 2.0**-8) < 0.01


def suite(fault: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> OperatorSuite:
    """What the suite finds on an accelerator with a fault, by a worker in this process."""
    monkeypatch.setattr("virtual.FAULT", fault)
    with clock.ticking():
        return Here(clock).start().ask(CheckSuite(device="sim:0"), SuiteChecked, PATIENCE_SECONDS).found


def test_the_suite_finds_no_fault_in_a_right_device(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    found = suite("", clock, monkeypatch)
    assert (found.fault_count, found.faults) == (0, ())
    assert found.calls > 800


def test_the_suite_ends_with_its_time(clock: Clock) -> None:
    with clock.ticking():
        request = CheckSuite(device="sim:0", limit_seconds=0.0)
        found = Here(clock).start().ask(request, SuiteChecked, PATIENCE_SECONDS).found
    assert (found.calls, found.left_out) == (0, "out of time; raise --budget")


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        pytest.param("does_nothing_on_transposed:aten.addcdiv_.default", "Adam", marks=pytest.mark.long),
        ("half_more_of_sliced:aten.convolution_backward.default", "conv2d, sliced weight"),
        pytest.param("half_more:aten.tanh_backward.default", "tanh", marks=pytest.mark.long),
        pytest.param("all_ones:aten.bernoulli_.float", "bernoulli_", marks=pytest.mark.long),
        pytest.param("stale:aten.cumsum.default", "cumsum", marks=pytest.mark.long),
    ],
)
def test_the_suite_names_what_is_wrong(fault: str, named: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    found = suite(fault, clock, monkeypatch)
    assert found.fault_count > 0
    assert any(fault.module.startswith(named) for fault in found.faults), found.faults


def test_a_check_does_not_begin_a_second_run_that_does_not_fit(clock: Clock) -> None:
    clock.call_seconds = 1.0
    with clock.ticking():
        whole = checked(own("small"), 4, "fp32", "sim:0")
    limit = whole.seconds * 0.7
    with clock.ticking():
        found = checked(own("small"), 4, "fp32", "sim:0", limit_seconds=limit)
    assert whole.repeated
    assert not found.repeated
    assert found.seconds <= limit
    assert "the second run of the step: more time (--budget)" in found.unchecked


def test_a_captured_step_that_there_is_no_time_to_compare_is_not_checked(clock: Clock) -> None:
    clock.call_seconds = 1.0
    with clock.ticking():
        found = checked(own("small"), 4, "graph", "sim:0", limit_seconds=3.0)
    assert (verdict(found), found.reason) == ("not checked", "out of time; raise --budget")
