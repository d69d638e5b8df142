"""Two processes of one program differ: does the interval over several starts know, and what power is left?

    python benchmarks/starts.py [--pairs 1000] [--limit 0.05]

Prints a Markdown table of simulated pairs of arms whose processes differ by 0.3, 1 and 3% (standard deviation) on top
of 1% from lap to lap, with one start of each side, with three and with five: how many whole intervals of equal arms are
below or above 1 (2.5% each are expected), how many equal arms `torchlap compare` calls faster and the gate calls
slower, and how many slow-downs to 0.96x, 0.92x and 0.85x the gate sees.

Exits with 1 if, with three or five starts, more than 1% of equal arms are called slower or faster, or if more than 3.5%
of the intervals miss 1 on either side.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import Pool
from typing import NamedTuple

import noise
import numpy as np
from gate import MOST_FALSE, SPEEDS, STARTS, Machine, live
from numpy.random import Generator, default_rng

from torchlap.judge.compare import Gate, gate
from torchlap.runs.starts import LEAST_STARTS

SPREADS = (0.003, 0.01, 0.03)
MOST_MISSED = 0.035
SHARE = 0.25
LAPS = 0.01
"""Standard deviation from lap to lap."""


class Kind(NamedTuple):
    """How the processes differ, where `spread` is the standard deviation, on the log scale."""

    words: str
    spread: float
    starts: int
    one_in_four: bool

    def draw(self, generator: Generator, count: int) -> noise.Pair:
        """The laps of two sides: every process differs from every other, or one in four is slower than the others."""
        shifts = self.spread * generator.standard_normal((2, self.starts))
        if self.one_in_four:
            shifts = self.spread / (SHARE * (1 - SHARE)) ** 0.5 * (generator.random((2, self.starts)) < SHARE)
        laps = np.repeat(shifts, count // self.starts, axis=1) + LAPS * generator.standard_normal((2, count))
        return laps[0], laps[1]


class Called(NamedTuple):
    """What was said about a pair: the gate, the verdict, and on which side of 1 the whole interval is, if on one."""

    gate: Gate
    verdict: str
    side: int


def called(kind: Kind, speed: float, limit: float, seed: int) -> Called:
    """What is said about a simulated pair."""
    generator = default_rng([round(1000 * kind.spread), kind.one_in_four, kind.starts, round(speed * 100), seed])
    found = live(Machine("", kind.draw, 0.0, 0.0), speed, generator, kind.starts)
    (change,) = found.changes
    interval = change.interval
    side = 0 if interval is None else int(interval.low > 1) - int(interval.high < 1)
    return Called(gate(found, limit), change.verdict, side)


def row(kind: Kind, pairs: int, limit: float, pool: Pool) -> tuple[str, bool]:
    """A row of the table, and whether it keeps the promise."""
    found = [pool.map(partial(called, kind, speed, limit), range(pairs), chunksize=20) for speed in SPEEDS]
    equal = found[0]
    below, above = (sum(one.side == side for one in equal) for side in (-1, 1))
    faster = sum(one.verdict == "faster" for one in equal)
    slower = [sum(one.gate == "slower" for one in of_speed) for of_speed in found]
    passed = sum(one.gate == "pass" for one in equal)
    cells = [f"{kind.spread:.1%}, {kind.words}", kind.starts, f"{below}, {above}", faster, *slower, passed]
    missed = max(below, above) <= MOST_MISSED * pairs
    kept = kind.starts == 1 or (missed and max(faster, slower[0]) <= MOST_FALSE * pairs)
    return f"| {' | '.join(map(str, cells))} |", kept


def table(pairs: int, limit: float, pool: Pool) -> Iterator[tuple[str, bool]]:
    """The lines of the table."""
    slower = " | ".join(f"{speed:.2f}x slower" for speed in SPEEDS)
    yield f"| processes differ by | starts | 1.00x: below 1, above | 1.00x faster | {slower} | 1.00x passed |", True
    yield "|---|---:|---:|---:|" + "---:|" * (len(SPEEDS) + 1), True
    for one_in_four, words in ((False, "evenly"), (True, "one in four is slower")):
        for spread in SPREADS:
            for starts in (1, LEAST_STARTS, STARTS):
                yield row(Kind(words, spread, starts, one_in_four), pairs, limit, pool)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--limit", type=float, default=0.05)
    args = parser.parse_args()
    kept = []
    with Pool() as pool:
        for text, promise in table(args.pairs, args.limit, pool):
            print(text, flush=True)
            kept.append(promise)
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
