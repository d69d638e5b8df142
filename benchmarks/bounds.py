"""Is a step's bound told right? Workloads whose bound is known, on a device; and whether the phases add up.

    python benchmarks/bounds.py [DEVICE ...]
    PYTHONPATH=tests/simulated SIMULATED_COST=0.00001 python benchmarks/bounds.py sim:0

Prints a Markdown table: the workload, its known bound, the word that was told with all shares, and what the phases add
up to over whole steps, run in turns with them. Without a device: the CPU. On
the simulated accelerator operators cost the same whatever they do, so only what the host does can bound it.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from msgspec import Struct

from torchlap import figures, load

MODELS = Path(__file__).parents[1] / "tests" / "own" / "known.py"


class Known(Struct, frozen=True):
    """A workload, its batch on the CPU and on an accelerator, and what bounds it."""

    model: str
    bound: str
    batch: int = 4
    batch_of_an_accelerator: int = 4


WORKLOADS = (
    Known("sleeping_loader", "input"),
    Known("tiny_operators", "launch"),
    Known("one_product", "compute", batch=1024, batch_of_an_accelerator=8192),
    Known("copies", "memory", batch_of_an_accelerator=64),
    Known("huge_embedding", "optimizer", batch_of_an_accelerator=64),
)


BY_THE_HOST = ("input", "launch")


class Told(Struct, frozen=True):
    """What torchlap told of a workload: the words, all shares, the phases' sum over the step, explaining's share."""

    word: str
    second: str
    shares: dict[str, float]
    phases: float
    explaining: float


def told(known: Known, device: str, *more: str) -> Told:
    """Run a workload, and read what was told."""
    batch = known.batch if device == "cpu" else known.batch_of_an_accelerator
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run.jsonl"
        words = ["run", f"{MODELS}:{known.model}", "--devices", device, "--batch", str(batch), "--no-verify"]
        words += ["--budget", "30s", "--format", "json", "--out", str(out), *more]
        command = [sys.executable, "-m", "torchlap", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            sys.exit(done.stderr)
        report = json.loads(done.stdout)
        ((cell,),) = (each.cells for each in figures(load(out)))
    why = report["cells"][0]["why"]
    if why is None or cell.breakdown is None:
        sys.exit(f"{known.model}: nothing was told: {cell.breakdown}")
    total = sum(median(seconds) for seconds in cell.breakdown.phases.values())
    explaining = cell.breakdown.seconds + sum(each["seconds"] for each in report["peaks"].values())
    return Told(
        why["word"] or "",
        why["second"] or "",
        why["shares"],
        total / median(cell.breakdown.steps),
        explaining / report["wall_seconds"],
    )


def row(known: Known, device: str) -> str:
    """A line of the table."""
    seen = told(known, device)
    shares = ", ".join(f"{word} {share:.2f}" for word, share in sorted(seen.shares.items(), key=lambda one: -one[1]))
    word = f"**{seen.word}**" if seen.word != known.bound else seen.word
    second = f", {seen.second}" if seen.second else ""
    return (
        f"| {known.model} | {device} | {known.bound} | {word}{second} | {shares} | {seen.phases:.2f} "
        f"| {seen.explaining:.0%} |"
    )


def main() -> None:
    """Print the table."""
    devices = sys.argv[1:] or ["cpu"]
    print("| workload | device | known | told | parts of the step | phases / step | explaining, of the run |")
    print("|---|---|---|---|---|---|---|")
    for device in devices:
        for known in [each for each in WORKLOADS if each.bound in BY_THE_HOST or not device.startswith("sim")]:
            print(row(known, device), flush=True)


if __name__ == "__main__":
    main()
