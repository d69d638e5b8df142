"""Hostile run files: a file must be refused in one sentence, or shown in every format with all of its text escaped.

    python benchmarks/fuzz_run_files.py [--inputs 100000] [--seed 1] [--draw-each 50]

Every input is a bundled run file in which one to three values are replaced with hostile ones: NaN, huge and negative
numbers, terminal escapes, right-to-left marks, HTML, nesting; sometimes broken bytes are inserted. Prints how many
inputs were refused and how many were shown. Stops at the first that does anything else, and names it.
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
"""The share of values that are replaced with one of the same type: another type is refused at once."""

PIECES = (b"\n", b"\x00", b"\xff", b'"', b"{", b"[" * 2000, b"1e999", b"\\ud800", b"null")
KEPT_ROUNDS = 3
"""Of every group: a small file is enough, and fast."""


def base() -> list[Any]:
    """The events of the source, with only a few rounds and operators of each group."""
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
    """The path of every value in a nested value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


EVENTS = base()
PLACES = [place for place in places(EVENTS) if len(place) > 1]


def _like(value: object) -> tuple[Any, ...]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ANYTHING
    return TEXTS if isinstance(value, str) else NUMBERS


def changed(value: Any, known: list[tuple[Any, ...]], source: random.Random) -> Any:  # noqa: ANN401  any JSON
    """A copy of a nested value in which one to three of the `known` places have hostile values."""
    copy = json.loads(json.dumps(value))
    for _ in range(source.choice((1, 1, 2, 3))):
        *path, last = source.choice(known)
        inner = copy
        try:
            for key in path:
                inner = inner[key]
            inner[last] = source.choice(_like(inner[last]) if source.random() < LIKELY else ANYTHING)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier replacement removed this place
    return copy


def broken(content: bytes, source: random.Random) -> bytes:
    """The content, in one case of five with some bytes replaced."""
    if source.random() >= 0.2:  # noqa: PLR2004  one in five
        return content
    at = source.randrange(len(content))
    return content[:at] + source.choice(PIECES) + content[at + source.randrange(3) :]


def hostile(source: random.Random) -> bytes:
    """One input."""
    events = changed(EVENTS, PLACES, source)
    return broken(b"".join(json.dumps(event).encode() + b"\n" for event in events), source)


def outcome(content: bytes, path: Path, *, draws: bool = False) -> str:
    """What happens to an input: "refused" or "shown". With `draws` it is also made into a page and a picture.

    Raises:
        AssertionError: when unescaped text is shown.
        Exception: any other error is a defect that the fuzzer found.
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
    """The run as a page, in which none of its text is markup; and as a picture."""
    text = page.as_html([Named(EVIL_TEXT, run)], torchlap.__version__)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert charts.headline_png(rows.judged(run)).startswith(b"\x89PNG")
    return text


def shown(run: Run, *, draws: bool) -> list[str]:
    """The run in every format, and compared with itself."""
    texts = [terminal.machine(run, 80, color=False), terminal.report(run, None, 60, color=False, why=True)]
    texts += [plain.as_markdown(run, why=True), plain.as_csv(run), plain.as_json(run, None)]
    json.loads(texts[-1], parse_constant=_refuse)
    if draws:
        texts.append(drawn(run))
    try:
        compared = compare([Named("a", run), Named("b", run)])
    except UsageError:
        return texts
    return [*texts, group.as_text(compared, 60, color=False), group.as_markdown(compared)]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not valid JSON")


def steers(text: str) -> bool:
    """Whether a text could control a terminal or change the reading direction."""
    return any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and char != "\n" for char in text)


def main() -> None:
    """Try the inputs, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draw-each", type=int, default=50, help="Draw one of this many inputs, which takes a second.")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for number in range(args.inputs):
            content = hostile(random.Random(args.seed * 10**9 + number))
            try:
                draws = number % args.draw_each == 0
                counts[outcome(content, Path(folder) / "run.jsonl", draws=draws)] += 1
            except Exception as error:  # noqa: BLE001  any error is a defect to report
                Path("hostile.jsonl").write_bytes(content)
                sys.exit(f"Input {number} of seed {args.seed} (in hostile.jsonl): {type(error).__name__}: {error}")
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
