"""The documentation: links lead somewhere, pages are in the navigation, commands can be run or at least exist."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from msgspec import Struct
from msgspec.structs import replace
from support import ROOT, invoke

from torchlap.cli.app import app
from torchlap.runs.file import content
from torchlap.runs.find import reference
from torchlap.schema.events import Round, Run

PAGES = [
    *(ROOT / name for name in ("README.md", "README.ko.md", "CONTRIBUTING.md", "submissions/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NOT_RUN = re.compile(r"<!-- not run: .+ -->")


class Block(Struct, frozen=True):
    """A block of code without a language: where it is, whether it is marked as not run, and its lines."""

    page: str
    line: int
    is_marked: bool
    lines: tuple[str, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of torchlap in it, without comments; a backslash joins lines."""
        text = "\n".join(self.lines).replace("\\\n", " ")
        return tuple(line for line in text.splitlines() if re.match(r"(\.venv/bin/)?torchlap( |$)", line))


def blocks(page: Path) -> Iterator[Block]:
    """The indented blocks of a page."""
    lines, place = page.read_text().split("\n"), 0
    fenced = False
    while place < len(lines):
        fenced ^= lines[place].startswith("```")
        if fenced or not lines[place].startswith("    ") or (place and lines[place - 1].strip()):
            place += 1
            continue
        end = place
        while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
            end += 1
        above = [line for line in lines[max(0, place - 3) : place] if line.strip()]
        marked = bool(above) and NOT_RUN.fullmatch(above[-1]) is not None
        yield Block(page.name, place + 1, marked, tuple(line[4:] for line in lines[place:end]))
        place = end


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
BLOCKS = [block for block in ALL_BLOCKS if block.commands]
OTHER_COMMANDS = re.compile(r"(\$ |make |pip |python3? |\.venv/bin/|pytest |git |for \w+ in |duckdb )")


def words_of(command: str) -> list[str]:
    """The arguments of a command line, without its comment."""
    return shlex.split(command, comments=True)[1:]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f": {page.name}\n" not in navigation]
    assert not missing, "add a line for each to mkdocs.yml"


def test_there_are_commands_to_check() -> None:
    assert len(BLOCKS) > 25
    assert sum(not block.is_marked for block in BLOCKS) > 5


def test_blocks_with_other_commands_are_marked() -> None:
    others = [block for block in ALL_BLOCKS if any(map(OTHER_COMMANDS.match, block.lines)) and not block.is_marked]
    assert [f"{block.page}:{block.line}" for block in others] == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_every_command_and_option_in_the_documentation_exists(block: Block) -> None:
    group = typer.main.get_command(app)
    for command in block.commands:
        name, *arguments = words_of(command) or ["run"]
        context = group.make_context("torchlap", [name], resilient_parsing=True)
        found = group.get_command(context, name)  # type: ignore[attr-defined]  # it is a group
        assert found is not None, command
        if "[" in command or "list" in arguments:  # an ellipsis of arguments; an option that prints and exits
            continue
        found.make_context(name, list(arguments), parent=context)


def changed(run: Run, factor: float, torch: str = "") -> bytes:
    """A run with laps that take `factor` times as long, and another version of torch."""
    events = [
        replace(event, laps=tuple(replace(lap, seconds=lap.seconds * factor) for lap in event.laps))
        if isinstance(event, Round)
        else event
        for event in run.events
    ]
    facts = run.header.facts
    packages = facts.packages | ({"torch": torch} if torch else {})
    return content(Run(replace(run.header, facts=replace(facts, packages=packages)), tuple(events)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation names."""
    run = reference("default-h100")
    files = {
        "my.jsonl": (1.01, ""),
        "mps.jsonl": (1.02, ""),
        "before.jsonl": (1.0, ""),
        "after.jsonl": (1.001, ""),
        "nightly/a.jsonl": (1.002, ""),
        "nightly/b.jsonl": (1.003, "2.12.0"),
        "submissions/alice/new.jsonl": (1.004, ""),
        "submissions/bob/a.jsonl": (1.005, ""),
    }
    for name, (factor, torch) in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(changed(run, factor, torch))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if not block.is_marked], ids=lambda block: f"{block.page}:{block.line}"
)
def test_every_block_that_is_not_marked_runs(block: Block, folder: Path) -> None:
    for command in block.commands:
        result = invoke(*words_of(command))
        assert result.exit_code == 0, (command, result.output)


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "build" / "site" / "index.html").read_text()
    assert re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:[^"]*)', page) == [], "loaded from elsewhere"
