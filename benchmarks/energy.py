"""Whether torchlap's watts are those of nvidia-smi: the mean of its samples over two long laps of a hand-written loop.

    python benchmarks/energy.py --device cuda:0 [--model resnet18] [--batch 64] [--recipe fp32] [--seconds 20]

A lap of the loop runs before `torchlap run --energy` of the same step, and one after it, because a GPU gets warmer. For
GPUs whose driver and torch have the same numbers (without CUDA_VISIBLE_DEVICES). The exit code is 0 if the two agree
within 5%, or else 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import IO

BARE = Path(__file__).with_name("bare.py")
ALLOWED = 0.05
SAMPLE_MILLISECONDS = 100
LEAD_IN_SECONDS = 3.0
"""nvidia-smi's power is a mean over the last second on many GPUs."""


def measured(arguments: argparse.Namespace) -> dict[str, float]:
    """What torchlap measures: watts with their interval, joules and images a second, and the idle power."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", arguments.model, "--batch", str(arguments.batch), "--devices", arguments.device]
        words += ["--recipe", arguments.recipe, "--energy", "--no-why", "--no-verify", "--budget", arguments.budget]
        words += ["--format", "json", "--out", str(Path(folder) / "run.jsonl")]
        command = [sys.executable, "-m", "torchlap", *words]
        report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (cell,) = report["cells"]
    if not (cell["energy"] and cell["energy"]["watts"]):
        raise SystemExit(f"torchlap has no energy: {cell['energy'] or report['idle']}")
    watts, joules = cell["energy"]["watts"], cell["energy"]["joules_per_item"]
    return {
        "watts": watts["value"],
        "low": watts["low"],
        "high": watts["high"],
        "joules": joules["value"],
        "seconds": cell["energy"]["seconds"],
        "speed": cell["items_per_second"]["value"],
        "idle": report["idle"][arguments.device]["watts"],
    }


def sampled(arguments: argparse.Namespace, speed: float) -> tuple[float, int, float]:
    """The mean power that nvidia-smi shows during a long lap, the number of its samples, and images a second."""
    words = [arguments.model, arguments.batch, arguments.device, arguments.recipe, "contiguous", "fresh", 4]
    with subprocess.Popen(
        [sys.executable, str(BARE), *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as loop:
        if loop.stdin is None or loop.stdout is None:
            raise RuntimeError("the loop has no pipes")
        lead_in, steps = (max(1, int(part * speed / arguments.batch)) for part in (LEAD_IN_SECONDS, arguments.seconds))
        lap(loop.stdin, loop.stdout, steps=lead_in)
        samples, seconds, pipes = list[float](), list[float](), (loop.stdin, loop.stdout)

        def run() -> None:
            seconds.append(lap(*pipes, steps=steps))

        thread = threading.Thread(target=run)
        query = ["nvidia-smi", f"--id={arguments.device.rpartition(':')[2]}", "--query-gpu=power.draw"]
        query += ["--format=csv,noheader,nounits", f"--loop-ms={SAMPLE_MILLISECONDS}"]
        thread.start()
        with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as monitor:
            for line in monitor.stdout or ():
                if not thread.is_alive():
                    break
                samples.append(float(line))
            monitor.terminate()
        thread.join()
        loop.terminate()
    return mean(samples), len(samples), steps * arguments.batch / seconds[0]


def lap(requests: IO[str], answers: IO[str], steps: int) -> float:
    """Run a lap of the hand-written loop; its seconds."""
    requests.write(f"0 {steps} loop\n")
    requests.flush()
    return float(answers.readline())


def main(words: Sequence[str] | None = None) -> int:
    """Measure both ways, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--recipe", default="fp32", choices=("fp32", "tf32"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--budget", default="45s")
    arguments = parser.parse_args(words)
    first = measured(arguments)  # its speed tells how many steps fill a lap
    before = sampled(arguments, first["speed"])
    ours = measured(arguments)
    after = sampled(arguments, ours["speed"])
    theirs = mean([before[0], after[0]])
    print(f"{arguments.model}, batch {arguments.batch}, {arguments.device}, {arguments.recipe}")
    for name, (watts, count, speed) in (("before", before), ("after", after)):
        print(f"nvidia-smi, {name}: {watts:.1f} W, mean of {count} samples; the loop: {speed:.1f} images/s")
    for found in (first, ours):
        print(
            f"torchlap: {found['watts']:.1f} W ({found['low']:.1f} to {found['high']:.1f}), {found['seconds']:.1f} s; "
            f"{found['joules']:.4f} J/image; {found['speed']:.1f} images/s; idle {found['idle']:.1f} W"
        )
    ratio = ours["watts"] / theirs
    agree = abs(ratio - 1) <= ALLOWED
    print(f"torchlap over nvidia-smi: {ratio:.3f}x ({'agree' if agree else 'DISAGREE'} within {ALLOWED})")
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
