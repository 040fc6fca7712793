"""How long each of the console's pages takes to be drawn, with 1,000 generations of 10 models and 1,000 batches.

The run is made by the tests' own helper; the API and the console are processes of their own, the browser is Chromium.
Of each page it prints the seconds from asking for its address to all of it being drawn, for the first visit (nothing in
the browser's cache) and the median of the next ones.

    python -m bench.console
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, expect
from tests.support.browser import chromium, visiting
from tests.support.console_run import PAGES, consoled, write_pipeline
from tests.support.many_run import many_document, many_run

GENERATIONS = BATCHES = 1000
VISITS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        run = many_run(folder, GENERATIONS, BATCHES)
        with consoled(run, write_pipeline(many_document(), folder / "devices.toml")) as addresses:
            print(f"{'page':<14}{'first':>8}{'then':>8}  seconds")
            for path, text in PAGES.items():
                first, *others = timed(browser, addresses.console, path, text)
                print(f"{path:<14}{first:8.2f}{statistics.median(others):8.2f}")


def timed(browser: Browser, address: str, path: str, text: str) -> list[float]:
    """The seconds of each visit to a page by the same visitor."""
    taken = []
    with visiting(browser, address) as visit:
        for _ in range(VISITS):
            began = time.perf_counter()
            page = visit.open(path)
            expect(page.get_by_text(text).first).to_be_visible()
            visit.settled()
            taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    main()
