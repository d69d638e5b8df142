"""A folder of 10,000 run files: how long `torchlap compare` and `torchlap report` take, and how much memory.

    python benchmarks/many_runs.py [--files 10000]

Writes the files into a temporary folder (two devices, two batches, twelve rounds: a nightly run of one model), compares
all with the first, lists all, writes one page of all, and prints the seconds and the peak memory of each command. The
limits are 30 s and 1 GiB.
"""

import argparse
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

import torchlap
from torchlap.schema.events import (
    SCHEMA,
    CellPrepared,
    Event,
    GroupFinished,
    GroupStarted,
    Header,
    Lap,
    Preparation,
    Round,
    RunFinished,
)
from torchlap.schema.machine import DeviceFacts, Facts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan, Workload

ROUNDS = 12
SPEEDS = {"cpu": 40.0, "cuda:0": 400.0}


def run(number: int) -> list[Event]:
    """One night's run: 2% of noise, on a machine that never changes."""
    noise = random.Random(number)
    cells = [tuple(Cell(Workload("resnet18", batch), Recipe(), device) for device in SPEEDS) for batch in (4, 64)]
    facts = Facts(
        cpu="A processor",
        physical_cores=8,
        usable_cores=8,
        memory_bytes=1 << 35,
        system="Linux",
        architecture="x86_64",
        python="3.12.0",
        packages={"torch": "2.11.0", "torchvision": "0.26.0"},
        devices=(DeviceFacts("cpu", "cpu"), DeviceFacts("cuda:0", "cuda", "A GPU")),
    )
    plan = Plan(suite="own", groups=tuple(map(Group, cells)))
    started = f"2026-{1 + number // 28 % 12:02}-{1 + number % 28:02}T03:00:{number % 60:02}+00:00"
    events: list[Event] = [
        Header(schema=SCHEMA, torchlap=torchlap.__version__, started=started, facts=facts, plan=plan)
    ]
    for place, group in enumerate(cells):
        events.append(GroupStarted(place))
        events += [
            CellPrepared(
                group=place,
                cell=position,
                preparation=Preparation(
                    first_step_seconds=1.0,
                    warm_up_steps=10,
                    warm_up_seconds=2.0,
                    steady=True,
                    step_seconds=0.1,
                    optimizer_seconds=0.01,
                    synchronize_seconds=1e-5,
                    first_loss=2.3,
                    memory_format="contiguous",
                    threads=8,
                    input_shape=(4, 3, 224, 224),
                    parameters=11_000_000,
                ),
            )
            for position in range(len(group))
        ]
        for number_of_round in range(ROUNDS):
            laps = tuple(
                Lap(position, 1, cell.workload.batch / SPEEDS[cell.device] * noise.gauss(1.0, 0.02), 2.0)
                for position, cell in enumerate(group)
            )
            events.append(Round(place, float(number_of_round), laps))
        events.append(GroupFinished(place, "precise"))
    return [*events, RunFinished(reason="complete", wall_seconds=60.0, start_up_seconds=5.0)]


def main() -> None:
    """Write, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    files = parser.parse_args().files
    encode = msgspec.json.Encoder().encode
    with TemporaryDirectory() as folder:
        for number in range(files):
            path = Path(folder) / f"{number:05}.jsonl"
            path.write_bytes(b"".join(encode(event) + b"\n" for event in run(number)))
        commands = {
            "torchlap compare": ["compare", folder, "--format", "json"],
            "torchlap report": ["report", folder],
            "torchlap report --html": ["report", folder, "--html", f"{folder}/page.html"],
        }
        for name, arguments in commands.items():
            print(f"{files} run files, {name}: {timed(arguments)}", flush=True)


def timed(arguments: list[str]) -> str:
    """Run torchlap under a separate process, which knows the peak memory of its only child."""
    wrapper = (
        "import resource, subprocess, sys, time; begun = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", wrapper, sys.executable, "-m", "torchlap", *arguments]
    seconds, peak = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()
    return f"{float(seconds):.1f} s, {float(peak) / (1 << 20 if sys.platform == 'linux' else 1 << 30):.2f} GiB at most"


if __name__ == "__main__":
    main()
