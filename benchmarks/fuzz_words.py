"""Hostile words on the command line, and hostile messages of a worker: refused in one sentence, or understood.

    python benchmarks/fuzz_words.py [--inputs 100000] [--seed 1]

Half of the inputs are option values made of pieces of valid ones, of numbers at their limits and of hostile text: they
must give options whose plan can be made, or a UsageError. The other half are replies of a worker in which values or
bytes are replaced: they must be decoded, or be a DecodeError, which ends the worker with a sentence. Prints the counts;
stops at the first input that does anything else, and names it.
"""

import argparse
import json
import random
import sys
from collections import Counter
from typing import Any, get_args

import msgspec
from fuzz_run_files import EVIL_TEXT, broken, changed, places

from torchlap.cli import options as given
from torchlap.errors import UsageError
from torchlap.measuring.plan import plan_run
from torchlap.schema.arm import parse_arms
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.events import Preparation
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.messages import INVALID, decode_reply, encode
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.replies import (
    Checked,
    Description,
    Explained,
    Failed,
    LapsDone,
    LapTime,
    PeaksReached,
    Prepared,
    Progress,
    Reply,
    SuiteChecked,
    Verified,
)

DEVICES = (DeviceFacts("cpu", "cpu"), DeviceFacts("cuda:0", "cuda", "GPU"), DeviceFacts("mps", "mps"))
DESCRIPTION = Description(devices=DEVICES, models=("resnet18", "vgg11"), looked_for="")
WORDS: dict[str, tuple[str, ...]] = {
    "devices": ("all", "cpu", "cuda:0", "mps", "cuda", "cuda:9", "cuda:-1"),
    "batch": ("1", "4", "64", "999999", "1000000", "0", "-1", "4.5", "1e3", "٣", "9" * 400),
    "phase": ("train", "eval", "test"),
    "recipe": (
        *(
            "fp32",
            "bf16",
            "fp16",
            "tf32",
            "compile",
            "compile:max-autotune",
            "graph",
            "fused",
            "threads:2",
            "threads:0",
        ),
        *("channels_last", "workers:4", "prefetch:2", "threads:" + "9" * 99, "compile:", ":"),
    ),
    "budget": ("30s", "5m", "1h", "90", "0", "-1s", "1e9s", "nan", "inf", "8d", "9" * 400),
    "hang_limit": ("120s", "1h", "0s", "x"),
    "precision_target": ("2%", "0.02", "0%", "51%", "nan", "1e-9", "9" * 400),
    "models": ("resnet18", "vgg11", "resnet19", "hf:", "timm:x", "a.py:f", ":", "/:x", "x" * 501),
    "unit": ("", "words"),
    "arm": ("a=python:/bin/true", "b=recipe:bf16", "a=OMP_NUM_THREADS=1", "=", "a", "a=x:y"),
}
JOINS = (",", "+", "=", " ", "", ":", ",,")
ODD = (EVIL_TEXT, "\x00", "\udcff", "é" * 300, "[[", "%s", "$(x)", "'", "\n", "-", "--help")
NUMBERS = (None, 1, 0, -1, 2**63, 10**30)

PREPARATION = Preparation(
    first_step_seconds=1.0,
    warm_up_steps=3,
    warm_up_seconds=1.0,
    steady=True,
    step_seconds=0.1,
    optimizer_seconds=0.0,
    synchronize_seconds=0.0,
    first_loss=1.0,
    memory_format="auto",
    threads=2,
    input_shape=(4, 3),
    parameters=10,
)
REPLIES: tuple[Reply, ...] = (
    DESCRIPTION,
    Checked(parameters=10, rows=4, inputs=("4x3",)),
    Prepared(PREPARATION),
    LapsDone((LapTime(0.1, 1.0), LapTime(0.1, 1.0, 4)), Failed("crash", "x", "y")),
    Verified(Numerics(operators=4, unchecked=("a: b",))),
    SuiteChecked(OperatorSuite(device="cpu", calls=4, faults=(), fault_count=0)),
    Progress("warming up"),
    PeaksReached(Peaks(device="cpu", flops={"fp32": 1e9}, seconds=1.0)),
    Explained(Breakdown(reason="none")),
)
ENCODED = [json.loads(encode(reply)) for reply in REPLIES]


def text_of(name: str, source: random.Random) -> str:
    """A value for an option."""
    pieces = [source.choice(WORDS[name]) for _ in range(source.choice((1, 1, 1, 2, 3)))]
    if source.random() < 0.15:  # noqa: PLR2004  one in seven
        pieces.insert(source.randrange(len(pieces) + 1), source.choice(ODD))
    return source.choice(JOINS).join(pieces)


def of_words(source: random.Random) -> str:
    """Try a command line: "refused" or "planned"."""

    def happens(chance: float) -> bool:
        return source.random() < chance

    chosen: dict[str, Any] = {"devices": "all", "batch": "4", "phase": None, "recipe": "fp32", "budget": None}
    chosen |= {"hang_limit": "120s", "models": ["resnet18"]}
    for name in ("devices", "batch", "phase", "recipe", "budget", "hang_limit", "precision_target", "unit"):
        if happens(0.3):
            chosen[name] = text_of(name, source)
    if happens(0.5):
        chosen["models"] = [text_of("models", source)]
    chosen |= {name: source.choice(NUMBERS) for name in ("seq", "items") if happens(0.1)}
    try:
        if happens(0.3):
            parse_arms([text_of("arm", source), text_of("arm", source)])
        if happens(0.2):
            chosen["workers"] = given.loader_workers(given.Through.loader, text_of("batch", source))
        plan = plan_run(given.workload_options(**chosen), DESCRIPTION)
    except UsageError as error:
        return "refused" if str(error) else "refused without a word"
    msgspec.json.encode(plan)
    return "planned"


def of_messages(source: random.Random) -> str:
    """Try a reply of a worker: "invalid" or "decoded"."""
    reply = source.choice(ENCODED)
    known = [place for place in places(reply) if place]
    content = broken(json.dumps(changed(reply, known, source)).encode(), source).replace(b"\n", b"")
    try:
        decoded = decode_reply(content)
    except INVALID:
        return "invalid"
    assert isinstance(decoded, get_args(Reply))
    return "decoded"


def main() -> None:
    """Try the inputs, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    for number in range(args.inputs):
        source = random.Random(args.seed * 10**9 + number)
        try:
            counts[(of_words, of_messages)[number % 2](source)] += 1
        except Exception as error:  # noqa: BLE001  any error is a defect to report
            sys.exit(f"Input {number} of seed {args.seed}: {type(error).__name__}: {error}")
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
