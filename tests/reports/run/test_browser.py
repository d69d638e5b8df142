"""The page in Chromium."""

from pathlib import Path

import pytest
from known_ranks import measured as measured_ranks
from playwright.sync_api import Browser
from reports.chromium import CONTRAST, opened
from reports.run.test_comparing_charts import of_arms, of_devices
from reports.samples import everywhere, measured

from torchlap.reports.run.page import as_html
from torchlap.runs import file as runfile
from torchlap.runs.find import Named, reference
from torchlap.schema.events import Run

EVIL = "<script>document.title='run'</script><img src=x onerror=document.title='run'>\x1b[31m\u202e&amp;$x^2$"
pytestmark = pytest.mark.long


def page_of(*runs: Run) -> str:
    return as_html([Named(f"night-{number}.jsonl", shown) for number, shown in enumerate(runs, 1)], "1.2.3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that the browser opens."""
    pages = tmp_path_factory.mktemp("pages")
    for name, text in {
        "run": page_of(measured()),
        "hostile": page_of(everywhere(EVIL)),
        "runs": page_of(*[measured()] * 3),
        "compared": page_of(of_arms("old", "new", "newer"), measured_ranks(ranks=(2, 4)), of_devices(4)),
        "real": page_of(reference("protocol-2022-h100")),
    }.items():
        (pages / f"{name}.html").write_text(text)
    return pages


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "hostile", "runs", "compared", "real"])
def test_a_page_loads_without_messages_or_requests_and_never_scrolls_sideways(
    browser: Browser, folder: Path, name: str, scheme: str, width: int
) -> None:
    page, messages = opened(browser, folder / f"{name}.html", width=width, scheme=scheme)
    assert [line for line in messages if not line.startswith("data:,")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "run"
    page.close()


def test_a_column_header_sorts_by_value_in_both_directions_by_mouse_and_keyboard(
    browser: Browser, folder: Path
) -> None:
    page, _ = opened(browser, folder / "run.html")
    page.get_by_text("Each cell with its laps").click()
    table = page.get_by_role("region", name="Cells of night-1.jsonl")
    column = "[...document.querySelectorAll('[aria-label^=Cells] tbody tr')].map(row => row.cells[{}].textContent)"
    header = table.get_by_role("button", name="images/s")
    header.click()
    figures = [float(text.split()[0]) for text in page.evaluate(column.format(3))]
    assert figures == sorted(figures)
    assert len(set(figures)) == 4
    assert table.locator("th[aria-sort=ascending]").inner_text().startswith("images/s")
    header.press("Enter")
    assert [float(text.split()[0]) for text in page.evaluate(column.format(3))] == figures[::-1]
    table.get_by_role("button", name="speed-up").click()
    assert page.evaluate(column.format(4))[-1] == "", "empty fields come last"
    page.close()


def test_what_is_pointed_at_has_its_figures(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    bubble = page.locator("output.bubble").first
    assert bubble.is_hidden()
    page.locator("svg g[id$=tip-0]").first.hover(force=True)
    assert bubble.inner_text() == "resnet18, batch 4, cuda:0: 5.00x (4.96 to 5.04), 200.0 (199.0 to 201.0) images/s"
    page.mouse.move(1, 1)
    assert bubble.is_hidden()
    page.close()


def test_the_arrow_keys_step_through_the_marks_of_a_chart(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    drawing, bubble = page.locator(".hero .drawing").first, page.locator("output.bubble").first
    drawing.focus()
    texts = []
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
        texts.append(bubble.inner_text().partition(":")[0])
    assert texts == ["resnet18, batch 4, cuda", "resnet18, batch 64, cuda", texts[0], texts[1]]
    page.keyboard.press("Escape")
    assert bubble.is_hidden()
    page.close()


def test_a_chart_is_enlarged_and_closed_by_mouse_and_keyboard(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "run.html", width=360)
    drawing = page.locator(".hero .drawing svg").first
    before = drawing.bounding_box()
    page.get_by_role("button", name="Enlarge").first.click()
    after = drawing.bounding_box()
    assert before
    assert after
    assert after["width"] > 1.5 * before["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("Escape")
    assert drawing.bounding_box() == before
    page.close()


def test_many_devices_fit_on_a_phone_without_a_scroll_inside_of_the_table(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "compared.html", width=360)
    region = page.locator(".scroll:has(table.cards)").last
    assert region.evaluate("node => node.scrollWidth <= node.clientWidth")
    assert "Beta & Sons" in region.locator("td[data-head^=Beta]").first.evaluate(
        "node => getComputedStyle(node, '::before').content"
    )
    page.close()


def test_the_answer_the_chart_and_the_table_come_before_everything_else(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "real.html", width=1200)
    places = [page.locator(name).first.bounding_box() for name in ("h1", ".hero", "table", "ul.findings")]
    tops = [place["y"] for place in places if place]
    assert tops == sorted(tops)
    assert page.locator("ul.findings > li.error > details:not([open])").count() == 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(browser: Browser, folder: Path, scheme: str) -> None:
    page, _ = opened(browser, folder / "real.html", scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    page.close()


def test_a_dark_page_is_dark_and_prints_on_white_with_all_details_open(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "real.html", scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(20, 23, 26)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
    assert page.locator("details:not([open])").count() == 0
    page.close()


def test_the_download_is_the_run_file(browser: Browser, folder: Path, tmp_path: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    with page.expect_download() as download:
        page.get_by_role("link", name="night-1.jsonl").click()
    download.value.save_as(tmp_path / "down.jsonl")
    page.close()
    assert runfile.load(tmp_path / "down.jsonl") == measured()


def test_a_screen_reader_finds_tables_with_headers_and_charts_with_summaries(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "run.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.get_by_role("table").count() == 1, "that of all cells is collapsed"
    assert page.locator("table > caption").count() == 2
    assert page.get_by_role("rowheader").count() == 2
    page.get_by_text("Each cell with its laps").click()
    assert page.get_by_role("table").count() == 2
    assert page.get_by_role("rowheader").count() == 2 + 4
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("img", name="Speed-up over Fast 9 in fp32. 2 cells with 95% intervals").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    page.close()
