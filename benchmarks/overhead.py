"""What torchlap costs: its throughput over that of a hand-written loop of the same step, paired, in one run.

    python benchmarks/overhead.py [--device cuda:0] [--model resnet18] [--batch 64] [--recipe fp32] [--rounds 20]

It prints two ratios with their intervals: over the loop that resizes fresh digits at every step, as torchlap does (at
least 0.99), and over the loop whose one batch is resident and ready (at least 0.95 on a GPU): so much of a step's speed
is left to an epoch.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from torchlap.facts import cpu_threads
from torchlap.isolate import launcher
from torchlap.protocol import LapDone, Prepare, Prepared, RunLap
from torchlap.records import Cell, Workload
from torchlap.schedule import lap_steps, lead_in_steps
from torchlap.stats import paired_ratio
from torchlap.suites import parse_recipe

BARE = Path(__file__).with_name("bare.py")
LIMIT = 600.0


class Bare:
    """The hand-written loop in a process of its own."""

    def __init__(self, cell: Cell, prepared: Prepared, data: str) -> None:
        workload = cell.workload
        words = [workload.model, workload.batch, cell.device, cell.recipe.precision, prepared.memory_format, data]
        command = [sys.executable, str(BARE), *map(str, words), str(prepared.threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def lap(self, lead_in: int, steps: int) -> float:
        """Run a lap; its seconds."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the loop has no pipes")
        self._process.stdin.write(f"{lead_in} {steps}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--recipe", default="fp32")
    parser.add_argument("--rounds", type=int, default=20)
    words = parser.parse_args()
    cell = Cell(Workload(words.model, words.batch), parse_recipe(words.recipe), words.device)
    threads, reason = cpu_threads()
    processes = launcher()
    worker = processes.start()
    request = Prepare(
        cell=cell, data="mnist-1k", weights="random", threads=threads, threads_reason=reason, warm_up_seconds=20.0
    )
    prepared = worker.ask(request, Prepared, LIMIT)
    steps = lap_steps(prepared.step_seconds, prepared.synchronize_seconds, prepared.step_seconds)
    lead_in = lead_in_steps(prepared.step_seconds, steps)
    bares = {data: Bare(cell, prepared, data) for data in ("fresh", "fixed")}
    for bare in bares.values():
        bare.lap(max(3, 2 * steps), steps)  # warm
    laps: dict[str, list[float]] = {"torchlap": [], "fresh": [], "fixed": []}
    for number in range(words.rounds):
        for name in list(laps)[:: 1 if number % 2 == 0 else -1]:
            if name == "torchlap":
                laps[name].append(worker.ask(RunLap(steps, lead_in), LapDone, LIMIT).seconds)
            else:
                laps[name].append(bares[name].lap(lead_in, steps))
    for bare in bares.values():
        bare.close()
    processes.close()
    print(f"{cell}: {words.rounds} rounds of {steps} steps, lead-in {lead_in}")
    print(f"throughput over a hand-written loop of the same step: {paired_ratio(laps['fresh'], laps['torchlap'])}")
    print(f"throughput over the resident step:                    {paired_ratio(laps['fixed'], laps['torchlap'])}")


if __name__ == "__main__":
    main()
