"""Does torchlap name the right bottleneck? Workloads whose bottleneck is known; and do their phases add up?

    python benchmarks/bounds.py [DEVICE ...]
    PYTHONPATH=tests/simulated SIMULATED_COST=0.00001 python benchmarks/bounds.py sim:0

Prints a Markdown table: the workload, its known bottleneck, the reported one with shares of the step, the sum of the
phases over whole steps that ran in turns with them, and the share of the run that the breakdown took. Without a device:
the CPU. On the simulated accelerator all operators cost the same, so only the host can be the bottleneck.
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
    """A workload, its bottleneck, and its batch on the CPU and on an accelerator."""

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
    """What torchlap reported: the words, the shares, the phases' sum over the step, the breakdown's share."""

    word: str
    second: str
    shares: dict[str, float]
    phases: float
    explaining: float


def told(known: Known, device: str, *more: str) -> Told:
    """Run a workload, and read the report."""
    batch = known.batch if device == "cpu" else known.batch_of_an_accelerator
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run.jsonl"
        arguments = ["run", f"{MODELS}:{known.model}", "--devices", device, "--batch", str(batch), "--no-verify"]
        arguments += ["--budget", "30s", "--format", "json", "--out", str(out), *more]
        command = [sys.executable, "-m", "torchlap", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            sys.exit(done.stderr)
        report = json.loads(done.stdout)
        ((cell,),) = (group.cells for group in figures(load(out)))
    bottleneck = report["cells"][0]["bottleneck"]
    if bottleneck is None or cell.breakdown is None:
        sys.exit(f"{known.model} has no breakdown: {cell.breakdown}")
    total = sum(median(seconds) for seconds in cell.breakdown.phases.values())
    explaining = cell.breakdown.seconds + sum(peaks["seconds"] for peaks in report["peaks"].values())
    return Told(
        bottleneck["kind"] or "",
        bottleneck["second"] or "",
        bottleneck["shares"],
        total / median(cell.breakdown.steps),
        explaining / report["wall_seconds"],
    )


def row(known: Known, device: str) -> str:
    """A line of the table."""
    result = told(known, device)
    shares = ", ".join(
        f"{word} {share:.2f}" for word, share in sorted(result.shares.items(), key=lambda item: -item[1])
    )
    word = f"**{result.word}**" if result.word != known.bound else result.word
    second = f", {result.second}" if result.second else ""
    return (
        f"| {known.model} | {device} | {known.bound} | {word}{second} | {shares} | {result.phases:.2f} "
        f"| {result.explaining:.0%} |"
    )


def main() -> None:
    """Print the table."""
    devices = sys.argv[1:] or ["cpu"]
    print("| workload | device | known | reported | shares of the step | phases / step | breakdown, of the run |")
    print("|---|---|---|---|---|---|---|")
    for device in devices:
        for known in [known for known in WORKLOADS if known.bound in BY_THE_HOST or not device.startswith("sim")]:
            print(row(known, device), flush=True)


if __name__ == "__main__":
    main()
