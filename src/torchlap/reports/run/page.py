"""Runs as one self-contained page: it makes no network requests, and nothing in a run file is executed.

`page.html.j2` has the structure, `page.css` the style, `kit/table.js` the sorting and `page.js` the rest. Jinja escapes
every text, and the page's own policy allows no other script. `charts` draws.
"""

import base64
import gzip
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from markupsafe import Markup
from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.findings import SEVERITIES
from torchlap.judge.machine import diagnose
from torchlap.judge.scaling import findings as scaling_findings
from torchlap.judge.training import findings as training_findings
from torchlap.reports import scale
from torchlap.reports.kit.drawing import Chart
from torchlap.reports.kit.findings import Entry, by_severity, entries
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Column, Field, Table, build
from torchlap.reports.kit.templates import markup, template
from torchlap.reports.kit.text import clean, counted, date, sentence
from torchlap.reports.kit.units import binary, significant
from torchlap.reports.run import charts
from torchlap.reports.run.bottleneck import paragraphs
from torchlap.reports.run.hardware import hardware_names
from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import NO_PRICES, ExtraColumn, Results, Row, judged
from torchlap.reports.run.side_by_side import side_by_side
from torchlap.reports.run.table import arms, failures, has_bottlenecks, legend, not_shown, table
from torchlap.reports.training import words as training
from torchlap.runs import file as runfile
from torchlap.runs.energy import Prices
from torchlap.runs.find import Named
from torchlap.runs.scaling import sizes
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts
from torchlap.schema.workload import Plan

MOST_WHOLE = 10
"""Up to this many runs are shown in full; of more, the newest `KEPT_WHOLE`, and one line for each."""

KEPT_WHOLE = 3
METHOD = (
    "One worker process per device held the cells of a group. After warm-up, the cells of a group took turns. A lap is "
    "a block of steps that takes about 50 ms and ends with one device synchronization. A throughput is estimated from "
    "all laps of a cell; a speed-up is estimated from the ratios of laps of the same round."
)
TRAINING_METHOD = (
    "Each recipe trained from each seed, in turns, until its accuracy on held-out data reached the target. Training is "
    "timed from an idle device to an idle device between evaluations; the time of a training is the sum. Its warm-up "
    "was undone before it began, and the evaluations do not count."
)
RANKS_METHOD = (
    "One device alone, all ranks, and all ranks without synchronization took turns. The ranks begin a lap together, "
    "and a lap takes as long as on the slowest rank. Speed-ups are estimated from the ratios of laps of the same round."
)
WIDE = 8
"""Columns of a table that is too wide for a phone, and for limits beside their values."""

LARGEST_DOWNLOAD = 16 << 20
"""The most bytes of a run file that a page contains."""

Lines = tuple[tuple[str, tuple[str, ...]], ...]
"""Titles, each with its lines."""

Pairs = tuple[tuple[str, str], ...]
"""Labels, each with its text."""


class Section(Struct, frozen=True, kw_only=True):
    """Everything that the page shows of one run; every text is clean, and the template escapes it.

    `captions` are those of the two tables. `is_wide`: the compact table has so many columns that its rows become cards
    on a phone. `charts` are by their kind, as `charts.of_run` calls it: the template places each. `download` is the run
    file, compressed with gzip, in base64.
    """

    anchor: str
    name: str
    started: str
    machine: str
    headline: str
    published: str
    captions: tuple[str, str]
    compact: Table | None
    is_wide: bool
    table: Table
    legend: str
    failures: tuple[str, ...]
    charts: dict[str, Chart]
    findings: tuple[Entry, ...]
    severities: str
    check_up: tuple[Entry, ...]
    explanation: str
    bottlenecks: Lines
    facts: Pairs
    plan: Pairs
    cells: Lines
    details: str
    method: str
    remarks: tuple[str, ...]
    file_name: str
    download: str
    bytes: int


class Linked(Struct, frozen=True):
    """A run in the list of several; `anchor` is empty if it is not shown in full."""

    anchor: str
    name: str
    results: Results


def as_html(
    runs: Sequence[Named], version: str, columns: tuple[ExtraColumn, ...] = (), prices: Prices = NO_PRICES
) -> str:
    """One page for one run or several, in their order, made by this version of torchlap; the rest as in `judged`."""
    results = [(named, judged(named.run, columns, prices)) for named in runs]
    first_whole = 0 if len(results) <= MOST_WHOLE else len(results) - KEPT_WHOLE
    sections = [_section(f"run-{place}", *pair) for place, pair in enumerate(results, 1) if place > first_whole]
    linked = [
        Linked(f"run-{place}" if place > first_whole else "", named.name, result)
        for place, (named, result) in enumerate(results, 1)
    ]
    several = len(results) > 1
    script = markup("kit/table.js") + markup("run/page.js")
    return template("run/page.html.j2").render(
        title=f"{len(results)} runs" if several else sections[-1].headline,
        version=version,
        style=markup("run/page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        runs=_runs_table(linked) if several else None,
        trend=[_with_markup(chart) for chart in charts.of_runs(results, "runs")] if several else [],
        sections=sections,
        hidden=first_whole,
    )


def _with_markup(chart: Chart) -> Chart:
    return replace(chart, svg=Markup(chart.svg))  # noqa: S704  matplotlib escapes every text in it


def _runs_table(linked: Sequence[Linked]) -> Table:
    """A row for each of several runs."""
    return build(
        linked,
        [
            (Column("run"), lambda run: Field(run.name, link=f"#{run.anchor}" if run.anchor else "")),
            (Column("started"), _started),
            (Column("machine"), lambda run: _hardware(run.results.run.header.facts)),
            (Column("torch"), lambda run: run.results.run.header.facts.packages.get("torch", "")),
            (Column("result", wraps=True), _result),
        ],
    )


def _started(linked: Linked) -> Field:
    started = linked.results.run.header.started
    return Field(date(started), sort_by=clean(started))


def _result(linked: Linked) -> str:
    return headline(linked.results, hardware_names(linked.results.run.header.facts))


def _hardware(facts: Facts) -> str:
    return ", ".join([facts.cpu, *(device.model or device.name for device in facts.devices if device.kind != "cpu")])


def _section(anchor: str, named: Named, results: Results) -> Section:
    section = _of_run(anchor, named, results)
    if named.run.header.plan.training:
        return _of_training(section, named.run)
    return _of_ranks(section, named.run) if named.run.header.plan.scaling else section


def _of_training(section: Section, run: Run) -> Section:
    """The section of a run of `torchlap train`, which has times to accuracy instead of laps."""
    found = by_severity(entries(training_findings(run)))
    return replace(
        section,
        headline=training.headline(run),
        captions=("Results by recipe", "Results by training"),
        compact=training.table(run),
        table=training.each_training(run),
        legend=training.legend(run),
        failures=training.failures(run),
        charts={},
        findings=tuple(found),
        severities=_severities(found),
        cells=(),
        details="Each training",
        method=TRAINING_METHOD,
    )


def _of_ranks(section: Section, run: Run) -> Section:
    """The section of a run of `torchlap scale`: a row per number of devices, and why efficiency is less than 1."""
    results = sizes(run)
    found = by_severity(entries(scaling_findings(run)))
    return replace(
        section,
        machine=f"{clean(scale.title(run))} · {section.machine}",
        captions=("Results by number of devices", "What exchanging gradients costs"),
        compact=scale.speeds(results),
        is_wide=False,
        table=scale.costs(results),
        legend=scale.LEGEND,
        findings=tuple(found),
        severities=_severities(found),
        explanation="Why the efficiency is not 1",
        bottlenecks=tuple(
            (clean(size.together.cell.device), tuple(lines))
            for size in results
            if (lines := list(scale.explained(size)))
        ),
        details="Communication, memory and numerics",
        method=RANKS_METHOD,
    )


def _of_run(anchor: str, named: Named, results: Results) -> Section:
    run, facts, first = results.run, results.run.header.facts, results.first
    size = runfile.size(run)
    name = clean(named.name).rpartition("/")[2].removesuffix(".jsonl") or "run"
    names = hardware_names(facts)
    found = by_severity(entries(results.findings))
    compact = side_by_side(first, names)
    return Section(
        anchor=anchor,
        name=clean(named.name),
        started=date(run.header.started),
        machine=clean(machine_line(facts)),
        headline=clean(headline(results, names)),
        published=clean(run.header.published),
        captions=("Results by model and batch", "Results by cell"),
        compact=compact,
        is_wide=_is_wide(compact),
        table=table(first),
        legend=" ".join(filter(None, [not_shown(results), legend(results), *arms(results.run)])),
        failures=failures(first),
        charts={kind: _with_markup(chart) for kind, chart in charts.of_run(results, anchor).items()},
        findings=tuple(found),
        severities=_severities(found),
        check_up=() if run.header.published else tuple(entries(diagnose(facts))),
        explanation="Each cell's bottleneck",
        bottlenecks=tuple(paragraphs(first)) if has_bottlenecks(results) else (),
        facts=tuple((clean(label), clean(text)) for label, text in _facts(facts) if text),
        plan=tuple(
            (label, clean(text)) for label, text in (*_plan(run.header.plan, run.header.torchlap), _numerics(results))
        ),
        details="Each cell with its laps",
        method=METHOD,
        cells=tuple((clean(str(row.result.cell)), tuple(map(clean, _preparation(row)))) for row in first.rows),
        remarks=tuple(map(clean, run.remarks)),
        file_name=f"{name}.jsonl",
        download=_compressed(runfile.content(run)) if size <= LARGEST_DOWNLOAD else "",
        bytes=size,
    )


def _is_wide(compact: Table | None) -> bool:
    heads = [column.head for column in compact.columns] if compact else []
    return heads.count("speed-up") > 1 or len(heads) >= WIDE


def _compressed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _severities(found: Sequence[Entry]) -> str:
    """How many findings there are of each severity, in words."""
    counts = Counter(entry.severity for entry in found)
    return ", ".join(counted(counts[severity], severity) for severity in SEVERITIES if counts[severity])


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    """The machine: labels, each with its text."""
    yield "Processor", facts.cpu
    yield "Cores", f"{facts.physical_cores} ({facts.usable_cores} usable)"
    yield "Memory", binary(facts.memory_bytes)
    for device in facts.devices:
        memory = binary(device.memory_bytes) if device.memory_bytes else ""
        yield f"Device {device.name}", ", ".join(filter(None, [device.model or device.kind, memory, device.capability]))
    yield "System", f"{facts.system} {facts.architecture} {facts.os_build}"
    yield "Python", facts.python
    yield "Packages", ", ".join(f"{name} {version}" for name, version in facts.packages.items())
    yield "Environment", ", ".join(f"{name}={value}" for name, value in facts.environment.items())
    if facts.nvidia:
        yield "NVIDIA driver", f"{facts.nvidia.driver}, CUDA {facts.nvidia.cuda}"
    if facts.power.on_battery is not None:
        yield "Power", "on battery" if facts.power.on_battery else "on AC power"
    if facts.torch:
        precisions = ", ".join(f"{name} {value}" for name, value in facts.torch.float32_precision.items())
        yield "float32 precision at the start", precisions


def _plan(plan: Plan, version: str) -> Iterator[tuple[str, str]]:
    yield "Measured by", f"torchlap {version}"
    yield "Suite", plan.suite
    yield "Data", f"{plan.data}, {plan.weights} weights"
    if plan.items or plan.unit:
        yield "Counted", f"{plan.items or ''} {plan.unit or 'items'}".strip() + " per batch" * bool(plan.items)
    yield "Precision target", f"{plan.confidence:.0%} intervals within ±{plan.precision_target:.1%}"
    yield "Budget", f"{significant(plan.budget_seconds)} s"


def _numerics(results: Results) -> tuple[str, str]:
    """What became of the checks of the accelerators' cells, as the table and the findings have it."""
    if not results.run.header.plan.verify:
        return "Numerics", "not checked"
    verdicts = Counter(row.numerics for row in results.rows if row.numerics)
    counts = ", ".join(f"{count} {word}" for word, count in verdicts.items())
    return "Numerics", f"against float64: {counts}" if counts else "the CPU is the reference"


def _preparation(row: Row) -> Iterator[str]:
    """How a cell was warmed up, and what was set on its device."""
    prepared = row.result.prepared
    if prepared is None:
        yield "Not prepared."
        return
    early = "" if prepared.steady else " (stopped early)"
    yield (
        f"First step: {significant(1e3 * prepared.first_step_seconds)} ms; warm-up: {prepared.warm_up_steps} steps in "
        f"{significant(prepared.warm_up_seconds)} s{early}; threads: {prepared.threads}; parameters: "
        f"{prepared.parameters}; input: {' x '.join(map(str, prepared.input_shape))}, {prepared.memory_format}."
    )
    yield from (sentence(choice) for choice in prepared.choices)
