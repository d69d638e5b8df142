"""By how much do two runs of one program differ? The same cells, measured in several separate runs.

    python benchmarks/between_runs.py [--runs 8] [--device cpu] [MODEL ...]

Prints a Markdown table: a cell, its throughput in each run, the half-width by which two runs differ beyond their own
intervals, and the verdicts of `torchlap compare` on each pair of runs, which should all be the same or inconclusive.
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
"""Of a 95% interval."""


def measured(folder: Path, number: int, models: tuple[str, ...], device: str) -> torchlap.Run:
    """Measure one run."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["squeezenet1_0", "mobilenet_v2"])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        runs = [measured(Path(folder), number, tuple(args.models), args.device) for number in range(args.runs)]
    print("| cell | images/s in each run | difference beyond the intervals | pairs: same, inconclusive, other |")
    print("|---|---|---|---|")
    for place in range(len(args.models)):
        cells = [torchlap.figures(run)[place].cells[0] for run in runs]
        throughputs = [cell.throughput for cell in cells if cell.throughput]
        if len(throughputs) < len(runs):
            sys.exit(f"{cells[0].cell} has no figure in at least one run.")
        within = mean((throughput.half_width / Z) ** 2 for throughput in throughputs)
        beyond = sqrt(max(0.0, stdev(log(throughput.value) for throughput in throughputs) ** 2 - within))
        verdicts = [
            compare([Named("a", first), Named("b", second)]).changes[place].verdict
            for first, second in combinations(runs, 2)
        ]
        counts = [verdicts.count("same"), verdicts.count("inconclusive")]
        tally = ", ".join(map(str, [*counts, len(verdicts) - sum(counts)]))
        speeds = ", ".join(f"{throughput.value:.3g}" for throughput in throughputs)
        print(f"| {cells[0].cell} | {speeds} | {Z * sqrt(2) * beyond:.1%} | {tally} |", flush=True)


if __name__ == "__main__":
    main()
