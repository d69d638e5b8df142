"""Runs as one self-contained page: nothing is fetched, nothing in a run file is run.

`page.html.j2` has the structure and `page.css`, `page.js` its looks and the sorting; jinja2 escapes every text, and the
page's own policy allows that script alone. `charts` draws.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from torchlap.judge.findings import Finding
from torchlap.judge.machine import diagnose
from torchlap.reports.kit.drawing import Chart
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run import charts
from torchlap.reports.run.bottleneck import binary, paragraphs, significant
from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import (
    FAILURE_WORDS,
    Judged,
    Row,
    clean,
    compares,
    grouped,
    judged,
    sentence,
    tells_of_bounds,
    tells_of_numbers,
    varying,
)
from torchlap.reports.run.terminal import legend
from torchlap.runs import file as runfile
from torchlap.runs.find import Named
from torchlap.schema.events import Preparation
from torchlap.schema.machine import Facts
from torchlap.schema.workload import Plan
from torchlap.stats import Interval

MOST_WHOLE = 10
"""So many runs are shown whole; of more, the newest `KEPT_WHOLE`, beside a line for each."""

KEPT_WHOLE = 3
LARGEST_DOWNLOAD = 16 << 20
"""Bytes of a run file that a page carries along."""


class Column(Struct, frozen=True):
    """A table's column; `spare` ones are left out on a phone."""

    head: str
    is_number: bool = False
    spare: bool = False


class Field(Struct, frozen=True):
    """What stands in a table, and by what it is sorted."""

    text: str
    sort_by: str
    void: bool = False


class Told(Struct, frozen=True, kw_only=True):
    """A finding's code with all its cells."""

    code: str
    severity: str
    title: str
    places: tuple[str, ...]
    why: str
    remedies: tuple[str, ...]


class Section(Struct, frozen=True, kw_only=True):
    """All that the page tells of one run; every text is clean, and escaped by the template."""

    anchor: str
    name: str
    started: str
    machine: str
    headline: str
    published: str
    columns: tuple[Column, ...]
    table: tuple[tuple[Field, ...], ...]
    legend: str
    failures: tuple[str, ...]
    charts: tuple[Chart, ...]
    findings: tuple[Told, ...]
    check_up: tuple[Told, ...]
    why: tuple[tuple[str, tuple[str, ...]], ...]
    facts: tuple[tuple[str, str], ...]
    plan: tuple[tuple[str, str], ...]
    cells: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]
    file_name: str
    download: str
    bytes: int


class Line(Struct, frozen=True, kw_only=True):
    """A run in the list of several; `anchor` is empty where it is not shown whole."""

    anchor: str
    name: str
    started: str
    machine: str
    torch: str
    headline: str


def as_html(runs: Sequence[Named], version: str) -> str:
    """One page for one run or several, in their order, made by that version of torchlap."""
    seen = [(named, judged(named.run)) for named in runs]
    whole = range(len(seen)) if len(seen) <= MOST_WHOLE else range(len(seen) - KEPT_WHOLE, len(seen))
    sections = [_section(f"run-{place + 1}", *seen[place]) for place in whole]
    lines = [
        _line(f"run-{place + 1}" if place in whole else "", named, told) for place, (named, told) in enumerate(seen)
    ]
    style, script = (Markup(_file(name)) for name in ("page.css", "page.js"))  # noqa: S704  our own files
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(_file("page.html.j2")).render(
        title=sections[-1].headline if len(seen) == 1 else f"{len(seen)} runs",
        version=version,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        lines=lines if len(seen) > 1 else [],
        trend=[_with_markup(chart) for chart in charts.of_runs(seen, "runs")] if len(seen) > 1 else [],
        sections=sections,
        hidden=len(seen) - len(sections),
    )


def _file(name: str) -> str:
    return files("torchlap.reports").joinpath(name).read_text(encoding="utf-8")


def _with_markup(chart: Chart) -> Chart:
    """The drawing is matplotlib's, which escapes every text in it."""
    return Chart(chart.name, chart.title, chart.summary, Markup(chart.svg))  # noqa: S704


def _line(anchor: str, named: Named, seen: Judged) -> Line:
    facts = seen.run.header.facts
    accelerators = [device.model or device.name for device in facts.devices if device.kind != "cpu"]
    return Line(
        anchor=anchor,
        name=clean(named.name),
        started=clean(seen.run.header.started),
        machine=clean(", ".join([facts.cpu, *accelerators])),
        torch=clean(facts.packages.get("torch", "")),
        headline=clean(headline(seen)),
    )


def _section(anchor: str, named: Named, seen: Judged) -> Section:
    run, plan = seen.run, seen.run.header.plan
    content = runfile.content(run)
    fits = len(content) <= LARGEST_DOWNLOAD
    name = clean(named.name).rpartition("/")[2].removesuffix(".jsonl") or "run"
    return Section(
        anchor=anchor,
        name=clean(named.name),
        started=clean(run.header.started),
        machine=clean(machine_line(run.header.facts)),
        headline=clean(headline(seen)),
        published=clean(run.header.published),
        columns=_columns(seen),
        table=tuple(tuple(_fields(seen, row)) for row in seen.rows),
        legend=legend(seen),
        failures=tuple(_failures(seen)),
        charts=tuple(_with_markup(chart) for chart in charts.of_run(seen, anchor)),
        findings=_told(seen.findings),
        check_up=() if run.header.published else _told(diagnose(run.header.facts)),
        why=tuple(paragraphs(seen)) if tells_of_bounds(seen.rows) else (),
        facts=tuple((label, clean(text)) for label, text in _facts(run.header.facts) if text),
        plan=tuple((label, clean(text)) for label, text in _plan(plan, run.header.torchlap)),
        cells=tuple((clean(str(row.result.cell)), tuple(map(clean, _prepared(row)))) for row in seen.rows),
        remarks=tuple(map(clean, run.remarks)),
        file_name=f"{name}.jsonl",
        download=base64.b64encode(content).decode() if fits else "",
        bytes=len(content),
    )


def _columns(seen: Judged) -> tuple[Column, ...]:
    """As in the terminal; `_fields` has the same order."""
    return (
        Column("model"),
        Column("batch", is_number=True),
        *(Column(name, spare=True) for name in varying(seen.rows)),
        Column("device"),
        Column("images/s", is_number=True),
        *[Column("speed-up", is_number=True)] * compares(seen.run),
        Column("laps", is_number=True, spare=True),
        *[Column("bound by", spare=True)] * tells_of_bounds(seen.rows),
        *[Column("numbers", spare=True)] * tells_of_numbers(seen.rows),
    )


def _fields(seen: Judged, row: Row) -> Iterator[Field]:
    result, void = row.result, bool(row.void)
    yield Field(row.model, row.model)
    yield Field(row.batch, row.batch)
    yield from (Field(getattr(row, name), getattr(row, name)) for name in varying(seen.rows))
    yield Field(row.device, row.device)
    yield Field(row.throughput, _sort_by(result.throughput), void=void)
    if compares(seen.run):
        yield Field(row.speed_up, _sort_by(result.speed_up), void=void)
    yield Field(row.laps, row.laps)
    yield from [Field(row.bottleneck, row.bottleneck)] * tells_of_bounds(seen.rows)
    yield from [Field(row.numerics, row.numerics)] * tells_of_numbers(seen.rows)


def _sort_by(interval: Interval | None) -> str:
    return repr(interval.value) if interval else ""


def _failures(seen: Judged) -> Iterator[str]:
    for row in seen.rows:
        failure = row.result.failure
        if failure:
            yield clean(f"{row.result.cell}: {FAILURE_WORDS[failure.kind]}. {sentence(failure.reason)}")


def _told(found: tuple[Finding, ...]) -> tuple[Told, ...]:
    return tuple(
        Told(
            code=code,
            severity=same[0].severity,
            title=clean(same[0].title),
            places=tuple(clean(f"{each.where}: " * bool(each.where) + sentence(each.evidence)) for each in same),
            why=clean(same[0].why),
            remedies=tuple(dict.fromkeys(clean(each.remedy) for each in same)),
        )
        for code, same in grouped(found).items()
    )


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    """The machine, for a table of two columns."""
    yield "Processor", facts.cpu
    yield "Cores", f"{facts.physical_cores} ({facts.usable_cores} usable)"
    yield "Memory", binary(facts.memory_bytes)
    for device in facts.devices:
        memory = f", {binary(device.memory_bytes)}" if device.memory_bytes else ""
        capability = f", {device.capability}" if device.capability else ""
        yield f"Device {device.name}", f"{device.model or device.kind}{memory}{capability}"
    yield "System", f"{facts.system} {facts.architecture} {facts.os_build}"
    yield "Python", facts.python
    yield "Packages", ", ".join(f"{name} {version}" for name, version in facts.packages.items())
    yield "Environment", ", ".join(f"{name}={value}" for name, value in facts.environment.items())
    if facts.nvidia:
        yield "NVIDIA's driver", f"{facts.nvidia.driver}, CUDA {facts.nvidia.cuda}"
    if facts.power.on_battery is not None:
        yield "Power", "on battery" if facts.power.on_battery else "on mains power"
    if facts.torch:
        precisions = ", ".join(f"{name} {value}" for name, value in facts.torch.float32_precision.items())
        yield "float32 precision at the start", precisions


def _plan(plan: Plan, version: str) -> Iterator[tuple[str, str]]:
    yield "Measured by", f"torchlap {version}"
    yield "Suite", plan.suite
    yield "Data", f"{plan.data}, weights {plan.weights}"
    yield "Asked for", f"intervals of {plan.precision_target:.1%} either way at {plan.confidence:.0%}"
    yield "Budget", f"{significant(plan.budget_seconds)} s"
    yield "Numbers", "checked beside float64" if plan.verify else "not checked"


def _prepared(row: Row) -> Iterator[str]:
    """How a cell was made ready, and what was set on its device."""
    seen: Preparation | None = row.result.prepared
    if seen is None:
        yield "Not prepared."
        return
    yield (
        f"First step {significant(1e3 * seen.first_step_seconds)} ms; {seen.warm_up_steps} steps of warm-up in "
        f"{significant(seen.warm_up_seconds)} s{'' if seen.steady else ', cut short'}; {seen.threads} threads; "
        f"{seen.parameters} parameters; input {' x '.join(map(str, seen.input_shape))}; {seen.memory_format}."
    )
    yield from (sentence(choice) for choice in seen.choices)
