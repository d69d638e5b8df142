"""Scripts with one known fault each, and clean ones: does `torchlap audit` find the fault, at its line, and no other?

    python benchmarks/audited_scripts.py cpu|sim|cuda:0 [SCRIPT ...]

The scripts are in tests/scripts; the first line of each says its fault and the devices it exists on, and the faulty
line is marked by its code. Prints a row a script: the fault, whether it was found at that line, what else was said, and
what the tracing took. `sim` is the simulated accelerator. Exits with 1 where a fault was missed, or a clean script had
an error.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from torchlap.judge.script import examine
from torchlap.processes.script import run
from torchlap.schema.trace import ScriptRun

TESTS = Path(__file__).parents[1] / "tests"
SCRIPTS = TESTS / "scripts"
SIMULATED = {"SIMULATED_COST": "0.0002", "PYTHONPATH": str(TESTS / "simulated")}


class Known(NamedTuple):
    """A script, its fault (empty for none), the line that has it, and where it can occur."""

    path: Path
    fault: str
    line: int
    devices: tuple[str, ...]


def known(path: Path) -> Known:
    """What a script's own comments say of it."""
    first, *lines = path.read_text().splitlines()
    fault = re.search(r"fault: (TL\d+)", first)
    devices = tuple(first.partition("devices:")[2].split())
    if fault is None:
        return Known(path, "", 0, devices)
    line = next(number for number, text in enumerate(lines, start=2) if f"# {fault[1]}" in text)
    return Known(path, fault[1], line, devices)


def scripts(device: str) -> list[Known]:
    """Those that may be run on a device, the faulty ones first."""
    kind = device.partition(":")[0]
    found = [known(path) for path in sorted(SCRIPTS.glob("*/*.py"))]
    return sorted((each for each in found if kind in each.devices), key=lambda each: (not each.fault, each.path.stem))


def audited(script: Known, device: str) -> ScriptRun:
    """Run a script under the tracer."""
    if device.startswith("sim"):
        os.environ.update(SIMULATED)
    return run(str(script.path), [device], stop_after=120.0, quiet=True)


def verdict(script: Known, seen: ScriptRun) -> tuple[bool, list[str]]:
    """Whether all is as it should be, and what was said besides the fault."""
    where = f"{script.path.name}:{script.line}"
    told = examine(seen.trace)
    others = [
        f"{each.code} {each.severity} ({each.where})"
        for each in told
        if (each.code, each.where) != (script.fault, where)
    ]
    found = not script.fault or any((each.code, each.where) == (script.fault, where) for each in told)
    clean = script.fault or not any(each.severity == "error" for each in told)
    return bool(found and clean and seen.exit_code == 0), others


def main() -> None:
    """Run them all."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("device")
    words.add_argument("only", nargs="*")
    asked = words.parse_args()
    print("| script | fault | line | found | said besides | tracing |\n|---|---|---|---|---|---|")
    wrong = 0
    for script in scripts(asked.device):
        if asked.only and script.path.stem not in asked.only:
            continue
        seen = audited(script, asked.device)
        right, others = verdict(script, seen)
        wrong += not right
        found = "yes" if right and script.fault else "clean" if right else "**NO**"
        cost = seen.trace.tracer_seconds / seen.trace.seconds
        name, line = script.path.stem, script.line or ""
        print(f"| {name} | {script.fault} | {line} | {found} | {', '.join(others)} | {cost:.1%} |", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
