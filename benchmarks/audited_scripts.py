"""Does `torchlap audit` find the known fault of each script, at its line, and no other fault?

    python benchmarks/audited_scripts.py cpu|sim|cuda:0 [SCRIPT ...]

The scripts are in tests/scripts: scripts with one known fault, and clean ones. The first line of a script names its
fault and the devices on which it occurs; a comment with its code marks the faulty line. Prints a row a script: the
fault, whether it was found at that line, all other findings, and the share of time that tracing took. `sim` is the
simulated accelerator. Exits with 1 if a fault was missed, or if a clean script got an error.
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
    """A script, and its fault as its own comments name it."""
    first, *lines = path.read_text().splitlines()
    fault = re.search(r"fault: (TL\d+)", first)
    devices = tuple(first.partition("devices:")[2].split())
    if fault is None:
        return Known(path, "", 0, devices)
    line = next(number for number, text in enumerate(lines, start=2) if f"# {fault[1]}" in text)
    return Known(path, fault[1], line, devices)


def scripts(device: str) -> list[Known]:
    """The scripts that can run on a device, the faulty ones first."""
    kind = device.partition(":")[0]
    found = [known(path) for path in sorted(SCRIPTS.glob("*/*.py"))]
    return sorted(
        (script for script in found if kind in script.devices), key=lambda script: (not script.fault, script.path.stem)
    )


def audited(script: Known, device: str) -> ScriptRun:
    """Run a script under the tracer."""
    if device.startswith("sim"):
        os.environ.update(SIMULATED)
    return run(str(script.path), [device], stop_after=120.0, quiet=True)


def verdict(script: Known, result: ScriptRun) -> tuple[bool, list[str]]:
    """Whether the audit was right, and its findings besides the fault."""
    where = f"{script.path.name}:{script.line}"
    findings = examine(result.trace)
    others = [
        f"{finding.code} {finding.severity} ({finding.where})"
        for finding in findings
        if (finding.code, finding.where) != (script.fault, where)
    ]
    found = not script.fault or any((finding.code, finding.where) == (script.fault, where) for finding in findings)
    clean = script.fault or not any(finding.severity == "error" for finding in findings)
    return bool(found and clean and result.exit_code == 0), others


def main() -> None:
    """Audit the scripts and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device")
    parser.add_argument("only", nargs="*")
    args = parser.parse_args()
    print("| script | fault | line | found | other findings | tracing |\n|---|---|---|---|---|---|")
    wrong = 0
    for script in scripts(args.device):
        if args.only and script.path.stem not in args.only:
            continue
        result = audited(script, args.device)
        right, others = verdict(script, result)
        wrong += not right
        found = "yes" if right and script.fault else "clean" if right else "**NO**"
        cost = result.trace.tracer_seconds / result.trace.seconds
        name, line = script.path.stem, script.line or ""
        print(f"| {name} | {script.fault} | {line} | {found} | {', '.join(others)} | {cost:.1%} |", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
