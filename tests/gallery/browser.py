"""A page in the browser of the system, and all that it asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """One; without any the test is skipped."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed; looked for {', '.join(NAMES)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page that was opened from disk."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.file = file
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))

    def at(self, view: str = "") -> Page:
        """With this behind the `#`; all is shown that it shows at once."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.file.as_uri()}{f'#{view}' if view else ''}")
        self.page.wait_for_function("() => Gallery.counts && document.querySelector('#view').firstChild")
        return self.page

    def is_clean(self) -> None:
        """It complained of nothing, and asked for files beside it only."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "about:"))] == []


def ids(page: Page) -> list[str]:
    """Of all items that are shown, in order, also those out of sight."""
    found: Any = page.evaluate(
        "Promise.all(Gallery.order.map((n) => Gallery.fetchItem(n))).then((all) => all.map((r) => r.id))"
    )
    return list(found)
