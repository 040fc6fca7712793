"""The web console as a visitor sees it, in a real browser: a run of smart-home from before its first generation on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.support import wait_for
from tests.support.browser import PHONE, WIDE, Visit, visiting
from tests.support.commands import Up, wait_until_stopped
from tests.support.console_run import PAGES, Addresses, address
from tidemill.console.formatting import number
from tidemill.console.metrics import metric_title
from tidemill.pipeline import load
from tidemill.run.failpoints import VARIABLE
from tidemill.run.folder import Run, existing_run

SLOW = ("--set", "stream.pause=0", "--set", "stream.rate=180")  # so that there is something to watch
pytestmark = pytest.mark.timeout(900)  # with its part of the machine only

MARK = "window.mark = 'this very page'"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    held = os.environ | {VARIABLE: "topic.claimed=stop"}
    up = Up(tmp_path_factory.mktemp("up") / "run", "--console-port", "0", *SLOW, env=held)
    yield up
    up.stop()


@pytest.fixture(scope="module")
def run(up: Up) -> Run:
    up.catalog()  # once there is one
    return existing_run(load("smart-home", SLOW[1::2]), up.folder)


@pytest.fixture(scope="module")
def addresses(run: Run) -> Addresses:
    return Addresses(address(run, "api"), address(run, "console"))


@pytest.fixture(scope="module")
def streaming(run: Run) -> None:
    """The producer goes on, which stands still before its first row."""
    producer = wait_for(lambda: run.catalog.stages().get("producer"), "the producer")
    assert producer is not None
    wait_until_stopped(producer.pid, "topic.claimed")
    os.kill(producer.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def trained(addresses: Addresses, streaming: None) -> Addresses:
    """The addresses, once all three generations are served and judged."""
    wait_for(lambda: httpx.get(f"{addresses.api}/health").json().get("generation") == 3, "three generations", 400)
    wait_for(lambda: all(body["generation"] == 3 for body in verdicts(addresses).values()), "their verdicts")
    return addresses


def verdicts(addresses: Addresses) -> dict[str, Any]:
    models: dict[str, Any] = httpx.get(f"{addresses.api}/verdict").json()["models"]
    return models


def test_rows_are_seen_to_come_and_a_generation_arrives_without_a_reload(
    browser: Browser, addresses: Addresses, request: pytest.FixtureRequest
) -> None:
    """On a page opened before the first generation, the counts rise, and on another the generation comes by itself:
    neither page was loaded again."""
    with visiting(browser, addresses.console) as generations:
        page = generations.open("/generations")
        expect(page.get_by_text("There is no generation yet.")).to_be_visible()
        page.evaluate(MARK)
        with visiting(browser, addresses.console) as stream:
            stream.open("/stream").evaluate(MARK)
            request.getfixturevalue("streaming")
            produced = wait_for(partial(risen, stream, "Produced", 0), "rows that are produced")
            assert wait_for(partial(risen, stream, "Produced", produced), "more of them") <= 5403
            wait_for(partial(risen, stream, "Sealed", 0), "a sealed batch")
            assert stream.page.evaluate("window.mark") == "this very page"
        expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=240_000)
        expect(page.get_by_test_id("stDataFrame")).to_contain_text("1801")
        assert page.evaluate("window.mark") == "this very page"


def risen(visit: Visit, label: str, above: int) -> int:
    """The number under the label once it is above another; 0 until then."""
    value = visit.metric(label)
    visit.page.wait_for_timeout(100)  # the browser's events are heard only while it is waited for
    return value if value > above else 0


@pytest.mark.parametrize(
    ("width", "dark"),
    [(WIDE, False), *(pytest.param(*one, marks=pytest.mark.nightly) for one in [(PHONE, False), (WIDE, True)])],
)
def test_every_page_opens(browser: Browser, trained: Addresses, width: int, dark: bool, tmp_path: Path) -> None:
    """Each page opens by its own address, wide, on a phone and in the dark, without an error in the browser's log and
    without a request to any other machine; pictures of them are those in the documentation."""
    end = "" if (width, dark) == (WIDE, False) else "-dark" if dark else f"-{width}"
    with visiting(browser, trained.console, width, dark) as visit:
        for path, last in PAGES.items():
            page = visit.open(path)
            expect(page.get_by_role("heading", name="Smart-home device usage")).to_be_visible()
            expect(page.get_by_role("heading", name=last)).to_be_visible()
            picture = visit.shot(f"smart-home-{path[1:] or 'overview'}{end}", tmp_path)
            assert picture.stat().st_size < 150_000
            visit.assert_well()


@pytest.mark.parametrize("width", [pytest.param(WIDE, marks=pytest.mark.nightly), PHONE])
def test_pages_are_reached_by_the_menu(browser: Browser, trained: Addresses, width: int) -> None:
    """From page to page by the links, on a phone too, without a reload."""
    with visiting(browser, trained.console, width) as visit:
        page = visit.open("/")
        page.evaluate(MARK)
        for title, last in zip(
            ("Stream", "Verdict", "Generations", "Try it", "Clusters", "Your data", "Overview"),
            [*[*PAGES][1:], "/"],
            strict=True,
        ):
            visit.go(title)
            expect(page.get_by_role("heading", name=PAGES[last])).to_be_visible()
        assert page.evaluate("window.mark") == "this very page"


def test_a_choice_stays_in_the_address(browser: Browser, trained: Addresses) -> None:
    """A model, a metric and two generations that were chosen are in the link, which shows the same again."""
    with visiting(browser, trained.console) as visit:
        page = visit.open(f"/generations?model=malfunction&metric={quote(metric_title('mae'))}&one=1")
        expect(page.get_by_label("mean absolute error: ", exact=False).first).to_be_visible()
        expect(page.get_by_role("columnheader", name="generation 1")).to_be_visible()
        page.get_by_role("spinbutton", name="The other generation").fill("2")
        page.keyboard.press("Enter")
        expect(page.get_by_role("columnheader", name="generation 2")).to_be_visible()
        assert "other=2" in page.url
        page.reload()
        expect(page.get_by_role("columnheader", name="generation 2")).to_be_visible()


def test_the_verdict_is_on_the_pages(browser: Browser, trained: Addresses) -> None:
    """Overview and Verdict have the API's sentences; Verdict has the gains against any reference, and the losses."""
    with visiting(browser, trained.console, PHONE) as visit:
        page = visit.open("/")
        for verdict in verdicts(trained).values():
            expect(page.get_by_text(verdict["sentence"])).to_be_visible()
        visit.go("Verdict")
        start = verdicts(trained)["efficiency"]["sentence"][:30]
        expect(page.locator(".st-key-sentence")).to_contain_text(start)
        expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
        page.get_by_role("radio", name="trivial model").click()
        expect(page.get_by_text("Against the trivial model: ")).to_be_visible()


def test_the_form_predicts_what_the_api_predicts(browser: Browser, trained: Addresses) -> None:
    """A row put together in the form gets the very answer that the API gives to it."""
    with visiting(browser, trained.console) as visit:
        page = visit.open("/try?model=malfunction")
        page.get_by_role("spinbutton", name="device age (months)").fill("58")
        page.get_by_role("button", name="Predict").click()
        line = page.get_by_test_id("stCode").filter(has_text="58").first.inner_text()
        answer = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=20).stdout
        expected = number(json.loads(answer)["prediction"], 6)
        expect(page.get_by_test_id("stMetricValue")).to_contain_text(expected)


def test_an_api_that_dies_is_told_of_and_comes_back(
    browser: Browser, trained: Addresses, run: Run, tmp_path: Path
) -> None:
    """Killed, the API leaves a plain message in each page's place; started again by the supervisor, it brings the page
    back, without a reload."""
    with visiting(browser, trained.console) as visit:
        page = visit.open("/data")
        expect(page.get_by_role("heading", name=PAGES["/data"])).to_be_visible()
        page.evaluate(MARK)
        os.kill(run.catalog.stages()["api"].pid, signal.SIGKILL)
        expect(page.get_by_text("The API is not answering").first).to_be_visible()
        expect(page.get_by_role("heading", name=PAGES["/data"])).to_be_visible()
        expect(page.get_by_text("The API is not answering")).to_have_count(0)
        assert page.evaluate("window.mark") == "this very page"
