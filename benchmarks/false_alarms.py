"""How often are right models called wrong? Small models, each checked with many seeds, in one process or several.

    python benchmarks/false_alarms.py --recipe fp32,bf16,fp16,channels_last --out cpu.jsonl
    python benchmarks/false_alarms.py --device cuda:0 --recipe fp32,tf32,bf16,fp16,channels_last --processes 14
    PYTHONPATH=tests/simulated SIMULATED_COST=0 python benchmarks/false_alarms.py --device sim:0 --recipe fp32,bf16

Each check has its own weights, inputs, random numbers, and parts that are compared. With --out, every check is a line
of that file, and those that it has are not made again; --seconds ends early. Prints a Markdown table. Memory is filled
with NaN once, not before each check.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numerics_rates
import torch
from msgspec import Struct

from torchlap.judge.numerics import described, verdict
from torchlap.worker import devices
from torchlap.worker.errors import RefusedError
from torchlap.worker.numerics import inputs, step

OWN = Path(__file__).parents[1] / "tests" / "own"
FILES = ("small", "right")
"""The first 25 models; more_right has others, as more_right:NAME."""


class Check(Struct, frozen=True):
    """One check to make: a function of a file of models, the recipe and the seed."""

    model: str
    recipe: str
    seed: int


def models() -> list[str]:
    """All functions of the files, as FILE:NAME."""
    sys.path.append(str(OWN))
    return [f"{file}:{name}" for file in FILES for name in __import__(file).MODELS]


def make_quickly(checks: Sequence[Check], device: str, batch: int, out: str, until: float) -> None:
    """Make checks in a process of their own, without preparing the memory before each."""
    torch.set_num_threads(1)
    inputs.dirty(torch.device(device))
    setattr(step, "dirty", lambda _: None)  # noqa: B010  not exported
    setattr(devices, "release_cached_memory", lambda _: None)  # noqa: B010
    make(checks, device, batch, out, until)


def make(checks: Sequence[Check], device: str, batch: int, out: str, until: float) -> None:
    """Make checks one after the other, and write a line for each."""
    sys.path.append(str(OWN))
    impossible = set[tuple[str, str]]()
    with Path(out).open("a", encoding="ascii") as file:
        for check in checks:
            if time.time() > until:
                return
            kind = check.model, check.recipe
            word, why = ("cannot run", "") if kind in impossible else of_one_check(check, device, batch)
            impossible |= {kind} if word == "cannot run" else set()
            line = {"model": check.model, "recipe": check.recipe, "seed": check.seed, "word": word, "why": why}
            file.write(json.dumps(line) + "\n")
            file.flush()


def of_one_check(check: Check, device: str, batch: int) -> tuple[str, str]:
    """The verdict on a right model, or that it cannot run; and what it is accused of."""
    file, _, name = check.model.partition(":")
    try:
        found = numerics_rates.checked(f"{OWN / file}.py:{name}", batch, check.recipe, device, seed=check.seed)
    except (RuntimeError, RefusedError) as error:  # such as an LSTM in float16 on a CPU
        return "cannot run", str(error)[:300]
    return verdict(found), "; ".join(map(described, found.faults[:2]))


def missing(names: Sequence[str], recipes: Sequence[str], seeds: int, lines: Sequence[dict[str, Any]]) -> list[Check]:
    """The checks that the lines do not have, of the same seed one after the other."""
    done = {(line["model"], line["recipe"], line["seed"]) for line in lines}
    every = (Check(model, recipe, seed) for seed in range(seeds) for model in names for recipe in recipes)
    return [check for check in every if (check.model, check.recipe, check.seed) not in done]


def rows(lines: Sequence[dict[str, Any]], recipes: Sequence[str], head: str) -> Iterator[str]:
    """The table."""
    yield f"| {head} | " + " | ".join(recipes) + " |"
    yield "|---" * (1 + len(recipes)) + "|"
    words: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        words.setdefault((line["model"], line["recipe"]), Counter())[line["word"]] += 1
    for model in dict.fromkeys(line["model"] for line in lines):
        cells = (words.get((model, recipe), Counter()) for recipe in recipes)
        yield f"| {model.partition(':')[2]} | " + " | ".join(map(_counted, cells)) + " |"
    totals = (sum((counts for (_, of), counts in words.items() if of == recipe), Counter()) for recipe in recipes)
    yield "| all | " + " | ".join(map(_counted, totals)) + " |"


def _counted(words: Counter[str]) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in words.items() if word != "cannot run")
    return counts or ("cannot run" if words else "")


def main() -> None:
    """Make the checks that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--recipe", default="fp32")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--out", default="")
    parser.add_argument("models", nargs="*")
    given = parser.parse_intermixed_args()
    recipes, until = given.recipe.split(","), time.time() + given.seconds
    out = Path(given.out or tempfile.mkstemp(suffix=".jsonl")[1])
    before = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    checks = missing(given.models or models(), recipes, given.seeds, before)
    context, environment = multiprocessing.get_context("spawn"), os.environ
    environment.setdefault("OMP_NUM_THREADS", "1")
    parts = [checks[number :: given.processes] for number in range(given.processes)]
    started = [
        context.Process(target=make_quickly, args=(part, given.device, given.batch, str(out), until))
        for part in parts
        if part
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for row in rows(lines, recipes, f"model ({given.device}, batch {given.batch}, torch {torch.__version__})"):
        print(row)
    for line in lines:
        if line["word"] not in ("correct", "cannot run"):
            print(f"{line['model']} {line['recipe']} seed {line['seed']}: {line['why']}", file=sys.stderr)


if __name__ == "__main__":
    main()
