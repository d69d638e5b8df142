"""Whether torchlap's efficiency of several GPUs is that of a hand-written loop in DistributedDataParallel on this host.

    python benchmarks/scaling.py [--model resnet50] [--batch 128] [--ranks 2] [--budget 60s] [--seconds 8] [--rounds 2]

The loop runs on one GPU and on several, in turns, before and after `torchlap scale` of the same step: bf16,
channels_last, fused Adam, a fixed batch. The exit code is 0 if the efficiencies agree within 3%, or else 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

LOOP = Path(__file__).with_name("bare_ranks.py")
ALLOWED = 0.03


def by_hand(model: str, batch: int, ranks: int, seconds: float) -> float:
    """Images a second of one GPU of so many."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launch, str(LOOP), model, str(batch), str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def by_torchlap(model: str, batch: int, ranks: int, budget: str) -> dict[str, float]:
    """The efficiency that torchlap finds, with its interval."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["scale", model, "--devices", "cuda", "--ranks", str(ranks), "--batch", str(batch)]
        words += ["--recipe", "bf16+channels_last+fused", "--budget", budget, "--format", "json"]
        words += ["--out", str(Path(folder) / "scale.jsonl")]
        command = [sys.executable, "-m", "torchlap", *words]
        report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (size,) = report["sizes"]
    found: dict[str, float] = size["efficiency"]
    return found


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    efficiencies = []
    for number in range(options.rounds):
        if number == options.rounds // 2:
            found = by_torchlap(options.model, options.batch, options.ranks, options.budget)
            print(f"torchlap: {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})", flush=True)
        order = (1, options.ranks) if number % 2 == 0 else (options.ranks, 1)
        rates = {ranks: by_hand(options.model, options.batch, ranks, options.seconds) for ranks in order}
        efficiencies.append(rates[options.ranks] / rates[1])
        print(
            f"by hand: {rates[1]:.0f} alone, {rates[options.ranks]:.0f} a GPU of {options.ranks} images/s, "
            f"efficiency {efficiencies[-1]:.3f}",
            flush=True,
        )
    ratio = found["value"] / mean(efficiencies)
    agrees = 1 / (1 + ALLOWED) <= ratio <= 1 + ALLOWED
    print(f"torchlap over by hand: {ratio:.3f}x ({'agree' if agrees else 'do not agree'} within {ALLOWED})")
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
