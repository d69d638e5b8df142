"""What torchlap tune reaches on the workloads of docs/tune.md, and how fast the code is that it prints.

    python benchmarks/tuned.py [--devices cuda:0] [--only resnet18] [--effort quick] [--folder tuned] [--beside timm]

Runs `torchlap tune` for each workload and prints a row for each tier that has a winner. The run files stay in the
folder, and an existing one is read instead of measured again. `--beside timm` also runs timm's benchmark.py at its best
flags (channels_last, amp with bfloat16, torch.compile) for the torchvision workloads, where timm and its script are:
give the script's path with `--timm-script`.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from torchlap import load
from torchlap.reports.kit.units import with_interval
from torchlap.runs.figures import tally
from torchlap.runs.tuning import tuned
from torchlap.schema.events import RunFinished

WORKLOADS = (
    ("resnet18", 64, ()),
    ("resnet18", 256, ()),
    ("mobilenet_v2", 64, ()),
    ("efficientnet_b0", 64, ()),
    ("squeezenet1_0", 64, ()),
    ("vgg16", 64, ()),
    ("resnet50", 128, ()),
    ("vit_b_16", 64, ()),
    ("vit_b_16", 256, ()),
    ("hf:bert-base", 64, ("--seq", "128")),
    ("hf:gpt2", 16, ("--seq", "1024")),
    ("resnet18", 4, ()),
)

HEAD = (
    "| workload | tier | recipe | throughput | vs. plain | code | compile, s | search, s |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Tune each workload, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default="cuda:0")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--budget", default="")
    parser.add_argument("--allow", default="")
    parser.add_argument("--folder", type=Path, default=Path("tuned"))
    parser.add_argument("--beside", choices=["timm"])
    parser.add_argument("--timm-script", type=Path, default=Path("benchmark.py"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    for model, batch, words in WORKLOADS:
        if options.only in model:
            file = options.folder / f"{model.replace(':', '-')}-b{batch}-{options.effort}.jsonl"
            measure(options, file, model, batch, words)
            print("\n".join(rows(file)), flush=True)
            if options.beside and ":" not in model:
                print(f"| {model} b{batch} | timm | {beside_timm(options.timm_script, model, batch)} |", flush=True)


def measure(options: argparse.Namespace, file: Path, model: str, batch: int, words: tuple[str, ...]) -> None:
    """Run the search, unless its file exists."""
    if file.exists():
        return
    command = [sys.executable, "-m", "torchlap", "tune", model, "--batch", str(batch), *words]
    command += ["--devices", options.devices, "--effort", options.effort, "--out", str(file)]
    command += ["--budget", options.budget] if options.budget else []
    command += ["--allow", options.allow] if options.allow else []
    ended = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    file.with_suffix(".txt").write_text(ended.stdout)


def rows(file: Path) -> list[str]:
    """A row for the plain step, and one for the winner of each tier."""
    run = load(file)
    found, group = tuned(run), tally(run)[0]
    if found is None or found.plain.throughput is None:
        return [f"| {file.stem} | plain | | failed | | | | |"]
    workload = found.plain.cell.workload
    name = f"{workload.model} b{workload.batch}"
    seconds = sum(event.wall_seconds for event in run.events if isinstance(event, RunFinished))
    texts = [f"| {name} | plain | {found.plain.cell.recipe} | {with_interval(found.plain.throughput)} | | | | |"]
    for tier, number in found.winners.items():
        rung, code = found.rung(number), group.codes.get(number)
        if rung is None or rung.result.throughput is None or rung.result.prepared is None:
            continue
        speed = with_interval(rung.result.speed_up, "x") if rung.result.speed_up else ""
        ran = f"{median(code.rates):.5g}" if code and code.rates else (code.reason if code else "not run")
        rate, compiled = with_interval(rung.result.throughput), rung.result.prepared.compile_seconds
        texts.append(
            f"| {name} | {tier} | {rung.result.cell.recipe} | {rate} | {speed} | {ran} | {compiled:.1f} | "
            f"{seconds:.0f} |"
        )
    return texts


def beside_timm(script: Path, model: str, batch: int) -> str:
    """The last lines of timm's own benchmark, at its best flags."""
    command = [sys.executable, str(script), "--bench", "train", "--model", model, "-b", str(batch), "--opt", "adam"]
    command += ["--channels-last", "--amp", "--amp-dtype", "bfloat16", "--torchcompile"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    return " ".join((ended.stdout or ended.stderr).split()[-40:])


if __name__ == "__main__":
    main()
