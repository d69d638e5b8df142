"""Findings about several ranks: each is found where it was put, and nowhere else."""

from collections.abc import Callable

import pytest
from known_ranks import ALONE_SECONDS, Known, measured, ranks_of
from msgspec.structs import replace

from torchlap.judge.scaling import findings, reasons
from torchlap.runs.scaling import sizes
from torchlap.schema.events import Watched
from torchlap.schema.ranks import RankNumerics
from torchlap.schema.recipe import parse_recipe

OK = RankNumerics(limit=1e-3, steps=20, whole_error=1e-7, gradient_error=1e-7)
OF_MEASURING = ("TL201", "TL202", "TL203", "TL206", "TL208", "TL210", "TL216", "TL221")
"""Findings about laps and about what else this machine is doing, which these tests are not about."""


def codes(known: Known) -> set[str]:
    return {finding.code for finding in findings(measured(known))} - set(OF_MEASURING)


def put(what: Callable[[Known], None]) -> set[str]:
    known = Known()
    known.exposed = 0.0005
    what(known)
    return codes(known)


def waits(known: Known) -> None:
    def watched(size: object) -> Watched:
        share = 0.4 if ranks_of(size) > 1 else 0.05  # type: ignore[arg-type]  # a cell
        return Watched(step_seconds=0.03, enqueue_seconds=0.02, input_wait_seconds=0.03 * share)

    known.watched = watched


def set_numerics(**changes: object) -> Callable[[Known], None]:
    def change(known: Known) -> None:
        known.numerics = replace(OK, **changes)

    return change


def set_facts(**changes: object) -> Callable[[Known], None]:
    return lambda known: known.facts.update(changes)


def test_ranks_with_nothing_wrong_have_no_finding() -> None:
    assert put(set_numerics()) == set()


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("TL601", lambda known: setattr(known, "alone_factor", 1.2)),
        ("TL602", lambda known: setattr(known, "slow_rank", 1.2)),
        ("TL603", set_facts(transports=("NET/Socket",), nvlink=True)),
        ("TL604", set_facts(threads=64)),
        ("TL604", set_facts(loader_workers=60)),
        ("TL605", waits),
        ("TL606", lambda known: setattr(known, "exposed", 0.006)),
        ("TL607", set_numerics(gradient_error=0.5, worst="layer.weight")),
        ("TL608", set_numerics(differing=("layer.weight",))),
        ("TL609", set_numerics(whole_error=0.5)),
        ("TL610", set_numerics(whole_error=0.5, batch_norm=True)),
        ("TL611", set_numerics(reason="crash: Rank 1 was killed.")),
    ],
)
def test_each_finding_is_found_where_it_was_put(code: str, what: Callable[[Known], None]) -> None:
    found = put(what)
    assert code in found
    assert found <= {code, "TL606", "TL217", "TL602"}


@pytest.mark.parametrize(
    "what",
    [
        set_facts(transports=("P2P/CUMEM",), nvlink=True),
        set_facts(transports=("NET/Socket",), nvlink=False),
        set_facts(threads=32),
        lambda known: setattr(known, "slow_rank", 1.01),
        set_numerics(whole_error=None, whole_reason="one device has too little memory for the whole batch"),
    ],
)
def test_what_is_as_it_should_be_is_not_accused(what: Callable[[Known], None]) -> None:
    assert put(what) == set()


def test_the_reasons_name_what_is_added_to_a_step() -> None:
    (size,) = sizes(measured())
    first, second, third = reasons(size)
    assert first == "A step takes 30 ms on one device, and 36 ms on 2 together"
    assert second.startswith(("+1 ms", "+1.0", "+0.9"))
    assert "is communication that is not hidden; an all-reduce of the gradients (100 MB) by itself takes 2 ms" in third
    assert "hooks, buckets, buffers" in third


def test_a_launch_bound_step_says_why_a_larger_batch_is_better() -> None:
    known = Known()
    known.watched = lambda _: Watched(step_seconds=0.03, enqueue_seconds=0.0295, input_wait_seconds=0.0)
    (size,) = sizes(measured(known))
    assert "launch-bound" in list(reasons(size))[-1]


def test_what_shards_says_that_its_communication_cannot_be_separated() -> None:
    known = Known()
    (size,) = sizes(measured(known, recipe=parse_recipe("fp32+shard", of_ranks=True)))
    assert "FSDP2" in list(reasons(size))[1]
    assert size.communication.of_step is None
    assert known.alone == ALONE_SECONDS
