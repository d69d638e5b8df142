from typing import get_args

import pytest
from making import failure, run

from torchlap.reports.kit.figures import FAILURE_WORDS, failure_text, throughput_text
from torchlap.runs.figures import cells, figures
from torchlap.schema.base import FailureKind


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_every_failure_has_its_words(kind: FailureKind) -> None:
    assert failure_text(failure(kind=kind)) == FAILURE_WORDS[kind]


def test_a_cell_that_was_too_slow_has_the_time_of_a_step() -> None:
    assert failure_text(failure(kind="too_slow", estimate_seconds=12.345)) == "too slow: ~12 s/step"
    assert failure_text(failure(kind="crash", estimate_seconds=12.345)) == "crashed"


def test_a_cell_without_laps_was_not_measured() -> None:
    assert [throughput_text(result, "") for result in cells(figures(run()))] == ["not measured", "not measured"]
