"""The page and the picture of a run: what is drawn, what is told, and what a browser makes of it."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import explained, facts, failure, pair, plan, prepared, reached, rounds, run
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, sync_playwright
from typer.testing import CliRunner, Result

import torchlap
from torchlap.cli.app import app
from torchlap.cli.report import MOST_WHOLE_RUNS
from torchlap.reports.kit.drawing import MOST_POINTS, MOST_ROWS
from torchlap.reports.run import charts
from torchlap.reports.run.page import KEPT_WHOLE, MOST_WHOLE, as_html
from torchlap.reports.run.rows import judged
from torchlap.runs import file as runfile
from torchlap.runs.find import Named
from torchlap.schema.events import Event, Failure, Run
from torchlap.schema.machine import DeviceFacts

SLOW, FAST = [0.1, 0.101, 0.099, 0.1, 0.102, 0.098], [0.02, 0.0201, 0.0199, 0.02, 0.0202, 0.0198]
EVIL = "<script>document.title='run'</script><img src=x onerror=document.title='run'>\x1b[31m\u202e&amp;$x^2$"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def measured() -> Run:
    """Two devices at two batches, explained."""
    of = plan(pair(), pair(batch=64))
    events: list[Event] = []
    for place in range(2):
        events += [prepared(0, group=place), prepared(1, group=place), *rounds(SLOW, FAST, group=place)]
        events += [explained(0, group=place), explained(1, group=place)]
    return run([*events, reached("cpu"), reached(of.groups[0].cells[1].device)], of)


def page_of(*runs: Run) -> str:
    return as_html([Named(f"night-{place}.jsonl", each) for place, each in enumerate(runs, 1)], "1.2.3")


def hostile() -> Run:
    """Markup, script, escapes and turned text wherever a run file has words."""
    of = plan(pair(model=EVIL))
    machine = facts(cpu=EVIL, devices=(DeviceFacts("cpu", "cpu", EVIL), DeviceFacts("cuda:0", "cuda", EVIL)))
    events: list[Event] = [prepared(0, choices=(EVIL,)), *rounds(SLOW), failure(1, reason=EVIL)]
    return replace(run(events, of, machine), remarks=(EVIL,))


def test_every_chart_that_there_are_figures_for_is_drawn_and_told_in_words() -> None:
    drawn = {chart.title: chart.summary for chart in charts.of_run(judged(measured()), "a")}
    assert list(drawn) == [
        "Speed-up over cpu in fp32",
        "Throughput by batch",
        "Laps over time",
        "Where a step's time goes",
        "Roofline",
    ]
    assert drawn["Speed-up over cpu in fp32"] == (
        "2 cells with 95% intervals: from 5.0x for resnet18, batch 4 to 5.0x for resnet18, batch 64. "
        "The table has each figure."
    )
    assert "resnet18: cpu 40.0 to 640 images/s, cuda:0 200 to 3200 images/s" in drawn["Throughput by batch"]
    assert "resnet18, batch 4, cpu: 0.98 to 1.02" in drawn["Laps over time"]


def test_a_run_of_one_device_shows_its_throughput_and_an_empty_one_nothing() -> None:
    alone = run([prepared(0), *rounds(SLOW)], plan(replace(pair(), cells=pair().cells[:1])))
    assert [chart.title for chart in charts.of_run(judged(alone), "a")] == ["Images a second", "Laps over time"]
    assert list(charts.of_run(judged(run()), "a")) == []
    assert charts.headline_png(judged(run())).startswith(b"\x89PNG")


def test_a_million_laps_are_drawn_as_so_many_medians() -> None:
    long = run([prepared(0), *rounds([0.1, 0.11] * 4000)])
    drawn = next(chart for chart in charts.of_run(judged(long), "a") if chart.title == "Laps over time")
    assert 0 < drawn.svg.count("<use") < MOST_POINTS + 100


def test_more_cells_than_a_chart_has_room_for_are_counted_in_words() -> None:
    count = MOST_ROWS + 2
    events = [each for place in range(count) for each in rounds(SLOW, FAST, group=place)]
    many = run(events, plan(*(pair(model=f"net{place}") for place in range(count))))
    speed_ups = next(charts.of_run(judged(many), "a"))
    assert speed_ups.summary.startswith(f"{count} cells")
    assert f"The first {MOST_ROWS} are drawn." in speed_ups.summary


def test_charts_of_one_page_share_no_names_and_the_same_run_gives_the_same_page() -> None:
    text = page_of(measured(), measured())
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)
    assert text == page_of(measured(), measured())


def test_a_published_run_is_marked_and_says_nothing_of_how_it_was_measured() -> None:
    text = page_of(torchlap.reference("experiment-2022"))
    assert "Published, not measured by torchlap:" in text
    assert "closed by one wait" not in text


def test_a_failed_cell_and_a_finding_are_told_with_what_to_do() -> None:
    failed = run([prepared(0), *rounds([0.1, 0.2, 0.1]), failure(1)])
    text = page_of(failed)
    assert isinstance(failed.events[-1], Failure)
    assert "Without a figure" in text
    assert failed.events[-1].reason in text
    assert "TL201 note: few rounds" in text
    assert "Give it more time with --budget." in text


def test_of_many_runs_the_newest_are_whole_and_the_others_have_a_line() -> None:
    text = page_of(*[measured()] * (MOST_WHOLE + 1))
    assert text.count("<article") == KEPT_WHOLE
    assert text.count('<th scope="row">') == MOST_WHOLE + 1
    assert "From run to run" in text
    assert f"of the other {MOST_WHOLE + 1 - KEPT_WHOLE} there is a line" in text


def test_what_is_too_large_for_a_page_stays_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.reports.run.page.LARGEST_DOWNLOAD", 10)
    text = page_of(measured())
    assert "data:application" not in text
    assert "too many for a page" in text


def test_nothing_in_a_run_file_is_markup_in_the_page() -> None:
    text = page_of(hostile())
    assert "<script>document" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("<script>") == 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it these tests are left out, unless TORCHLAP_BROWSER=required, as in CI."""
    if CHROMIUM is None:
        message = "NO BROWSER: install Debian's chromium, or Google Chrome, to have the page tested"
        pytest.fail(message) if os.environ.get("TORCHLAP_BROWSER") == "required" else pytest.skip(message)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that the browser opens."""
    made = tmp_path_factory.mktemp("pages")
    for name, text in {
        "run": page_of(measured()),
        "hostile": page_of(hostile()),
        "runs": page_of(*[measured()] * 3),
        "real": page_of(torchlap.reference("protocol-2022-h100")),
    }.items():
        (made / f"{name}.html").write_text(text)
    return made


def opened(browser: Browser, path: Path, *, width: int = 1000, scheme: str = "light") -> tuple[Page, list[str]]:
    """A page, and what it complained of or asked for."""
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    return page, said


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "hostile", "runs", "real"])
def test_a_page_loads_without_a_word_asks_for_nothing_and_never_scrolls_sideways(
    browser: Browser, folder: Path, name: str, scheme: str, width: int
) -> None:
    page, said = opened(browser, folder / f"{name}.html", width=width, scheme=scheme)
    assert [line for line in said if not line.startswith("data:,")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "run"
    page.close()


def test_a_head_sorts_by_value_and_back_by_mouse_and_by_keyboard(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[{}].textContent)"
    head = page.get_by_role("button", name="images/s")
    head.click()
    figures = [float(text.split()[0]) for text in page.evaluate(column.format(3))]
    assert figures == sorted(figures)
    assert len(set(figures)) == 4
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("images/s")
    head.press("Enter")
    assert [float(text.split()[0]) for text in page.evaluate(column.format(3))] == figures[::-1]
    page.get_by_role("button", name="speed-up").click()
    assert page.evaluate(column.format(4))[-1] == "", "what is empty comes last"
    page.close()


CONTRAST = """
() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parts(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())) continue;
    if (node.closest("script, defs")) continue;
    const style = getComputedStyle(node);
    const color = parts(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(node.outerHTML);
  }
  return faint;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, folder: Path, scheme: str) -> None:
    page, _ = opened(browser, folder / "real.html", scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    page.close()


def test_dark_is_dark_and_a_print_is_on_white_with_everything_unfolded(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "real.html", scheme="dark")
    behind = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(behind) == "rgb(20, 23, 26)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(behind) == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
    assert page.locator("details:not([open])").count() == 0
    page.close()


def test_what_is_downloaded_is_the_run_file(browser: Browser, folder: Path, tmp_path: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    with page.expect_download() as download:
        page.get_by_role("link", name="night-1.jsonl").click()
    download.value.save_as(tmp_path / "down.jsonl")
    page.close()
    assert runfile.load(tmp_path / "down.jsonl") == measured()


def test_a_screen_reader_finds_tables_with_heads_and_charts_with_words(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    assert page.get_by_role("table").count() == page.locator("table > caption").count() == 1
    assert page.get_by_role("columnheader").count() == 7
    assert page.get_by_role("rowheader").count() == 4
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("img", name="Speed-up over cpu in fp32. 2 cells with 95% intervals").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.close()


def test_a_page_and_a_picture_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page, picture = tmp_path / "out.html", tmp_path / "out.png"
    seen = command("report", "protocol-2022-h100", "--html", page, "--png", picture)
    assert (seen.exit_code, seen.stdout) == (0, "")
    assert seen.stderr == f"Written: {page}\nWritten: {picture}\n"
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert picture.read_bytes().startswith(b"\x89PNG")
    missing = tmp_path / "no" / "out.html"
    seen = command("report", "protocol-2022-h100", "--html", missing)
    assert seen.exit_code == 4
    assert seen.stderr == f"torchlap: {missing} cannot be written (No such file or directory): name another file.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("experiment-2022", "protocol-2022-h100", "--png", "x.png"), "--png is of one run"),
        (("experiment-2022", "--html", "x.html", "--format", "csv"), "--html and --png write files"),
        (("nowhere", "--html", "x.html"), "There is no run file or reference 'nowhere'"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    seen = command("report", *words)
    assert seen.exit_code == 2
    assert seen.stderr.startswith(f"torchlap: {sentence}")
    assert seen.stderr.count("\n") == 1


def test_many_runs_are_told_in_a_line_each(tmp_path: Path) -> None:
    for place in range(MOST_WHOLE_RUNS + 1):
        (tmp_path / f"{place:02}.jsonl").write_bytes(runfile.content(measured()))
    seen = command("report", tmp_path)
    assert seen.stdout.splitlines()[0] == "00.jsonl: cuda:0 is 5.0x as fast as cpu (2 of 2 comparisons)."
    assert len(seen.stdout.splitlines()) == MOST_WHOLE_RUNS + 3


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="torchlap")
