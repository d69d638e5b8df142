"""Do other timers agree? torchlap and torch.utils.benchmark.Timer take turns on the same step, in one run.

    python benchmarks/agreement.py [--device cuda:0] [--batch 4] [--rounds 20]

Prints a Markdown table: torchlap's throughput divided by the Timer's, which should be within 2% of 1, up to the
interval. On a CUDA device also a kernel that spins for a known number of clock cycles: torchlap's step divided by
cycles / clock should be within 1% of 1.
"""

import argparse
from pathlib import Path

from overhead import LIMIT, take_turns
from spinner import CYCLES

from torchlap.machine.facts import cpu_threads
from torchlap.processes.start import launcher
from torchlap.schema.recipe import Recipe
from torchlap.schema.replies import Built, LapsDone, Prepared
from torchlap.schema.requests import Build, RunLaps, WarmUp
from torchlap.schema.workload import Cell, Workload
from torchlap.stats import interval, paired_ratio

MODELS = ("mobilenet_v2", "squeezenet1_0", "resnet18")
SPINNER = f"{Path(__file__).with_name('spinner.py')}:spins"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    print("| step | device | torchlap over torch.utils.benchmark.Timer |\n|---|---|---|")
    for model in MODELS:
        cell = Cell(Workload(model, args.batch), Recipe(), args.device)
        _, laps = take_turns(cell, args.rounds, ("timer",))
        ratio = paired_ratio(laps["timer"], laps["torchlap"])
        print(f"| {model}, batch {args.batch} | {args.device} | {written(*bounds(ratio))} |", flush=True)
    if args.device.startswith("cuda"):
        print("\n| step | clock | torchlap over cycles / clock |\n|---|---|---|")
        spin(args.device, args.rounds)


def bounds(ratio: object) -> tuple[float, float, float]:
    """The value and the limits of an interval."""
    return tuple(getattr(ratio, name) for name in ("value", "low", "high"))


def written(value: float, low: float, high: float) -> str:
    """As `0.998 (0.991 to 1.004)`."""
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def spin(device: str, rounds: int) -> None:
    """Measure a kernel of known cycles; the clock frequency is read after each lap."""
    import pynvml  # noqa: PLC0415  the extra `nvidia`

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
    cell = Cell(Workload(SPINNER, 1, "eval"), Recipe(), device)
    threads, reason = cpu_threads()
    processes = launcher()
    worker = processes.start()
    request = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=threads, threads_reason=reason)
    worker.ask(request, Built, LIMIT)
    worker.ask(WarmUp(slot=0, limit_seconds=20.0), Prepared, LIMIT)
    ratios, clocks = [], []
    for _ in range(rounds):
        seconds = worker.ask(RunLaps(slot=0, steps=40, lead_in=10), LapsDone, LIMIT).laps[0].seconds / 40
        clocks.append(1e6 * pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))
        ratios.append(seconds / (CYCLES / clocks[-1]))
    processes.close()
    frequencies = f"{min(clocks) / 1e6:.0f} to {max(clocks) / 1e6:.0f} MHz"
    print(f"| torch.cuda._sleep({CYCLES:,}) | {frequencies} | {written(*bounds(interval(ratios)))} |")


if __name__ == "__main__":
    main()
