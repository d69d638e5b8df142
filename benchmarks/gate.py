"""How often does the gate cry wolf, and which slow-downs does it see? Two sides of known speeds, live and as two files.

    python benchmarks/gate.py [--pairs 200] [--limit 0.05] [--real 20] [--seconds 20] [--quiet]

Prints a Markdown table: on simulated machines, how many of the pairs were called slower, where the second side has
1.00x, 0.96x, 0.92x and 0.85x the speed of the first. Live: both sides are arms of one run, which take turns in five
starts. Repeated: as `torchlap gate` does it, the run is repeated unless it passes. Files: two runs of different hours,
compared by `torchlap compare`.

With --real, so many pairs of equal arms are measured on this machine, beside a random load unless --quiet; each is
compared live, and with the run before it as files.

Exits with 1 if more than 1% of the pairs of equal speed are called slower in any row.
"""

import argparse
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from math import exp
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Literal, NamedTuple

import noise
import numpy as np
from msgspec.structs import replace
from numpy.random import Generator, default_rng

import torchlap
from torchlap.judge.compare import Compared, compare, gate, repeated
from torchlap.judge.compare import Gate as Outcome
from torchlap.runs.figures import figures
from torchlap.runs.find import Named
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions, Lap, Round, Run
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan, Workload
from torchlap.stats import verdict

LAP_SECONDS = 0.1
TARGET = 0.02
MOST_ROUNDS = 62
LOOKS = (8, 12, 18, 27, 41, MOST_ROUNDS)
"""The rounds after which the stopping rule looks at the intervals."""

STARTS, ROUNDS_OF_START = 5, 18
"""Of the workers, in a live run, and the most rounds of each of them."""

SPEEDS = (1.0, 0.96, 0.92, 0.85)
MOST_FALSE = 0.01
LOAD_SECONDS = (0.5, 6.0)
"""How long a random load lasts, or pauses."""

Way = Literal["live", "live, repeated", "files"]
WAYS: tuple[Way, ...] = ("live", "live, repeated", "files")


class Machine(NamedTuple):
    """A kind of machine.

    Attributes:
        draw: the noise of the laps of two sides, on the log scale.
        between_starts: standard deviation of what a process's start adds to all its laps.
        between_runs: the same of what a whole run adds to all its laps: the hour, the host, the neighbors.
        load: the share of the CPU that others use during a run.
        virtual: it is a virtual machine, and says so.
    """

    name: str
    draw: Callable[[Generator, int], noise.Pair]
    between_starts: float
    between_runs: float
    load: Callable[[Generator], float] = lambda _: 0.0
    virtual: bool = False


def bursts(random_numbers: Generator, count: int) -> noise.Pair:
    """Other programs come and go, and take up to half of the machine from whichever side has its turn."""
    busy = np.cumsum(random_numbers.random(2 * count) < 1 / 15) % 2
    slowed = busy * random_numbers.uniform(0.2, 0.7, 2 * count)
    own = 0.01 * random_numbers.standard_normal(2 * count)
    turns = (slowed + own).reshape(count, 2)
    odd, rows = np.arange(count) % 2, np.arange(count)
    return turns[rows, odd], turns[rows, 1 - odd]


MACHINES = (
    Machine("quiet: 1% a lap, 0.3% a run", noise.independent(noise.log_normal(0.01)), 0.002, 0.003),
    Machine("shared: 2% a lap, which lasts, 2% a run", noise.of_the_machine(0.8, 0.02), 0.003, 0.02),
    Machine("getting hotter: 1.4 times slower at the end, 2% a run", noise.common_drift, 0.003, 0.02),
    Machine("hosted: spikes, 8% a run", noise.independent(noise.spikes), 0.003, 0.08, virtual=True),
    Machine("random load", bursts, 0.003, 0.02, lambda random_numbers: float(random_numbers.uniform(0.02, 0.5))),
)


def called(machine: int, way: Way, speed: float, limit: float, seed: int) -> Outcome:
    """What the gate says about a simulated pair; `machine` is a place in `MACHINES`, which a process can be sent."""
    generator = default_rng([machine, WAYS.index(way), round(speed * 100), seed])
    if way == "files":
        sides = [_alone(MACHINES[machine], factor, generator) for factor in (1.0, speed)]
        return gate(compare([Named("before", sides[0]), Named("after", sides[1])]), limit)
    first = live(MACHINES[machine], speed, generator)
    if way == "live" or gate(first, limit) == "pass":
        return gate(first, limit)
    return repeated(first, live(MACHINES[machine], speed, generator), limit)


def live(machine: Machine, speed: float, generator: Generator, starts: int = STARTS) -> Compared:
    """A run of two arms, whose workers are started this many times."""
    most = MOST_ROUNDS if starts == 1 else ROUNDS_OF_START
    noises = machine.draw(generator, starts * most)
    processes = machine.between_starts * generator.standard_normal((2, starts))
    parts = [
        [
            [LAP_SECONDS / factor * exp(value + process) for value in values[place * most : (place + 1) * most]]
            for values, process, factor in zip(noises, processes[:, place], (1.0, speed), strict=True)
        ]
        for place in range(starts)
    ]
    run = _run(parts, ("before", "after"), machine.load(generator), virtual=machine.virtual)
    return compare([Named("run", run)], across="arm")


def _alone(machine: Machine, speed: float, generator: Generator) -> Run:
    """A run of one side, at its own hour."""
    values, _ = machine.draw(generator, MOST_ROUNDS)
    offset = machine.between_starts * generator.standard_normal() + machine.between_runs * generator.standard_normal()
    side = [LAP_SECONDS / speed * exp(value + offset) for value in values]
    return _run([[side]], ("",), machine.load(generator), virtual=machine.virtual)


def _run(starts: Sequence[Sequence[Sequence[float]]], arms: Sequence[str], load: float, *, virtual: bool) -> Run:
    """A run file with the laps of each side, start by start, each until the stopping rule ends it."""
    device = DeviceFacts("cpu", "cpu")
    cells = tuple(Cell(Workload("simulated", 1), Recipe(), device.name, arm) for arm in arms)
    named = tuple(Arm(arm) for arm in arms if arm)
    plan = Plan(suite="own", groups=(Group(cells),), precision_target=TARGET, arms=named)
    events = [
        Round(0, 0.0, tuple(Lap(cell, 1, seconds, 1.0) for cell, seconds in enumerate(turns)), start=number)
        for number, sides in enumerate(starts)
        for turns in zip(*_until_decided(sides), strict=True)
    ]
    conditions = Conditions(group=0, seconds=10.0, others_cpu_share=load)
    header = noise.header_of((device,), plan)
    return Run(replace(header, facts=replace(header.facts, virtual=virtual)), (*events, conditions))


def _until_decided(sides: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    most = len(sides[0])
    rounds = next(look for look in LOOKS if look >= most or _decided([side[:look] for side in sides]))
    return [side[:rounds] for side in sides]


def _decided(sides: Sequence[Sequence[float]]) -> bool:
    series = [[[1 / seconds] for seconds in side] for side in sides]
    ratios = [[[first / second] for first, second in zip(*sides, strict=True)]] if len(sides) > 1 else []
    return verdict([*series, *ratios], TARGET) is not None


def row(machine: int, way: Way, pairs: int, limit: float, pool: Pool) -> tuple[str, bool]:
    """A row of the table, and whether at most 1% of equal pairs were called slower."""
    counts = [
        Counter(pool.map(partial(called, machine, way, speed, limit), range(pairs), chunksize=10)) for speed in SPEEDS
    ]
    slower = " | ".join(str(count["slower"]) for count in counts)
    text = f"| {MACHINES[machine].name} | {way} | {slower} | {counts[0]['pass']} |"
    return text, counts[0]["slower"] <= MOST_FALSE * pairs


def table(pairs: int, limit: float, pool: Pool) -> Iterator[tuple[str, bool]]:
    """The lines of the table of simulated machines."""
    yield f"| machine | gate | {' | '.join(f'{speed:.2f}x slower' for speed in SPEEDS)} | 1.00x passed |", True
    yield "|---|---|" + "---:|" * (len(SPEEDS) + 1), True
    for machine in range(len(MACHINES)):
        for way in WAYS:
            yield row(machine, way, pairs, limit, pool)


@contextmanager
def random_load(seed: int) -> Iterator[None]:
    """Other processes that come and go, on as many cores as chance says."""
    over, chance = Event(), random.Random(seed)

    def come_and_go() -> None:
        while not over.is_set():
            count = chance.randint(0, os.cpu_count() or 1)
            spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
            over.wait(chance.uniform(*LOAD_SECONDS))
            for process in spinning:
                process.kill()
                process.wait()

    thread = Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measured(folder: Path, number: int, seconds: float) -> Run:
    """A run of two arms that are the same."""
    return torchlap.measure(
        torchlap.Options(
            models=("examples/own_model.py:tiny",),
            devices="cpu",
            batches=(32,),
            arms=(Arm("before"), Arm("after")),
            out=folder / f"{number}.jsonl",
            budget_seconds=seconds,
            verify=False,
            explain=False,
        )
    )


def real(pairs: int, limit: float, seconds: float, *, quiet: bool) -> tuple[str, bool]:
    """Equal arms on this machine, beside a random load or not: what the gate says, and the ratios' intervals."""
    live: list[Compared] = []
    files: list[Compared] = []
    earlier: Named | None = None
    with TemporaryDirectory() as folder:
        for number in range(pairs):
            with nullcontext() if quiet else random_load(number):
                run = Named(str(number), measured(Path(folder), number, seconds))
            live.append(compare([run], across="arm"))
            if earlier is not None:
                files.append(compare([earlier, run]))
            earlier = run
            starts = max(len(set(cell.ratio_starts)) for group in figures(run.run) for cell in group.cells) or 1
            words = f"{starts} starts, {gate(live[-1], limit)}, {live[-1].changes[0].interval}"
            print(f"pair {number}: {words}", file=sys.stderr, flush=True)
    texts = [_real_row("live", live, limit), _real_row("files", files, limit)]
    return "\n".join(texts), all(gate(one, limit) != "slower" for one in live)


def _real_row(way: str, found: Sequence[Compared], limit: float) -> str:
    changes = [change for compared in found for change in compared.changes]
    counts = Counter(gate(compared, limit) for compared in found)
    intervals = [change.interval for change in changes if change.interval]
    beyond = sum(interval.high < 1 - limit for interval in intervals)
    widths = f"{median(interval.half_width for interval in intervals):.3f}" if intervals else ""
    outcomes = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("pass", "slower", "inconclusive"))
    codes = Counter(code for change in changes for code in change.codes)
    disturbed = ", ".join(f"{code} {count} times" for code, count in sorted(codes.items())) or "nothing"
    return f"{way}: {len(found)} pairs: {outcomes}; intervals below the limit: {beyond}; half-width, median: {widths}; \
disturbed by: {disturbed}"


def main() -> None:
    """Simulate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--limit", type=float, default=0.05)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    kept = []
    if args.pairs:
        with Pool() as pool:
            for text, promise in table(args.pairs, args.limit, pool):
                print(text, flush=True)
                kept.append(promise)
    if args.real:
        text, promise = real(args.real, args.limit, args.seconds, quiet=args.quiet)
        print(text)
        kept.append(promise)
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
