"""What do two runs of one program differ by? The same cells measured again and again, each time in a run of its own.

    python benchmarks/between_runs.py [--runs 8] [--device cpu] [MODEL ...]

Prints a Markdown table: a cell, its throughput in each run, the half-width by which two runs differ beyond their own
intervals, and what `torchlap compare` says of each pair of runs: all of them should be the same, or cannot be told.
"""

import argparse
import sys
from itertools import combinations
from math import log, sqrt
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import torchlap
from torchlap.judge.compare import compare
from torchlap.runs.find import Named

Z = 1.96
"""Of a 95 % interval."""


def measured(folder: Path, number: int, models: tuple[str, ...], device: str) -> torchlap.Run:
    """One run."""
    return torchlap.measure(
        torchlap.Options(
            models=models,
            devices=device,
            batches=(4,),
            out=folder / f"{number}.jsonl",
            budget_seconds=60.0,
            verify=False,
            explain=False,
        )
    )


def main() -> None:
    """Measure, and print the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("models", nargs="*", default=["squeezenet1_0", "mobilenet_v2"])
    words.add_argument("--runs", type=int, default=8)
    words.add_argument("--device", default="cpu")
    asked = words.parse_args()
    with TemporaryDirectory() as folder:
        runs = [measured(Path(folder), number, tuple(asked.models), asked.device) for number in range(asked.runs)]
    print(
        "| cell | images/s in each run | two runs differ by, beyond their intervals | pairs: same, cannot tell, other |"
    )
    print("|---|---|---|---|")
    for place in range(len(asked.models)):
        cells = [torchlap.figures(run)[place].cells[0] for run in runs]
        seen = [cell.throughput for cell in cells if cell.throughput]
        if len(seen) < len(runs):
            sys.exit(f"{cells[0].cell} has no figure in one of the runs.")
        within = mean((each.half_width / Z) ** 2 for each in seen)
        beyond = sqrt(max(0.0, stdev(log(each.value) for each in seen) ** 2 - within))
        verdicts = [
            compare([Named("a", one), Named("b", other)]).changes[place].verdict for one, other in combinations(runs, 2)
        ]
        counts = [verdicts.count("same"), verdicts.count("cannot tell")]
        told = ", ".join(map(str, [*counts, len(verdicts) - sum(counts)]))
        speeds = ", ".join(f"{each.value:.3g}" for each in seen)
        print(f"| {cells[0].cell} | {speeds} | {Z * sqrt(2) * beyond:.1%} | {told} |", flush=True)


if __name__ == "__main__":
    main()
