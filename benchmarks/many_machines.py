"""A collection of 10,000 run files: how long `torchlap collect --site` takes, and how much memory.

    python benchmarks/many_machines.py [--files 10000] [--models 1] [--keep FOLDER]

Each file is the bundled reference default-h100 with other chips, owners, versions of torch and speeds (3% between
machines, 1% between laps): of its six models, `--models` are kept. One file in a hundred is wrong in a known way: a
loss that is not finite, laps far above the device's peak, laps longer than the run, a newer schema, a copy, an outlier.
Prints the seconds, the peak memory of all processes together, the size of the site, and what was refused.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from msgspec.structs import replace

from torchlap.runs.file import content
from torchlap.runs.find import reference
from torchlap.schema.events import Event, Failure, Round, Run, RunFinished
from torchlap.schema.workload import Group

CHIPS = {
    "NVIDIA H100 80GB HBM3": 1.0,
    "NVIDIA A100-SXM4-80GB": 0.45,
    "NVIDIA L40S": 0.4,
    "NVIDIA GeForce RTX 4090": 0.5,
    "NVIDIA GeForce RTX 3090": 0.25,
    "Tesla T4": 0.07,
    "NVIDIA H200": 1.05,
    "NVIDIA RTX 6000 Ada Generation": 0.42,
}
CPUS = {"AMD EPYC 9654 96-Core Processor": 1.3, "Intel(R) Xeon(R) Platinum 8480+": 1.1, "AMD Ryzen 9 7950X": 0.9}
"""Chips and processors, with how fast they are made, relative to the reference: invented."""

TORCHES = {"2.10.0": 0.95, "2.11.0": 1.0, "2.12.0": 1.0, "2.13.0": 1.02, "2.14.1": 1.05}
FAULTS = ("not finite", "above the peak", "longer than the run", "newer schema", "copy", "outlier")
SAMPLE_SECONDS = 0.2


def varied(source: Run, number: int, models: int) -> tuple[str, bytes]:
    """A file's name and content: the reference as another machine could have written it."""
    draws = random.Random(number)
    fault = FAULTS[number // 100 % len(FAULTS)] if number % 100 == 99 else ""  # noqa: PLR2004
    chip, cpu, torch = draws.choice(list(CHIPS)), draws.choice(list(CPUS)), draws.choice(list(TORCHES))
    speed = {"cuda:0": CHIPS[chip] * TORCHES[torch], "cpu": CPUS[cpu]}
    speed = {device: value * draws.gauss(1.0, 0.03) for device, value in speed.items()}
    if fault == "outlier":
        speed = {device: value / 3 for device, value in speed.items()}
    if fault == "above the peak":
        speed = {device: value * 1000 for device, value in speed.items()}
    groups, events = _of_models(source, draws, models)
    day = f"2026-{1 + number // 28 % 12:02}-{1 + number % 28:02}"
    facts = source.header.facts
    header = replace(
        source.header,
        started=f"{day}T{number // 336 % 24:02}:{number % 60:02}:00+00:00",
        facts=replace(
            facts,
            cpu=cpu,
            memory_bytes=(64 + number) << 30,
            packages=facts.packages | {"torch": torch},
            devices=tuple(replace(each, model=chip if each.name != "cpu" else "") for each in facts.devices),
        ),
        plan=replace(source.header.plan, groups=groups),
    )  # fmt: skip
    devices = [[cell.device for cell in group.cells] for group in groups]
    changed: list[Event] = [_slower(event, devices, speed, draws) for event in events]
    if fault == "not finite":
        changed.append(Failure(group=0, cell=1, kind="not_finite", reason="the loss is not finite"))
    if fault == "longer than the run":
        changed = [replace(event, wall_seconds=1e-3) if isinstance(event, RunFinished) else event for event in changed]
    written = content(Run(header, tuple(changed)))
    if fault == "newer schema":
        written = written.replace(b'"schema":2', b'"schema":99', 1)
    return f"owner{number % 997:03}/run{number:05}.jsonl", written


def _of_models(source: Run, draws: random.Random, models: int) -> tuple[tuple[Group, ...], list[Event]]:
    """The groups of some of the models, and their events, renumbered."""
    names = list(dict.fromkeys(group.cells[0].workload.model for group in source.header.plan.groups))
    kept = set(draws.sample(names, models))
    places = [
        place for place, group in enumerate(source.header.plan.groups) if group.cells[0].workload.model in kept
    ]  # fmt: skip
    events = [
        replace(event, group=places.index(event.group)) if hasattr(event, "group") else event
        for event in source.events
        if getattr(event, "group", places[0]) in places
    ]
    return tuple(source.header.plan.groups[place] for place in places), events


def _slower(event: Event, devices: list[list[str]], speed: dict[str, float], draws: random.Random) -> Event:
    """An event with other laps."""
    if not isinstance(event, Round):
        return event
    return replace(
        event,
        laps=tuple(
            replace(lap, seconds=lap.seconds / speed[devices[event.group][lap.cell]] * draws.gauss(1.0, 0.01))
            for lap in event.laps
        ),
    )


def write(folder: Path, files: int, models: int) -> int:
    """Write the files, and return their bytes."""
    source, copied, size = reference("default-h100"), b"", 0
    source = replace(
        source,
        events=tuple(
            replace(event, wall_seconds=1e6) if isinstance(event, RunFinished) else event for event in source.events
        ),
    )
    for number in range(files):
        name, written = varied(source, number, models)
        if number % 600 == 499:  # noqa: PLR2004  the fifth fault
            written = copied
        if number % 100 == 0:
            copied = written
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written)
        size += len(written)
    return size


def timed(command: list[str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and the most GiB that the command and its processes had together, from samples."""
    begun, most = time.perf_counter(), 0
    process = psutil.Popen(command)
    while process.poll() is None:
        most = max(most, _resident(process))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(process.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, most / (1 << 30)


def _resident(process: psutil.Popen) -> int:
    """Resident bytes of a process and its descendants; shared pages count for each of them."""
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def main() -> None:
    """Write, collect, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="write the files and the site here, and keep them")
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        runs, site = root / "submissions", root / "site"
        runs.mkdir(parents=True, exist_ok=True)
        size = write(runs, given.files, given.models)
        print(f"{given.files} files, {size / 1e6:.0f} MB", flush=True)
        seconds, cpu, memory = timed([sys.executable, "-m", "torchlap", "collect", str(runs), "--site", str(site)])
        written = [path.stat().st_size for path in site.rglob("*") if path.is_file()]
        index = (site / "index.html").stat().st_size
        print(f"torchlap collect --site: {seconds:.1f} s, {cpu:.1f} s of CPU time, {memory:.2f} GiB at most")
        print(f"the site: {len(written)} files, {sum(written) / 1e6:.0f} MB; index.html {index / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
