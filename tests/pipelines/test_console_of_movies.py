"""The console of movie-ratings, whose models recommend, and of denver-crime, whose clusters are on a map."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import PHONE, WIDE, chromium, visiting
from tests.support.console_run import Addresses, consoled
from tests.support.pipeline_run import SHORTER
from tidemill.run.folder import Run

pytestmark = [pytest.mark.timeout(900), pytest.mark.nightly]  # with its part of the machine only

A_TITLE = re.compile(r"\w+ \(\d{4}\)")  # as "Amber Kiln (1959)"
FOUND = re.compile(r", The \(\d{4}\)")  # by the search for "the"


def same(run: Run) -> tuple[str, ...]:
    """The options with which the run was begun, for its other stages."""
    settings = (f"stream.topic={run.pipeline.topic}", "stream.pause=0", *SHORTER.get(run.pipeline.name, ()))
    return tuple(text for setting in settings for text in ("--set", setting))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all of these tests. While it is open the thread has a running event loop."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def movies(trained_run: Callable[[str, str | None], Run]) -> Iterator[Addresses]:
    run = trained_run("movie-ratings", None)
    with consoled(run, "movie-ratings", *same(run)) as found:
        yield found


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_titles_are_found_rated_and_recommended(
    browser: Browser, movies: Addresses, width: int, tmp_path: Path
) -> None:
    """A visitor finds a title by its words, rates it, is recommended others by their titles, and sees similar ones."""
    end = "" if width == WIDE else f"-{width}"
    with visiting(browser, movies.console, width) as visit:
        page = visit.open("/try")
        page.get_by_label("Search titles").fill("the")
        page.keyboard.press("Enter")
        expect(page.get_by_role("combobox", name="Title", exact=True)).to_have_value(FOUND)
        page.get_by_role("button", name="Add to my ratings").click()
        expect(page.get_by_role("slider")).to_be_visible()
        page.get_by_role("button", name="Recommend", exact=True).click()
        expect(page.get_by_text("the best first").first).to_be_visible()
        expect(page.get_by_test_id("stDataFrame").first).to_contain_text(A_TITLE)
        page.get_by_role("button", name="Show similar items").click()
        expect(page.get_by_text("Similar to ")).to_be_visible()
        expect(page.get_by_test_id("stDataFrame").nth(1)).to_contain_text(A_TITLE)
        assert visit.shot(f"movie-ratings-try{end}", tmp_path).stat().st_size < 150_000


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_every_page_opens(browser: Browser, movies: Addresses, width: int) -> None:
    """Each page of a pipeline without clusters and classes opens too, and says what it has not."""
    texts = {
        "/": "What drifted",
        "/generations": "Two generations side by side",
        "/clusters": "No model of this pipeline makes clusters.",
        "/data": "Batches of a generation",
    }
    for path, text in texts.items():
        with visiting(browser, movies.console, width) as visit:
            expect(visit.open(path).get_by_text(text)).to_be_visible()
            visit.settled()


def test_clusters_on_a_map(browser: Browser, trained_run: Callable[[str, str | None], Run], tmp_path: Path) -> None:
    """Clusters of places are drawn on a map, without anything from elsewhere."""
    run = trained_run("denver-crime", None)
    with consoled(run, "denver-crime", *same(run)) as found, visiting(browser, found.console) as visit:
        page = visit.open("/clusters")
        expect(page.get_by_role("heading", name="Map")).to_be_visible()
        expect(page.get_by_test_id("stVegaLiteChart").get_by_text("longitude (°)").first).to_be_visible()
        visit.shot("denver-crime-clusters", tmp_path)
