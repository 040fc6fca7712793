"""What comes from the data is shown as it stands: no Markdown, no HTML and no request is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import visiting
from tests.support.console_run import Addresses, consoled, write_pipeline
from tests.support.serving_run import (
    DOCUMENT,
    PROFILE,
    TEXT,
    new_run,
    routes_document,
    scorer_parts,
    scorer_path,
    seal,
    trained_model,
)
from tidemill.console import formatting
from tidemill.console.pages.try_it import ROUTES
from tidemill.run.catalog import GateDecision
from tidemill.run.folder import Run
from tidemill.scoring.als import packed
from tidemill.scoring.storage import write

HOSTILE = "![x](http://127.0.0.1:1/p.png) <img src=x onerror=1> [a](javascript:1) $x$ **b** :material/star: :red[c]"
LETTERS = re.compile(f"{formatting.JOINER}?".join(map(re.escape, HOSTILE)))
MADE = ", ".join(  # what Markdown or HTML would make of it
    [
        "img[src*='127.0.0.1:1']",
        "img[src='x']",
        "a[href^='javascript']",
        "a[href*='127.0.0.1:1/']",
        ".katex",
        "strong:text-is('b')",
        "[role=img]:text-is('star')",
    ]
)


def hostile(value: Any) -> Any:
    """The same with the hostile text for each category "lamp" and each title "one"."""
    if isinstance(value, dict):
        return {key: hostile(one) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(one) for one in value]
    return HOSTILE if value in ("lamp", "good", "one") and isinstance(value, str) else value


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A run whose categories, labels, titles and descriptions are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    document = deepcopy(DOCUMENT) | {"title": HOSTILE}
    document["models"]["taste"] = routes_document()["models"]["taste"]
    document["models"]["good"]["labels"] = {"0": HOSTILE, "1": HOSTILE}
    document["source"]["columns"]["kind"] = {"type": "string", "title": HOSTILE, "unit": HOSTILE}
    document["source"]["columns"]["id"] = {"type": "int", "title": HOSTILE}
    document["routes"][0]["description"] = HOSTILE
    run = new_run(folder, document=document)
    seal(run, 1, [{"id": 1, "kind": HOSTILE}] * 3)
    publish_hostile(run)
    with consoled(run, write_pipeline(document, folder / "devices.toml")) as found:
        yield found


def publish_hostile(run: Run) -> None:
    run.catalog.begin_generation(1, [1], 3)
    for name in run.pipeline.models:
        text, arrays = scorer_parts(name, 1.0)
        arrays = {key: np.array(values) for key, values in arrays.items()}
        if name == "taste":
            arrays["items"] = packed(pa.table({"item": [0, 1, 2], "title": [HOSTILE, HOSTILE, "two"]}))
        path = scorer_path(run, 1, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, hostile(TEXT | text), arrays)
    profile = deepcopy(PROFILE)
    for cluster, share in zip(profile["clusters"], (1.0, 0.0), strict=True):
        cluster["shares"] = {"kind": {HOSTILE: share, "fan": 1 - share}}
    models = [trained_model(run, 1, name) for name in run.pipeline.models]
    decided = [GateDecision("good", "chosen", 1, 1, None, by=HOSTILE, because=HOSTILE)]
    run.catalog.publish_generation(1, [replace(model, profile=model.profile and profile) for model in models], decided)


def shown_as_it_stands(page: Page, inside: str, times: int = 1) -> None:
    expect(page.locator(inside).get_by_text(LETTERS).nth(times - 1)).to_be_attached()
    assert page.locator(MADE).count() == 0


PLACES = {
    "/": [".st-key-head", "[data-testid=stTable]"],
    "/data": ["[data-testid=stTable]"],
    "/clusters": [".stMarkdown li"],
    "/try?model=good": ["[data-testid=stMetricValue]", "[data-testid=stWidgetLabel]", "h3"],
    f"/try?ask={quote(ROUTES)}": ["[data-testid=stCaptionContainer]"],
}  # by the pages' addresses: where texts of the data stand


def test_texts_of_the_data_make_nothing(browser: Browser, addresses: Addresses) -> None:
    """A category, label, title, unit and description with every mark of Markdown is shown to the letter, and the
    browser asks for nothing that they name."""
    with visiting(browser, addresses.console) as visit:
        for path, places in PLACES.items():
            page = visit.open(path)
            visit.settled()
            for inside in places:
                shown_as_it_stands(page, inside)
            visit.assert_well()


def test_titles_of_items_make_nothing(browser: Browser, addresses: Addresses) -> None:
    """A title that is rated, and one whose like are asked for, stand as they are."""
    with visiting(browser, addresses.console) as visit:
        page = visit.open("/try?model=taste")
        page.get_by_role("button", name="Add to my ratings").click()
        shown_as_it_stands(page, "[data-testid=stWidgetLabel]")
        page.get_by_role("button", name="Show similar items").click()
        shown_as_it_stands(page, "[data-testid=stCaptionContainer]")


@pytest.mark.nightly
def test_the_docs_page_keeps_to_its_policy(browser: Browser, addresses: Addresses) -> None:
    """Swagger UI works under its content security policy, and asks nothing of another host."""
    with visiting(browser, addresses.api) as visit:
        page = visit.open("/docs")
        operation = page.locator(".opblock", has_text="/models/good/predict").first
        operation.click()
        expect(page.get_by_role("button", name="Try it out").first).to_be_visible()
        operation.get_by_role("tab", name="Schema").first.click()
        assert page.locator("img[src*='127.0.0.1:1'], a[href^='javascript']").count() == 0
