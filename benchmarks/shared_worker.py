"""Is a cell as fast in a worker that has held other cells before as in a process of its own? Does order matter?

    python benchmarks/shared_worker.py [--device cuda:0] [--models resnet18,alexnet] [--batch 64] [--rounds 6]

In each round one worker, alive for the whole benchmark, holds all cells one after another, in another order each time;
beside it each cell gets a new process. Both are warmed up, then they lap in turns. Prints a row a cell: the throughput
in the shared worker over that in a process of its own, with its interval, and the same for the rounds in which the cell
came in the first and in the second half of the order.
"""

import argparse
from random import Random
from statistics import median

from torchlap.machine.facts import cpu_threads
from torchlap.measuring.schedule import lap_steps, lead_in_steps
from torchlap.processes.start import launcher
from torchlap.processes.worker import Worker
from torchlap.schema.recipe import MemoryFormat, Recipe
from torchlap.schema.replies import Built, LapsDone, Prepared, Released
from torchlap.schema.requests import Build, Release, RunLaps, WarmUp
from torchlap.schema.workload import Cell, Workload
from torchlap.stats import lap_interval

LIMIT = 600.0
WARM_UP_SECONDS, TURNS, LAPS = 0.5, 4, 4


class Ready:
    """A cell, warmed up in a worker."""

    def __init__(self, worker: Worker, cell: Cell, memory_format: MemoryFormat) -> None:
        threads, reason = cpu_threads()
        self._worker = worker
        build = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=threads, threads_reason=reason)
        worker.ask(build, Built, LIMIT)
        request = WarmUp(slot=0, limit_seconds=WARM_UP_SECONDS, memory_format=memory_format)
        self.prepared = worker.ask(request, Prepared, LIMIT).preparation

    def turn(self, step_seconds: float) -> float:
        """The median seconds a step of a turn's laps."""
        steps = lap_steps(step_seconds, self.prepared.synchronize_seconds)
        lead_in = lead_in_steps(step_seconds, steps, 0.0)
        turn = RunLaps(slot=0, steps=steps, lead_in=lead_in, laps=LAPS, settle_seconds=0.2)
        return median(lap.seconds for lap in self._worker.ask(turn, LapsDone, LIMIT).laps) / steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", default="resnet18,alexnet,squeezenet1_0,mobilenet_v2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    cells = [Cell(Workload(model, args.batch), Recipe(), args.device) for model in args.models.split(",")]
    shared: dict[Cell, list[float]] = {cell: [] for cell in cells}
    own: dict[Cell, list[float]] = {cell: [] for cell in cells}
    early: dict[Cell, list[bool]] = {cell: [] for cell in cells}
    processes, random, formats = launcher(), Random(1), dict[Cell, MemoryFormat]()
    worker = processes.start()
    for _ in range(args.rounds):
        order = random.sample(cells, len(cells))
        for place, cell in enumerate(order):
            alone = processes.start()
            in_own = Ready(alone, cell, formats.get(cell, "auto"))
            formats[cell] = in_own.prepared.memory_format
            in_shared = Ready(worker, cell, formats[cell])
            step = min(in_own.prepared.step_seconds, in_shared.prepared.step_seconds)
            pair = [(own, in_own), (shared, in_shared)]
            for turn in range(TURNS):
                for laps, ready in pair[:: 1 if turn % 2 == 0 else -1]:
                    laps[cell].append(ready.turn(step))
            early[cell] += [place < len(cells) / 2] * TURNS
            alone.kill()
            worker.ask(Release(), Released, LIMIT)
    processes.close()
    report(shared, own, early)


def report(shared: dict[Cell, list[float]], own: dict[Cell, list[float]], early: dict[Cell, list[bool]]) -> None:
    """Print a row a cell."""
    print("| cell | shared / separate | early in the order | late in the order |\n|---|---|---|---|")
    for cell, laps in shared.items():
        turns = list(zip(own[cell], laps, early[cell], strict=True))
        halves = [[turn for turn in turns if turn[2] is half] for half in (True, False)]
        ratios = [
            str(lap_interval([alone / shared_lap for alone, shared_lap, _ in kept])) if kept else "-"
            for kept in (turns, *halves)
        ]
        print(f"| {cell} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
