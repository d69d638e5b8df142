"""A sleep of the machine and a clock that was set, from what its clocks read before and after."""

import pytest

from torchlap.machine.clocks import Jump, Moment, jump, read

BEFORE = Moment(100.0, 150.0, 1000.0)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Moment(101.0, 151.0, 1001.0), None),
        (Moment(101.0, 151.5, 1001.5), None),
        (Moment(101.0, 181.0, 1031.0), Jump(30.0, 0.0)),
        (Moment(101.0, 181.0, 1001.0), Jump(30.0, -30.0)),
        (Moment(101.0, 151.0, 901.0), Jump(0.0, -100.0)),
        (Moment(101.0, None, 1031.0), Jump(0.0, 30.0)),
    ],
    ids=["quiet", "busy", "sleep", "sleep of a machine without a clock chip", "set back", "virtual machine paused"],
)
def test_clocks_that_disagree_tell_what_happened(after: Moment, expected: Jump | None) -> None:
    assert jump(BEFORE, after) == expected


def test_the_clocks_of_this_machine_agree() -> None:
    before = read()
    assert jump(before, read()) is None
