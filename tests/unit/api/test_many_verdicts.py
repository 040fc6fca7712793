"""The verdicts on a run of a thousand generations of ten models: every answer is a page, and asks for no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.many_judgings import judge_many
from tests.support.many_run import many_run, statements
from tests.support.serving_run import api_of
from tidemill.errors import CatalogError
from tidemill.judging.verdict import VerdictReader, newest_comparisons
from tidemill.run.folder import Run

MANY, FEW = 1000, 40
JUDGED = ("good", "size")
MOST_BYTES = 256 * 1024
MOST_STATEMENTS = 10  # of each model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    found = many_run(tmp_path_factory.mktemp("many"), MANY, MANY)
    judge_many(found, MANY, JUDGED)
    yield found
    found.close()


@pytest.fixture(scope="module")
def api(run: Run) -> Iterator[httpx.Client]:
    with api_of(run) as client:
        yield client


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Run]:
    found = many_run(tmp_path, FEW, FEW)
    judge_many(found, FEW, JUDGED)
    yield found
    found.close()


def small(client: httpx.Client, path: str, **params: Any) -> Any:
    """A good answer, which must not be large."""
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) < MOST_BYTES
    return answer.json()


def test_the_summary_is_small(api: httpx.Client) -> None:
    """Of each model the newest judged generation; of the rest the newest few."""
    found = small(api, "/verdict")
    assert [one["generation"] for one in found["models"]["size"]["generations"]] == [MANY]
    assert found["models"]["size"]["champion"] == MANY
    assert found["models"]["size2"]["generations"] == []
    assert found["models"]["good"]["schedule"]["retrainings"] == MANY - 1
    assert [one["number"] for one in found["decisions"][:2]] == [2 * MANY, 2 * MANY - 1]
    assert {one["batch"] for one in found["drift"]} == {MANY}


def test_verdicts_come_in_pages(api: httpx.Client) -> None:
    """Page by page every judged generation comes once, the newest first."""
    seen: list[int] = []
    more = True
    while more:
        page = small(api, "/models/good/verdicts", limit=150, **({"before": seen[-1]} if seen else {}))
        seen += [one["generation"] for one in page["items"]]
        more = page["more"]
    assert seen == list(range(MANY, 0, -1))
    assert len(small(api, "/models/good/verdict")["generations"]) == 20
    assert len(small(api, "/models/good/verdicts")["items"]) == 50


def test_the_matrix_comes_in_pages(api: httpx.Client) -> None:
    """Page by page every batch's cells come once; a batch has about the logarithm of its number."""
    seen: list[int] = []
    before: dict[str, int] = {}
    more = True
    while more:
        page = small(api, "/models/size/matrix", limit=50, **before)
        batches = {cell["batch"] for cell in page["cells"]}
        assert len(page["cells"]) <= 20 * len(batches)
        seen += sorted(batches, reverse=True)
        before, more = {"before": min(batches)}, page["more"]
    assert seen == list(range(MANY, 0, -1))


READS: dict[str, Callable[[VerdictReader], object]] = {
    "summary": lambda reader: reader.summary(),
    "model": lambda reader: reader.model("good", 20),
    "page": lambda reader: reader.page("good", 30, 20),
    "matrix": lambda reader: reader.matrix("good", 30, 20),
    "gauges": lambda reader: newest_comparisons(reader.catalog, JUDGED),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_more_generations_ask_for_no_more(run: Run, few: Run, read: Callable[[VerdictReader], object]) -> None:
    """A run of many generations is asked the same statements as one of few, and no more when asked again."""
    readers = VerdictReader(run), VerdictReader(few)
    asked = [
        statements(reader.run, lambda reader=reader: read(reader), threading.get_ident())  # type: ignore[misc]  # bound
        for reader in readers
    ]
    assert asked[0] == asked[1]
    assert len(asked[0]) <= MOST_STATEMENTS * len(run.pipeline.models)
    again = statements(run, lambda: read(readers[0]), threading.get_ident())
    assert len(again) <= len(asked[0])


def test_a_schedule_is_found_once_for_each_look(run: Run) -> None:
    """The schedule in hindsight is computed anew only after a look; it asks for no cell as a whole."""
    reader = VerdictReader(run)
    asked = statements(run, lambda: reader.schedule("size"), threading.get_ident())
    assert not any("cells.sums" in statement for statement in asked)
    assert len(statements(run, lambda: reader.schedule("size"), threading.get_ident())) == 1


def test_the_means_are_read_from_an_index(run: Run) -> None:
    """The losses behind a schedule come from an index alone: the cells are ten times as large."""
    asked = statements(run, lambda: run.catalog.means("size", "absolute error"), threading.get_ident())
    with run.catalog.engine.connect() as connection:
        values = ("size", "absolute error", "", "settled", 0)[: asked[-1].count("?")]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1]}", values).all()
    assert any("COVERING INDEX cells_means" in str(step) for step in plan)


def test_gauges_of_verdicts(run: Run, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus has the gain and the word of each model's newest judged generation; neither while the catalog can't be
    read."""
    text = api.get("/metrics").text
    assert 'tidemill_gain{against="previous",model="size"} 0.00' in text
    assert 'tidemill_verdict{against="trivial",model="good",word="paid"} 1.0\n' in text
    assert text.count("\ntidemill_verdict{") == 4 * len(JUDGED)

    def unreadable(models: object) -> None:
        raise CatalogError("the catalog is gone", "bring it back")

    monkeypatch.setattr(run.catalog, "newest_judged", unreadable)
    without = api.get("/metrics")
    assert without.status_code == 200
    assert "\ntidemill_gain{" not in without.text
