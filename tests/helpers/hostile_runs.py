"""Run files that are as bad as their bounds allow: each is a function of how many things it has.

Also a script, as `benchmarks/hostile_files.py` uses it: `python hostile_runs.py FOLDER` writes every file at full size.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]
Events = Iterable[Line]

FACTS: Line = {
    "cpu": "c",
    "physical_cores": 2,
    "usable_cores": 2,
    "memory_bytes": 1 << 30,
    "system": "s",
    "architecture": "x",
    "python": "3",
    "devices": [{"name": "cpu", "kind": "cpu"}, {"name": "cuda:0", "kind": "cuda", "model": "G"}],
}
EVIL = (
    "\x1b]0;x\x07\x1b[2J\u202e<img src=x onerror=alert(1)></script><script>alert(1)</script>\"'`|=cmd|' /C calc'!A0"
    "\r\nnew\u2028\ufeff\u200b\U000e0041"
)
FORMULAS = ('=HYPERLINK("http://x","y")', "+1", "-2+3", "@SUM(1)", "\tx")
FULL_TEXT = 20_000
"""Characters that a text may have at most."""


def header(groups: list[list[Line]], facts: Line | None = None, **plan: Any) -> Line:
    """The first line, in schema 2."""
    planned = {"suite": "own", "groups": [{"cells": cells} for cells in groups]} | plan
    started = "2026-01-02T03:04:05Z"
    return {
        "event": "run", "schema": 2, "torchlap": "0", "started": started, "facts": FACTS | (facts or {}),
        "plan": planned,
    }  # fmt: skip


def cell(model: str = "m", batch: int = 4, device: str = "cuda:0", **more: Any) -> Line:
    """A cell; `more` are its recipe's fields, or its workload's."""
    recipe = {"precision": "fp32"} | {key: value for key, value in more.items() if key != "workload"}
    return {"workload": {"model": model, "batch": batch} | more.get("workload", {}), "recipe": recipe, "device": device}


PAIR = [cell(device="cpu"), cell()]


def prepared(group: int = 0, number: int = 0, **more: Any) -> Line:
    """A cell is warm."""
    preparation = {
        "first_step_seconds": 1, "warm_up_steps": 3, "warm_up_seconds": 1, "steady": True, "step_seconds": 0.1,
        "optimizer_seconds": 0, "synchronize_seconds": 0, "first_loss": 1, "memory_format": "auto", "threads": 2,
        "input_shape": [1], "parameters": 1,
    }  # fmt: skip
    return {"event": "prepared", "group": group, "cell": number, "preparation": preparation | more}


def lap(number: int = 0, seconds: float = 0.1, **more: Any) -> Line:
    """A lap of one step."""
    return {"cell": number, "steps": 1, "seconds": seconds, "loss": 1} | more


def round_(group: int, laps: list[Line], at: float = 1, **more: Any) -> Line:
    """A round."""
    return {"event": "round", "group": group, "at_seconds": at, "laps": laps} | more


def some_rounds(cells: int = 2, group: int = 0, count: int = 9) -> Iterator[Line]:
    """A few rounds, in which every cell has a lap."""
    for number in range(cells):
        yield prepared(group, number)
    for place in range(count):
        yield round_(group, [lap(number, 0.1 + number / 1e4 + place / 1e3) for number in range(cells)], place)


def groups_of_one(count: int) -> Events:
    """Many groups of one cell, all of one model."""
    yield header([[cell(batch=place + 1)] for place in range(count)])
    for place in range(count):
        yield from some_rounds(1, place, 2)


def groups_of_models(count: int) -> Events:
    """Many groups of one cell, each of its own model."""
    yield header([[cell(f"m{place}")] for place in range(count)])
    for place in range(count):
        yield from some_rounds(1, place, 2)


def wide_groups(count: int) -> Events:
    """Groups of 1000 cells."""
    yield header([[cell(batch=1000 * place + number + 1) for number in range(1000)] for place in range(count)])
    for place in range(count):
        yield from some_rounds(1000, place, 2)


def a_wide_group(count: int) -> Events:
    """Many rounds of 1000 cells."""
    yield header([[cell(batch=number + 1) for number in range(1000)]])
    yield from some_rounds(1000, 0, count)


def rounds(count: int) -> Events:
    """Many rounds of two cells."""
    yield header([PAIR])
    yield from (prepared(0, 0), prepared(0, 1))
    for place in range(count):
        yield round_(0, [lap(0, 0.1 + place % 7 / 1e3), lap(1, 0.01 + place % 11 / 1e4)], place)


def full_rounds(count: int) -> Events:
    """Rounds of 500 laps of each of two cells."""
    yield header([PAIR])
    yield from (prepared(0, 0), prepared(0, 1))
    for place in range(count):
        laps = [lap(number, 0.1 + (place * 7 + turn) % 13 / 1e3) for number in range(2) for turn in range(500)]
        yield round_(0, laps, place)


def alternating_laps(count: int) -> Events:
    """Rounds in which two cells lap in turns 500 times."""
    yield header([PAIR])
    yield from (prepared(0, 0), prepared(0, 1))
    for place in range(count):
        yield round_(0, [lap(turn % 2, 0.1 + turn % 13 / 1e3) for turn in range(1000)], place)


def lonely_rounds(count: int) -> Events:
    """Rounds of one of 1000 cells each, so that no two cells have a round in common."""
    yield header([[cell(batch=number + 1) for number in range(1000)]])
    for number in range(1000):
        yield prepared(0, number)
    for place in range(count):
        yield round_(0, [lap(place % 1000, 0.1 + place % 7 / 1e3)], place)


def restarts(count: int) -> Events:
    """A group that starts anew again and again."""
    yield header([PAIR])
    for place in range(count):
        yield {"event": "group_started", "group": 0}
        yield round_(0, [lap(0), lap(1)], place)


def builds(count: int) -> Events:
    """A cell that is built again before each of its laps."""
    yield header([PAIR])
    yield prepared(0, 1)
    for place in range(count):
        yield prepared(0, 0, choices=["a choice"])
        yield round_(0, [lap(0, 0.1 + place % 7 / 1e3), lap(1)], place)


def candidates(count: int) -> Events:
    """A search with many candidates."""
    yield header([[cell()]], tuning={"effort": "quick"})
    yield prepared(0, 0)
    for place in range(count):
        added = cell(batch=place + 5)
        yield {"event": "candidate", "group": 0, "added": added, "tier": "same", "word": f"w{place}", "over": 0}
        yield prepared(0, place + 1)
        yield round_(0, [lap(0), lap(place + 1, 0.05)], place)
        yield round_(0, [lap(0), lap(place + 1, 0.051)], place)


def left_out(count: int) -> Events:
    """A search that left out many words, with long reasons."""
    yield header([[cell()]], tuning={"effort": "quick"})
    yield from some_rounds(1)
    for place in range(count):
        yield {"event": "left_out", "group": 0, "tier": "same", "word": f"w{place}", "reason": "r" * 2000}


def trajectories(count: int) -> Events:
    """A search with many loss trajectories."""
    yield header([PAIR], tuning={"effort": "quick"})
    yield from some_rounds()
    losses = [1 + place / 1e4 for place in range(1000)]
    for place in range(count):
        yield {"event": "trajectory", "group": 0, "cell": place % 2, "trajectory": {"losses": losses, "seed": place}}


def trainings(count: int) -> Events:
    """Trainings of 1000 seeds, evaluated again and again."""
    seeds = list(range(1000))
    training = {"target": 0.99, "seeds": seeds, "learning_rate": 0.1, "epochs": 10**6}
    yield header([PAIR], training=training)
    for seed in seeds:
        for number in range(2):
            yield {
                "event": "training_started", "group": 0, "cell": number, "seed": seed, "warm_up_seconds": 1,
                "epoch_steps": 9, "train_items": 9, "held_out": 9, "parameters": 9,
            }  # fmt: skip
    for place in range(count):
        yield {
            "event": "evaluated", "group": 0, "cell": place % 2, "seed": place % 1000, "steps": 9, "seconds": 0.1,
            "items": 9, "loss": 1, "correct": place % 9, "of": 9, "evaluation_seconds": 0.1,
        }  # fmt: skip


def ranks(count: int) -> Events:
    """A run of 4096 ranks."""
    scaled = [cell(device="cuda:0"), cell(device="cuda:0")]
    yield header([scaled, scaled], scaling={"kind": "weak", "ranks": [4096, 4096]})
    facts = [{"rank": rank, "host": f"h{rank}", "device": "cuda:0", "backend": "nccl", "threads": 1} for rank in range(4096)]  # fmt: skip  # noqa: E501
    yield {"event": "ranks", "group": 0, "cell": 1, "ranks": facts}
    yield from (prepared(group, number) for group in range(2) for number in range(2))
    for place in range(count):
        seconds = [0.1 + (rank + place) % 9 / 1e3 for rank in range(4096)]
        yield round_(place % 2, [lap(0), lap(1, 0.11, rank_seconds=seconds)], place)


def breakdowns(count: int) -> Events:
    """Breakdowns of many operators and phases of 10,000 steps."""
    yield header([PAIR])
    yield from some_rounds()
    operators = [
        {"phase": "forward", "operator": f"op{place}", "calls": 1, "flops": 10**9, "bytes": 10**6}
        for place in range(5000)
    ]
    seconds = [0.1 + place % 7 / 1e3 for place in range(10_000)]
    for place in range(count):
        breakdown = {"phases": {"forward": seconds, "backward": seconds}, "steps": seconds, "operators": operators}
        yield {"event": "breakdown", "group": 0, "cell": place % 2, "breakdown": breakdown}
        peak = {"device": f"d{place}", "flops": {"fp32": 1e12}, "refused": {"fp16": "no"}}
        yield {"event": "peaks", "peaks": peak}


def faults(count: int) -> Events:
    """A check with many faults, each with a long text."""
    yield header([PAIR])
    yield from some_rounds()
    fault = {
        "kind": "wrong", "phase": "forward", "module": "m" * 900, "operator": "o" * 900, "result": 0,
        "shape": [1] * 100, "dtype": "d" * 90, "layout": "l", "error": 1e300, "worst": 1e300, "allowed": 0,
        "inputs": ["i" * 300] * 5,
    }  # fmt: skip
    numerics = {"operators": 9, "faults": [fault] * count, "unchecked": ["u" * 300] * count}
    yield {"event": "numerics", "group": 0, "cell": 1, "numerics": numerics}


def full_texts(count: int) -> Events:
    """Many cells whose warnings are as long as they may be."""
    long = {"cpu": "c" * FULL_TEXT, "system": "s" * FULL_TEXT}
    yield header([[cell("m" * 500, device="d" * 490 + str(place)) for place in range(count)]], long)
    for number in range(count):
        yield prepared(0, number, choices=["x" * FULL_TEXT], fallbacks=["y" * FULL_TEXT])
    yield from some_rounds(count)


def failures(count: int) -> Events:
    """Failures with long texts, again and again."""
    yield header([PAIR])
    yield from some_rounds()
    for _ in range(count):
        text = {"reason": "r" * 9000, "detail": "d" * 9000}
        yield {"event": "failure", "group": 0, "cell": 1, "kind": "crash", **text}


def many_facts(count: int) -> Events:
    """A machine with many devices, packages, variables, GPUs, and findings."""
    devices = [{"name": f"cuda:{place}", "kind": "cuda", "model": "G" * 20} for place in range(count)]
    names = {f"name{place}": "value" for place in range(count)}
    many: Line = {"devices": devices, "packages": names, "environment": names, "display_adapters": ["a" * 50] * count}
    more = {"unread": [{"what": "w" * 50, "why": "y" * 50}] * count, "hiding": ["h" * 50] * count}
    yield header([PAIR], many | more)
    yield from some_rounds()


def conditions(count: int) -> Events:
    """Conditions, idle power and clock jumps, again and again."""
    yield header([PAIR])
    yield from some_rounds()
    gpus = [{"device": f"cuda:{place}", "busy_before": 0.5, "throttled_by": ["heat"]} for place in range(50)]
    for place in range(count):
        yield {"event": "conditions", "group": 0, "seconds": 9, "others_cpu_share": 0.5, "gpus": gpus}
        yield {"event": "idle", "idle": {"device": f"d{place}", "meter": "m", "joules": 9, "seconds": 1}}
        yield {
            "event": "clock_jumped", "group": 0, "cell": place % 2, "at_seconds": place, "asleep_seconds": 1,
            "wall_seconds": 1, "laps": [lap(place % 2)] * 9,
        }  # fmt: skip


def energies(count: int) -> Events:
    """Rounds with energy readings."""
    yield header([PAIR], energy=True)
    yield from (prepared(0, 0), prepared(0, 1))
    for place in range(count):
        energy = [{"cell": number, "joules": 9 + place % 7, "seconds": 0.1} for number in range(2)]
        yield round_(0, [lap(0), lap(1)], place, energy=energy)


def unknown_events(count: int) -> Events:
    """Lines of a newer version, deeply nested."""
    yield header([PAIR])
    yield from some_rounds()
    for place in range(count):
        yield {"event": f"of-2030-{place}", "deep": [[[[[{"a": [place] * 20}]]]]]}


def extreme_numbers(count: int) -> Events:
    """Laps as short and as long as they may be, in all orders."""
    yield header([PAIR])
    yield from (prepared(0, 0, first_loss=1e300), prepared(0, 1, first_loss=-1e300))
    for place in range(count):
        seconds = (1e-9, 1e9, 5e-9, 1)[place % 4]
        yield round_(0, [lap(0, seconds, steps=10**9, loss=1e300), lap(1, 1e9 / place if place else 1e9)], 1e9)


def evil_text(count: int) -> Events:
    """Control characters, markup, quotes and right-to-left marks wherever a text may be."""
    texts = ("cpu", "system", "architecture", "python", "looked_for", "os_version", "os_build", "interpreter")
    devices = [{"name": "cpu", "kind": "cpu"}, {"name": EVIL, "kind": EVIL, "model": EVIL}]
    more: Line = {"packages": {EVIL: EVIL, "torch": EVIL}, "environment": {EVIL: EVIL, "OMP_NUM_THREADS": EVIL}}
    more |= {"unread": [{"what": EVIL, "why": EVIL}], "display_adapters": [EVIL], "hiding": [EVIL]}
    first = header([[cell(EVIL, device="cpu"), cell(EVIL, device=EVIL)]], dict.fromkeys(texts, EVIL) | {"devices": devices} | more)  # fmt: skip  # noqa: E501
    yield first | {"published": EVIL, "torchlap": EVIL, "started": EVIL}
    yield prepared(0, 0, choices=[EVIL], fallbacks=[EVIL])
    yield prepared(0, 1, fallbacks=[EVIL])
    yield {"event": "numerics", "group": 0, "cell": 1, "numerics": {"reason": EVIL}}
    for place in range(count):
        yield round_(0, [lap(0, 0.1 + place / 1e3), lap(1, 0.01)], place)
    yield {"event": "failure", "group": 0, "cell": 1, "kind": "crash", "reason": EVIL, "detail": EVIL}


def formulas(count: int) -> Events:
    """Names that a spreadsheet would take for formulas."""
    cells = [cell(name, place + 4, FORMULAS[place - 1]) for place, name in enumerate(FORMULAS)]
    yield header([cells])
    yield from some_rounds(len(cells), 0, count)


CASES: dict[str, tuple[Callable[[int], Events], int]] = {
    "groups_of_one": (groups_of_one, 10_000),
    "groups_of_models": (groups_of_models, 10_000),
    "wide_groups": (wide_groups, 30),
    "a_wide_group": (a_wide_group, 200),
    "rounds": (rounds, 390_000),
    "full_rounds": (full_rounds, 2000),
    "alternating_laps": (alternating_laps, 2000),
    "lonely_rounds": (lonely_rounds, 390_000),
    "restarts": (restarts, 195_000),
    "builds": (builds, 190_000),
    "candidates": (candidates, 999),
    "left_out": (left_out, 50_000),
    "trajectories": (trajectories, 10_000),
    "trainings": (trainings, 390_000),
    "ranks": (ranks, 1200),
    "breakdowns": (breakdowns, 100),
    "faults": (faults, 700),
    "full_texts": (full_texts, 1000),
    "failures": (failures, 6000),
    "many_facts": (many_facts, 10_000),
    "conditions": (conditions, 20_000),
    "energies": (energies, 390_000),
    "unknown_events": (unknown_events, 390_000),
    "extreme_numbers": (extreme_numbers, 390_000),
    "evil_text": (evil_text, 9),
    "formulas": (formulas, 9),
}
"""Each kind of file, and how many things it has where it is as large as it may be, or nearly."""


def write(path: Path, events: Events) -> None:
    """Write a run file."""
    with path.open("w", encoding="utf-8") as file:
        for event in events:
            file.write(json.dumps(event, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    for name, (make, count) in CASES.items():
        write(Path(sys.argv[1]) / f"{name}.jsonl", make(count))
