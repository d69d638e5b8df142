"""Does `torchlap audit` change what a script does? Each script alone and under the tracer.

    python benchmarks/audit_transparency.py [--device cpu|sim|cuda:0] [--rounds 3] [SCRIPT ...]

By default: the scripts of tests/scripts that can run on the device. Compares standard output, standard error, exit
code, and the names and contents of the files that a script writes into its folder. What differs between two runs of the
script alone, such as the times that it prints, is compared with its digits left out. Prints a row per script: whether
all is equal, what differs, and the wall time under the tracer relative to alone, in turns, the shortest of each. Exits
with 1 if something differs.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from audited_scripts import SCRIPTS, SIMULATED

from torchlap.processes.script import TRACER

FOLDERS = ("transparent", "clean", "cases", "faulty")
UNORDERED = re.compile(r"(?m)^(?:W|E|I)\d{4} \S+ +\d+ ")
"""The time and the process number in torch's own log lines."""


class Done(NamedTuple):
    """What a run of a script left: its texts and files by name, and its wall time."""

    left: dict[str, bytes]
    seconds: float


def run(script: Path, arguments: list[str], *, traced: bool) -> Done:
    """Run a script in an empty folder."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as traces:
        tracer = [str(TRACER), f"{traces}/trace.json"] if traced else []
        start = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, *tracer, str(script), *arguments], cwd=folder, capture_output=True, check=False
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
    return third == one if one == other else _masked(third) == _masked(one)


def _masked(text: bytes) -> bytes:
    """Without numbers, and without the spaces that fill up shorter ones."""
    return re.sub(rb"[\d.,]+(e-?\d+)?| +", b"", text)


def scripts(device: str) -> list[Path]:
    """The scripts that can run on the device."""
    kind = device.partition(":")[0]
    found = [path for folder in FOLDERS for path in sorted((SCRIPTS / folder).glob("*.py"))]
    return [path for path in found if kind == "cpu" or kind in path.read_text().partition("\n")[0]]


def main() -> None:
    """Compare the scripts and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("only", nargs="*")
    args = parser.parse_args()
    if args.device.startswith("sim"):
        os.environ.update(SIMULATED)
    print("| script | same | differs | wall time |\n|---|---|---|---|")
    changed = 0
    for script in scripts(args.device):
        if args.only and script.stem not in args.only:
            continue
        alone, traced = [], []
        for _ in range(max(2, args.rounds)):
            alone.append(run(script, [args.device], traced=False))
            traced.append(run(script, [args.device], traced=True))
        different = differences(alone[0], alone[1], traced[0])
        changed += bool(different)
        ratio = min(done.seconds for done in traced) / min(done.seconds for done in alone)
        same = "**no**" if different else "yes"
        print(f"| {script.parent.name}/{script.stem} | {same} | {', '.join(different)} | {ratio:.2f}x |", flush=True)
    sys.exit(changed > 0)


if __name__ == "__main__":
    main()
