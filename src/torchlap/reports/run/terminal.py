"""The table for a terminal: in columns where it is wide enough, without some where less so, as a list where narrow."""

import io
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

from msgspec.structs import replace
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torchlap.judge.findings import Finding
from torchlap.judge.machine import diagnose
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run.bottleneck import paragraphs
from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import (
    FAILURE_WORDS,
    Judged,
    Row,
    baseline,
    clean,
    compares,
    grouped,
    judged,
    sentence,
    tells_of_bounds,
    tells_of_numbers,
    varying,
)
from torchlap.runs.find import Named
from torchlap.schema.base import OUT_OF_TIME, FailureKind
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts
from torchlap.schema.suites import SUITES
from torchlap.schema.workload import Plan, is_own_file

NUMBERS = ("batch", "laps")
"""Columns that are aligned to the right."""

LEFT_OUT_FIRST = ("laps", "bottleneck", "numerics")
"""Columns that a narrow terminal has no room for, in this order."""

MOST_EXAMPLES = 3
SEVERITY_STYLES = {"note": "cyan", "warning": "yellow", "error": "red"}


def machine(run: Run, width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """The machine in one line (wrapped where the terminal is narrower), and what the check-up found."""
    told = [] if run.header.published else [_check_up(run.header.facts)]  # a machine of the past is not to be mended
    return rendered([Text(clean(machine_line(run.header.facts))), *told], width, color)


def _check_up(facts: Facts) -> Text:
    """The doctor's findings in a line; what he would say of the devices once he had tried them is not in it."""
    told = grouped(diagnose(facts))
    if not told:
        return _labelled("Check-up", "fine.")
    titles = "; ".join(f"{code} {found[0].title}" for code, found in told.items())
    return _labelled("Check-up", f"{titles}. What to do: torchlap doctor.")


def report(run: Run, path: Path | None, width: int, color: bool, *, why: bool = False) -> str:  # noqa: FBT001  a terminal's two properties
    """Everything after the machine's line: figures, failures, findings, where the file is, what to try next.

    `why` adds where the time of each cell goes.
    """
    return rendered(_parts(judged(run), path, width, why=why), width, color)


def overview(runs: Sequence[Named], width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """A line for each of many runs."""
    lines = [
        Text(f"{clean(each.name)}: ", style="bold").append(headline(judged(each.run)), "not bold") for each in runs
    ]
    return rendered([*lines, Text("\nName one to see it whole, or write a page of all with --html.")], width, color)


def rendered(parts: Iterable[RenderableType], width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two
    """What is printed, wrapped to the width but for text that is not to be (`Text.no_wrap`): a command to paste."""
    console = Console(
        file=io.StringIO(), width=max(20, width), force_terminal=color, no_color=not color, highlight=False, emoji=False
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _parts(seen: Judged, path: Path | None, width: int, *, why: bool) -> Iterator[RenderableType]:
    run, all_rows = seen.run, seen.rows
    yield Text(headline(seen), style="bold")
    tables = [_table(run, all_rows, LEFT_OUT_FIRST[:count]) for count in range(len(LEFT_OUT_FIRST) + 1)]
    fitting = [table for table in tables if Console(width=10_000).measure(table).maximum <= width]
    yield from fitting[:1] or _list(run, all_rows)
    if run.header.published:
        yield Text(clean(f"Published, not measured by torchlap: {run.header.published}"))
    yield Text(legend(seen))
    failed = [row for row in all_rows if row.result.failure]
    if failed:
        yield Text("\nWithout a figure", style="bold")
        yield from _failures(run, failed)
    if why:
        yield Text("\nWhy", style="bold")
        yield from _why(seen)
    all_findings = seen.findings
    if all_findings:
        yield Text("\nFindings", style="bold")
        yield from (finding(found) for found in grouped(all_findings).values())
    for remark in run.remarks:
        yield Text(clean(remark))
    if path is not None:
        yield _labelled("\nRun file", clean(str(path)))
    if not run.header.published:
        yield _labelled("Try next", next_step(seen))


def _why(seen: Judged) -> Iterator[RenderableType]:
    for title, lines in paragraphs(seen):
        yield Padding(Text(title, style="bold"), (0, 0, 0, 2))
        yield from (Padding(Text(line), (0, 0, 0, 4)) for line in lines)


def _labelled(label: str, text: str) -> Text:
    return Text(f"{label}: ", style="bold").append(text, style="not bold")


def _table(run: Run, all_rows: tuple[Row, ...], without: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = {"model": "model", "batch": "batch", **{name: name for name in varying(all_rows)}, "device": "device"}
    columns |= {"images/s": "throughput", **({"speed-up": "speed_up"} if compares(run) else {}), "laps": "laps"}
    columns |= {"bottleneck": "bottleneck"} if tells_of_bounds(all_rows) else {}
    columns |= {"numerics": "numerics"} if tells_of_numbers(all_rows) else {}
    columns = {head: name for head, name in columns.items() if head not in without}
    for head in columns:
        table.add_column(head, justify="right" if head in NUMBERS else "left", no_wrap=True)
    before = ("", "")
    for row in all_rows:
        repeated = {"model": row.model == before[0], "batch": (row.model, row.batch) == before}
        words = ["" if repeated.get(head) else str(getattr(row, name)) for head, name in columns.items()]
        table.add_row(*(Text(word, style="strike" if row.void and word.startswith("void") else "") for word in words))
        before = (row.model, row.batch)
    return table


def _list(run: Run, all_rows: tuple[Row, ...]) -> Iterator[RenderableType]:
    extra = varying(all_rows)
    before = ""
    for row in all_rows:
        title = f"{row.model}, batch {row.batch}"
        if title != before:
            yield Text(title, style="bold")
        before = title
        words = [row.device, *(getattr(row, each) for each in extra)]
        unit = " images/s" if row.result.throughput else ""
        yield Padding(Text(f"{' '.join(words)}: {row.throughput}{unit}"), (0, 0, 0, 2))
        if row.speed_up:
            yield Padding(Text(f"{row.speed_up} {clean(baseline(run).device)}"), (0, 0, 0, 2))
    yield Text("")


def _numbers(all_rows: tuple[Row, ...]) -> str:
    """How many accelerators' cells have right numbers, in a sentence."""
    counts = Counter(row.numerics for row in all_rows if row.numerics)
    return f"Numbers beside float64: {', '.join(f'{number} {word}' for word, number in counts.items())}."


def legend(seen: Judged) -> str:
    """How the table is to be read."""
    run, all_rows = seen.run, seen.rows
    plan, first = run.header.plan, baseline(run)
    lines = [f"In brackets: the {plan.confidence:.0%} interval."]
    if compares(run):
        lines.append(f"Speed-up: over {clean(first.device)} in {first.recipe}, from paired rounds.")
    cells = [cell for group in plan.groups for cell in group.cells]
    if any(not is_own_file(cell.workload.model) for cell in cells):
        lines.append(f"Data: {plan.data} digits. Training is forward, backward and Adam.")
    lines += [_numbers(all_rows)] if any(row.numerics for row in all_rows) else []
    lines += ["Bound by: --why tells more."] if tells_of_bounds(all_rows) else []
    on_cuda = any(device.kind == "cuda" for device in run.header.facts.devices)
    precisions = {cell.recipe.precision for cell in cells}
    if on_cuda and "fp32" in precisions:
        lines.append("fp32: TF32 off.")
    if "tf32" in precisions and not all(cell.device.startswith("cuda") for cell in cells):
        lines.append("tf32: a mode of NVIDIA GPUs, so there alone.")
    return " ".join(lines)


def _failures(run: Run, failed: list[Row]) -> Iterator[RenderableType]:
    """A line for each failure; what the budget left out shares its remedy."""
    for row in failed:
        reason = clean(row.result.failure.reason) if row.result.failure else ""
        yield Padding(Text(f"{clean(str(row.result.cell))}: {FAILURE_WORDS[_kind(row)]}. {reason}"), (0, 0, 0, 2))
    if any(_kind(row) in OUT_OF_TIME for row in failed):
        budget, more = f"{run.header.plan.budget_seconds:.0f} s", larger_budget(run.header.plan)
        yield Padding(Text(f"What did not fit into the budget of {budget} needs more: --budget {more}."), (0, 0, 0, 2))


def _kind(row: Row) -> FailureKind:
    return row.result.failure.kind if row.result.failure else "error"


def finding(found: tuple[Finding, ...]) -> Padding:
    """One code with its cells: the first few by name, the others by number."""
    first = found[0]
    places = [f"{clean(each.where)}: {clean(each.evidence)}" if each.where else clean(each.evidence) for each in found]
    shown = "; ".join(places[:MOST_EXAMPLES])
    more = f"; and {len(places) - MOST_EXAMPLES} more" if len(places) > MOST_EXAMPLES else ""
    text = Text(f"{first.code} ", style=SEVERITY_STYLES[first.severity]).append(
        f"{first.title}: {sentence(shown + more)} {first.remedy}", "default"
    )
    return Padding(text, (0, 0, 0, 2))


def next_step(seen: Judged) -> str:
    """The command that most likely tells more."""
    run = seen.run
    kinds = {row.result.failure.kind for row in seen.rows if row.result.failure}
    model = shlex.quote(clean(baseline(run).workload.model))
    if run.events and getattr(run.events[-1], "reason", "") == "interrupted":
        return "continue this run with --resume and its file."
    if kinds & set(OUT_OF_TIME):
        plan = run.header.plan
        return f"more time for what did not fit: {command(run)} --budget {larger_budget(plan)}"
    accelerators = [device for device in run.header.facts.devices if device.kind != "cpu"]
    device, recipes = (accelerators[0].name, "fp32,bf16,channels_last") if accelerators else ("cpu", "fp32,bf16")
    if device.startswith("cuda"):
        recipes = "fp32,tf32,bf16+channels_last+fused"
    own = run.header.plan.suite not in SUITES
    batch = f" --batch {baseline(run).workload.batch}" * own
    return f"other settings: torchlap run {model}{batch} --devices {shlex.quote(clean(device))} --recipe {recipes}"


def larger_budget(plan: Plan) -> str:
    """A budget that may well be enough where this one was not."""
    return f"{max(10, ceil(3 * plan.budget_seconds / 60))}m"


def command(run: Run) -> str:
    """The command that plans what this run planned; what is the default is left out."""
    plan, suite = run.header.plan, SUITES.get(run.header.plan.suite)
    cells = [cell for group in plan.groups for cell in group.cells]
    workers = cells[0].recipe.workers
    found = [device.name for device in run.header.facts.devices]
    options = {
        "suite": (plan.suite, "quick" if suite else plan.suite),
        "devices": (_listed(cell.device for cell in cells), _listed(found)),
        "batch": (_listed(cell.workload.batch for cell in cells), _listed(suite.batches) if suite else ""),
        "phase": (_listed(cell.workload.phase for cell in cells), "train"),
        "recipe": (_listed(replace(cell.recipe, workers=None) for cell in cells), "fp32"),
        "data": (plan.data, "mnist-1k"),
        "data-through": ("resident" if workers is None else "loader", "resident"),
        "workers": ("" if workers is None else str(workers), ""),
        "weights": (plan.weights, "random"),
    }
    models = (
        [] if suite else [shlex.quote(word) for word in dict.fromkeys(clean(cell.workload.model) for cell in cells)]
    )
    chosen = [f"--{name} {shlex.quote(clean(value))}" for name, (value, usual) in options.items() if value != usual]
    return " ".join(["torchlap run", *models, *chosen])


def _listed(values: Iterable[object]) -> str:
    """As an option takes several: each once, with commas."""
    return ",".join(dict.fromkeys(map(str, values)))
