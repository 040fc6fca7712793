"""A run of a thousand generations of ten models and a thousand batches: every answer about it stays small."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.many_run import many_run, statements
from tests.support.serving_run import api_of
from tidemill import schemas
from tidemill.run.folder import Run

MANY = 1000
MOST_BYTES = 128 * 1024


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    found = many_run(tmp_path_factory.mktemp("many"), MANY, MANY)
    yield found
    found.close()


@pytest.fixture(scope="module")
def api(run: Run) -> Iterator[httpx.Client]:
    with api_of(run) as client:
        yield client


def small(client: httpx.Client, path: str, **params: Any) -> Any:
    """A good answer, which must not be large."""
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) < MOST_BYTES
    return answer.json()


def test_status_counts_all(api: httpx.Client) -> None:
    """How far the run is has numbers for all that there is, and names none of it."""
    found = small(api, "/status")
    assert (found["batches"], found["newest"]) == (MANY, MANY)
    assert found["generations"] == {"published": MANY, "training": 0, "failed": 0}
    assert found["rows"]["sealed"] == 3 * MANY


def test_history_has_no_more_points_than_asked_for(api: httpx.Client) -> None:
    """Generations are put together evenly; every one is in a point, and the last point ends with the newest."""
    found = small(api, "/models/group/history")
    assert {key: found[key] for key in ("model", "estimator", "generations", "per_point")} == {
        "model": "group",
        "estimator": "KMeans",
        "generations": MANY,
        "per_point": 5,
    }
    assert len(found["points"]) == 200
    assert found["points"][0] == {
        "first": 1,
        "last": 5,
        "rows": 3.0,
        "fit_seconds": 0.5,
        "metrics": {"cost": {"mean": 3.0, "min": 1.0, "max": 5.0}},
    }
    for points in (10, 300, 999, 1000):
        told = small(api, "/models/group/history", points=points)["points"]
        assert len(told) <= points
        assert (told[0]["first"], told[-1]["last"]) == (1, MANY)
        assert [one["first"] for one in told[1:]] == [one["last"] + 1 for one in told[:-1]]
    assert api.get("/models/group/history", params={"points": 9}).status_code == 422


def test_batches_come_in_pages(run: Run, api: httpx.Client) -> None:
    """Page by page every batch comes once, as `tidemill batches --json` has it; a page asks the catalog for no more."""
    seen: list[dict[str, Any]] = []
    while page := small(api, "/batches", after=seen[-1]["batch"] if seen else 0, limit=300):
        seen += page
    assert [one["batch"] for one in seen] == list(range(1, MANY + 1))
    assert seen == [schemas.BatchBody.of(batch).document() for batch in run.catalog.batches()]
    assert len(small(api, "/batches")) == 100
    assert len(statements(run, lambda: small(api, "/batches", after=400, limit=20))) < 30  # the watching thread's too
    asked = statements(run, lambda: run.catalog.batches(after=400, limit=20), of_thread=threading.get_ident())
    assert len(asked) == 3  # batches, their partitions, their gaps
    assert small(api, "/batches/700") == seen[699]
    missing = api.get("/batches/1001")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == "no batch 1001 is sealed"


def test_a_model_comes_in_pages(api: httpx.Client) -> None:
    """A model's generations are paged as the generations are."""
    assert len(api.get("/models/size").json()["generations"]) == MANY
    page = small(api, "/models/size", after=500, limit=3)["generations"]
    assert [one["generation"] for one in page] == [501, 502, 503]
    assert [one["generation"] for one in small(api, "/generations", after=998)] == [999, 1000]


LAMP = {"kind": "lamp", "hours": 2.0, "count": 3, "on": True}


def test_a_row_goes_through_all_generations(run: Run, api: httpx.Client) -> None:
    """Page by page one row is predicted by every generation, the newest first; no page loads more than its own."""
    seen: list[int] = []
    while True:
        before = {"before": seen[-1]} if seen else {}
        answer = api.post("/models/group/generations/predict", params={"limit": 100, **before}, json=LAMP)
        page = answer.json()
        seen += [one["generation"] for one in page["answers"]]
        assert {one["prediction"] for one in page["answers"]} == {0}
        assert {one["distance"] for one in page["answers"]} == {2.0}
        assert len(answer.content) < MOST_BYTES
        if not page["more"]:
            break
    assert seen == list(range(MANY, 0, -1))
