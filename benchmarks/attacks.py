"""Steps that could fool the measurement: periods, rare costs, full queues, slow wake-ups. Is a wrong figure silent?

    python benchmarks/attacks.py [--starts 40] [--real]

Each attack runs from 40 random starts in virtual time: the session, its laps and its stopping rule are the real ones,
only the step is made up. It is measured alone, and in turns with a slow cell. Prints a row for each: the largest error
of the throughput against that of a plain loop, the runs that were wrong by over 3%, and those of them that were silent:
no finding says that there is no single speed, or what the rare slow steps cost. Exits with 1 if one was silent.

With `--real`, the command measures a few models that do the same (`attacked_models.py`), in turns with a plain loop.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import NamedTuple, cast

from a_against_a import measured

from torchlap import load
from torchlap.judge.measurement import findings
from torchlap.machine.facts import cpu_threads
from torchlap.processes.start import Launcher
from torchlap.runs.figures import figures
from torchlap.schema.events import Preparation, Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.replies import Built, LapsDone, LapTime, Prepared, Released, Reply
from torchlap.schema.requests import Build, Request, RunLaps, WarmUp
from torchlap.schema.workload import Cell, Group, Plan, Workload
from torchlap.worker.cell import timing

HERE = Path(__file__).parent
WRONG, BATCH, BUDGET_SECONDS = 0.03, 32, 30.0
SLOW, ATTACKED = "cpu", "sim:0"
SLOW_STEP_SECONDS = 0.5
REAL_MODELS = ("alternating", "accumulate", "logging", "litter")
LOOP_STEPS, LOOP_START = 50_000, 1000
TELLING = frozenset({"TL204", "TL205", "TL207", "TL221"})
"""Drift, two speeds, a ratio that moved, rare slow steps."""

Cost = Callable[[int, float], float]
"""Seconds of a step, by its number and by the seconds that nothing ran before it."""


def periodic(often: float, rare: float, period: int) -> Callable[[Random], Cost]:
    """Every so many steps one costs something else: gradient accumulation, two networks in turns, logging."""

    def make(random: Random) -> Cost:
        start = random.randrange(period)
        return lambda number, _: rare if (number + start) % period == 0 else often

    return make


def bursts(random: Random) -> Cost:
    """Every 50 steps, five in a row are slow: a validation."""
    start, slow = random.randrange(50), range(5)
    return lambda number, _: 0.05 if (number + start) % 50 in slow else 0.01


def by_chance(random: Random) -> Cost:
    """One step in 40 takes 20 times as long, at random: long sequences in a data set."""
    return lambda *_: 0.2 if random.random() < 1 / 40 else 0.01


def prefetched(random: Random) -> Cost:
    """A loader makes a batch every 40 ms and holds eight; a step itself takes 2 ms."""
    made = [8.0 * random.random()]

    def cost(_: int, idle: float) -> float:
        made[0] = min(8.0, made[0] + idle / 0.04)
        waited = max(0.0, 1 - made[0]) * 0.04
        made[0] = min(8.0, made[0] + (waited + 0.002) / 0.04) - 1
        return waited + 0.002

    return cost


def slow_to_wake(random: Random, pause: float = 0.05, rise: float = 0.1) -> Cost:
    """After a pause, the clock needs some work to rise: until then a step takes 1.5 times as long."""
    worked = [random.random()]

    def cost(_: int, idle: float) -> float:
        worked[0] = 0.0 if idle > pause else worked[0]
        seconds = 0.015 if worked[0] < rise else 0.01
        worked[0] += seconds
        return seconds

    return cost


def collected(random: Random) -> Cost:
    """Garbage grows until it is collected: a step's cost is a saw tooth of 700 steps, and the last takes 60 ms."""
    start = random.randrange(700)
    return lambda number, _: 0.06 if (number + start) % 700 == 0 else 0.004 + 0.001 * ((number + start) % 700) / 700


def noisy(random: Random) -> Cost:
    """Nothing but noise of 3%."""
    return lambda *_: 0.01 * exp(0.03 * random.gauss(0, 1))


ATTACKS: dict[str, Callable[[Random], Cost]] = {
    "noise of 3%": noisy,
    "every 2nd step, 2 times as long": periodic(0.06, 0.12, 2),
    "every 4th step, 2 times": periodic(0.03, 0.06, 4),
    "every 3rd step, 4 times, steps of 17 ms": periodic(0.017, 0.068, 3),
    "every 5th step, 3 times, steps of 10 ms": periodic(0.01, 0.03, 5),
    "every 10th step, 10 times, steps of 5 ms": periodic(0.005, 0.05, 10),
    "every 20th step, 20 times, steps of 2.5 ms": periodic(0.0025, 0.05, 20),
    "every 100th step, 30 times, steps of 10 ms": periodic(0.01, 0.31, 100),
    "every 500th step, 100 times, steps of 10 ms": periodic(0.01, 1.0, 500),
    "every 16th step for free": periodic(0.01, 0.0001, 16),
    "five slow steps in 50": bursts,
    "one step in 40 by chance, 20 times": by_chance,
    "batches prefetched while others lap": prefetched,
    "slow to wake after a pause": slow_to_wake,
    "garbage, a saw tooth": collected,
}


class World:
    """A clock that only steps move on; a launcher of workers whose steps cost what the attack says."""

    def __init__(self, cost: Cost, prefetched_batches: int) -> None:
        self.now, self.ended, self.number = 0.0, 0.0, 0
        self.cost, self.prefetched = cost, prefetched_batches
        self.start_up_seconds = 0.0

    def start(self) -> "MadeUp":
        """A worker."""
        return MadeUp(self)

    def renew(self) -> None:
        """Nothing is left."""

    def close(self) -> None:
        """Nothing is left."""

    def attacked_step(self) -> None:
        """One step under attack."""
        self.now += self.cost(self.number, self.now - self.ended)
        self.number, self.ended = self.number + 1, self.now

    def slow_step(self) -> None:
        """One step of the partner."""
        self.now += SLOW_STEP_SECONDS


class MadeUp:
    """Runs the real warm-up and the real turns, with made-up steps."""

    pid = 0

    def __init__(self, world: World) -> None:
        self._world = world
        self._steps: dict[int, Callable[[], None]] = {}

    def kill(self) -> None:
        """Nothing is there."""

    def tell(self, request: Request) -> None:
        """Build a cell, or drop all."""
        world = self._world
        match request:
            case Build(slot=slot, cell=cell):
                self._steps[slot] = world.slow_step if cell.device == SLOW else world.attacked_step
            case _:
                self._steps.clear()

    def hear(self, answer: type[Built | Released], *_: object) -> Built | Released:
        """It was done at once."""
        return answer()

    def ask(self, request: Request, *_: object) -> Reply:
        """Warm up, or lap."""
        match request:
            case WarmUp(slot=slot, limit_seconds=limit):
                return Prepared(self._warm_up(self._steps[slot], limit))
            case RunLaps():
                return self._turn(request)
            case _:
                raise TypeError(request)

    def _turn(self, request: RunLaps) -> LapsDone:
        laps: list[float] = []
        timing.turn(
            self._steps[request.slot],
            _nothing,
            request.steps,
            laps=request.laps,
            lead_in=request.lead_in,
            after_lap=laps.append,
            seconds=request.seconds,
        )
        return LapsDone(tuple(LapTime(lap, 1.0) for lap in laps))

    def _warm_up(self, step: Callable[[], None], limit: float) -> Preparation:
        warm = timing.warm_up(lambda steps: timing.lap(step, _nothing, steps), limit, lambda _: None)
        return Preparation(
            first_step_seconds=warm.first_step_seconds,
            warm_up_steps=warm.steps,
            warm_up_seconds=warm.seconds,
            steady=warm.steady,
            step_seconds=warm.step_seconds,
            optimizer_seconds=0.0,
            synchronize_seconds=0.0,
            first_loss=1.0,
            memory_format="contiguous",
            threads=1,
            input_shape=(BATCH,),
            parameters=1,
            prefetched=self._world.prefetched if step == self._world.attacked_step else 0,
        )


def _nothing() -> None:
    """Nothing to wait for."""


class Outcome(NamedTuple):
    """Of one run: the relative error, and whether something tells of it."""

    error: float
    told: bool


def attack(make: Callable[[Random], Cost], seed: int, *, in_turns: bool) -> Outcome:
    """Run one attack from a random start."""
    truth = BATCH / plain_loop(make(Random(seed)))
    world = World(make(Random(seed)), 8 if make is prefetched else 0)
    timing.time = SimpleNamespace(perf_counter=lambda: world.now)  # type: ignore[assignment,attr-defined]
    devices = (SLOW, ATTACKED) if in_turns else (ATTACKED,)
    group = Group(tuple(Cell(Workload("attacked.py:step", BATCH), Recipe(), device) for device in devices))
    plan = Plan(suite="own", groups=(group,), budget_seconds=BUDGET_SECONDS, verify=False, explain=False)
    run = measured(plan, cast("Launcher", world), lambda: world.now)
    interval = figures(run)[0].cells[-1].throughput
    if interval is None:
        return Outcome(0.0, told=True)
    said = any(finding.code in TELLING for finding in findings(run))
    return Outcome(log(interval.value / truth), said or interval.low <= truth <= interval.high)


def plain_loop(cost: Cost) -> float:
    """Seconds a step of a plain loop, without its start."""
    seconds = [cost(number, 0.0) for number in range(LOOP_STEPS)]
    return sum(seconds[LOOP_START:]) / (LOOP_STEPS - LOOP_START)


def in_reality() -> int:
    """Run the command and a plain loop in turns; the wrong figures that were silent."""
    print("| model | plain loop before and after, images/s | torchlap | told |\n|---|---|---|---|")
    silent, threads = 0, cpu_threads()[0]
    for name in REAL_MODELS:
        plain = [sys.executable, str(HERE / "attacked_models.py"), name, "15", str(threads)]
        before = float(subprocess.run(plain, capture_output=True, text=True, check=True).stdout)
        run = command(f"{HERE / 'attacked_models.py'}:{name}")
        after = float(subprocess.run(plain, capture_output=True, text=True, check=True).stdout)
        found = figures(run)[0].cells[0].throughput
        told = sorted({finding.code for finding in findings(run)} & TELLING)
        print(f"| {name} | {before:.4g}, {after:.4g} | {found} | {', '.join(told) or 'nothing'} |", flush=True)
        low, high = min(before, after) / (1 + WRONG), max(before, after) * (1 + WRONG)
        silent += not (told or (found and low <= found.value <= high))
    return silent


def command(model: str) -> Run:
    """What torchlap's command measures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.jsonl"
        words = ["run", model, "--batch", str(BATCH), "--devices", "cpu", "--budget", "30s", "--no-why"]
        subprocess.run(
            [sys.executable, "-m", "torchlap", *words, "--out", str(out)], stdout=subprocess.DEVNULL, check=True
        )
        return load(out)


def main() -> None:
    """Attack, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    sys.exit((in_reality() if options.real else in_virtual_time(options.starts)) > 0)


def in_virtual_time(starts: int) -> int:
    """Print a row an attack; the wrong figures that were silent."""
    print("| attack | measured | largest error | wrong by over 3% | silent |\n|---|---|---|---|---|")
    silent = 0
    for name, make in ATTACKS.items():
        for in_turns in (False, True):
            outcomes = [attack(make, seed, in_turns=in_turns) for seed in range(starts)]
            wrong = [outcome for outcome in outcomes if abs(outcome.error) > WRONG]
            untold = sum(not outcome.told for outcome in wrong)
            largest = max((outcome.error for outcome in outcomes), key=abs)
            where = "in turns" if in_turns else "alone"
            print(f"| {name} | {where} | {largest:+.1%} | {len(wrong)} of {starts} | {untold} |", flush=True)
            silent += untold
    return silent


if __name__ == "__main__":
    main()
