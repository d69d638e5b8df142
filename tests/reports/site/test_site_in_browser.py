"""The site of a collection in Chromium, from files."""

import itertools
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from reports.chromium import CONTRAST, opened
from reports.site.test_pages import EVIL, bundled, hostile, pages

pytestmark = pytest.mark.long
PAGES = [
    f"{site}/{name}"
    for site in ("real", "hostile")
    for name in ("index.html", "chips.html", "refused.html", "about.html", "chips/*", "machines/*")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sites that the browser opens."""
    root = tmp_path_factory.mktemp("sites")
    for name, collection in {"real": bundled(), "hostile": hostile(EVIL)}.items():
        for path, text in pages(collection).items():
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).write_text(text)
    return root


def named(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern))


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pattern", PAGES)
def test_a_page_loads_without_messages_or_requests_and_never_scrolls_sideways(
    browser: Browser, folder: Path, pattern: str, scheme: str, width: int
) -> None:
    page, messages = opened(browser, named(folder, pattern), width=width, scheme=scheme)
    assert [line for line in messages if not line.startswith("data:,")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "run"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pattern", ["real/index.html", "real/about.html", "real/chips/*", "real/machines/*"])
def test_every_text_has_enough_contrast(browser: Browser, folder: Path, pattern: str, scheme: str) -> None:
    page, _ = opened(browser, named(folder, pattern), scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    page.close()


def test_filters_and_words_narrow_the_results_and_are_kept_in_the_address(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "real" / "index.html")
    count = page.locator("#count")
    whole = count.inner_text()
    total = whole.split()[0]
    assert whole == f"{total} of {total} results"
    page.get_by_role("combobox", name="Model").select_option(label="resnet18")
    page.get_by_role("combobox", name="Batch").select_option(label="64")
    shown = page.locator("#results tbody tr")
    assert count.inner_text() == f"{shown.count()} of {total} results"
    assert set(page.locator("#results tbody td:first-child").all_inner_texts()) == {"resnet18, batch 64"}
    page.get_by_label("Search").fill("h100 workers")
    texts = page.locator("#results tbody tr").all_inner_texts()
    assert len(texts) == 1
    assert "fp32+workers:4" in texts[0]
    page.reload()
    assert count.inner_text() == f"1 of {total} results"
    page.get_by_role("button", name="Clear all filters").click()
    assert count.inner_text() == whole
    page.close()


def test_a_column_sorts_by_value_by_mouse_and_keyboard(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "real" / "index.html")
    header = page.get_by_role("button", name="throughput")

    def values() -> list[float]:
        texts = page.locator("#results tbody td.figure").all_inner_texts()
        return [float(text.split()[0].replace(",", "")) for text in texts]

    header.click()
    rising = values()
    assert all(a <= 1.01 * b for a, b in itertools.pairwise(rising)), "by what is shown, which is rounded"
    header.press("Enter")
    assert values() == rising[::-1]
    page.close()


def test_chips_are_side_by_side_for_one_kind_of_work_and_a_chip_by_release(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "real" / "index.html")
    page.get_by_role("combobox", name="Model").select_option(label="resnet18")
    page.get_by_role("combobox", name="Batch").select_option(label="64")
    heads = page.locator(".spread tbody th").all_inner_texts()
    assert heads[0] == "NVIDIA H100 80GB HBM3", "the fastest first"
    page.get_by_role("combobox", name="Chip").select_option(label="NVIDIA H100 80GB HBM3")
    assert page.locator("#spread-head").inner_text() == "NVIDIA H100 80GB HBM3 by release of torch"
    assert page.locator(".spread tbody th").all_inner_texts() == ["torch 2.11"]
    page.close()


def test_a_chip_and_a_machine_are_a_click_away(browser: Browser, folder: Path) -> None:
    page, messages = opened(browser, folder / "real" / "index.html")
    page.locator("#results tbody").get_by_role("link", name="NVIDIA H100 80GB HBM3").first.click()
    assert page.locator("h1").inner_text() == "NVIDIA H100 80GB HBM3"
    page.locator("main table").last.get_by_role("link").first.click()
    assert "results, measured by torchlap" in page.locator(".headline").inner_text()
    page.get_by_role("link", name="All results").click()
    assert page.locator("#results tbody tr").count() > 1
    assert not [line for line in messages if not line.startswith(("data:,", "file:"))]
    page.close()
