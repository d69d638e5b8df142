"""Hostile traces of training scripts: refused in one sentence, or reported in every format with all text escaped.

    python benchmarks/fuzz_traces.py [--inputs 100000] [--seed 1]

A script shares its process with the tracer, so its trace may say anything. Every input is a trace with findings in
which one to three values are replaced with hostile ones (see fuzz_run_files.py), or bytes are. Prints how many were
refused and how many were reported; stops at the first that does anything else, and names it.
"""

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from fuzz_run_files import broken, changed, places, steers

from torchlap.errors import TorchlapError
from torchlap.processes.script import read_trace
from torchlap.reports import audit, code_scanning
from torchlap.schema.trace import (
    SCHEMA,
    Copies,
    Held,
    Loader,
    Losses,
    Memory,
    Noticed,
    Place,
    Quotient,
    ScriptRun,
    Spans,
    Threads,
    Trace,
)

AT = Place("train.py", 7)
TRACE = Trace(
    schema=SCHEMA,
    script="train.py",
    ending="finished",
    seconds=9.0,
    tracer_seconds=0.1,
    devices=("cpu", "cuda:0"),
    steps=50,
    spans=(
        Spans(
            place=AT,
            start=AT,
            end=AT,
            devices=("cuda:0",),
            parameters=2_000_000,
            batch=64,
            seconds=(1.0, 0.5),
            count=2,
            steps=50,
            at_seconds=2.0,
            total_seconds=1.5,
            looked_at=2,
            looked_at_seconds=1.5,
            unfinished_seconds=1.0,
            unwaited=2,
            step_seconds=0.1,
            train_seconds=0.5,
        ),
    ),
)
"""Of a script that reads the clock without waiting for its device."""


def base() -> dict[str, Any]:
    """The trace with a record of each kind, as JSON has it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(TRACE))
    records = {
        "losses": [Losses(place=AT, count=40, values=(2.3, 2.3, 2.4))],
        "optimizers": [
            Held(
                made=AT,
                stepped=AT,
                kind="Adam",
                steps=40,
                parameters=8,
                elements=100,
                without_gradient=4,
                elements_without=50,
            )
        ],
        "quotients": [Quotient(place=AT, above=("cpu",), below=("cuda:0",))],
        "copies": [Copies(place=AT, kind="cuda", count=40, bytes=4000, seconds=0.04)],
        "loaders": [
            Loader(
                made=AT,
                read=AT,
                workers=4,
                pinned=False,
                pinned_used=False,
                epochs=2,
                batches=20,
                waited_seconds=1.0,
                started_seconds=0.1,
                first_seconds=0.1,
                iterated_seconds=2.0,
                trains_on=("cuda:0",),
            )
        ],
        "unwatched": [Noticed(AT, "time.clock_gettime")],
        "float64": [Noticed(AT, "float64")],
        "dead_outputs": [],
        "threads": Threads(threads=1, cores=8, place=AT),
        "memory": Memory(samples=((1, 100), (2, 200)), kept=(AT,)),
        "models": {"Net": "conv"},
        "lines": {"train.py:7": "start = time.time()"},
    }
    for name, values in records.items():
        found[name] = json.loads(msgspec.json.encode(values))
    return found


BASE = base()
PLACES = [place for place in places(BASE) if place]


def hostile(source: random.Random) -> bytes:
    """One input."""
    return broken(json.dumps(changed(BASE, PLACES, source)).encode(), source)


def outcome(content: bytes, path: Path) -> str:
    """What happens to a trace: "refused" or "reported".

    Raises:
        AssertionError: when a report could control a terminal, or a field of JSON is not valid.
        Exception: any other error is a defect that the fuzzer found.
    """
    path.write_bytes(content)
    try:
        trace = read_trace(path)
    except TorchlapError:
        return "refused"
    run = ScriptRun(trace, 0)
    texts = [audit.as_text(run, 80, color=False), audit.as_markdown(run), audit.as_json(run, "0")]
    texts += [code_scanning.as_sarif(run, "0"), code_scanning.as_annotations(run)]
    for text in texts:
        assert not steers(text), repr(text)
    for text in texts[2:4]:
        json.loads(text, parse_constant=_refuse)
    return "reported"


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not valid JSON")


def main() -> None:
    """Try the inputs, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for number in range(args.inputs):
            content = hostile(random.Random(args.seed * 10**9 + number))
            try:
                counts[outcome(content, Path(folder) / "trace.json")] += 1
            except Exception as error:  # noqa: BLE001  any error is a defect to report
                Path("hostile.json").write_bytes(content)
                sys.exit(f"Input {number} of seed {args.seed} (in hostile.json): {type(error).__name__}: {error}")
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
