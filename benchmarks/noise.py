"""Simulated laps whose true speed-up is known: models of a machine's noise, under torchlap's own stopping rule.

A model draws the lap seconds of two devices over the rounds; one device is really `TRUTH` times as fast.
"""

from collections.abc import Callable
from math import exp, log, sqrt
from statistics import mean
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from torchlap.judge.measurement import findings
from torchlap.runs.figures import figures
from torchlap.schema.events import SCHEMA, Header, Lap, Round, Run
from torchlap.schema.machine import DeviceFacts, Facts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan, Workload
from torchlap.stats import Interval, verdict

TRUTH = 5.0
LAP_SECONDS = 0.1
SLOW_SHARE = 0.4
MOST_ROUNDS = 62
TARGET = 0.02

Logs = NDArray[np.float64]
Pair = tuple[Logs, Logs]
"""For both devices: by how much the logarithm of each lap's seconds differs from the true value."""


class Noise(NamedTuple):
    """A model of noise. The interval must contain the truth in 93 to 97.5 of 100 comparisons.

    Where there is no single truth, the `finding` must be reported in 95 of 100 instead.
    """

    name: str
    draw: Callable[[Generator, int], Pair]
    rounds: int = MOST_ROUNDS
    finding: str = ""
    throughput: bool = False
    """The interval is that of the fast device's throughput, and not that of the speed-up."""


def independent(draw: Callable[[Generator, int], Logs]) -> Callable[[Generator, int], Pair]:
    """Both devices have noise of the same kind, independent of each other."""
    return lambda random, count: (draw(random, count), draw(random, count))


def normal(sigma: float) -> Callable[[Generator, int], Logs]:
    """Seconds are normally distributed."""
    return lambda random, count: np.log1p(sigma * random.standard_normal(count).clip(-9, 9))


def log_normal(sigma: float) -> Callable[[Generator, int], Logs]:
    """The logarithms are normally distributed."""
    return lambda random, count: sigma * random.standard_normal(count)


def heavy(random: Generator, count: int) -> Logs:
    """Student's t with three degrees of freedom: an occasional lap is far off."""
    return np.asarray(0.015 * random.standard_t(3, count))


def bimodal(random: Generator, count: int) -> Logs:
    """Four of ten laps are 4% slower."""
    return np.asarray(0.006 * random.standard_normal(count) + 0.04 * (random.random(count) < SLOW_SHARE))


def spikes(random: Generator, count: int) -> Logs:
    """One of twelve laps is disturbed, by 30% on average."""
    disturbed = random.random(count) < 1 / 12
    return np.asarray(0.01 * random.standard_normal(count) + disturbed * random.exponential(0.3, count))


def autoregressive(phi: float, sigma: float) -> Callable[[Generator, int], Logs]:
    """Consecutive values are correlated, with autocorrelation `phi`."""

    def draw(random: Generator, count: int) -> Logs:
        state, steps = sigma * random.standard_normal(), sigma * sqrt(1 - phi**2) * random.standard_normal(count)
        values = np.empty(count)
        for place in range(count):
            values[place] = state = phi * state + steps[place]
        return values

    return draw


def of_the_machine(phi: float, sigma: float) -> Callable[[Generator, int], Pair]:
    """A disturbance of the machine lasts, and affects whichever device runs then: A B, B A, A B ..."""

    def draw(random: Generator, count: int) -> Pair:
        state = autoregressive(phi, sigma)(random, 2 * count).reshape(count, 2)
        odd = np.arange(count) % 2
        rows = np.arange(count)
        own = log_normal(0.005)
        return state[rows, odd] + own(random, count), state[rows, 1 - odd] + own(random, count)

    return draw


def common_drift(random: Generator, count: int) -> Pair:
    """Both devices get 40% slower over the rounds, as with heat."""
    drift = np.linspace(0, log(1.4), count)
    return drift + log_normal(0.01)(random, count), drift + log_normal(0.01)(random, count)


def drift_of_one(random: Generator, count: int) -> Pair:
    """One device gets 1% slower every round, the other does not: there is no single ratio."""
    return log_normal(0.01)(random, count), 0.01 * np.arange(count) + log_normal(0.01)(random, count)


def in_turns(laps: int, of_turns: float, of_laps: float) -> Callable[[Generator, int], Pair]:
    """The fast device laps several times in a row; its turns differ by more than the laps within them do."""

    def draw(random: Generator, count: int) -> Pair:
        turns = np.repeat(log_normal(of_turns)(random, count), laps)
        return log_normal(0.01)(random, count), turns + log_normal(of_laps)(random, count * laps)

    return draw


def quantized(random: Generator, count: int) -> Logs:
    """The clock ticks every half percent of a lap."""
    return np.asarray(np.log(np.round(np.exp(0.004 * random.standard_normal(count)) / 0.005) * 0.005))


MODELS = (
    Noise("normal, 1%", independent(normal(0.01))),
    Noise("normal, 4%", independent(normal(0.04))),
    Noise("log-normal, 2%", independent(log_normal(0.02))),
    Noise("log-normal, 10%", independent(log_normal(0.1))),
    Noise("heavy tail", independent(heavy)),
    Noise("bimodal", independent(bimodal)),
    Noise("spikes", independent(spikes)),
    Noise("autocorrelated, the machine's, 0.8 a lap", of_the_machine(0.8, 0.02)),
    Noise("autocorrelated, each device's own, 0.3 a round", independent(autoregressive(0.3, 0.02))),
    Noise("common drift", common_drift),
    Noise("quantized clock", independent(quantized)),
    Noise("turns of 6 laps, 2% a lap", in_turns(6, 0.0, 0.02)),
    Noise("turns of 6 laps, 1% a turn, 2% a lap", in_turns(6, 0.01, 0.02)),
    Noise("turns of 6 laps, 3% a turn, 1% a lap", in_turns(6, 0.03, 0.01)),
    Noise("throughput of turns of 6 laps, 2% a lap", in_turns(6, 0.0, 0.02), throughput=True),
    Noise("throughput of turns of 6 laps, 1% a turn, 2% a lap", in_turns(6, 0.01, 0.02), throughput=True),
    Noise("throughput of turns of 6 laps, 3% a turn, 1% a lap", in_turns(6, 0.03, 0.01), throughput=True),
    Noise("throughput of one turn of 8 laps, 2% a lap", in_turns(4, 0.0, 0.02), rounds=2, throughput=True),
    Noise("very few rounds: 2", independent(log_normal(0.02)), rounds=2),
    Noise("very few rounds: 4", independent(log_normal(0.02)), rounds=4),
    Noise("drift of one side only", drift_of_one, finding="TL207"),
    Noise("autocorrelated, each device's own, 0.6 a round", independent(autoregressive(0.6, 0.02))),
)


class Outcome(NamedTuple):
    """The result of one simulated comparison: an interval over the truth, and the findings."""

    interval: Interval
    truth: float
    findings: frozenset[str]


def compare(place: int, seed: int) -> Outcome:
    """Simulate one comparison: rounds until the stopping rule or the budget ends it, then its figure and findings.

    `place` is the model's place in `MODELS`, because its functions cannot be sent to another process.
    """
    noise = MODELS[place]
    baseline, other = noise.draw(default_rng([place, seed]), noise.rounds)
    slow = [[LAP_SECONDS * TRUTH * exp(value)] for value in baseline]
    fast = [[LAP_SECONDS * exp(value) for value in turn] for turn in other.reshape(noise.rounds, -1)]
    rounds = 2
    while rounds < noise.rounds and not _decided(slow[:rounds], fast[:rounds]):
        rounds += 1
    run = as_run(slow[:rounds], fast[:rounds])
    cell = figures(run)[0].cells[1]
    interval, truth = (cell.throughput, 1 / LAP_SECONDS) if noise.throughput else (cell.speed_up, TRUTH)
    if interval is None:
        raise RuntimeError("a simulated cell has no figure")
    return Outcome(interval, truth, frozenset(finding.code for finding in findings(run)))


def _decided(slow: list[list[float]], fast: list[list[float]]) -> bool:
    speeds = [[[1 / lap for lap in turn] for turn in side] for side in (slow, fast)]
    ratios = [[mean(a) / mean(b)] for a, b in zip(slow, fast, strict=True)]
    return verdict([*speeds, ratios], TARGET) is not None


def header_of(devices: tuple[DeviceFacts, ...], plan: Plan) -> Header:
    """The header of a run file of a simulated machine."""
    facts = Facts(
        cpu="simulated",
        physical_cores=1,
        usable_cores=1,
        memory_bytes=0,
        system="",
        architecture="",
        python="",
        devices=devices,
    )
    return Header(schema=SCHEMA, torchlap="", started="", facts=facts, plan=plan)


def as_run(slow: list[list[float]], fast: list[list[float]]) -> Run:
    """A run file with these laps, turn by turn."""
    devices = DeviceFacts("cpu", "cpu"), DeviceFacts("sim:0", "sim")
    cells = tuple(Cell(Workload("simulated", 1), Recipe(), device.name) for device in devices)
    header = header_of(devices, Plan(suite="own", groups=(Group(cells),), precision_target=TARGET))
    rounds = []
    for turns in zip(slow, fast, strict=True):
        laps = [Lap(cell, 1, seconds, 1.0) for cell, turn in enumerate(turns) for seconds in turn]
        rounds.append(Round(0, 0.0, tuple(laps)))
    return Run(header, tuple(rounds))
