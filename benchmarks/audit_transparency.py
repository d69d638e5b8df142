"""Does `torchlap audit` change what a script does? 25 scripts, each alone and under the tracer.

    python benchmarks/audit_transparency.py [--device cpu|sim|cuda:0] [--seconds 240] [--all] [SCRIPT ...]

Compares standard output, standard error, exit code, and the names and contents of the files that a script writes into
its folder, byte by byte. What differs between two runs of the script alone, such as the times that it prints, is
compared without its digits, or by its size if it is not a text; the table says what. Each round runs every script alone
and under the tracer, in turns, and the order changes from round to round. There are at least two rounds, and more while
the time suffices. The last column is the wall time under the tracer divided by that alone, process start included: the
median of the rounds, and the smallest and largest. `--all` runs all of tests/scripts that can run on the device.
Exits with 1 if something differs.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from audited_scripts import SCRIPTS, SIMULATED

from torchlap.processes.script import lifeline
from torchlap.processes.script import traced as under_tracer

FOLDERS = ("transparent", "clean", "cases", "faulty")
CHOSEN = (
    "transparent",
    "clean",
    "checkpoint_with_time",
    "closure",
    "dataset_run_after_the_end",
    "exit_code_of_nothing",
    "file_after_chdir",
    "handled_exception",
    "scalar_target",
)
"""Folders and single scripts: what behaves in many ways, rather than what is faulty."""

LONG = "clean/compiled"
"""Compiles C++, which takes longer than all others together; transparent/compiled counts graphs and breaks instead."""


FEWEST_ROUNDS = 2
UNORDERED = re.compile(r"(?m)^(?:W|E|I)\d{4} \S+ +\d+ ")
"""The time and the process number in torch's own log lines."""


class Done(NamedTuple):
    """What a run of a script left: its texts and files by name, and its wall time."""

    left: dict[str, bytes]
    seconds: float


def run(script: Path, arguments: list[str], *, traced: bool) -> Done:
    """Run a script in an empty folder."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as traces, lifeline() as line:
        command = [sys.executable, str(script), *arguments]
        if traced:
            command = under_tracer(line, Path(traces) / "trace.json", str(script), *arguments)
        start = time.perf_counter()
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, check=False, pass_fds=(line,) if traced else ()
        )
        seconds = time.perf_counter() - start
        files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.*"))}
        texts = {"exit code": b"%d" % ended.returncode, "standard output": ended.stdout}
        errors = UNORDERED.sub("", ended.stderr.decode(errors="replace")).encode()
        return Done(texts | {"standard error": errors} | files, seconds)


def differences(alone: Done, again: Done, traced: Done) -> list[str]:
    """What is not the same under the tracer."""
    names = dict.fromkeys([*alone.left, *traced.left])
    return [name for name in names if not _same(name, alone, again, traced)]


def _same(name: str, alone: Done, again: Done, traced: Done) -> bool:
    one, other, third = (done.left.get(name, b"missing") for done in (alone, again, traced))
    if one != other and b"\0" in one:  # not a text, such as a checkpoint with the time in it
        return len(third) == len(one)
    return third == one if one == other else _masked(third) == _masked(one)


def _masked(text: bytes) -> bytes:
    """Without numbers, and without the spaces that fill up shorter ones."""
    return re.sub(rb"[\d.,]+(e-?\d+)?| +", b"", text)


def masked(alone: Done, again: Done) -> list[str]:
    """What differs between two runs alone, so that it is compared without its digits."""
    return [name for name in alone.left if alone.left[name] != again.left.get(name)]


def scripts(device: str, only: Sequence[str] = CHOSEN) -> list[Path]:
    """The scripts, or folders of scripts, that can run on the device."""
    kind = device.partition(":")[0]
    found = [path for folder in FOLDERS for path in sorted((SCRIPTS / folder).glob("*.py"))]
    wanted = [path for path in found if path.stem in only or path.parent.name in only]
    if only is CHOSEN:
        wanted = [path for path in wanted if f"{path.parent.name}/{path.stem}" != LONG]
    return [path for path in wanted if kind == "cpu" or kind in path.read_text().partition("\n")[0]]


def measured(paths: Sequence[Path], device: str, seconds: float) -> dict[Path, list[tuple[Done, Done]]]:
    """Pairs of runs of each script, alone and traced, in rounds."""
    start = time.monotonic()
    pairs: dict[Path, list[tuple[Done, Done]]] = {path: [] for path in paths}
    number, longest = 0, 0.0
    while number < FEWEST_ROUNDS or time.monotonic() - start + longest < seconds:
        begun = time.monotonic()
        for path in paths:
            order = (False, True) if number % 2 == 0 else (True, False)
            done = {traced: run(path, [device], traced=traced) for traced in order}
            pairs[path].append((done[False], done[True]))
            print(f"{time.monotonic() - start:.0f} s: {path.stem}", file=sys.stderr, flush=True)
        longest = max(longest, time.monotonic() - begun)
        number += 1
    return pairs


def row(script: Path, pairs: Sequence[tuple[Done, Done]]) -> str:
    """A line of the table."""
    (alone, traced), (again, _) = pairs[:2]
    different = differences(alone, again, traced)
    ratios = [with_it.seconds / without.seconds for without, with_it in pairs]
    seconds = median(without.seconds for without, _ in pairs)
    spread = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    cells = (
        f"{script.parent.name}/{script.stem}",
        f"**no: {', '.join(different)}**" if different else "yes",
        ", ".join(masked(alone, again)),
        f"{seconds:.2f} s",
        spread,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compare the scripts and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("only", nargs="*")
    args = parser.parse_args()
    if args.device.startswith("sim"):
        os.environ.update(SIMULATED)
    paths = scripts(args.device, args.only or (FOLDERS if args.all else CHOSEN))
    pairs = measured(paths, args.device, args.seconds)
    rounds = len(next(iter(pairs.values()), []))
    print(f"{len(paths)} scripts on {args.device}, {rounds} rounds, {os.cpu_count()} CPUs, torch {version('torch')}.\n")
    print("| script | same | compared without digits | alone | wall time, traced / alone |\n|---|---|---|---|---|")
    for path in paths:
        print(row(path, pairs[path]))
    ratios = [with_it.seconds / without.seconds for each in pairs.values() for without, with_it in each]
    changed = sum(bool(differences(each[0][0], each[1][0], each[0][1])) for each in pairs.values())
    print(
        f"\n{len(paths) - changed} of {len(paths)} behave the same; the median of all ratios is {median(ratios):.3f}."
    )
    sys.exit(changed > 0)


if __name__ == "__main__":
    main()
