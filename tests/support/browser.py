"""A real Chromium, without a window, for the tests of the console; and what must hold of each page that it showed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, PHONE = 1400, 400
HEIGHT = 900
WAIT_MS = 90_000  # for an event on a machine with much else to do
LOOK_MS = 100  # by itself it looks as often as the browser draws, and keeps it drawing
TALLEST = 2200
SCREENSHOTS = "TIDEMILL_SCREENSHOTS"  # the folder to write them to, if set
OVERFLOW = """() => [document.documentElement, ...document.querySelectorAll('.stMain')]
    .map(one => one.scrollWidth - one.clientWidth)"""

SETTLED = """() => document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')
    && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.querySelectorAll('[data-testid=stVegaLiteChart]')].every(one => one.querySelector('svg.marks'))"""


def executable() -> str:
    """The path of the browser; fails where none is installed."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path, f"no browser found, of {', '.join(NAMES)}; on Debian: apt-get install chromium"
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. It ends with the module that uses it: while it is at work no other event loop can be."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=SWITCHES)
        yield browser
        browser.close()


class Visit:
    """A visitor's page, and all that went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda told: self.faults.append(f"log: {told.text}") if told.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._look_at)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.address + path)
        return self.page

    def go(self, title: str) -> None:
        """Open another page by its link at the top."""
        self.page.get_by_role("link", name=title, exact=True).click()

    def metric(self, label: str) -> int:
        """The number shown under a label that begins so; -1 while there is none, as when the page is being redrawn."""
        metric = self.page.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue")
        text = next(iter(metric.all_inner_texts()), "").replace(",", "")
        return int(text) if text.isdigit() else -1

    def settled(self) -> None:
        """Wait until the page shows all it has, plots drawn."""
        self.page.wait_for_function(SETTLED, polling=LOOK_MS)

    def shot(self, name: str, folder: Path) -> Path:
        """A picture of the whole page, in few colours so that it is small."""
        self.settled()
        width = self.page.viewport_size["width"] if self.page.viewport_size else WIDE
        height = self.page.evaluate("() => document.querySelector('.stMainBlockContainer').scrollHeight")
        self.page.set_viewport_size({"width": width, "height": min(TALLEST, max(600, height))})
        self.page.evaluate("() => document.querySelector('.stMain').scrollTo(0, 0)")
        self.settled()
        target = Path(os.environ.get(SCREENSHOTS) or folder) / f"{name}.png"
        picture = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        picture.quantize(160, dither=Image.Dither.NONE).save(target, optimize=True)
        return target

    def assert_well(self) -> None:
        """Nothing went wrong, nothing was asked of another machine, and the page is no wider than the window."""
        assert self.faults == []
        assert max(self.page.evaluate(OVERFLOW)) <= 0

    def _look_at(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != urlsplit(self.address).netloc:
            self.faults.append(f"another host: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left before the answer came
            self.faults.append(f"failed: {request.url}: {request.failure}")


@contextmanager
def visiting(
    browser: Browser, address: str, width: int = WIDE, dark: bool = False, key: str | None = None
) -> Iterator[Visit]:
    """A visitor with a window so wide, who gives the ``key`` where the browser asks for a password. If the visit ends
    well, all that :meth:`Visit.assert_well` says holds."""
    visit = Visit(context_of(browser, width, dark, key).new_page(), address)
    try:
        yield visit
        visit.assert_well()
    except Exception:
        logging.getLogger(__name__).error("%s shows: %s", visit.page.url, visit.page.inner_text("body"))
        raise
    visit.page.close()


@cache
def context_of(browser: Browser, width: int, dark: bool, key: str | None) -> BrowserContext:
    """What all visits of one kind share: the pages' scripts are compiled once for all of them. It ends with the
    browser."""
    return browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        http_credentials={"username": "anyone", "password": key} if key else None,
    )
