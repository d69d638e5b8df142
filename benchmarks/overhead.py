"""What torchlap costs: its throughput over that of a hand-written loop of the same step, in turns, in one run.

    python benchmarks/overhead.py [--device cuda:0] [--model resnet18] [--batch 64] [--recipe fp32] [--rounds 20]

Prints three ratios with their intervals:

- torchlap over the loop that resizes fresh digits at every step, as torchlap does: at least 0.99;
- torchlap over the loop that has one ready batch on the device: at least 0.95 on a GPU;
- the hand-written loop over itself, in two processes: by how much two equal processes differ.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from torchlap.machine.facts import cpu_threads
from torchlap.measuring.schedule import lap_steps, lead_in_steps
from torchlap.processes.start import launcher
from torchlap.schema.events import Preparation
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.replies import Built, LapsDone, Prepared
from torchlap.schema.requests import Build, RunLaps, WarmUp
from torchlap.schema.workload import Cell, Workload
from torchlap.stats import interval, paired_ratio

BARE = Path(__file__).with_name("bare.py")
LIMIT = 600.0
REST_SECONDS = 0.1
"""Between turns: idle threads of a hand-written loop keep spinning for a while, on cores that the next turn needs."""

LOOPS = {
    "fresh": ("fresh", "loop"),
    "again": ("fresh", "loop"),
    "fixed": ("fixed", "loop"),
    "timer": ("fresh", "timer"),
}
"""The loops that torchlap takes turns with, by name: the data that they use, and who times them."""


class Bare:
    """The hand-written loop, in its own process."""

    def __init__(self, cell: Cell, prepared: Preparation, name: str) -> None:
        data, self._way = LOOPS[name]
        workload = cell.workload
        arguments = [workload.model, workload.batch, cell.device, cell.recipe.precision, prepared.memory_format, data]
        command = [sys.executable, str(BARE), *map(str, arguments), str(prepared.threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def lap(self, lead_in: int, steps: int) -> float:
        """Run a lap; its seconds."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the loop has no pipes")
        self._process.stdin.write(f"{lead_in} {steps} {self._way}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def take_turns(cell: Cell, rounds: int, loops: Sequence[str]) -> tuple[RunLaps, dict[str, list[float]]]:
    """Let torchlap and the loops run the same laps in turns: the lap, and the seconds of all laps by name."""
    threads, reason = cpu_threads()
    processes = launcher()
    worker = processes.start()
    request = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=threads, threads_reason=reason)
    worker.ask(request, Built, LIMIT)
    prepared = worker.ask(WarmUp(slot=0, limit_seconds=20.0), Prepared, LIMIT).preparation
    steps = lap_steps(prepared.step_seconds, prepared.synchronize_seconds)
    turn = RunLaps(slot=0, steps=steps, lead_in=lead_in_steps(prepared.step_seconds, steps, 0.0))
    bares = {name: Bare(cell, prepared, name) for name in loops}
    for bare in bares.values():
        bare.lap(max(3, 2 * steps), steps)  # warm
    laps: dict[str, list[float]] = {name: [] for name in ("torchlap", *bares)}
    for number in range(rounds):
        for name in list(laps)[:: 1 if number % 2 == 0 else -1]:
            time.sleep(REST_SECONDS)
            if name == "torchlap":
                laps[name].append(worker.ask(turn, LapsDone, LIMIT).laps[0].seconds)
            else:
                laps[name].append(bares[name].lap(turn.lead_in, turn.steps))
    for bare in bares.values():
        bare.close()
    processes.close()
    return turn, laps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--recipe", default="fp32")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    cell = Cell(Workload(args.model, args.batch), parse_recipe(args.recipe), args.device)
    turn, laps = take_turns(cell, args.rounds, ("fresh", "again", "fixed"))
    speed = interval([args.batch * turn.steps / seconds for seconds in laps["torchlap"]])
    print(f"{cell}: {args.rounds} rounds of {turn.steps} steps, lead-in {turn.lead_in}; images/s in torchlap: {speed}")
    print(f"throughput over a hand-written loop of the same step: {paired_ratio(laps['fresh'], laps['torchlap'])}")
    print(f"throughput over the resident step:                    {paired_ratio(laps['fixed'], laps['torchlap'])}")
    print(f"the hand-written loop over itself:                    {paired_ratio(laps['fresh'], laps['again'])}")


if __name__ == "__main__":
    main()
