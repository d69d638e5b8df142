"""Whether compilations on cores of their own disturb what laps meanwhile, as in a run whose recipe has compile.

    python benchmarks/compiling_beside.py [--device cuda:0] [--models resnet18,mobilenet_v2,squeezenet1_0,alexnet]
        [--rounds 6] [--seconds 3] [--everywhere]

A resnet18 at batch 4, whose speed on an accelerator is that of its host, laps in turns without anything beside it and
while other models are compiled (from nothing: the compiler's cache is a new folder). Prints the ratio of these laps
with its interval: 1 means that they are not disturbed. `--everywhere` lets the compilations run on all cores.
"""

import argparse
import os
import tempfile
from math import ceil
from statistics import median

from shared_worker import LIMIT, Ready

from torchlap.machine.facts import cpu_threads, usable_core_numbers
from torchlap.measuring.schedule import cores_apart
from torchlap.processes.ahead import Ahead
from torchlap.processes.start import launcher
from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.replies import LapsDone
from torchlap.schema.requests import Build, RunLaps
from torchlap.schema.workload import Cell, Workload
from torchlap.stats import paired_ratio

BATCH = 64
LEAST_SECONDS = 0.05


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--models", default="resnet18,mobilenet_v2,squeezenet1_0,alexnet")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--everywhere", action="store_true")
    args = parser.parse_args()
    models = args.models.split(",")
    apart = cores_apart(usable_core_numbers(), len(models))
    cores = [] if args.everywhere else apart
    print(f"compilers' cores: {cores or 'all'}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": f"{folder}/triton"}
        processes = launcher()
        worker = processes.start()
        ready = Ready(worker, Cell(Workload("resnet18", 4), Recipe(), args.device), "auto")
        steps = ceil(LEAST_SECONDS / ready.prepared.step_seconds)
        laps = ceil(args.seconds / (steps * ready.prepared.step_seconds))
        turn = RunLaps(slot=0, steps=steps, lead_in=steps, laps=laps)

        def lap() -> float:
            return median(each.seconds for each in worker.ask(turn, LapsDone, LIMIT).laps)

        threads, reason = cpu_threads()
        alone, beside = list[float](), list[float]()
        for number in range(args.rounds):
            alone.append(lap())
            requests = [
                Build(
                    slot=0,
                    cell=Cell(Workload(model, BATCH + number), parse_recipe("bf16+compile"), args.device),
                    data="mnist-1k",
                    weights="random",
                    threads=threads,
                    threads_reason=reason,
                )
                for model in models
            ]
            ahead = Ahead(lambda _: processes.start(), requests, cores)
            beside.append(lap())
            ahead.close()
            ratio = beside[-1] / alone[-1]
            print(f"round {number + 1}: alone {alone[-1] * 1e3 / steps:.3f} ms a step, beside {ratio:.3f}x", flush=True)
        processes.close()
    found = paired_ratio(beside, alone)
    print(f"\nbeside over alone: {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")


if __name__ == "__main__":
    main()
