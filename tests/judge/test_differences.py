"""What differs between two machines."""

import pytest
from making import CPU, FACTS, MPS, facts

from torchlap.judge.machine.differences import difference, differences
from torchlap.schema.machine import Facts, Nvidia, Power


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (facts(python="3.13.0", system="Linux 7", environment={"OMP_NUM_THREADS": "1"}, memory_bytes=1), ""),
        (facts(cpu="Old Processor"), "CPU Old Processor vs. Fast Processor 9"),
        (facts(usable_cores=2), "cores 2 vs. 8"),
        (facts(devices=(CPU, MPS)), "devices cpu, mps Apple M1 Max vs. cpu, cuda:0 NVIDIA H200"),
        (facts(packages={"torch": "2.12.0"}), "torch 2.12.0 vs. 2.13.0; torchvision none vs. 0.28.0"),
    ],
)
def test_what_makes_results_incomparable_is_named(theirs: Facts, expected: str) -> None:
    assert difference(FACTS, theirs) == expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (FACTS, ()),
        (facts(python="3.13.0", system=""), ("system Linux 6.8 vs. unknown", "Python 3.11.9 vs. 3.13.0")),
        (facts(nvidia=Nvidia(driver="580.1")), ("NVIDIA driver none vs. 580.1",)),
        (facts(environment={"A": "1", "B": "2"}), ("environment no variables vs. A=1 B=2",)),
        (
            facts(power=Power(on_battery=True, power_saving=True)),
            ("power plugged in vs. on battery and saving power",),
        ),
    ],
)
def test_everything_that_results_depend_on_is_compared(other: Facts, expected: tuple[str, ...]) -> None:
    assert differences(FACTS, other) == expected
