"""A replay's generation answers for a model once a person has promoted it, and every answer says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.serving_run import (
    ROW,
    api_of,
    choose,
    json_of,
    new_run,
    publish_three,
    replay,
    routes_document,
    size_of,
    wait_for_champion,
)
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run

LINE = "sliding-2"
PROMOTED = {"generation": 2, "line": LINE}
LIKE = 7  # the generation whose answers the replay's has
MODELS = ("size", "good", "group", "near", "words", "taste")
ROUTES: tuple[dict[str, Any], ...] = (
    {"path": "/size_of", "model": "size", "answer": {"g": "generation", "l": "line", "size": "prediction"}},
    {"path": "/found/{key}", "method": "GET", "model": "size", "does": "row"},
    {"path": "/where/{key}", "method": "GET", "model": "size", "does": "row", "answer": "line"},
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Three generations, and one of a replay from batch 2 alone; batch n has the keys n and 10 n."""
    run = new_run(tmp_path_factory.mktemp("promoted"), document=routes_document(*ROUTES))
    publish_three(run)
    replay(run, GenerationRef(2, LINE), LIKE, [2])
    yield run
    run.close()


@pytest.fixture(scope="module")
def api(served: Run) -> Iterator[httpx.Client]:
    with api_of(served) as client:
        for model in MODELS:
            choice = PROMOTED | {"because": "it forgets faster", "by": "ada"}
            decision = json_of(client.post(f"/models/{model}/champion", json=choice))
            assert (decision["champion"], decision["line"], decision["former"]) == (2, LINE, 3)
            assert "former_line" not in decision
        yield client


def test_a_prediction_says_which_replay_gave_it(api: httpx.Client) -> None:
    """The champion's answer is the replay's; each generation of the run's own keeps its address and its answers."""
    answer = json_of(api.post("/models/size/predict", json=ROW))
    assert answer == {"model": "size", **PROMOTED, "prediction": size_of(LIKE, ROW)}
    many = json_of(api.post("/models/size/predict", json={"rows": [ROW, ROW]}))
    assert [one["line"] for one in many] == [LINE, LINE]
    own = json_of(api.post("/models/size/generations/2/predict", json=ROW))
    assert own == {"model": "size", "generation": 2, "prediction": size_of(2, ROW)}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/models/size/rows/2", None),
        ("GET", "/models/group/profile", None),
        ("GET", "/models/group/points?x=hours&y=count", None),
        ("GET", "/models/taste/items", None),
        ("POST", "/models/taste/recommend", {"ratings": {"0": 5.0}}),
        ("GET", "/models/taste/recommend/ann", None),
        ("GET", "/models/taste/similar/0", None),
        ("GET", "/models/near/similar/2", None),
        ("POST", "/models/words/similar", {"text": "red lamp"}),
        ("GET", "/found/2", None),
    ],
)
def test_every_answer_says_so(api: httpx.Client, method: str, path: str, body: Any) -> None:
    """Whatever the champion answers names its number and the replay that trained it."""
    answer = json_of(api.request(method, path, json=body))
    assert {key: answer[key] for key in PROMOTED} == PROMOTED, answer


def test_rows_are_those_of_its_batches(api: httpx.Client) -> None:
    """A key is looked up in the batches that the replay's generation was trained on, and in no other."""
    assert json_of(api.get("/models/size/rows/20"))["rows"][0]["batch"] == 2
    missing = api.get("/models/size/rows/1")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == f'no row with id "1" in generation 2 of the replay {LINE}'
    assert json_of(api.get("/models/size/rows/1?generation=2"))["generation"] == 2


def test_similar_rows_are_those_of_its_batches(api: httpx.Client) -> None:
    """The replay's generation and the run's own of the same number search their own rows each."""
    both = [json_of(api.get(f"/models/near/similar/2{query}")) for query in ("", "?generation=2")]
    assert [sorted(item["row"]["id"] for item in one["items"]) for one in both] == [[20], [1, 10, 20]]


def test_a_declared_route_may_name_the_replay(api: httpx.Client) -> None:
    """The part ``line`` is the replay's name, and null for one of the run's own."""
    assert json_of(api.post("/size_of", json=ROW)) == {"g": 2, "l": LINE, "size": size_of(LIKE, ROW)}
    assert json_of(api.get("/where/2")) == LINE


def test_the_champion_is_told(api: httpx.Client) -> None:
    """Health, models, verdicts and metrics name the replay."""
    health = json_of(api.get("/health"))
    assert (health["champions"]["size"], health["lines"]["size"]) == (2, LINE)
    model = json_of(api.get("/models/size"))
    assert (model["champion"], model["line"]) == (2, LINE)
    verdict = json_of(api.get("/models/size/verdict"))
    assert (verdict["champion"], verdict["line"]) == (2, LINE)
    assert f'tidemill_champion{{line="{LINE}",model="size"}} 2.0' in api.get("/metrics").text


@pytest.mark.parametrize(
    ("choice", "status", "text"),
    [
        ({"generation": 2, "line": "windowed"}, 404, "no replay 'windowed'"),
        ({"generation": 3, "line": LINE}, 404, f"the replay {LINE} has no generation 3"),
        ({"generation": 2, "line": 3}, 422, "line is not a text"),
        ({"generation": 2, "line": False}, 422, "line is not a text"),
        ({"generation": 9, "line": None, "by": None}, 404, "there is no generation 9"),
        (PROMOTED, 409, f"generation 2 of the replay {LINE} serves already"),
    ],
)
def test_a_choice_that_is_refused(api: httpx.Client, choice: dict[str, Any], status: int, text: str) -> None:
    """A replay that is not there, or that serves already, is refused with the reason."""
    answer = api.post("/models/size/champion", json=choice | {"because": "why"})
    assert answer.status_code == status
    assert text in answer.json()["error"]["message"]


def test_a_replay_that_can_not_be_loaded_is_refused(served: Run, api: httpx.Client) -> None:
    """A generation is loaded whole: where the file of another of its models is damaged, it can't be chosen."""
    replay(served, GenerationRef(1, LINE), LIKE, [1])
    (served.judgings / LINE / "00001" / "good.npz").write_bytes(b"")
    answer = api.post("/models/size/champion", json={"generation": 1, "line": LINE, "because": "a test"})
    assert answer.status_code == 409
    assert f"generation 1 of the replay {LINE} can't be served" in answer.json()["error"]["message"]


def test_a_damaged_replay_does_not_answer(served: Run) -> None:
    """An API that starts without the replay's file answers by an older generation of the run's own, and says so."""
    path = served.judgings / LINE / "00002" / "size.npz"
    content = path.read_bytes()
    path.unlink()
    try:
        with api_of(served, name="other") as client:
            answer = json_of(client.post("/models/size/predict", json=ROW))
            assert answer == {"model": "size", "generation": 1, "prediction": size_of(1, ROW)}
            (problem,) = json_of(client.get("/health"))["problems"]
            assert problem.startswith(f"generation 2 of the replay {LINE} is published but can't be loaded")
    finally:
        path.write_bytes(content)


def test_the_own_generation_takes_over(served: Run, api: httpx.Client) -> None:
    """Once a person chooses one of the run's own again, no answer names the replay."""
    choose(served, "good", 1)
    wait_for_champion(api, "good", 1)
    assert "line" not in json_of(api.post("/models/good/predict", json=ROW))
    assert "good" not in json_of(api.get("/health"))["lines"]


def test_a_replay_without_profiles(served: Run, api: httpx.Client) -> None:
    """Of a replay that an older Tidemill trained the clusters' profile is not known, and the answer says so."""
    old = GenerationRef(2, "windowed")
    replay(served, old, LIKE, [2])
    with served.catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE line_models SET profile = NULL, estimator = '' WHERE line = 'windowed'")
    choice = {"generation": 2, "line": "windowed", "because": "a test"}
    assert json_of(api.post("/models/group/champion", json=choice))["line"] == "windowed"
    answer = api.get("/models/group/profile")
    assert answer.status_code == 404
    assert (
        answer.json()["error"]["message"] == "the profile of group in generation 2 of the replay windowed is not known"
    )
