"""Signals at random moments: torchlap must leave no process behind, and what it has measured must be kept.

    python benchmarks/signals.py [--moments 50] [--seed 1] [--only run] [--resume-each 5]

Starts each command again and again, and sends its process one of four signals at a random moment between its start and
its usual end. After 2 s, no process that carries the mark of this command in its environment may be alive. The exit
code must be the documented one, without a traceback. The file of a run must be whole, and every few are resumed. Prints
a row for each command and signal, and a line for each failure.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from msgspec import Struct

import torchlap
from torchlap.errors import EXIT_FINE, EXIT_INTERRUPTED, RunFileError
from torchlap.processes.script import GRACE_SECONDS
from torchlap.schema.events import RunFinished

TESTS = Path(__file__).parents[1] / "tests"
OWN = TESTS / "own" / "models.py"
TORCHLAP = (sys.executable, "-m", "torchlap")
CELL = ("--devices", "cpu", "--batch", "4", "--budget")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", f"{OWN}:paced", f"{OWN}:small", *CELL, "5s", "--no-why", "--precision-target", "0.1%"),
    "arms": ("run", f"{OWN}:small", "--arm", "a", "--arm", "b", *CELL, "40s", "--no-why"),
    "verify": ("verify", f"{OWN}:small", *CELL, "5s"),
    "tune": ("tune", f"{OWN}:small", *CELL, "12s"),
    "audit": ("audit", str(TESTS / "scripts" / "clean" / "loader_workers.py")),
}
"""A row each; a command that writes a run file gets `--out`."""

WRITE_RUNS = ("run", "tune", "arms")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LIMIT_SECONDS = 2.0
SCRIPT_SECONDS = GRACE_SECONDS + LIMIT_SECONDS
"""An audited script that is interrupted ends itself, and is killed if it does not."""

PATIENCE_SECONDS = 60.0
MARK = "TORCHLAP_BENCHMARK_SIGNALS"
POLL_SECONDS = 0.02


class Outcome(Struct, frozen=True):
    """What became of one command.

    Attributes:
        seconds: from the signal until no process was left.
        others_seconds: until none but the one that got the signal was left: it still has to print what there is.
        wrong: what must not happen, in words; empty if nothing did.
        resumed: whether its run file was resumed.
    """

    seconds: float
    others_seconds: float
    wrong: str = ""
    resumed: bool = False


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with this mark in their environment, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def started(words: Sequence[str], mark: str) -> "subprocess.Popen[str]":
    """Start a command with a mark."""
    variables = os.environ | {MARK: mark, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*TORCHLAP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    )


def usual_seconds(words: Sequence[str]) -> float:
    """How long a command takes if nothing interrupts it."""
    begun = time.monotonic()
    process = started(words, "")
    _, errors = process.communicate()
    assert process.returncode in (0, 1), errors
    return time.monotonic() - begun


def interrupted(name: str, words: Sequence[str], number: signal.Signals, after: float, *, resume: bool) -> Outcome:
    """Start a command, send it a signal, and look at what is left."""
    mark = uuid.uuid4().hex
    process = started(words, mark)
    time.sleep(after)
    process.send_signal(number)
    begun, others_seconds = time.monotonic(), 0.0
    while (left := marked(mark)) and time.monotonic() - begun < PATIENCE_SECONDS:
        if {other.pid for other in left} - {process.pid}:
            others_seconds = time.monotonic() - begun
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - begun
    for other in left:
        other.kill()
    _, errors = process.communicate()
    wrong = list(_wrong_ending(process.returncode, number, errors))
    if seconds > LIMIT_SECONDS:
        print(f"{name}, {number.name}: gone after {seconds:.1f} s, workers {others_seconds:.1f} s", file=sys.stderr)
    limit = SCRIPT_SECONDS if name == "audit" and number != signal.SIGKILL else LIMIT_SECONDS
    if left or others_seconds > limit:
        wrong.append(f"workers alive after {limit:g} s: gone after {others_seconds:.1f} s")
    if name in WRITE_RUNS:
        wrong += _wrong_file(words[0], Path(words[-1]), resume=resume)
    return Outcome(seconds, others_seconds, "; ".join(wrong), resume and name in WRITE_RUNS)


def _wrong_ending(code: int, number: signal.Signals, errors: str) -> Iterator[str]:
    """The exit code: of an interrupt; of the signal if it came before torchlap began; of a command that had ended."""
    if code not in (-number, EXIT_INTERRUPTED, EXIT_FINE, 1):
        yield f"exit code {code}"
    if "Traceback" in errors and "torchlap/" in errors:
        yield f"a traceback: {errors[-500:]}"


def _wrong_file(name: str, path: Path, *, resume: bool) -> Iterator[str]:
    if not path.exists() or not path.stat().st_size:
        return  # nothing was measured yet
    try:
        before = torchlap.load(path)
    except RunFileError as error:
        if path.read_bytes().count(b"\n"):
            yield f"the file cannot be read: {error}"
        return
    if not resume:
        return
    process = started([name, "--resume", str(path)], "")
    _, errors = process.communicate()
    after = torchlap.load(path)
    whole = isinstance(after.events[-1], RunFinished) and after.events[-1].reason == "complete"
    if process.returncode or not whole or after.events[: len(before.events)] != before.events:
        kept = after.events[: len(before.events)] == before.events
        last = type(after.events[-1]).__name__
        yield f"not resumed: exit code {process.returncode}, last event {last}, kept {kept}: {errors[-500:]}"


def main() -> None:
    """Interrupt each command, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=COMMANDS, default=None)
    parser.add_argument("--resume-each", type=int, default=5, help="Resume one of this many runs.")
    args = parser.parse_args()
    source = random.Random(args.seed)
    print("| command | signal | moments | workers gone in 2 s | all gone in 2 s | longest | files resumed | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    for name, words in COMMANDS.items():
        if args.only in (None, name):
            print_rows(name, words, source, args.moments, args.resume_each)


def print_rows(name: str, words: Sequence[str], source: random.Random, moments: int, resume_each: int) -> None:
    """Interrupt one command at random moments, and print its rows."""
    outcomes: dict[signal.Signals, list[Outcome]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        usual = usual_seconds(with_file(name, words, Path(folder) / "whole.jsonl"))
        for moment in range(moments):
            number = SIGNALS[moment % len(SIGNALS)]
            line = with_file(name, words, Path(folder) / f"{moment}.jsonl")
            resume = moment // len(SIGNALS) % resume_each == 0
            outcome = interrupted(name, line, number, source.uniform(0, usual), resume=resume)
            outcomes[number].append(outcome)
            if outcome.wrong:
                print(f"{name}, {number.name}, moment {moment}: {outcome.wrong}", file=sys.stderr, flush=True)
    for number, results in outcomes.items():
        quick = sum(result.seconds <= LIMIT_SECONDS for result in results)
        workers = sum(result.others_seconds <= LIMIT_SECONDS for result in results)
        longest = max(result.seconds for result in results)
        resumed = sum(result.resumed for result in results)
        wrong = sum(bool(result.wrong) for result in results)
        counts = f"{len(results)} | {workers} | {quick} | {longest:.1f} s | {resumed} | {wrong}"
        print(f"| {name} | {number.name} | {counts} |", flush=True)


def with_file(name: str, words: Sequence[str], path: Path) -> tuple[str, ...]:
    """The command, with its run file last if it writes one."""
    return (*words, "--out", str(path)) if name in WRITE_RUNS else tuple(words)


if __name__ == "__main__":
    main()
