"""Findings about a search for the fastest recipe (TL5xx), each rule directly above the function that yields it."""

import sys
from collections.abc import Iterator
from statistics import median

from torchlap.judge.findings import Finding, Rule, catalogue
from torchlap.runs.figures import Tally, tally
from torchlap.runs.tuning import TunedRun, tuned
from torchlap.schema.base import OUT_OF_TIME
from torchlap.schema.events import Run
from torchlap.stats import plain

SAME_RATE = 1.03
"""The printed code may be this many times faster or slower than the row."""

MOST_NAMED = 5

NOTHING_FASTER = Rule(
    "TL501",
    "note",
    "no faster recipe found",
    "No word was shown to be faster: each interval, corrected for the number of comparisons, contains 1 or less.",
    "Keep the plain step. A larger batch may help: torchlap tune with --allow batch; so may more time: --effort full.",
)


def nothing_faster(found: TunedRun) -> Iterator[Finding]:
    """No candidate of the default tier won."""
    raced = [rung for rung in found.rungs if rung.tier == "same" and rung.gain is not None]
    if raced and "same" not in found.winners:
        counted = "1 word was" if len(raced) == 1 else f"{len(raced)} words were"
        yield NOTHING_FASTER.finding(str(found.plain.cell), f"{counted} raced in the same arithmetic")


GUARDED_OUT = Rule(
    "TL502",
    "warning",
    "a faster recipe that does not train the same",
    "The candidate is faster, but its results, its loss or its parameters are not those of the plain step, so its "
    "speed does not count.",
    "Do not use it. Report it with torchlap verify MODEL --recipe RECIPE --report-bug FILE if operators are wrong.",
    "the loss of 50 steps beside plain runs with perturbed weights and other random numbers: docs/tune.md",
)


def guarded_out(found: TunedRun) -> Iterator[Finding]:
    """A candidate failed the guard."""
    for rung in found.rungs:
        if rung.out and rung.result.failure is None:
            yield GUARDED_OUT.finding(str(rung.result.cell), rung.out)


NOT_GUARDED = Rule(
    "TL503",
    "note",
    "loss not followed",
    "Whether the winner trains as the plain step does is unknown: its first 50 steps were not compared.",
    "Raise --budget.",
)


def not_guarded(found: TunedRun) -> Iterator[Finding]:
    """A winner was not compared with the plain step."""
    for tier, number in found.winners.items():
        rung = found.rung(number)
        if rung and tier != "training" and rung.loss is None and rung.result.cell.workload.phase == "train":
            yield NOT_GUARDED.finding(str(rung.result.cell), "its loss was not followed within the budget")


CODE_DIFFERS = Rule(
    "TL504",
    "warning",
    "the printed code has another speed",
    "The code was run in a process of its own, and its throughput is not within 3% of the table's: something that the "
    "code does differently, such as its data, matters at this speed; or the machine was busy.",
    "Measure the code on a quiet machine: it prints its own throughput.",
)


def code_differs(group: Tally, found: TunedRun) -> Iterator[Finding]:
    """The code's throughput is not that of the row, or it failed."""
    for number, code in group.codes.items():
        cell = group.group.cells[number]
        rung = found.rung(number)
        figure = (rung.result if rung else found.plain).throughput
        if code.reason and code.code:
            yield CODE_DIFFERS.finding(str(cell), f"the code failed: {code.reason}")
        elif code.rates and figure:
            ratio = median(code.rates) / figure.value
            if not 1 / SAME_RATE <= ratio <= SAME_RATE:
                rates = f"{plain(median(code.rates), 4)} vs. {plain(figure.value, 4)} {cell.workload.unit}/s"
                yield CODE_DIFFERS.finding(str(cell), f"{rates}, {plain(ratio)}x")


CUT_SHORT = Rule(
    "TL505",
    "note",
    "some words were not raced",
    "A faster recipe may be among them.",
    "Raise --budget, or use --effort full.",
)


def cut_short(found: TunedRun) -> Iterator[Finding]:
    """Candidates had no time."""
    words = [rung.word for rung in found.rungs if rung.result.failure and rung.result.failure.kind in OUT_OF_TIME]
    if words:
        more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
        yield CUT_SHORT.finding(str(found.plain.cell), f"{', '.join(words[:MOST_NAMED])}{more}: out of time")


CATALOGUE = catalogue(sys.modules[__name__])


def findings(run: Run) -> tuple[Finding, ...]:
    """What to know before relying on the answer of a search, sorted by code; nothing for other runs."""
    found = tuned(run)
    if found is None:
        return ()
    group = tally(run)[0]
    every = [
        *nothing_faster(found),
        *guarded_out(found),
        *not_guarded(found),
        *code_differs(group, found),
        *cut_short(found),
    ]
    return tuple(sorted(every, key=lambda finding: finding.code))
