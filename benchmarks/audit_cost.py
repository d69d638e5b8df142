"""What tracing costs: the same script alone and under the tracer of `torchlap audit`, in turns.

    python benchmarks/audit_cost.py [--device cpu] [--rounds 8] [SCRIPT]

The script (default: tests/scripts/clean/plain.py) prints its time a step in its last line. Prints the paired ratio of
that time with the tracer to that without, with its interval: 1.00 means that tracing costs nothing.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from audited_scripts import SCRIPTS, SIMULATED

from torchlap.processes.script import lifeline
from torchlap.processes.script import traced as under_tracer
from torchlap.stats import paired_ratio


def figure(command: list[str], line: int) -> float:
    """The time a step in milliseconds, from the last line that a script prints; a traced one has a lifeline."""
    output = subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=(line,)).stdout
    return float(re.findall(r"\d+\.\d+", output.splitlines()[-1])[0])


def main() -> None:
    """Run the script in turns, with and without the tracer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", nargs="?", default=str(SCRIPTS / "clean" / "plain.py"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    if args.device.startswith("sim"):
        os.environ.update(SIMULATED)
    alone: list[float] = []
    traced: list[float] = []
    with TemporaryDirectory() as folder, lifeline() as line:
        commands = {
            False: [sys.executable, args.script, args.device],
            True: under_tracer(line, Path(folder) / "trace.json", args.script, args.device),
        }
        for number in range(args.rounds):
            for with_tracer in (True, False) if number % 2 else (False, True):
                (traced if with_tracer else alone).append(figure(commands[with_tracer], line))
    ratio = paired_ratio(traced, alone, 0.95)
    interval = f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
    print(f"{Path(args.script).stem} on {args.device}, {args.rounds} rounds: {interval} of its time alone")


if __name__ == "__main__":
    main()
