"""A page in Chromium, with its messages."""

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def opened(browser: Browser, path: Path, *, width: int = 1000, scheme: str = "light") -> tuple[Page, list[str]]:
    """A page, and its messages, errors and requests."""
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: messages.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    return page, messages
