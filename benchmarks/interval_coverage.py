"""Does the interval contain the true value as often as it claims? Simulated comparisons, with the stopping rule.

    python benchmarks/interval_coverage.py [--comparisons 2000]

Prints a Markdown table, a row a model of noise (benchmarks/noise.py): in how many comparisons the 95% interval of the
speed-up contains the true one, the median number of rounds, and how often each finding was reported. Exits with 1 when
a promise is broken: 93 to 97.5 of 100 intervals, or the finding in 95 of 100 comparisons.
"""

import argparse
import sys
from functools import partial
from multiprocessing.pool import Pool
from statistics import median

from noise import MODELS, Noise, compare

LEAST, MOST, REPORTED = 0.93, 0.975, 0.95
SHOWN = ("TL204", "TL205", "TL206", "TL207")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=2000)
    comparisons = parser.parse_args().comparisons
    print("| noise | contains the truth | rounds | " + " | ".join(SHOWN) + " | promise |")
    print("|---|---|---|" + "---|" * len(SHOWN) + "---|")
    with Pool() as pool:
        kept = [row(place, noise, comparisons, pool) for place, noise in enumerate(MODELS)]
    sys.exit(not all(kept))


def row(place: int, noise: Noise, comparisons: int, pool: Pool) -> bool:
    """Print the row of a model; whether its promise was kept."""
    outcomes = pool.map(partial(compare, place), range(comparisons), chunksize=20)
    held = sum(outcome.interval.low <= outcome.truth <= outcome.interval.high for outcome in outcomes) / comparisons
    reported = {code: sum(code in outcome.findings for outcome in outcomes) / comparisons for code in SHOWN}
    if noise.finding:
        kept, promise = reported[noise.finding] >= REPORTED, f"{noise.finding} is reported"
    else:
        kept, promise = LEAST <= held <= MOST, "kept"
    rounds = median(outcome.interval.count for outcome in outcomes)
    codes = " | ".join(f"{share:.1%}" for share in reported.values())
    print(f"| {noise.name} | {held:.1%} | {rounds:.0f} | {codes} | {promise if kept else 'BROKEN'} |", flush=True)
    return kept


if __name__ == "__main__":
    main()
