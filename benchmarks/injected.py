"""Is every known cause of a bad figure reported, and nothing without one? Causes injected into simulated runs.

    python benchmarks/injected.py [--runs 200]

Prints a Markdown table: a row a cause, how often its finding was reported with it, and how often without it. The last
row starts real processes that use the CPU, a few times.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from math import exp

from msgspec.structs import replace
from noise import as_run
from numpy.random import default_rng

from torchlap.judge.measurement import findings
from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.schema.events import (
    CellPrepared,
    Conditions,
    Failure,
    GpuConditions,
    NumericsChecked,
    Preparation,
    Round,
    Run,
    Watched,
)
from torchlap.schema.numerics import Numerics

LAPS, SIGMA, STEPS = 24, 0.005, 20
REAL_RUNS, REAL_SECONDS = 5, 1.5
Cause = Callable[[Run, int], Run]


def quiet(seed: int) -> Run:
    """A run without a problem: two devices, both warm, both learning."""
    random = default_rng([LAPS, seed])
    slow, fast = (list(map(float, seconds)) for seconds in 0.1 * (SIGMA * random.standard_normal((2, LAPS)) + 1))
    plain = as_run([[seconds] for seconds in slow], [[seconds] for seconds in fast])
    rounds = [
        replace(
            round_,
            laps=tuple(
                replace(lap, steps=STEPS, seconds=STEPS * lap.seconds, loss=2.0 / (1 + n)) for lap in round_.laps
            ),
        )
        for n, round_ in enumerate(event for event in plain.events if isinstance(event, Round))
    ]
    warm = [prepared(number) for number in range(2)]
    facts = replace(plain.header.facts, physical_cores=8, usable_cores=8)
    calm = Conditions(group=0, seconds=4.0, others_cpu_share=0.02, swap_grown_bytes=0)
    right = NumericsChecked(group=0, cell=1, numerics=Numerics(operators=100))
    return Run(replace(plain.header, facts=facts), (right, *warm, *rounds, calm))


def prepared(number: int) -> CellPrepared:
    """A warm cell whose host keeps ahead of its device."""
    return CellPrepared(
        group=0,
        cell=number,
        preparation=Preparation(
            first_step_seconds=0.2,
            warm_up_steps=9,
            warm_up_seconds=1.0,
            steady=True,
            step_seconds=0.1,
            optimizer_seconds=0.0,
            synchronize_seconds=0.0,
            first_loss=2.3,
            memory_format="contiguous",
            threads=8,
            input_shape=(1,),
            parameters=1,
            watched=Watched(step_seconds=0.1, enqueue_seconds=0.03, input_wait_seconds=0.0),
        ),
    )


def laps(run: Run, change: Callable[[int, int], float], losses: Callable[[float], float] = lambda loss: loss) -> Run:
    """A run whose laps take `change` times as long, by the number of the lap and the cell."""
    number, events = 0, []
    for event in run.events:
        changed = event
        if isinstance(event, Round):
            changed_laps = [
                replace(lap, seconds=lap.seconds * change(number, lap.cell), loss=losses(lap.loss))
                for lap in event.laps
            ]
            changed, number = replace(event, laps=tuple(changed_laps)), number + 1
        events.append(changed)
    return Run(run.header, tuple(events))


def warm(run: Run, **changes: object) -> Run:
    """A run whose cells were prepared differently."""
    events = [
        replace(event, preparation=replace(event.preparation, **changes)) if isinstance(event, CellPrepared) else event
        for event in run.events
    ]
    return Run(run.header, tuple(events))


def weather(run: Run, **changes: object) -> Run:
    """A run under other conditions."""
    events = [replace(event, **changes) if isinstance(event, Conditions) else event for event in run.events]
    return Run(run.header, tuple(events))


def gpu(run: Run, **changes: object) -> Run:
    """A run on a GPU about which the driver reports something."""
    return weather(run, gpus=(replace(GpuConditions(device="sim:0"), **changes),))


def waves(seed: int) -> list[float]:
    """A disturbance of 3% that comes and goes, for some laps at a time."""
    random, state, factors = default_rng([seed, 6]), 1, []
    for _ in range(LAPS):
        state = -state if random.random() < 1 / 5 else state
        factors.append(exp(0.03 * state))
    return factors


CAUSES: dict[str, tuple[str, Cause]] = {
    "stopped after three rounds": ("TL201", lambda run, _: Run(run.header, run.events[:5])),
    "laps that differ by 30%": (
        "TL202",
        lambda run, seed: laps(run, lambda n, c: exp(0.3 * default_rng([seed, n, c]).standard_normal())),
    ),
    "warm-up cut short by the budget": ("TL203", lambda run, _: warm(run, steady=False, warm_up_steps=1)),
    "both devices slow down by 20%": ("TL204", lambda run, _: laps(run, lambda n, _: 1.2 ** (n / LAPS))),
    "every third lap on average 15% slower": (
        "TL205",
        lambda run, seed: laps(run, lambda n, c: 1.15 if default_rng([seed, n, c]).random() < 1 / 3 else 1.0),
    ),
    "a load that lasts five laps": ("TL206", lambda run, seed: laps(run, lambda n, c: waves(seed)[n] if c else 1.0)),
    "one device slows down by 10%": ("TL207", lambda run, _: laps(run, lambda n, c: 1.1 ** (n / LAPS) if c else 1.0)),
    "another process takes a quarter of the cores": ("TL208", lambda run, _: weather(run, others_cpu_share=0.25)),
    "another process on the GPU": ("TL209", lambda run, _: gpu(run, processes_before=1)),
    "the driver caps the power": ("TL210", lambda run, _: gpu(run, throttled_by=("power cap",))),
    "on battery": ("TL211", lambda run, _: weather(run, on_battery=True)),
    "300 MiB swapped out": ("TL212", lambda run, _: weather(run, swap_grown_bytes=300 << 20)),
    "a container of two cores": (
        "TL213",
        lambda run, _: warm(
            Run(replace(run.header, facts=replace(run.header.facts, usable_cores=2)), run.events), threads=2
        ),
    ),
    "an operator that falls back": ("TL214", lambda run, _: warm(run, fallbacks=("aten::x",))),
    "a loss that becomes NaN": (
        "TL215",
        lambda run, _: Run(run.header, (*run.events, Failure(group=0, cell=1, kind="not_finite", reason=""))),
    ),
    "a loss that never falls": ("TL216", lambda run, _: laps(run, lambda _n, _c: 1.0, lambda _: 2.3)),
    "a step that waits for its launches": (
        "TL218",
        lambda run, _: warm(run, watched=Watched(step_seconds=0.1, enqueue_seconds=0.097, input_wait_seconds=0.0)),
    ),
    "a GPU that was busy before": ("TL220", lambda run, _: gpu(run, busy_before=0.8)),
}


def told(run: Run) -> set[str]:
    """The codes of a run's findings."""
    return {finding.code for finding in findings(run)}


def spinning(seconds: float, count: int) -> bool:
    """Whether real processes that torchlap did not start are noticed."""
    spin = f"import time\nend = time.monotonic() + {seconds + 2}\nwhile time.monotonic() < end: pass"
    start = f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {spin!r}]) for _ in range({count})]"
    subprocess.run([sys.executable, "-c", start], check=True)
    watch = Watch([], GpuUsers(), first=True)
    watch.begin()
    time.sleep(seconds)
    conditions = watch.end(0)
    time.sleep(2.5 if count else 0)
    return "TL208" in told(Run(quiet(0).header, (conditions,)))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    seeds = range(parser.parse_args().runs)
    calm = [told(quiet(seed)) for seed in seeds]
    print("| cause | finding | reported with it | reported without it |\n|---|---|---|---|")
    for cause, (code, inject) in CAUSES.items():
        hit = sum(code in told(inject(quiet(seed), seed)) for seed in seeds)
        false = sum(code in codes for codes in calm)
        print(f"| {cause} | {code} | {hit} of {len(seeds)} | {false} of {len(seeds)} |", flush=True)
    hit, false = (sum(map(partial(spinning, REAL_SECONDS), [count] * REAL_RUNS)) for count in (os.cpu_count() or 1, 0))
    print(f"| real processes that spin on every core | TL208 | {hit} of {REAL_RUNS} | {false} of {REAL_RUNS} |")


if __name__ == "__main__":
    main()
