"""Run files as bad as their bounds allow: none may take `report`, its page or `compare` over 10 s or 1 GiB.

    python benchmarks/hostile_files.py [--only KIND]

Writes every kind of `tests/helpers/hostile_runs.py` at full size, shows it by the command itself, and prints a row for
each: the seconds of the processor and the largest memory. A traceback or an undocumented exit code is an error.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS / "helpers"))

from hostile_runs import CASES, write  # noqa: E402  from the tests

MOST_SECONDS, MOST_BYTES = 10.0, 1 << 30
SHOWN, REFUSED = 0, 4
KIBIBYTE = 1024
LATE = "!"


def measured(*words: str) -> tuple[float, int, int, str]:
    """Seconds of the processor, bytes, exit code and errors of a command."""
    command = [sys.executable, "-m", "torchlap", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * KIBIBYTE, process.returncode, errors


def row(file: Path, folder: Path) -> tuple[str, bool]:
    """What a file takes, in a line of a table, and whether that is allowed."""
    copy = folder / "copy.jsonl"
    shutil.copy(file, copy)
    commands = {
        "text": ("report", str(file)),
        "page": ("report", str(file), "--html", str(folder / "page.html"), "--force"),
        "compare": ("compare", str(file), str(copy)),
    }
    texts, is_fine, most = [], True, 0
    for words in commands.values():
        seconds, size, code, errors = measured(*words)
        is_allowed = seconds <= MOST_SECONDS and size <= MOST_BYTES
        is_fine &= is_allowed and code in (SHOWN, REFUSED) and "Traceback" not in errors
        texts.append(f"{seconds:.1f} s{'' if is_allowed else LATE}" if code == SHOWN else f"refused ({code})")
        most = max(most, size)
    megabytes = file.stat().st_size / 1e6
    return f"| {file.stem} | {megabytes:.0f} MB | {' | '.join(texts)} | {most >> 20} MiB |", is_fine


def main() -> None:
    """Measure every kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*CASES], help="Only this kind; may be repeated.")
    chosen = parser.parse_args().only or [*CASES]
    print("| file | size | text | page | compare | most memory |\n|---|---|---|---|---|---|")
    wrong = 0
    for name in chosen:
        make, count = CASES[name]
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.jsonl"
            write(file, make(count))
            text, is_fine = row(file, Path(folder))
        print(text, flush=True)
        wrong += not is_fine
    sys.exit(f"{wrong} of {len(chosen)} kinds take too much." if wrong else 0)


if __name__ == "__main__":
    main()
