"""The ladder of `torchlap tune`: each candidate with the gain of its word, in three tiers that are never mixed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from torchlap.judge import tuning as judge
from torchlap.judge.findings import Finding
from torchlap.judge.numerics import verdict
from torchlap.reports.kit.figures import FAILURE_WORDS, throughput_text
from torchlap.reports.kit.findings import Entry, brief_in_markdown, by_severity, entries
from torchlap.reports.kit.json_format import as_ascii, cell_keys
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Column, Field, Table, build, fitting
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import brief_in_terminal, heading, indented, labeled, rendered
from torchlap.reports.kit.text import clean, counted, escape, markdown, without_folders
from torchlap.reports.kit.units import binary, significant, with_interval
from torchlap.reports.tune.resources import energy_column, largest_batch, least_energy
from torchlap.runs.figures import CellResult, tally
from torchlap.runs.tuning import CERTAIN, Rung, TunedRun, tuned
from torchlap.schema.events import Run, RunFinished
from torchlap.schema.machine import Facts
from torchlap.schema.tuning import CodeRun, LeftOut, Tier
from torchlap.schema.workload import Plan

TITLES: dict[Tier, str] = {
    "same": "Same arithmetic",
    "lower": "Lower precision",
    "training": "Changes the model or the training",
}
WINNER, TIE = "best", "*"
SCHEMA = 1
MINUTE = 60.0


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    headline: str
    finished: str | None
    wall_seconds: float | None
    run_file: str | None
    machine: Facts
    plan: Plan
    plain: dict[str, object]
    rungs: tuple[dict[str, object], ...]
    left_out: tuple[LeftOut, ...]
    winners: dict[Tier, str]
    code: dict[str, CodeRun]
    findings: tuple[Finding, ...]


def answer(found: TunedRun, plan: Plan) -> Rung | None:
    """The rung whose code is printed: the fastest that computes the same, or that changes only what was allowed."""
    allow = plan.tuning.allow if plan.tuning else ()
    tiers: list[Tier] = ["training"] if {"batch", "shape"} & set(allow) else []
    tiers += ["lower"] if "precision" in allow else []
    numbers = [found.winners[tier] for tier in (*tiers, "same") if tier in found.winners]
    return found.rung(numbers[0]) if numbers else None


def answer_code(run: Run) -> CodeRun | None:
    """The code of the answer, or of the plain step where nothing is faster; None if none was run."""
    found = tuned(run)
    rung = answer(found, run.header.plan) if found else None
    return tally(run)[0].codes.get(rung.number if rung else 0)


def headline(found: TunedRun, plan: Plan) -> str:
    """The answer in a sentence."""
    rung, cell = answer(found, plan), found.plain.cell
    name = f"{without_folders(cell.workload.model)}, batch {cell.workload.batch}, {cell.device}"
    if found.plain.failure:
        return clean(f"{name}: the plain step failed ({FAILURE_WORDS[found.plain.failure.kind]}).")
    if rung is None:
        return clean(f"{name}: no recipe is faster than {cell.recipe}.")
    speed = f", {with_interval(rung.result.speed_up, 'x')}" if rung.result.speed_up else ""
    own = rung.result.cell.workload.batch
    batch = f", batch {own}" if own != cell.workload.batch else ""
    return clean(f"{name}: {rung.result.cell.recipe}{batch}{speed} the speed of {cell.recipe}.")


def table(found: TunedRun, tier: Tier) -> Table:
    """The plain step, and the candidates of a tier that have a figure, the fastest first."""
    rungs = [rung for rung in found.rungs if rung.tier == tier and rung.result.throughput and not rung.result.failure]
    rungs.sort(key=_speed, reverse=True)
    rate = f"{clean(found.plain.cell.workload.unit)}/s"
    return build(
        [None, *rungs],
        [
            (Column(""), lambda rung: _mark(rung) if rung else ""),
            (Column("recipe"), lambda rung: _recipe(found, rung)),
            (Column(rate), lambda rung: Field(_rate(found, rung), is_void=bool(rung and rung.out))),
            (Column("gain of the word"), lambda rung: _gain(found, rung) if rung else ""),
            (Column("vs. plain"), lambda rung: _over_plain(rung) if rung else ""),
            (
                Column("first step", "right", is_spare=True),
                lambda rung: _first_step(rung.result if rung else found.plain),
            ),
            (Column("pays off", "right", is_spare=True), lambda rung: _pays_off(found.plain, rung) if rung else ""),
            (Column("loss", "right", is_spare=True), lambda rung: _loss(rung.loss if rung else found.plain_loss)),
            *energy_column(found),
        ],
    )


def _speed(rung: Rung) -> float:
    return rung.result.speed_up.value if rung.result.speed_up else 0.0


def _mark(rung: Rung) -> str:
    return WINNER if rung.wins else TIE * rung.ties


def _recipe(found: TunedRun, rung: Rung | None) -> str:
    cell = rung.result.cell if rung else found.plain.cell
    batch = f", batch {cell.workload.batch}" if cell.workload.batch != found.plain.cell.workload.batch else ""
    return f"{cell.recipe}{batch}" + ("" if rung else " (plain)")


def _rate(found: TunedRun, rung: Rung | None) -> str:
    return throughput_text(rung.result if rung else found.plain, "out" if rung and rung.out else "")


def _gain(found: TunedRun, rung: Rung) -> str:
    """What the word alone adds to the recipe under it."""
    if rung.gain is None:
        return ""
    words = {"faster": "", "slower": " slower", "tie": " tie", "open": " undecided"}[rung.standing]
    over = found.rung(rung.over)
    under = f", over {over.word}" if over and over.tier != rung.tier else ""
    return f"{rung.word} {with_interval(rung.gain, 'x')}{words}{under}"


def _over_plain(rung: Rung) -> str:
    return with_interval(rung.result.speed_up, "x") if rung.result.speed_up else ""


def _first_step(result: CellResult) -> str:
    return f"{significant(_start_seconds(result), 2)} s" if result.prepared else ""


def _start_seconds(result: CellResult) -> float:
    """What the first step takes, with its compilation and capture."""
    prepared = result.prepared
    return prepared.compile_seconds + (prepared.capture_seconds or 0.0) if prepared else 0.0


def pays_off_seconds(plain: CellResult, rung: Rung) -> float | None:
    """After how many seconds of training the longer start is made up for; None if it never is."""
    extra, speed = _start_seconds(rung.result) - _start_seconds(plain), _speed(rung)
    if speed <= 1:
        return None
    return max(0.0, extra) / (speed - 1)


def _pays_off(plain: CellResult, rung: Rung) -> str:
    seconds = pays_off_seconds(plain, rung)
    if seconds is None:
        return "never"
    return f"{significant(seconds / MINUTE, 2)} min" if seconds >= MINUTE else f"{significant(seconds, 2)} s"


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4g}"


def tiers(found: TunedRun) -> tuple[Tier, ...]:
    """Those of which a candidate has a figure."""
    return tuple(tier for tier in TITLES if any(rung.tier == tier and rung.result.throughput for rung in found.rungs))


def failures(found: TunedRun) -> tuple[str, ...]:
    """A line for each candidate that failed, or that the guard found wrong."""
    return tuple(clean(f"{rung.result.cell.recipe}: {rung.out}") for rung in found.rungs if rung.out)


def left_out(found: TunedRun) -> tuple[str, ...]:
    """A line for each word that was not tried."""
    return tuple(clean(f"{word.word}: {word.reason}") for word in found.left_out)


def legend(run: Run, found: TunedRun) -> str:
    """What the columns mean."""
    best = [rung for rung in found.rungs if rung.wins]
    checks = "; ".join(f"{rung.result.cell.recipe} {verdict(rung.result.numerics)}" for rung in best)
    memory = "; ".join(
        f"{rung.result.cell.recipe} {binary(breakdown.peak_memory_bytes)}"
        for rung in best
        if (breakdown := rung.result.breakdown) and breakdown.peak_memory_bytes
    )
    plain = found.plain.breakdown.peak_memory_bytes if found.plain.breakdown else None
    return clean(
        f"Gain of the word: over the recipe without it, {CERTAIN:.2%} intervals, corrected for the number of "
        f"candidates; other intervals: {run.header.plan.confidence:.0%}. {TIE} cannot be told from the best. First "
        "step: with compilation and capture; pays off: after so much training. Loss: the mean of steps 41 to 50. "
        + (f"Numerics: {checks}. " if checks else "")
        + (f"Peak memory: plain {binary(plain)}; {memory}. " if memory and plain else "")
        + least_energy(found)
        + largest_batch(run, found)
    ).strip()


def cost(run: Run) -> str:
    """What the search took."""
    seconds = sum(event.wall_seconds for event in run.events if isinstance(event, RunFinished))
    found = tuned(run)
    count = counted(len(found.rungs), "candidate") if found else ""
    ended = any(isinstance(event, RunFinished) for event in run.events)
    return f"{count} in {seconds:.0f} s" if ended else f"{count} so far"


def code_line(run: Run, code: CodeRun) -> str:
    """How fast the printed code was when torchlap ran it."""
    result = run_result(run, code.cell)
    if code.reason:
        return clean(f"The code did not run: {code.reason}.")
    unit, rate = result.cell.workload.unit, median(code.rates)
    beside = f", {rate / result.throughput.value:.3f}x the table's" if result.throughput else ""
    return clean(f"Run in a process of its own: {significant(rate, 4)} {unit}/s{beside}.")


def run_result(run: Run, number: int) -> CellResult:
    """The figures of a cell."""
    return tally(run)[0].result(run.header.plan.confidence).cells[number]


def findings(run: Run) -> list[Entry]:
    """The findings about the search, worst first."""
    return by_severity(entries(judge.findings(run)))


def parts(run: Run, found: TunedRun, path: Path | None, width: int) -> Iterator[RenderableType]:
    """The ladder for a terminal of this width."""
    for tier in tiers(found):
        yield heading(TITLES[tier])
        in_columns = fitting(table(found, tier), width)
        yield from [in_columns] if in_columns else _list(found, tier)
    yield Text(legend(run, found))
    yield from _lines("Failed", failures(found))
    yield from _lines("Left out", left_out(found))
    shown = findings(run)
    if shown:
        yield heading("Findings")
        yield from map(brief_in_terminal, shown)
    code = answer_code(run)
    if code is not None:
        yield heading("Code")
        for line in code.code.splitlines():
            yield Text(f"    {clean(line)}", no_wrap=True)
        yield Text(code_line(run, code))
    yield Text("")
    yield labeled("Search", cost(run))
    if path is not None:
        yield labeled("Run file", clean(str(path)))
    yield Text(f"\n{headline(found, run.header.plan)}", style="bold")


def _list(found: TunedRun, tier: Tier) -> Iterator[RenderableType]:
    """The table for a narrow terminal."""
    shown = table(found, tier)
    heads = [column.head for column in shown.columns]
    for mark, recipe, rate, *others in shown.rows:
        yield Text(f"{mark.text:<4} {recipe.text}", style="bold" if mark.text == WINNER else "")
        texts = [f"{rate.text} {heads[2]}", *(field.text for field in others[:1] if field.text)]
        texts += [f"{head} {field.text}" for head, field in zip(heads[4:], others[1:], strict=True) if field.text]
        yield indented("; ".join(texts), 5)


def _lines(title: str, texts: Sequence[str]) -> Iterator[RenderableType]:
    if texts:
        yield heading(title)
        yield from map(indented, texts)


def as_text(run: Run, path: Path | None, width: int, *, color: bool) -> str:
    """For a terminal, below the machine."""
    found = tuned(run)
    return rendered(parts(run, found, path, width), width, color=color) if found else ""


def as_markdown(run: Run) -> str:
    """To paste into a page."""
    found = tuned(run)
    if found is None:
        return ""
    lines = [markdown(machine_line(run.header.facts)), "", f"**{escape(headline(found, run.header.plan))}**", ""]
    for tier in tiers(found):
        lines += [f"### {TITLES[tier]}", "", *markdown_table(table(found, tier)), ""]
    lines += [escape(legend(run, found)), ""]
    for title, texts in (("Failed", failures(found)), ("Left out", left_out(found))):
        lines += [f"{title}:", "", *(f"- {escape(text)}" for text in texts), ""] if texts else []
    lines += map(brief_in_markdown, findings(run))
    code = answer_code(run)
    if code is not None and code.code:
        lines += ["", "```python", *(clean(line) for line in code.code.splitlines()), "```", ""]
        lines.append(escape(code_line(run, code)))
    return "\n".join(lines) + "\n"


def as_json(run: Run, path: Path | None) -> str:
    """One JSON object, in ASCII; docs/tune.md has its schema."""
    found = tuned(run)
    if found is None:
        return as_ascii(None)
    group = tally(run)[0]
    ends = [event for event in run.events if isinstance(event, RunFinished)]
    report = Report(
        schema=SCHEMA,
        torchlap=run.header.torchlap,
        headline=headline(found, run.header.plan),
        finished=ends[-1].reason if ends else None,
        wall_seconds=sum(event.wall_seconds for event in ends) if ends else None,
        run_file=str(path) if path else None,
        machine=run.header.facts,
        plan=run.header.plan,
        plain=_cell(found.plain) | {"loss": found.plain_loss},
        rungs=tuple(_rung(found, rung) for rung in found.rungs),
        left_out=found.left_out,
        winners={tier: str(group.group.cells[number].recipe) for tier, number in found.winners.items()},
        code={str(group.group.cells[number].recipe): code for number, code in group.codes.items()},
        findings=judge.findings(run),
    )
    return as_ascii(msgspec.to_builtins(report))


def _cell(result: CellResult) -> dict[str, object]:
    memory = result.breakdown.peak_memory_bytes if result.breakdown else None
    return {
        **cell_keys(result.cell),
        "items_per_second": result.throughput,
        "speed_up": result.speed_up,
        "first_step_seconds": _start_seconds(result) if result.prepared else None,
        "peak_memory_bytes": memory,
        "energy": result.energy,
        "numerics": verdict(result.numerics),
        "failure": result.failure,
    }


def _rung(found: TunedRun, rung: Rung) -> dict[str, object]:
    over = found.rung(rung.over)
    return {
        **_cell(rung.result),
        "tier": rung.tier,
        "word": rung.word,
        "over": str(over.result.cell.recipe if over else found.plain.cell.recipe),
        "gain": rung.gain,
        "standing": rung.standing,
        "out": rung.out or None,
        "loss": rung.loss,
        "wins": rung.wins,
        "ties": rung.ties,
        "pays_off_seconds": pays_off_seconds(found.plain, rung),
    }
