"""Hostile run files: whatever one holds, it is refused in a sentence, or shown in every format with nothing raw in it.

    python benchmarks/fuzz_run_files.py [--inputs 100000] [--seed 1] [--draw-each 50]

Takes the events of a run file that comes with torchlap, and in each input puts one to three hostile values in the place
of some, or bytes between some: NaN, huge and negative numbers, terminal escapes, right-to-left marks, HTML, nesting.
Prints how many were refused and how many shown; stops at the first that does anything else, and says which.
"""

import argparse
import json
import random
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torchlap
from torchlap.errors import RunFileError, UsageError
from torchlap.judge.compare import compare
from torchlap.reports import compare as group
from torchlap.reports.run import charts, page, plain, rows, terminal
from torchlap.runs.find import Named
from torchlap.schema.events import Run

SOURCE = Path(torchlap.__file__).parent / "data" / "references" / "protocol-2022-h100.jsonl"
EVIL_TEXT = "\x1b[31m\u202e<script>alert(1)</script>\u2028|`*_["
NUMBERS: tuple[Any, ...] = (0, 1, 10**9, 10**15, 0.0, 1e-9, 1.5, 1e9, -1, 10**30, -0.0, 5e-324, 1e-300, 1e300)
TEXTS: tuple[Any, ...] = ("", EVIL_TEXT, "cpu", "cuda:0", "fp16", "x" * 10_000, "NaN")
ANYTHING: tuple[Any, ...] = (*NUMBERS, *TEXTS, True, None, [], {}, [[[[1]]]], {"a": 1}, float("nan"), float("inf"))
LIKELY = 0.9
"""So often a value of the same kind: what is of another is refused at once."""

PIECES = (b"\n", b"\x00", b"\xff", b'"', b"{", b"[" * 2000, b"1e999", b"\\ud800", b"null")
KEPT_ROUNDS = 3
"""Of each comparison: a small file is enough, and quick."""


def base() -> list[Any]:
    """The events of the source, with a few rounds and operators each."""
    events, rounds = [], Counter[int]()
    for line in SOURCE.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "round":
            rounds[event["comparison"]] += 1
            if rounds[event["comparison"]] > KEPT_ROUNDS:
                continue
        if event["event"] == "explained":
            event["operators"] = event["operators"][:2]
        events.append(event)
    return events


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a nest."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


EVENTS = base()
PLACES = [place for place in places(EVENTS) if len(place) > 1]


def _like(value: object) -> tuple[Any, ...]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ANYTHING
    return TEXTS if isinstance(value, str) else NUMBERS


def hostile(source: random.Random) -> bytes:
    """One input."""
    events = json.loads(json.dumps(EVENTS))
    for _ in range(source.choice((1, 1, 2, 3))):
        *path, last = source.choice(PLACES)
        inner = events
        try:
            for key in path:
                inner = inner[key]
            inner[last] = source.choice(_like(inner[last]) if source.random() < LIKELY else ANYTHING)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    content = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    if source.random() < 0.2:  # noqa: PLR2004  one in five
        at = source.randrange(len(content))
        content = content[:at] + source.choice(PIECES) + content[at + source.randrange(3) :]
    return content


def outcome(content: bytes, path: Path, *, draws: bool = False) -> str:
    """What becomes of an input: refused, or shown; as a page and a picture, too, where it `draws`.

    Raises:
        AssertionError: when something raw is shown.
        Exception: whatever else goes wrong.
    """
    path.write_bytes(content)
    try:
        run = torchlap.load(path)
    except RunFileError:
        return "refused"
    for text in shown(run, draws=draws):
        assert not steers(text), repr(text)
    return "shown"


def drawn(run: Run) -> str:
    """The run as a page, in which nothing of it is markup; as a picture, too."""
    text = page.as_html([Named(EVIL_TEXT, run)], torchlap.__version__)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert charts.headline_png(rows.judged(run)).startswith(b"\x89PNG")
    return text


def shown(run: Run, *, draws: bool) -> list[str]:
    """The run in every format, and beside itself."""
    texts = [terminal.machine(run, 80, color=False), terminal.report(run, None, 60, color=False, why=True)]
    texts += [plain.as_markdown(run, why=True), plain.as_csv(run), plain.as_json(run, None)]
    json.loads(texts[-1], parse_constant=_refuse)
    if draws:
        texts.append(drawn(run))
    try:
        beside = compare([Named("a", run), Named("b", run)])
    except UsageError:
        return texts
    return [*texts, group.as_text(beside, 60, color=False), group.as_markdown(beside)]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def steers(text: str) -> bool:
    """Tell whether a text could steer a terminal or turn the reading direction."""
    return any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and char != "\n" for char in text)


def main() -> None:
    """Try them."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--inputs", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument(
        "--draw-each", type=int, default=50, help="Of so many inputs one is drawn, which takes a second."
    )
    asked = words.parse_args()
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for number in range(asked.inputs):
            content = hostile(random.Random(asked.seed * 10**9 + number))
            try:
                draws = number % asked.draw_each == 0
                counts[outcome(content, Path(folder) / "run.jsonl", draws=draws)] += 1
            except Exception as error:  # noqa: BLE001  whatever it is, it is what was looked for
                Path("hostile.jsonl").write_bytes(content)
                sys.exit(f"Input {number} of seed {asked.seed} (in hostile.jsonl): {type(error).__name__}: {error}")
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
