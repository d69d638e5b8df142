"""Chromium for the tests of pages."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from reports.chromium import CHROMIUM, SWITCHES


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; without it these tests are skipped, unless TORCHLAP_BROWSER=required, as in CI."""
    if CHROMIUM is None:
        message = "No browser: install Debian's chromium, or Google Chrome, to test the page"
        pytest.fail(message) if os.environ.get("TORCHLAP_BROWSER") == "required" else pytest.skip(message)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield started
        started.close()
