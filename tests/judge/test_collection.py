"""A collection of run files: what is refused, what is marked, and what figures say together."""

from collections.abc import Sequence
from typing import Any

import pytest
from known_ranks import measured as measured_ranks
from making import CPU, CUDA, FAULT, cell, explained, facts, failure, header, plan, prepared, reached, rounds
from msgspec.structs import replace

from torchlap.errors import RunFileError
from torchlap.judge.collection import (
    Collection,
    Submission,
    accepted,
    history,
    in_own_folder,
    put_together,
    spreads,
    unreadable,
    without_identities,
)
from torchlap.schema.events import Event, NumericsChecked, Run, RunFinished
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics
from torchlap.schema.workload import Group

FASTER = [0.02, 0.0202, 0.0198, 0.0201, 0.0199, 0.02, 0.0203, 0.0197]


def machine(**changes: Any) -> Facts:
    return facts(devices=(CPU, CUDA), **changes)


def sent(
    owner: str = "alice",
    *,
    speed: float = 1.0,
    events: Sequence[Event] = (),
    facts: Facts | None = None,
    model: str = "resnet18",
    name: str = "a.jsonl",
    **changes: Any,
) -> Submission:
    """A file with one cell on a GPU, at 200 images a second times `speed`."""
    planned = plan(Group((cell("cuda:0", model=model),)))
    lines = [prepared(0), *rounds([seconds / speed for seconds in FASTER]), *events]
    first = header(planned, facts or machine())
    run = Run(replace(first, **changes), tuple(lines))
    return accepted(f"{owner}/{name}", owner, run)


def codes(collection: Collection) -> list[str]:
    return [finding.code for finding in collection.refused]


def checked(**changes: Any) -> NumericsChecked:
    return NumericsChecked(group=0, cell=0, numerics=Numerics(operators=9, products=9, **changes))


def owners(count: int, **changes: Any) -> list[Submission]:
    """Files of so many owners, each a little faster than the one before."""
    return [sent(f"owner{number}", speed=1 + number / 1000, **changes) for number in range(count)]


def test_a_valid_file_becomes_an_entry_with_figures_from_its_laps() -> None:
    (entry,) = sent().entries
    assert entry.key == ("resnet18", 4, "train", "fp32", 0, "images")
    assert (entry.chip, entry.torch, entry.owner) == ("NVIDIA H200", "2.13.0", "alice")
    assert entry.low < 200 < entry.high
    assert entry.value == pytest.approx(200, rel=0.01)


def test_several_ranks_are_a_chip_of_their_own_and_count_only_if_they_synchronize() -> None:
    entries = accepted("a/x.jsonl", "a", measured_ranks(ranks=(2,))).entries
    assert [(entry.chip, entry.kind, entry.key[3]) for entry in entries] == [
        ("NVIDIA H100", "cuda", "fp32"),
        ("2 x NVIDIA H100", "cuda", "fp32"),
    ]


def test_an_unreadable_file_is_refused_with_the_reason() -> None:
    collection = put_together([unreadable("bob/x.jsonl", "bob", RunFileError("It has a newer schema."))])
    assert [(each.code, each.where, each.evidence) for each in collection.refused] == [
        ("TL801", "bob/x.jsonl", "It has a newer schema")
    ]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("TL802", {"published": "in a journal"}),
        ("TL803", {"events": (failure(0, "not_finite"),)}),
        ("TL803", {"events": (checked(imprecise=9),)}),
        ("TL803", {"events": (checked(faults=(FAULT,)),)}),
        ("TL804", {"events": (explained(0), reached("cuda:0", flops={"fp32": 4e11}))}),
        ("TL806", {"events": (RunFinished(reason="complete", wall_seconds=0.1, start_up_seconds=0.0),)}),
        ("TL809", {"model": "net.py:tiny"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(code: str, changes: dict[str, Any]) -> None:
    collection = put_together([sent(**changes)])
    assert (codes(collection), collection.entries) == ([code], ())


def test_utilization_up_to_the_measured_peak_is_accepted() -> None:
    (entry,) = sent(events=(explained(0), reached("cuda:0", flops={"fp32": 6e11}))).entries
    assert entry.utilization == pytest.approx(10**10 / 0.02 / 6e11, rel=0.01)


def test_a_figure_above_what_three_other_owners_measured_is_refused() -> None:
    honest = [
        sent(f"owner{number}", speed=1 + number / 1000, events=(explained(0), reached("cuda:0", flops={"fp32": 6e11})))
        for number in range(4)
    ]
    forged = sent("mallory", speed=1.5, name="b.jsonl")
    assert codes(put_together([*honest, forged])) == ["TL805"]
    assert codes(put_together([*honest[:2], forged])) == []


def test_of_two_files_with_the_same_laps_the_later_one_is_refused() -> None:
    first, copy = sent("alice"), sent("mallory", started="2027-01-01T00:00:00Z")
    collection = put_together([copy, first])
    assert [(each.code, each.where) for each in collection.refused] == [("TL807", "mallory/a.jsonl")]
    backdated = sent("mallory", started="2020-01-01T00:00:00Z")
    checked = put_together([first, backdated], newest={"mallory/a.jsonl"})
    assert [each.where for each in checked.refused] == ["mallory/a.jsonl"], "whatever a new file says about its start"


def test_agreement_counts_only_between_different_owners() -> None:
    twice = [sent("alice", speed=speed, name=f"{speed}.jsonl") for speed in (1.0, 1.001)]
    assert not any(entry.reproduced for entry in put_together(twice).entries)
    both = put_together([sent("alice"), sent("bob", speed=1.01)])
    assert all(entry.reproduced for entry in both.entries)


@pytest.mark.parametrize(
    "other",
    [
        {"speed": 1.2},
        {"facts": machine(packages={"torch": "2.14.0"})},
        {"facts": facts(devices=(CPU, replace(CUDA, model="NVIDIA L4")))},
        {"model": "resnet34"},
        {"owner": ""},
    ],
    ids=["another speed", "another torch", "another chip", "another model", "an unknown owner"],
)
def test_other_figures_reproduce_nothing(other: dict[str, Any]) -> None:
    changes: dict[str, Any] = {"owner": "bob", "speed": 1.001} | other
    collection = put_together([sent("alice"), sent(**changes)])
    assert [entry.reproduced for entry in collection.entries] == [False, False]


def test_a_wide_interval_reproduces_nothing() -> None:
    wide = replace(
        sent("bob", speed=1.001), entries=tuple(replace(e, low=20.0, high=2000.0) for e in sent("bob").entries)
    )
    assert not any(entry.reproduced for entry in put_together([sent("alice"), wide]).entries)


def test_reproduction_is_found_among_many_intervals() -> None:
    speeds = {"alice": 1.0, "bob": 2.0, "carol": 2.01, "dave": 4.0}
    collection = put_together([sent(owner, speed=speed) for owner, speed in speeds.items()])
    assert {entry.owner for entry in collection.entries if entry.reproduced} == {"bob", "carol"}


def test_an_outlier_needs_enough_machines_and_distance() -> None:
    assert not any(entry.outlier for entry in put_together([*owners(3), sent("slow", speed=0.5)]).entries)
    assert not any(entry.outlier for entry in put_together([*owners(6), sent("slow", speed=0.9)]).entries)
    marked = [entry for entry in put_together([*owners(6), sent("slow", speed=0.5)]).entries if entry.outlier]
    assert [entry.owner for entry in marked] == ["slow"]
    assert marked[0].outlier == pytest.approx(0.5, rel=0.01)


def test_each_machine_counts_once_in_the_spread_and_outliers_are_left_out() -> None:
    again = sent("owner0", speed=1.0005, name="again.jsonl")
    collection = put_together([*owners(6), again, sent("slow", speed=0.5)])
    (spread,) = spreads(collection.entries)
    assert (spread.machines, spread.owners, spread.outliers) == (6, 6, 1)
    assert spread.low == pytest.approx(200, rel=0.01)


def test_the_history_is_by_release_in_the_order_of_versions() -> None:
    versions = ["2.10.0", "2.9.1", "2.11.0+cu130", "2.9.0"]
    sent_in = [
        sent(f"o{number}", speed=1 + number / 100, facts=machine(packages={"torch": version}))
        for number, version in enumerate(versions)
    ]
    found = history(put_together(sent_in).entries)
    assert [(each.label, each.machines) for each in found] == [("2.9", 2), ("2.10", 1), ("2.11", 1)]


@pytest.mark.parametrize(
    ("changes", "is_virtual"),
    [
        ({"cpu": "AMD EPYC 9654 96-Core Processor"}, False),
        ({"cpu": "AMD EPYC"}, True),
        ({"cpu": "Intel(R) Xeon(R) Processor"}, True),
        ({"cpu": "Intel(R) Xeon(R) Platinum 8480+"}, False),
        ({"cpu": "Common KVM processor"}, True),
        ({"cpu": "Apple M4", "virtual": True}, True),
        ({"cpu": "Apple M4"}, False),
    ],
)
def test_a_virtual_machine_is_marked(changes: dict[str, Any], is_virtual: bool) -> None:
    (entry,) = sent(facts=machine(**changes)).entries
    assert entry.virtual is is_virtual


def test_a_file_belongs_into_its_authors_folder() -> None:
    assert [each.code for each in in_own_folder("alice/a.jsonl", "bob")] == ["TL812"]
    assert [each.code for each in in_own_folder("a.jsonl", "bob")] == ["TL812"]
    assert not [*in_own_folder("Alice/a.jsonl", "alice"), *in_own_folder("alice/a.jsonl", "")]


def test_identities_are_refused() -> None:
    assert [each.code for each in without_identities("a.jsonl", ("/home/alice",))] == ["TL808"]
    assert not list(without_identities("a.jsonl", ()))
