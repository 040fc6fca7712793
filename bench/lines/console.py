"""The console's first page, in a browser that has never seen it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, expect
from tests.support.browser import chromium, visiting

from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Words, serving
from bench.support.served_runs import answers, devices_run, free_port, served
from bench.support.waiting import wait_for

SMALL = Path(__file__).parents[1] / "peers" / "small_page.py"
START_SECONDS = 60.0


@contextmanager
def small_page(folder: Path) -> Iterator[str]:
    """The address of a page of Streamlit with one line of text."""
    port = free_port()
    options: Words = ["--server.port", port, "--server.address", "127.0.0.1", "--server.headless", "true"]
    words: Words = ["-m", "streamlit", "run", SMALL, *options, "--browser.gatherUsageStats", "false"]
    with serving([sys.executable, *words], folder / "small.log"):
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/"), "Streamlit", START_SECONDS)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def console(folder: Path, pipeline: Path) -> Iterator[str]:
    port = free_port()
    line: Words = [*TIDEMILL, "console", pipeline, "--run-dir", pipeline.parent / "run", "--console-port", port]
    with serving(line, folder / "console.log"):
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/"), "the console", START_SECONDS)
        yield f"http://127.0.0.1:{port}"


def visit(browser: Browser, address: str, text: str, key: str) -> Mapping[str, float]:
    """The first visit of a browser whose cache is empty, and its second one."""
    with visiting(browser, address) as visitor:
        taken = []
        for _ in range(2):
            began = time.perf_counter()
            page = visitor.open("/")
            expect(page.get_by_text(text).first).to_be_visible()
            visitor.settled()
            taken.append(time.perf_counter() - began)
    return {key: taken[0], f"{key}-again": taken[1]}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    with ExitStack() as stack:
        folder = stack.enter_context(bench.scratch())
        pipeline = devices_run(folder)
        stack.enter_context(served(pipeline))
        ours = stack.enter_context(console(folder, pipeline))
        small = stack.enter_context(small_page(folder))
        browser = stack.enter_context(chromium())
        yield [partial(visit, browser, ours, "devices", "console"), partial(visit, browser, small, "A small", "small")]


CONSOLE = Line(
    key="console",
    title="The console's first page",
    how="Chromium opens the overview of a run with one generation, with an empty cache and then again, until all "
    "of it is drawn; and a page of Streamlit with one line of text.",
    figures=(
        Figure("console", "the overview, first visit", "ours", "s"),
        Figure("console-again", "the same, opened again", "part", "s"),
        Figure("small", "a page with one line of text, first visit", "limit", "s"),
        Figure("small-again", "the same, opened again", "part", "s"),
    ),
    trials=trials,
    needs=("chromium",),
)
