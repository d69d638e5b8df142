"""How soon torchlap's table is full, beside a bare script that measures the same cells and proves nothing.

    python benchmarks/time_to_table.py [--devices cuda:0] [--rounds 2] [--budget 100s] [--everything]

Runs both in turns, import included, and prints for each the cells with a figure, the widest half-width, the seconds
until the last of them had its first figure, and the ratio of these seconds; torchlap then narrows its intervals. With
`--everything` torchlap also checks numerics and names bottlenecks.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from torchlap import figures, load
from torchlap.machine.facts import cpu_threads
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.events import Round, Run

HERE = Path(__file__).parent


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--budget", default="100s")
    parser.add_argument("--everything", action="store_true")
    options = parser.parse_args()
    print("| round | who | cells | widest half-width | seconds until all have figures | seconds in all |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for number in range(options.rounds):
        runs = {"bare": lambda: bare(options.devices), "torchlap": lambda: torchlap(options)}
        seconds = {}
        for name in list(runs)[:: 1 if number % 2 == 0 else -1]:
            cells, widest, last, total = runs[name]()
            seconds[name] = last
            print(f"| {number + 1} | {name} | {cells} | {widest:.1%} | {last:.1f} | {total:.1f} |", flush=True)
        ratios.append(seconds["torchlap"] / seconds["bare"])
    print(f"\ntorchlap over bare: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)})")


def bare(devices: str) -> tuple[int, float, float, float]:
    """The bare script, one process a device: cells, widest half-width, seconds until all have figures, seconds."""
    begun = time.monotonic()
    cells, widest = 0, 0.0
    for device in devices.split(","):
        command = [sys.executable, str(HERE / "bare_table.py"), device, str(cpu_threads()[0])]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in ended.stdout.splitlines():
            cells, widest = cells + 1, max(widest, json.loads(line)["half_width"])
    seconds = time.monotonic() - begun
    return cells, widest, seconds, seconds


def torchlap(options: argparse.Namespace) -> tuple[int, float, float, float]:
    """The same by torchlap."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.jsonl"
        words = ["run", "--devices", options.devices, "--budget", options.budget, "--out", str(out)]
        if not options.everything:
            words += ["--no-verify", "--no-why"]
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "torchlap", *words], stdout=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - begun
        run = load(out)
    found = [cell.throughput for group in figures(run) for cell in group.cells if cell.throughput]
    return len(found), max(interval.half_width for interval in found), seconds_to_figures(run), seconds


def seconds_to_figures(run: Run) -> float:
    """When the last cell had the laps that a first figure needs, in seconds since the start."""
    laps, full = Counter[tuple[int, int]](), dict[tuple[int, int], float]()
    for event in run.events:
        if isinstance(event, Round):
            for lap in event.laps:
                laps[event.group, lap.cell] += 1
                if laps[event.group, lap.cell] >= LEAST_LAPS:
                    full.setdefault((event.group, lap.cell), event.at_seconds)
    return max(full.values())


if __name__ == "__main__":
    main()
