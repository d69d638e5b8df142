"""Does the interval hold the truth as often as it says? Simulated comparisons of known truth, the stopping rule on.

    python benchmarks/interval_coverage.py [--comparisons 2000]

Prints a Markdown table, a row a model of noise (benchmarks/noise.py): in how many comparisons the 95 % interval of the
speed-up holds the true one, how many rounds were measured (median), and how often what finding was told. Exits 1 when a
promise is broken: 93 to 97.5 of 100, or the finding in 95 of 100.
"""

import argparse
import sys
from functools import partial
from multiprocessing.pool import Pool
from statistics import median

from noise import MODELS, TRUTH, Noise, compare

LEAST, MOST, TOLD = 0.93, 0.975, 0.95
SHOWN = ("TL204", "TL205", "TL206", "TL207")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=2000)
    groups = parser.parse_args().groups
    print("| noise | holds the truth | rounds | " + " | ".join(SHOWN) + " | promise |")
    print("|---|---|---|" + "---|" * len(SHOWN) + "---|")
    with Pool() as pool:
        kept = [row(place, noise, groups, pool) for place, noise in enumerate(MODELS)]
    sys.exit(not all(kept))


def row(place: int, noise: Noise, groups: int, pool: Pool) -> bool:
    """Print a model's row, and tell whether its promise was kept."""
    outcomes = pool.map(partial(compare, place), range(groups), chunksize=20)
    held = sum(one.ratio.low <= TRUTH <= one.ratio.high for one in outcomes) / groups
    told = {code: sum(code in one.findings for one in outcomes) / groups for code in SHOWN}
    if noise.finding:
        kept, promise = told[noise.finding] >= TOLD, f"{noise.finding} is told"
    else:
        kept, promise = LEAST <= held <= MOST, "kept"
    rounds = median(one.ratio.count for one in outcomes)
    codes = " | ".join(f"{share:.1%}" for share in told.values())
    print(f"| {noise.name} | {held:.1%} | {rounds:.0f} | {codes} | {promise if kept else 'BROKEN'} |", flush=True)
    return kept


if __name__ == "__main__":
    main()
