"""How often does a device seem faster than itself? The same cell on both sides, again and again, on this machine.

    python benchmarks/a_against_a.py [--device cuda:0] [--comparisons 40] [--model examples/own_model.py:tiny]

Prints a Markdown row: in how many comparisons the 95% interval of the speed-up missed 1, and the median and the widest
half-width. About two of 40 should miss.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

from torchlap.measuring.session import Session
from torchlap.processes.start import Launcher, launcher
from torchlap.runs.figures import figures
from torchlap.schema.events import SCHEMA, Event, Header, Run
from torchlap.schema.machine import Facts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan, Workload


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--comparisons", type=int, default=40)
    parser.add_argument("--model", default="examples/own_model.py:tiny")
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    cell = Cell(Workload(args.model, args.batch), Recipe(), args.device)
    plan = Plan(
        suite="own",
        groups=(Group((cell, cell)),) * args.comparisons,
        precision_target=0.02,
        budget_seconds=8.0 * args.comparisons,
    )
    speed_ups = [group.cells[1].speed_up for group in figures(measured(plan, launcher(), time.monotonic))]
    known = [speed_up for speed_up in speed_ups if speed_up is not None]
    missed = [speed_up for speed_up in known if not speed_up.low <= 1 <= speed_up.high]
    widths = [speed_up.half_width for speed_up in known]
    print("| cell | comparisons | missed 1 | half-width, median and widest | misses |\n|---|---|---|---|---|")
    print(
        f"| {args.model}, batch {args.batch}, {args.device} | {len(known)} | {len(missed)} "
        f"| {median(widths):.2%}, {max(widths):.2%} | {'; '.join(map(str, missed)) or 'none'} |"
    )


def measured(plan: Plan, processes: Launcher, clock: Callable[[], float]) -> Run:
    """Measure a plan and keep its events."""
    events: list[Event] = []
    session = Session(plan, processes, emit=events.append, watch=lambda _: None, clock=clock, started=clock())
    session.measure()
    processes.close()
    facts = Facts(cpu="", physical_cores=1, usable_cores=1, memory_bytes=0, system="", architecture="", python="")
    return Run(Header(schema=SCHEMA, torchlap="", started="", facts=facts, plan=plan), tuple(events))


if __name__ == "__main__":
    main()
