"""What differs between the arms of a run, in words."""

from typing import Any

import pytest
from making import cell, plan, prepared, rounds, run
from msgspec.structs import replace

from torchlap.judge.arms import differences
from torchlap.judge.compare import Change, compare
from torchlap.judge.measurement import findings
from torchlap.reports.run.headline import headline
from torchlap.reports.run.next_step import command, next_step
from torchlap.reports.run.rows import judged
from torchlap.reports.run.table import legend
from torchlap.runs.find import Named
from torchlap.runs.starts import LEAST_STARTS
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions, Event, Round, Run, RunFinished
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Identity

SLOW = [0.1, 0.101, 0.099, 0.1, 0.102, 0.098, 0.1, 0.1]
BOTH = {"torch": "2.13.0", "numpy": "2.1"}


def compared(*arms: Arm, identities: tuple[Identity, ...] = (), **second: Any) -> Run:
    """A run of two arms, the second of which is half as fast."""
    cells = tuple(replace(cell(device="cpu", recipe=arm.recipe or Recipe()), arm=arm.name) for arm in arms)
    measured = replace(plan(Group(cells), suite="own"), arms=arms, identities=identities)
    events: list[Event] = [prepared(0), prepared(1, **second), *rounds(SLOW, [2 * seconds for seconds in SLOW])]
    return run(events, measured)


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (Arm("b"), ()),
        (Arm("b", python="3.12.1"), ("Python 3.11.7 vs. 3.12.1",)),
        (
            Arm("b", packages={"torch": "2.14.0", "triton": "3.5"}),
            ("torch 2.13.0 vs. 2.14.0", "numpy 2.1 vs. none", "triton none vs. 3.5"),
        ),
        (Arm("b", interpreter="/opt/python"), ("environment of Python",)),
        (Arm("b", environment={"A": "1"}), ("A unchanged vs. 1",)),
        (Arm("b", recipe=Recipe("bf16")), ("recipe fp32 vs. bf16",)),
    ],
)
def test_what_an_arm_has_differs_in_words(second: Arm, found: tuple[str, ...]) -> None:
    first = Arm("a", python="3.11.7", packages=BOTH)
    second = replace(second, python=second.python or first.python, packages=second.packages or BOTH)
    assert differences(compared(first, second)) == {"b": found}


def test_what_its_cells_turned_out_to_be_differs_in_words() -> None:
    found = differences(compared(Arm("a"), Arm("b"), threads=3, parameters=7, first_loss=9.0))["b"]
    assert [text.partition(" ")[0] for text in found] == ["threads", "parameters", "first"]
    assert found[-1].endswith("vs. 9")


def test_an_own_file_that_is_not_the_same_in_both_arms_is_named() -> None:
    files = (Identity("net.py:make", 10, "a" * 64, arm="a"), Identity("net.py:make", 10, "b" * 64, arm="b"))
    assert differences(compared(Arm("a"), Arm("b"), identities=files)) == {"b": ("file aaaaaaaa vs. bbbbbbbb",)}


def test_a_revision_is_named_and_a_file_that_did_not_change() -> None:
    files = tuple(Identity("net.py:make", 10, "a" * 64, arm=name) for name in "ab")
    first = Arm("a", folder="/there", revision="main", commit="c" * 40)
    assert differences(compared(first, Arm("b", folder="/here"), identities=files))["b"] == (
        "files of main (cccccccc) vs. files as they are",
        "but the contents of net.py:make are the same",
    )


def test_a_run_without_arms_has_no_differences() -> None:
    assert differences(run([])) == {}


def test_an_answer_from_a_disturbed_run_says_so() -> None:
    found = compared(Arm("a"), Arm("b"))
    busy = Conditions(group=0, seconds=10.0, others_cpu_share=0.8)
    text = headline(judged(replace(found, events=(*found.events, busy))))
    assert "but this was disturbed (TL208): measure again." in text


def between(found: Run, *events: Event) -> Change:
    """The arms of a run, compared."""
    (change,) = compare([Named("a", replace(found, events=(*found.events, *events)))], across="arm").changes
    return change


def test_two_arms_are_compared_by_the_rounds_of_their_run() -> None:
    change = between(compared(Arm("a"), Arm("b", recipe=Recipe("bf16"))))
    assert (change.column, change.reason, change.verdict) == ("b", "paired", "slower")
    assert change.ratio == pytest.approx(0.5)
    assert change.recipe == "fp32, bf16"


@pytest.mark.parametrize(
    ("conditions", "codes"),
    [
        (Conditions(group=0, seconds=10.0, others_cpu_share=0.8), ("TL208",)),
        (Conditions(group=0, seconds=10.0, swap_grown_bytes=1 << 30), ("TL212",)),
        (Conditions(group=0, seconds=10.0, others_cpu_share=0.01), ()),
    ],
)
def test_a_disturbance_that_does_not_cancel_rules_out_a_verdict(conditions: Conditions, codes: tuple[str, ...]) -> None:
    change = between(compared(Arm("a"), Arm("b")), conditions)
    assert (change.codes, change.verdict) == (codes, "inconclusive" if codes else "slower")
    assert (change.ground is None) == bool(codes)


def test_what_slows_down_both_arms_alike_rules_out_nothing() -> None:
    cells = tuple(replace(cell(), arm=arm) for arm in "ab")
    slower_and_slower = [0.1 * 1.05**number for number in range(20)]
    events: list[Event] = [
        prepared(0),
        prepared(1),
        *rounds(slower_and_slower, [2 * value for value in slower_and_slower]),
    ]
    drifting = run(events, replace(plan(Group(cells)), arms=(Arm("a"), Arm("b"))))
    assert "TL204" in {finding.code for finding in findings(drifting)}
    assert between(drifting).verdict == "slower"
    assert "disturbed" not in headline(judged(drifting))


def test_arms_with_another_model_are_not_the_same_workload() -> None:
    change = between(compared(Arm("a"), Arm("b"), parameters=7))
    assert (change.verdict, change.reason) == (
        "inconclusive",
        "not the same workload: 11,689,512 vs. 7 parameters",
    )


def test_the_answer_and_the_next_step_name_the_arms() -> None:
    found = compared(Arm("a"), Arm("b", environment={"A": "1 2"}))
    assert headline(judged(found)).startswith("b is 0.50x (0.48 to 0.52) as fast as a")
    assert command(found).endswith("--arm a --arm 'b=env:A=1 2'")
    assert next_step(judged(found))[0] == "Measure longer"
    against = compared(Arm("main", revision="main"), Arm("new"))
    assert command(against).endswith("--against main")
    interrupted = RunFinished(reason="interrupted", wall_seconds=1.0, start_up_seconds=0.0)
    assert next_step(judged(replace(found, events=(*found.events, interrupted))))[0] == "Continue this run"
    assert next_step(judged(replace(against, events=(*against.events, interrupted))))[0] == "Measure longer"


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        (1, "Each arm was started only once: another process of the same program may differ by up to 4%"),
        (2, "Each arm was started only twice"),
        (3, "Each arm was started 3 times, and the intervals are over these starts."),
    ],
)
def test_the_report_says_how_often_the_arms_were_started(starts: int, words: str) -> None:
    once = compared(Arm("a"), Arm("b"))
    rounds_of = [event for event in once.events if isinstance(event, Round)]
    again = [replace(event, start=start) for start in range(starts) for event in rounds_of]
    often = replace(once, events=(*once.events[:2], *again))
    assert words in legend(judged(often))
    assert ("0.500x (0.500 to 0.500)" in headline(judged(often))) == (starts >= LEAST_STARTS)
