"""What does `torchlap doctor` cost? It and the bare import of torch and torchvision take turns.

    python benchmarks/check_up.py [--rounds 10]

Prints a Markdown row: the seconds of both, and their ratio with its 95% interval. The doctor's time includes the live
probe of every device; without it, the ratio should be below 1.5.
"""

import argparse
import subprocess
import sys
import time

from torchlap.stats import interval

IMPORT = [sys.executable, "-c", "import torch, torchvision"]
DOCTOR = [sys.executable, "-m", "torchlap", "doctor"]


def seconds(command: list[str]) -> float:
    """How long a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    seconds(IMPORT)  # brings the files into memory
    bare: list[float] = []
    check_up: list[float] = []
    for number in range(rounds):
        for command, times in ((IMPORT, bare), (DOCTOR, check_up))[:: -1 if number % 2 else 1]:
            times.append(seconds(command))
    ratio = interval([doctor / bare_import for doctor, bare_import in zip(check_up, bare, strict=True)])
    print("| rounds | import, s | doctor, s | ratio |\n|---|---|---|---|")
    print(
        f"| {rounds} | {interval(bare).value:.2f} | {interval(check_up).value:.2f} "
        f"| {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) |"
    )


if __name__ == "__main__":
    main()
