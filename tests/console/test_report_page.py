"""The report as people see it: in a browser, on a wide screen and on a phone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import PHONE, WIDE
from tests.support.judged_run import JudgedRun, planted
from tidemill.judging.report import write_report

WIDER_THAN_WINDOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a run of three generations."""
    folder = tmp_path_factory.mktemp("report")
    judged = JudgedRun(folder)
    for seed in range(3):
        judged.step(planted(1000, seed, weight_a=1.0 + seed))
    write_report(judged.run, folder / "report.html", {"Python": "3"}, datetime(2026, 1, 2, tzinfo=UTC))
    return folder / "report.html"


@pytest.mark.parametrize(("width", "dark"), [(WIDE, False), (PHONE, False), (WIDE, True)])
def test_report_opens_from_a_file(browser: Browser, report: Path, width: int, dark: bool) -> None:
    """A report asks for nothing else, breaks none of its own rules, and is no wider than the window; its texts contrast
    with its background in the light and in the dark."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
    )
    page = context.new_page()
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.goto(report.as_uri())
    assert asked == [report.as_uri()]
    assert told == []
    assert page.evaluate(WIDER_THAN_WINDOW) <= 0
    assert page.get_by_role("img", name="Gain in absolute error").is_visible()
    paper, ink = (
        page.evaluate(f"() => getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    assert (paper, ink) == (
        ("rgb(20, 25, 28)", "rgb(219, 228, 232)") if dark else ("rgb(255, 255, 255)", "rgb(29, 43, 51)")
    )
    context.close()
