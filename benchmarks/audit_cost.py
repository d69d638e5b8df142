"""What watching costs: the same script by itself and under the tracer of `torchlap audit`, in turns.

    python benchmarks/audit_cost.py [--device cpu] [--rounds 8] [SCRIPT]

The script (tests/scripts/clean/plain.py when left out) prints its own figure last; the ratio of the two figures is that
of its speed with and without the tracer. Prints the paired ratio with its interval: 1.00 costs nothing.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from audited_scripts import SCRIPTS, SIMULATED

from torchlap.processes.script import TRACER
from torchlap.stats import paired_ratio


def figure(command: list[str]) -> float:
    """The last number that a script prints, with its time a step in milliseconds."""
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"\d+\.\d+", said.splitlines()[-1])[0])


def main() -> None:
    """Let them take turns."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("script", nargs="?", default=str(SCRIPTS / "clean" / "plain.py"))
    words.add_argument("--device", default="cpu")
    words.add_argument("--rounds", type=int, default=8)
    asked = words.parse_args()
    if asked.device.startswith("sim"):
        os.environ.update(SIMULATED)
    alone: list[float] = []
    watched: list[float] = []
    with TemporaryDirectory() as folder:
        commands = {
            False: [sys.executable, asked.script, asked.device],
            True: [sys.executable, "-m", TRACER, f"{folder}/trace.json", asked.script, asked.device],
        }
        for place in range(asked.rounds):
            for traced in (True, False) if place % 2 else (False, True):
                (watched if traced else alone).append(figure(commands[traced]))
    ratio = paired_ratio(watched, alone, 0.95)
    interval = f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
    print(f"{Path(asked.script).stem} on {asked.device}, {asked.rounds} rounds: {interval} of its time alone")


if __name__ == "__main__":
    main()
