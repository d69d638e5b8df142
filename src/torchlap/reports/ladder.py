"""The ladder of `torchlap audit`: what each repair of the experiment of 2022 does to its figures, and the answer."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from torchlap.reports import audit
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run.plain import as_ascii, escape
from torchlap.reports.run.rows import Judged, Row, clean, judged, number
from torchlap.reports.run.terminal import rendered
from torchlap.schema.ladder import BATCHES, CPU_IMAGES, Figure, Ladder, Rung

SCHEMA = 1
SMALL, LARGE = BATCHES
ANSWER = (
    "Is it really that fast, or is the experiment wrong? Both. Its ratios of 2.3 to 25 were not surprising: the "
    "official chart of May 2022 is captioned in times faster, and is of another machine (an M1 Ultra) and other "
    "models; the write-up took it for percent. (Its 224.99% for resnet18 is a slip: 42.05 / 18.61 is 2.26 times.) But "
    "what it timed was not the training that it meant: nine of ten outputs were never trained, and its figures hold "
    "warm-up and the loading of images, measured once, with no spread."
)


class Cells(Struct, frozen=True):
    """A line of the ladder for a model: words for the CPU, the accelerator and their ratio."""

    title: str
    figures: tuple[str, ...]
    ratio: str


def climbed_by(seen: Ladder) -> dict[str, tuple[Cells, ...]]:
    """Each model's rungs, the published protocol first."""
    told = judged(seen.measured)
    return {model: _lines(seen, told, model) for model in seen.models}


def _lines(seen: Ladder, told: Judged, model: str) -> tuple[Cells, ...]:
    climbed = [
        _of_rung(seen, rung, model, f"+ {rung.title}" if place else rung.title) for place, rung in enumerate(seen.rungs)
    ]
    climbed += [
        _measured(seen, told, model, SMALL, "+ repeats, in turns"),
        _measured(seen, told, model, LARGE, f"+ batch {LARGE}"),
    ]
    return tuple(climbed)


def _of_rung(seen: Ladder, rung: Rung, model: str, title: str) -> Cells:
    speeds = {
        each.device: each.images_per_second for each in rung.figures if (each.model, each.batch) == (model, SMALL)
    }
    shown = tuple(_plain(speeds.get(device)) for device in seen.devices)
    first, *others = (speeds.get(device) for device in seen.devices)
    ratio = f"{number(others[0] / first, 0.01 * others[0] / first)}x" if others and first and others[0] else ""
    return Cells(title, shown, ratio)


def _plain(speed: float | None) -> str:
    return number(speed, 0.01 * speed) if speed else "none"


def _measured(seen: Ladder, told: Judged, model: str, batch: int, title: str) -> Cells:
    rows: dict[str, Row] = {row.device: row for row in told.rows if (row.model, row.batch) == (model, str(batch))}
    shown = tuple(rows[device].throughput if device in rows else "none" for device in seen.devices)
    ratio = rows[seen.devices[-1]].speed_up if len(seen.devices) > 1 and seen.devices[-1] in rows else ""
    return Cells(title, shown, ratio)


def answer(seen: Ladder) -> str:
    """The answer to the experiment's question, with what was seen here."""
    device = seen.devices[-1]
    gains = list(_gains(seen, device)) if len(seen.devices) > 1 else []
    if not gains:
        return ANSWER
    low, high = min(gains), max(gains)
    spread = f"{number(low, 0.1 * low)} to {number(high, 0.1 * high)}" if low != high else number(low, 0.1 * low)
    return (
        f"{ANSWER} Here, {device} is {spread} times as fast once all is repaired, at batch {LARGE}, as that protocol "
        f"shows it at batch {SMALL}: so much of a figure can be the protocol's."
    )


def _gains(seen: Ladder, device: str) -> Iterator[float]:
    """How many times as fast the accelerator is on the last rung as on the first, of each model that has both."""
    first: dict[str, Figure] = {
        each.model: each for each in seen.rungs[0].figures if (each.device, each.batch) == (device, SMALL)
    }
    for row in judged(seen.measured).rows:
        if row.device == device and row.batch == str(LARGE) and row.result.throughput and row.model in first:
            yield row.result.throughput.value / first[row.model].images_per_second


def as_text(seen: Ladder, width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """For a terminal: the audit, the ladder, the answer."""
    return audit.as_text(seen.audited, width, color) + rendered(_parts(seen), width, color)


def _parts(seen: Ladder) -> Iterator[RenderableType]:
    yield Text("\nThe ladder: images a second, one flaw repaired after another", style="bold")
    yield Text(clean(machine_line(seen.measured.header.facts)))
    yield _table(seen)
    yield Text(_legend(seen))
    yield Text("\nThe answer", style="bold")
    yield Text(answer(seen))


def _table(seen: Ladder) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    _, *heads = _heads(seen)
    for head in heads:
        table.add_column(head, no_wrap=head == heads[0])
    for model, climbed in climbed_by(seen).items():
        table.add_row(Text(model, style="bold"))
        for cells in climbed:
            title, *figures = _fields(seen, cells)
            table.add_row(Text(f" {title}"), *map(Text, figures))
    return table


def _heads(seen: Ladder) -> Sequence[str]:
    return ["model", "protocol", *map(clean, seen.devices), *["ratio"] * (len(seen.devices) > 1)]


def _fields(seen: Ladder, cells: Cells) -> list[str]:
    return [cells.title, *cells.figures, *[cells.ratio] * (len(seen.devices) > 1)]


def _legend(seen: Ladder) -> str:
    devices = f"; {seen.devices[-1]}: an epoch of 1,000 images" if len(seen.devices) > 1 else ""
    return (
        f"Batch {SMALL} but for the last line. Up to float32 one epoch each, so no spread (cpu: of {CPU_IMAGES} "
        f"images{devices}); then torchlap's own: medians with their 95% intervals, from paired rounds, Adam, fp32."
    )


def as_markdown(seen: Ladder) -> str:
    """To paste into a page."""
    rows = [_heads(seen), ["---"] * len(_heads(seen))]
    rows += [[model, *_fields(seen, cells)] for model, climbed in climbed_by(seen).items() for cells in climbed]
    table = [f"| {' | '.join(map(escape, row))} |" for row in rows]
    parts = [
        escape(clean(machine_line(seen.measured.header.facts))),
        "",
        *table,
        "",
        escape(_legend(seen)),
        "",
        escape(answer(seen)),
    ]
    return audit.as_markdown(seen.audited) + "\n" + "\n".join(parts) + "\n"


def as_json(seen: Ladder, version: str) -> str:
    """One JSON object, in ASCII: that of the audit, with the ladder."""
    told = audit.as_object(seen.audited, version)
    return as_ascii(
        {**told, "devices": list(seen.devices), "ladder": msgspec.to_builtins(climbed_by(seen)), "answer": answer(seen)}
    )
