"""The ladder of `torchlap audit`: how each repair of the 2022 experiment changes its figures, and the answer."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from torchlap.judge.measurement import voided
from torchlap.reports.kit.figures import speed_up_text, throughput_text
from torchlap.reports.kit.json_format import as_ascii
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.script import as_lines, as_object, in_full
from torchlap.reports.kit.table import Column, Field, Table, as_rich
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import heading, rendered
from torchlap.reports.kit.text import clean, escape, markdown
from torchlap.reports.kit.units import number
from torchlap.runs.figures import CellResult, cells, figures
from torchlap.schema.ladder import BATCHES, CPU_IMAGES, IMAGES, Figure, Ladder, Rung

SMALL, LARGE = BATCHES
MISSING = "none"
ANSWER = (
    "Is the accelerator really that fast, or is the experiment wrong? Both. The ratios of 2.3 to 25 were no surprise: "
    "the official chart of May 2022 shows speed-ups as multiples, on another machine (an M1 Ultra) with other models; "
    "the write-up read them as percentages. (Its 224.99% for resnet18 should have been 42.05 / 18.61 = 2.26 times.) "
    "But the experiment did not time the training that it meant to: nine of ten outputs were never trained, and the "
    "times include warm-up and the loading of images, measured once, without a spread."
)


class Line(Struct, frozen=True):
    """A line of the ladder for a model: a text for each device, and for the ratio of the last to the first."""

    title: str
    figures: tuple[str, ...]
    ratio: str


def lines_by_model(ladder: Ladder) -> dict[str, tuple[Line, ...]]:
    """The lines of each model, the published protocol first."""
    results = list(cells(figures(ladder.measured)))
    return {model: tuple(_lines(ladder, results, model)) for model in ladder.models}


def _lines(ladder: Ladder, results: Sequence[CellResult], model: str) -> Iterator[Line]:
    for place, rung in enumerate(ladder.rungs):
        yield _of_rung(ladder, rung, model, f"+ {rung.title}" if place else rung.title)
    yield _measured(ladder, results, model, SMALL, "+ repeats, in turns")
    yield _measured(ladder, results, model, LARGE, f"+ batch {LARGE}")


def _of_rung(ladder: Ladder, rung: Rung, model: str, title: str) -> Line:
    speeds = {
        figure.device: figure.images_per_second
        for figure in rung.figures
        if (figure.model, figure.batch) == (model, SMALL)
    }
    first, *others = (speeds.get(device) for device in ladder.devices)
    ratio = f"{_three_digits(others[0] / first)}x" if others and first and others[0] else ""
    return Line(title, tuple(_speed(speeds.get(device)) for device in ladder.devices), ratio)


def _speed(images_per_second: float | None) -> str:
    return _three_digits(images_per_second) if images_per_second else MISSING


def _three_digits(value: float) -> str:
    return number(value, 0.01 * value)


def _measured(ladder: Ladder, results: Sequence[CellResult], model: str, batch: int, title: str) -> Line:
    of_device = {
        result.cell.device: result
        for result in results
        if (result.cell.workload.model, result.cell.workload.batch) == (model, batch)
    }
    texts = [
        throughput_text(of_device[device], voided(of_device[device])) if device in of_device else MISSING
        for device in ladder.devices
    ]
    last = of_device.get(ladder.devices[-1]) if len(ladder.devices) > 1 else None
    return Line(title, tuple(texts), speed_up_text(last, voided(last)) if last else "")


def answer(ladder: Ladder) -> str:
    """The answer to the experiment's question, with what was measured here."""
    device = clean(ladder.devices[-1])
    gains = list(_gains(ladder)) if len(ladder.devices) > 1 else []
    if not gains:
        return ANSWER
    low, high = (number(gain, 0.1 * gain) for gain in (min(gains), max(gains)))
    spread = low if low == high else f"{low} to {high}"
    return (
        f"{ANSWER} On this machine, {device} is {spread} times as fast after all repairs, at batch {LARGE}, as the "
        f"published protocol shows at batch {SMALL}: a result can depend that much on its protocol."
    )


def _gains(ladder: Ladder) -> Iterator[float]:
    """For each model with both: how many times as fast the accelerator is on the last rung as on the first."""
    device = ladder.devices[-1]
    first: dict[str, Figure] = {
        figure.model: figure for figure in ladder.rungs[0].figures if (figure.device, figure.batch) == (device, SMALL)
    }
    for result in cells(figures(ladder.measured)):
        workload = result.cell.workload
        if result.cell.device == device and workload.batch == LARGE and result.throughput and workload.model in first:
            yield result.throughput.value / first[workload.model].images_per_second


def as_text(ladder: Ladder, width: int, *, color: bool) -> str:
    """For a terminal: the audit, the ladder, the answer."""
    return rendered([*in_full(ladder.audited), *_parts(ladder)], width, color=color)


def _parts(ladder: Ladder) -> Iterator[RenderableType]:
    yield heading("The ladder: images per second as the flaws are repaired one by one")
    yield Text(clean(machine_line(ladder.measured.header.facts)))
    yield as_rich(_table_with_headings(ladder))
    yield Text(_legend(ladder))
    yield heading("The answer")
    yield Text(answer(ladder))


def _columns(ladder: Ladder) -> tuple[Column, ...]:
    ratio = [Column("ratio", wraps=True)] if len(ladder.devices) > 1 else []
    return (Column("protocol"), *(Column(clean(device), wraps=True) for device in ladder.devices), *ratio)


def _fields(ladder: Ladder, line: Line) -> tuple[Field, ...]:
    texts = [line.title, *line.figures]
    if len(ladder.devices) > 1:
        texts.append(line.ratio)
    return tuple(Field(text) for text in texts)


def _table_with_headings(ladder: Ladder) -> Table:
    """For a terminal: the model in a line of its own."""
    rows: list[tuple[Field, ...]] = []
    for model, lines in lines_by_model(ladder).items():
        columns = _columns(ladder)
        rows.append((Field(clean(model), style="bold"), *(Field("") for _ in columns[1:])))
        for line in lines:
            title, *texts = _fields(ladder, line)
            rows.append((Field(f" {title.text}"), *texts))
    return Table(_columns(ladder), tuple(rows))


def _table(ladder: Ladder) -> Table:
    """For Markdown: the model in a column."""
    rows = [
        (Field(clean(model)), *_fields(ladder, line))
        for model, lines in lines_by_model(ladder).items()
        for line in lines
    ]
    return Table((Column("model"), *_columns(ladder)), tuple(rows))


def _legend(ladder: Ladder) -> str:
    accelerator = f"; {clean(ladder.devices[-1])}: {IMAGES:,} images" if len(ladder.devices) > 1 else ""
    return (
        f"Batch {SMALL}, except in the last line. In the lines up to float32, each figure comes from one epoch, so it "
        f"has no spread (cpu: {CPU_IMAGES} images{accelerator}). The last two lines are torchlap's own: throughputs "
        "with their 95% intervals, from paired rounds, with Adam in fp32."
    )


def as_markdown(ladder: Ladder) -> str:
    """To paste into a page."""
    lines = [*as_lines(ladder.audited), "", markdown(machine_line(ladder.measured.header.facts)), ""]
    lines += [*markdown_table(_table(ladder)), "", escape(_legend(ladder)), "", escape(answer(ladder))]
    return "\n".join(lines) + "\n"


def as_json(ladder: Ladder, version: str) -> str:
    """One JSON object, in ASCII: that of the audit, with the ladder."""
    return as_ascii(
        {
            **as_object(ladder.audited, version),
            "devices": list(ladder.devices),
            "ladder": msgspec.to_builtins(lines_by_model(ladder)),
            "answer": answer(ladder),
        }
    )
