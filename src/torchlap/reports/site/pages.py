"""The files of the site. `index.html.j2` and its script have the search; the other pages need no script but sorting.

Jinja escapes every text, and each page's own policy allows only its script. Addresses are made of hashes.
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import urlencode

from markupsafe import Markup, escape
from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge import collection as rules
from torchlap.judge.collection import Collection, Entry, Key, Machine, Spread, history, spreads
from torchlap.reports.kit.table import Column, Field, Table, build
from torchlap.reports.kit.templates import markup, template
from torchlap.reports.kit.text import clean, counted, date
from torchlap.reports.kit.units import significant, with_interval
from torchlap.reports.site.history_chart import HistoryChart, history_chart
from torchlap.reports.site.rows import BADGES, FLAGS, as_csv, as_lines, as_search_data, flags_of
from torchlap.reports.site.words import work_words
from torchlap.stats import Interval

FILTERS = (
    ("chip", "Chip"), ("torch", "torch"), ("model", "Model"), ("batch", "Batch"), ("phase", "Phase"),
    ("recipe", "Recipe"), ("flag", "Badge or mark"),
)  # fmt: skip
INDEX_COLUMNS = (
    ("work", "model and batch", False), ("recipe", "recipe", True), ("chip", "chip", False),
    ("torch", "torch", True), ("value", "throughput", False), ("machine", "machine of", True),
    ("flags", "badges and marks", False),
)  # fmt: skip
MOST_MACHINES = 500
MOST_REFUSED = 1000
MOST_CHARTS = 6
FOLDERS = ("chips", "machines")
"""The folders of the site, beside its pages."""


class _Common(Struct, frozen=True):
    """What all pages share."""

    version: str
    files: int
    style: Markup
    script: Markup
    script_hash: str
    root: str


MANY_TEXTS = 50_000
"""Of a collection's texts, that are kept as HTML."""


class Result(Struct, frozen=True):
    """A row of a machine's page, in clean words; thousands of them are rendered, so this is not a `kit` table."""

    work: str
    value: str
    figure: str
    limits: str
    relative: str
    chip: str
    chip_link: str
    torch: str
    numerics: str
    marks: str
    date: str
    started: str


def site(collection: Collection, version: str) -> Iterator[tuple[str, str]]:
    """The files of the site, each with its path and its text, made by this version of torchlap."""
    newest = sorted(collection.entries, key=lambda entry: entry.started, reverse=True)
    collection = replace(collection, entries=tuple(sorted(newest, key=lambda entry: entry.published)))
    by_chip: dict[str, list[Entry]] = defaultdict(list)
    by_machine: dict[str, list[Entry]] = defaultdict(list)
    for entry in collection.entries:
        by_chip[entry.chip].append(entry)
        by_machine[entry.machine].append(entry)
    links = {chip: f"chips/{_address(chip)}.html" for chip in by_chip}
    common = _common(collection, version, "kit/table.js")
    yield "index.html", _index(collection, links, _common(collection, version, "site/index.js"))
    yield "results.csv", as_csv(collection)
    yield "chips.html", _page("chips", common, title="Chips", chips=_chips(by_chip, links))
    yield "refused.html", _refused(collection, common)
    yield "refused.csv", _refused_csv(collection)
    yield "about.html", _about(common)
    inner = _common(collection, version, "kit/table.js", root="../")
    yield from _chip_pages(collection, by_chip, links, inner)
    yield from _machine_pages(collection, by_machine, links, inner)


def _address(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def _common(collection: Collection, version: str, script_name: str, root: str = "") -> _Common:
    script = markup(script_name)
    return _Common(
        version=version,
        files=collection.files,
        style=markup("run/page.css") + markup("site/site.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        root=root,
    )


def _page(name: str, common: _Common, **texts: object) -> str:
    shared = {field: getattr(common, field) for field in common.__struct_fields__}
    return template(f"site/{name}.html.j2").render(**shared, **texts)


def _index(collection: Collection, links: dict[str, str], common: _Common) -> str:
    return _page(
        "index",
        common,
        title="How fast PyTorch trains: results by machine and chip",
        results=_counted(len(collection.entries), "result"),
        machines=_counted(len(collection.machines), "machine"),
        chips=_counted(len(links), "chip"),
        filters=FILTERS,
        columns=INDEX_COLUMNS,
        data=Markup(as_search_data(collection, links)),  # noqa: S704  no tag can begin in it
    )


def _counted(count: int, noun: str) -> str:
    return counted(count, noun).replace(str(count), f"{count:,}", 1)


def _chips(by_chip: dict[str, list[Entry]], links: dict[str, str]) -> Table:
    return build(
        sorted(by_chip.items(), key=lambda item: (-len({entry.machine for entry in item[1]}), item[0])),
        [
            (Column("chip", wraps=True), lambda item: Field(item[0], link=links[item[0]])),
            (Column("machines", align="right"), lambda item: _count({entry.machine for entry in item[1]})),
            (Column("owners", align="right"), lambda item: _count({entry.owner for entry in item[1]})),
            (Column("results", align="right"), lambda item: _count(item[1])),
            (Column("models", align="right", is_spare=True), lambda item: _count({entry.key[0] for entry in item[1]})),
            (Column("newest", is_spare=True), lambda item: _newest(item[1])),
        ],
    )


def _count(items: Sequence[object] | set[str]) -> Field:
    return Field(f"{len(items):,}", sort_by=str(len(items)))


def _newest(entries: Sequence[Entry]) -> Field:
    started = max(entry.started for entry in entries)
    return Field(date(started).partition(",")[0], sort_by=clean(started))


def _refused(collection: Collection, common: _Common) -> str:
    found = collection.refused
    table = build(
        found[:MOST_REFUSED],
        [
            (Column("code"), lambda finding: finding.code),
            (Column("file or cell", wraps=True), lambda finding: finding.where),
            (Column("why", wraps=True), lambda finding: f"{finding.title}: {finding.evidence}"),
        ],
    )
    hidden = len(found) - len(table.rows)
    return _page("refused", common, title="Refused", refused=table, count=f"{len(found):,}", hidden=hidden)


def _refused_csv(collection: Collection) -> str:
    texts = [(each.code, each.where, each.title, each.evidence) for each in collection.refused]
    return as_lines([("code", "where", "title", "evidence"), *texts])


def _about(common: _Common) -> str:
    flags = [(name, meaning[:1].upper() + meaning[1:]) for name, meaning, _ in FLAGS]
    catalogue = [(rule.code, rule.title.capitalize(), rule.why) for rule in rules.CATALOGUE]
    return _page("about", common, title="About these results", flags=flags, rules=catalogue)


def _chip_pages(
    collection: Collection, by_chip: dict[str, list[Entry]], links: dict[str, str], common: _Common
) -> Iterator[tuple[str, str]]:
    page = template("site/chip.html.j2")
    shared = {field: getattr(common, field) for field in common.__struct_fields__}
    for chip, entries in by_chip.items():
        machines = list(dict.fromkeys(entry.machine for entry in entries))
        releases = history(entries)
        yield (
            links[chip],
            page.render(
                **shared,
                title=clean(chip),
                chip=clean(chip),
                summary=_summary(entries),
                filter=urlencode({"chip": clean(chip)}),
                spread=_spread_table(spreads(entries)),
                charts=_charts(releases),
                history=_history_table(releases),
                machines=_machines_table([collection.machines[name] for name in machines[:MOST_MACHINES]], entries),
                hidden=max(0, len(machines) - MOST_MACHINES),
            ),
        )


def _summary(entries: Sequence[Entry]) -> str:
    machines, owners = {entry.machine for entry in entries}, {entry.owner for entry in entries}
    return (
        f"{_counted(len(entries), 'result')} from {_counted(len(machines), 'machine')} of "
        f"{_counted(len(owners), 'owner')}; {sum(entry.reproduced for entry in entries):,} reproduced, "
        f"{sum(bool(entry.outlier) for entry in entries)} marked as outliers."
    )


def _figure(value: float) -> Field:
    return Field(significant(value, 4), sort_by=repr(value))


def _spread_table(found: Sequence[Spread]) -> Table:
    return build(
        found,
        [
            (Column("work", wraps=True), lambda each: work_words(each.key)),
            (Column("median", align="right"), lambda each: _figure(each.value)),
            (Column("items", is_spare=True), lambda each: each.key[5]),
            (Column("slowest to fastest"), _range),
            (Column("ratio", align="right"), lambda each: f"{each.high / each.low:.2f}x" if each.machines > 1 else ""),
            (Column("machines", align="right"), lambda each: str(each.machines)),
            (Column("outliers", align="right", is_spare=True), lambda each: str(each.outliers or "")),
        ],
    )


def _range(each: Spread) -> str:
    return f"{significant(each.low, 4)} to {significant(each.high, 4)}" if each.machines > 1 else "one machine"


def _history_table(found: Sequence[Spread]) -> Table:
    return build(
        found,
        [
            (Column("work", wraps=True), lambda each: work_words(each.key)),
            (Column("torch"), lambda each: each.label),
            (Column("median", align="right"), lambda each: _figure(each.value)),
            (Column("slowest to fastest"), _range),
            (Column("machines", align="right"), lambda each: str(each.machines)),
        ],
    )


def _charts(releases: Sequence[Spread]) -> list[HistoryChart]:
    """A chart for each of the most measured kinds of work with more than one release."""
    by_work: dict[Key, list[Spread]] = defaultdict(list)
    for each in releases:
        by_work[each.key].append(each)
    several = [(key, found) for key, found in by_work.items() if len(found) > 1]
    several.sort(key=lambda item: -sum(each.machines for each in item[1]))
    return [history_chart(work_words(key), found) for key, found in several[:MOST_CHARTS]]


def _machines_table(machines: Sequence[Machine], entries: Sequence[Entry]) -> Table:
    results: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        results[entry.machine].append(entry)
    return build(
        machines,
        [
            (Column("machine"), lambda each: Field(each.id, link=f"../machines/{each.id}.html")),
            (Column("owner"), lambda each: each.owner or "unknown"),
            (Column("processor", wraps=True), lambda each: f"{each.cpu}, {each.cores} cores"),
            (Column("system", is_spare=True, wraps=True), lambda each: each.system),
            (Column("results", align="right"), lambda each: str(len(results[each.id]))),
            (Column("marks", is_spare=True), lambda each: _marks(results[each.id])),
        ],
    )


def _marks(entries: Sequence[Entry]) -> str:
    present = {name for entry in entries for name in flags_of(entry)}
    return ", ".join(name for name, _, _ in FLAGS[BADGES:] if name in present)


def _machine_pages(
    collection: Collection, by_machine: dict[str, list[Entry]], links: dict[str, str], common: _Common
) -> Iterator[tuple[str, str]]:
    page = template("site/machine.html.j2")
    shared = {field: getattr(common, field) for field in common.__struct_fields__}
    medians = {(each.chip, each.key): (each.value, each.machines) for each in spreads(collection.entries)}
    for name, entries in by_machine.items():
        machine = collection.machines[name]
        owner = clean(machine.owner) or "an unknown owner"
        accelerators = [clean(chip) for chip in machine.chips[1:]]
        yield (
            f"machines/{name}.html",
            page.render(
                **shared,
                title=f"Machine {name}",
                heading=" + ".join(accelerators or [clean(machine.chips[0])]),
                machine_line=clean(
                    f"{machine.cpu} · {machine.cores} cores · {machine.memory_gib} GiB · {machine.system}"
                ),
                summary=f"{counted(len(entries), 'result')}, measured by {owner}.",
                is_virtual=machine.virtual,
                results=[_result(entry, links, medians) for entry in entries],
                run_files=", ".join(dict.fromkeys(clean(entry.file) for entry in entries)),
            ),
        )


def _result(entry: Entry, links: dict[str, str], medians: dict[tuple[str, Key], tuple[float, int]]) -> Result:
    value, machines = medians.get((entry.chip, entry.key), (0.0, 0))
    is_compared = machines > 1 and not entry.published
    figure, _, limits = _figure_text(entry).partition(" (")
    return Result(
        work=_work(entry.key),
        value=repr(entry.value),
        figure=figure,
        limits=f"({limits}" if limits else "",
        relative=f"{entry.value / value:.2f}x of {machines}" if is_compared else "",
        chip=_html(entry.chip),
        chip_link=_html(f"../{links[entry.chip]}"),
        torch=_html(entry.torch),
        numerics=_html(entry.numerics),
        marks=_html(", ".join([*flags_of(entry), *entry.findings])),
        date=_day(entry.started),
        started=_html(entry.started),
    )


@lru_cache(MANY_TEXTS)
def _html(text: str) -> Markup:
    """A text for a page; the same few come often."""
    return escape(clean(text))


@lru_cache(MANY_TEXTS)
def _work(key: Key) -> Markup:
    return escape(work_words(key))


@lru_cache(MANY_TEXTS)
def _day(timestamp: str) -> Markup:
    return escape(date(timestamp).partition(",")[0])


def _figure_text(entry: Entry) -> str:
    if entry.low == entry.high:
        return significant(entry.value, 4)
    return with_interval(Interval(entry.value, entry.low, entry.high, entry.laps))
