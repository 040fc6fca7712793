"""The champion of each model answers every request that names no generation; the catalog says which one it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from tests.support import wait_for
from tests.support.kept_run import copy_of, versions
from tests.support.serving_run import (
    ROW,
    Clock,
    api_of,
    chance_of_good,
    choose,
    json_of,
    new_run,
    numbers,
    publish,
    publish_three,
    routes_document,
    scorer_path,
    size_of,
    wait_for_champion,
    wait_for_generation,
)
from tidemill.api.models import catalog_reader, health
from tidemill.api.models.catalog_reader import CatalogReader
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import LoadedGeneration
from tidemill.judging.promotion import promote
from tidemill.pipeline import load
from tidemill.run.catalog import GenerationRef, GenerationState, TrainedModel
from tidemill.run.folder import Run, existing_run
from tidemill.scoring import Scorer, row_scorer

SIZES = "select id, size from rows order by id"
ROUTES: tuple[dict[str, Any], ...] = (
    {"path": "/is_good", "model": "good", "answer": {"g": "generation", "class": "prediction"}},
    {"path": "/size_of", "model": "size"},
    {"path": "/size_in/{generation}", "model": "size", "answer": "generation"},
    {"path": "/found/{key}", "method": "GET", "model": "size", "does": "row", "answer": "generation"},
    {"path": "/clusters", "method": "GET", "model": "group", "does": "profile", "answer": "generation"},
    {"path": "/like", "model": "near", "does": "similar", "answer": "generation"},
    {"path": "/films", "model": "taste", "does": "recommend", "answer": "generation"},
    {"path": "/sizes", "sql": SIZES, "answer": {"g": "generation", "rows": "rows"}},
)
CHAMPIONS = {"size": 1, "good": 2, "near": 1, "words": 2, "taste": 1}  # nothing is decided about ``group``
LATER = 10.0  # seconds, longer than what is damaged waits for the next attempt


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Three generations, each of one batch more than the one before; batch n has the keys n and 10 n."""
    run = new_run(tmp_path_factory.mktemp("champions"), document=routes_document(*ROUTES))
    publish_three(run)
    for model, champion in CHAMPIONS.items():
        choose(run, model, champion)
    yield run
    run.close()


@pytest.fixture(scope="module")
def api(served: Run) -> Iterator[httpx.Client]:
    with api_of(served) as client:
        yield client


def refreshed(run: Run) -> ModelRegistry:
    registry = ModelRegistry(run)
    registry.refresh()
    return registry


def champion_scorer(registry: ModelRegistry, model: str = "size") -> Scorer:
    snapshot = registry.snapshot
    return anyio.run(registry.scorer, snapshot, snapshot.champions[model], model)


def problems(registry: ModelRegistry) -> str:
    return " ".join(health.problems(registry.snapshot))


# --- which generation answers -------------------------------------------------------------------------------------


def test_the_champion_predicts(api: httpx.Client) -> None:
    """Each model is answered by its own champion, a model without a decision by the newest generation."""
    for _ in range(2):
        assert api.post("/models/size/predict", json=ROW).json()["prediction"] == size_of(1, ROW)
        good = api.post("/models/good/predict", json=ROW).json()
        assert (good["generation"], good["probability"]["1"]) == (2, pytest.approx(chance_of_good(2, ROW)))
        assert api.post("/models/group/predict", json=ROW).json()["generation"] == 3


def test_the_champion_answers_declared_routes(api: httpx.Client) -> None:
    """A route of the pipeline asks the champion of its model, and another generation where its path names one."""
    assert api.post("/is_good", json=ROW).json() == {"g": 2, "class": 0}
    assert api.post("/size_of", json=ROW).json()["prediction"] == size_of(1, ROW)
    assert [api.post(f"/size_in/{number}", json=ROW).json() for number in (1, 2, 3)] == [1, 2, 3]
    assert api.get("/found/1").json() == 1
    assert api.get("/clusters").json() == 3
    assert api.post("/like", json={"hours": 2.0, "count": 3}).json() == 1
    assert api.post("/films", json={"ratings": {"0": 5.0}}).json() == 1


def test_the_champion_answers_everything_about_its_rows(api: httpx.Client) -> None:
    """Rows, clusters, points, similar rows, recommendations and items are those of the champion's batches."""
    found = json_of(api.get("/models/size/rows/10"))
    assert (found["generation"], found["rows"][0]["prediction"]) == (1, size_of(1, ROW | {"hours": 20.0}))
    assert api.get("/models/size/rows/3").status_code == 404
    assert json_of(api.get("/models/group/rows/3"))["generation"] == 3
    for path, generation, rows in (
        ("/models/group/profile", 3, None),
        ("/models/group/points", 3, None),
        ("/models/near/similar/1", 1, [10]),
        ("/models/words/similar?text=lamp", 2, []),
        ("/models/taste/recommend/ann", 1, None),
        ("/models/taste/similar/0", 1, None),
        ("/models/taste/items", 1, None),
    ):
        body = json_of(api.get(path))
        assert body["generation"] == generation, path
        if rows is not None:
            assert [item["row"]["id"] for item in body["items"]] == rows
    near = json_of(api.post("/models/near/similar", json={"row": {"hours": 2.0, "count": 3}}))
    assert (near["generation"], sorted(item["row"]["id"] for item in near["items"])) == (1, [1, 10])
    assert json_of(api.post("/models/taste/recommend", json={"ratings": {"0": 5.0}}))["generation"] == 1


def test_every_generation_keeps_its_address(api: httpx.Client) -> None:
    """A generation that is named answers, champion or not."""
    for number in (1, 2, 3):
        answer = api.post(f"/models/size/generations/{number}/predict", json=ROW).json()
        assert (answer["generation"], answer["prediction"]) == (number, size_of(number, ROW))
        for path in (
            "/models/size/rows/1",
            "/models/group/profile",
            "/models/near/similar/1",
            "/models/taste/recommend/ann",
        ):
            assert json_of(api.get(path, params={"generation": number}))["generation"] == number
    assert api.get("/models/size/rows/1", params={"generation": 4}).status_code == 404


def test_what_asks_no_model_is_answered_by_the_newest(api: httpx.Client) -> None:
    """A SQL route has the newest generation's rows and predictions; one row goes through all generations."""
    sizes = api.get("/sizes").json()
    assert (sizes["g"], len(sizes["rows"])) == (3, 6)
    assert sizes["rows"][0] == {"id": 1, "size": size_of(3, ROW)}
    across = json_of(api.post("/models/size/generations/predict", json=ROW))
    assert [answer["generation"] for answer in across["answers"]] == [3, 2, 1]


def test_the_champions_are_told(api: httpx.Client) -> None:
    """Health, the models and Prometheus name them; health goes on naming the newest generation."""
    told = json_of(api.get("/health"))
    assert (told["generation"], told["champions"]) == (3, CHAMPIONS | {"group": 3})
    assert {model["model"]: model["champion"] for model in json_of(api.get("/models"))} == told["champions"]
    assert json_of(api.get("/models/size"))["champion"] == 1
    metrics = api.get("/metrics").text
    assert 'tidemill_champion{model="size"} 1.0\n' in metrics
    assert 'tidemill_champion{model="group"} 3.0\n' in metrics
    assert "tidemill_generation 3.0\n" in metrics


def test_examples_are_those_that_the_champion_can_answer(api: httpx.Client) -> None:
    """The example key of a model is in its champion's batches, also in the OpenAPI document."""
    assert json_of(api.get("/models/size"))["examples"] == {"key": 1}
    assert json_of(api.get("/models/group"))["examples"] == {"key": 3}
    parameters = json_of(api.get("/openapi.json"))["paths"]["/found/{key}"]["get"]["parameters"]
    assert [parameter["example"] for parameter in parameters if parameter["name"] == "key"] == [1]


def test_nothing_is_a_champion_before_there_is_a_generation(run: Run) -> None:
    """Until then a model has none and Prometheus has no sample."""
    with api_of(run) as client:
        assert json_of(client.get("/models/size"))["champion"] is None
        assert "tidemill_champion{" not in client.get("/metrics").text


@pytest.mark.parametrize("version", [version for version in versions() if version < 4])  # the first with decisions
def test_a_run_of_an_older_version_is_served_by_its_newest_generation(version: int, tmp_path: Path) -> None:
    """A catalog without any decision, as before schema 4, leaves every model to the newest generation; with decisions
    the same one serves."""
    run = existing_run(load("smart-home"), copy_of(version, tmp_path / "run"))
    registry = refreshed(run)
    assert bool(run.catalog.champions()) == (version >= 4)
    assert numbers(registry.snapshot.champions) == dict.fromkeys(run.pipeline.models, registry.snapshot.published[-1])
    run.close()


def test_a_replay_of_an_older_version_serves(tmp_path: Path) -> None:
    """A replay that was trained before replays could be promoted can be, and is compared and loaded."""
    run = existing_run(load("smart-home"), copy_of(4, tmp_path / "run"))
    old = GenerationRef(2, "windowed")
    promoted = promote(run, "segment", old, "why", "ada")
    assert promoted.uncompared is None
    assert refreshed(run).snapshot.champions["segment"] == old
    run.close()


# --- champions come and go ----------------------------------------------------------------------------------------


def test_a_generation_and_its_decision_are_seen_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No snapshot has one half of a publication, even where it falls between two reads of the catalog."""
    publish(run, 1, champion_of=["size"])
    registry = refreshed(run)
    whole = run.catalog.generation_states
    choose(run, "good", 1)

    def overtaken(after: int = 0) -> dict[int, GenerationState]:
        states = whole(after=after)
        monkeypatch.setattr(run.catalog, "generation_states", whole)
        publish(run, 2, champion_of=["size"])
        return states

    monkeypatch.setattr(run.catalog, "generation_states", overtaken)
    seen = []
    for _ in range(2):
        registry.refresh()
        assert registry.snapshot.newest is not None
        seen.append((registry.snapshot.newest.number, numbers(registry.snapshot.champions)))
        assert problems(registry) == ""
    assert seen == [(1, {"size": 1, "good": 1, "group": 1}), (2, {"size": 2, "good": 1, "group": 2})]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "the body is [], not a JSON object"),
        ({}, "generation is missing"),
        ({"generation": "2", "because": "why"}, "generation is not the number of a generation"),
        ({"generation": 2}, "because is missing"),
        ({"generation": 2, "becuse": "why"}, '"becuse" is not a key of this request'),
    ],
)
def test_a_choice_of_the_wrong_form(api: httpx.Client, body: object, text: str) -> None:
    """Each fault of the body that chooses a champion is one of a parameter."""
    answer = api.post("/models/size/champion", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "parameter")
    assert text in answer.json()["error"]["message"]


def test_a_champion_is_kept_in_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A champion stays loaded while newer generations come; one that is replaced is cached, and comes back from there:
    each file is read once, each index built once."""
    read, built = list[str](), list[int]()
    whole = CatalogReader.read_scorer

    def watched(reader: CatalogReader, trained: TrainedModel) -> Scorer:
        read.append(trained.scorer_path)
        return whole(reader, trained)

    monkeypatch.setattr(CatalogReader, "read_scorer", watched)
    registry = ModelRegistry(run)

    def build(loaded: LoadedGeneration) -> str:
        built.append(loaded.number)
        return f"of {loaded.number}"

    registry.register_index("rows", build)
    for number in (1, 2, 3):
        publish(run, number, champion_of=["good"])
        if number == 1:
            choose(run, "size", 1)
        registry.refresh()
    assert sorted(ref.number for ref in registry.snapshot.serving) == [1, 3]
    assert (len(read), built) == (9, [1, 2, 3])
    for number in (1, 2, 3):
        for model in run.pipeline.models:
            scorer_path(run, number, model).unlink()
    for champion, serving in ((2, [2, 3]), (1, [1, 3]), (3, [3]), (2, [2, 3])):
        choose(run, "size", champion)
        registry.refresh()
        assert sorted(ref.number for ref in registry.snapshot.serving) == serving
        assert row_scorer(champion_scorer(registry)).predict([ROW])[0].prediction == size_of(champion, ROW)
        for number in (1, 2, 3):
            assert anyio.run(registry.index, registry.snapshot, GenerationRef(number), "rows") == f"of {number}"
    assert (len(read), built) == (9, [1, 2, 3])
    assert problems(registry) == ""


def test_a_request_in_flight_has_its_generation_to_the_end(run: Run) -> None:
    """A snapshot that was taken before a swap answers as before, and so do both generations after it."""
    publish(run, 1)
    publish(run, 2)
    choose(run, "size", 1)
    registry = refreshed(run)
    taken = registry.snapshot
    choose(run, "size", 2)
    registry.refresh()
    scorer_path(run, 1, "size").unlink()
    for snapshot in (taken, registry.snapshot):
        assert anyio.run(registry.scorer, snapshot, GenerationRef(1), "size").estimator == "LinearRegression"
        assert registry.scorer_in_memory(snapshot, GenerationRef(1), "size") is not None
    assert (taken.champions["size"].number, registry.snapshot.champions["size"].number) == (1, 2)


def test_a_generation_is_cached_before_it_is_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each moment a request finds the scorers of both generations in memory: the new one is loaded, and the other
    one cached, while the old snapshot is still in use."""
    publish(run, 1)
    publish(run, 2)
    choose(run, "size", 1)
    registry = refreshed(run)
    in_use = list[int]()
    whole = ModelRegistry._retire

    def watched(registry: ModelRegistry, loaded: LoadedGeneration) -> None:
        in_use.append(registry.snapshot.champions["size"].number)
        whole(registry, loaded)

    monkeypatch.setattr(ModelRegistry, "_retire", watched)
    choose(run, "size", 2)
    registry.refresh()
    assert in_use == [1]


def hammer(address: str, model: str, stop: threading.Event, seen: list[dict[str, Any]], faults: list[str]) -> None:
    """Ask a model for two rows again and again; note the answers that are of one generation."""
    with httpx.Client(base_url=address, timeout=30) as client:
        while not stop.is_set():
            answer = client.post(f"/models/{model}/predict", json={"rows": [ROW, ROW | {"hours": 9.0}]})
            rows = answer.json() if answer.status_code == 200 else []
            if len({row["generation"] for row in rows}) != 1:
                faults.append(answer.text)
                return
            seen.append({"model": model, "g": rows[0]["generation"], "of": [row["prediction"] for row in rows]})


def answered_by(number: int, seen: list[list[dict[str, Any]]], faults: list[str]) -> bool:
    """Whether that generation's answers are coming in everywhere, or something went wrong."""
    return bool(faults) or all(mine and mine[-1]["g"] == number for mine in seen)


def test_champions_are_swapped_under_load(run: Run) -> None:
    """While champions go back and forth, and generations are published, no request to either of two APIs of the run
    fails, and each answer is of one generation."""
    for number in (1, 2, 3):
        publish(run, number, champion_of=["size", "good", "group"])
    stop, faults = threading.Event(), list[str]()
    with api_of(run) as first, api_of(run, name="serve-2") as second:
        clients = (first, second)
        hammered: dict[str, list[list[dict[str, Any]]]] = {"size": [[], []], "good": [[], []]}
        hammers = [
            threading.Thread(target=hammer, args=(str(client.base_url), model, stop, mine, faults))
            for model, seen in hammered.items()
            for client, mine in zip(clients, seen, strict=True)
        ]
        for thread in hammers:
            thread.start()
        for newest, champion in ((3, 1), (3, 2), (3, 1), (4, 4), (4, 1), (4, 3), (5, 5), (5, 2), (5, 5)):
            if newest not in run.catalog.generation_numbers("published"):
                publish(run, newest, champion_of=["size"])
            choose(run, "size", champion)
            for client in clients:
                wait_for_generation(client, newest)
                wait_for_champion(client, "size", champion)
            wait_for(partial(answered_by, champion, hammered["size"], faults), f"answers by generation {champion}")
        stop.set()
        for thread in hammers:
            thread.join(timeout=10)
    assert not faults
    answers = [answer for seen in hammered.values() for mine in seen for answer in mine]
    assert {answer["g"] for answer in answers if answer["model"] == "good"} == {3}
    assert {answer["g"] for answer in answers if answer["model"] == "size"} == {1, 2, 3, 4, 5}
    for answer in answers:
        if answer["model"] == "size":
            assert answer["of"] == [size_of(answer["g"], ROW), size_of(answer["g"], ROW | {"hours": 9.0})]
        else:
            assert answer["of"] == [0, 1]


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(catalog_reader, "time", clock)
    with capture_logs():  # to print the traceback of each damaged file takes most of a second
        yield clock


def test_a_damaged_champion_does_not_answer(run: Run, clock: Clock) -> None:
    """The model keeps the champion that it had, health names the damaged one, and it is tried again every few seconds
    until it can be loaded."""
    for number in (1, 2, 3):
        publish(run, number)
    choose(run, "size", 2)
    registry = refreshed(run)
    path = scorer_path(run, 1, "size")
    kept = path.read_bytes()
    path.write_bytes(b"gone bad")
    choose(run, "size", 1)
    choose(run, "good", 2)
    for _ in range(2):
        registry.refresh()
        assert numbers(registry.snapshot.champions) == {"size": 2, "good": 2, "group": 3}
        assert "generation 1 is published but can't be loaded" in problems(registry)
        assert row_scorer(champion_scorer(registry)).predict([ROW])[0].prediction == size_of(2, ROW)
    path.write_bytes(kept)
    registry.refresh()
    assert registry.snapshot.champions["size"].number == 2
    clock.now += LATER
    registry.refresh()
    assert numbers(registry.snapshot.champions) == {"size": 1, "good": 2, "group": 3}
    assert problems(registry) == ""


@pytest.mark.parametrize(("damaged", "instead"), [([3], 2), ([3, 2], 1), ([3, 2, 1], 4)])
def test_a_start_with_a_damaged_champion(run: Run, clock: Clock, damaged: list[int], instead: int) -> None:
    """The newest older generation that can be loaded answers, or the newest of all where there is none; the champion
    does once it can be loaded."""
    for number in (1, 2, 3, 4):
        publish(run, number)
    choose(run, "size", 3)
    kept = {number: scorer_path(run, number, "good").read_bytes() for number in damaged}
    for number in damaged:
        scorer_path(run, number, "good").write_bytes(b"gone bad")
    registry = refreshed(run)
    assert numbers(registry.snapshot.champions) == {"size": instead, "good": 4, "group": 4}
    assert "generation 3 is published but can't be loaded" in problems(registry)
    registry.refresh()
    assert registry.snapshot.champions["size"].number == instead
    for number, content in kept.items():
        scorer_path(run, number, "good").write_bytes(content)
    clock.now += LATER
    registry.refresh()
    assert registry.snapshot.champions["size"].number == 3
    assert problems(registry) == ""


def test_a_champion_that_was_loaded_needs_no_file(run: Run, clock: Clock) -> None:
    """Files that go bad under the API change no answer, nor does the damage of a newer generation."""
    publish(run, 1, champion_of=["size"])
    publish(run, 2)
    registry = refreshed(run)
    scorer_path(run, 1, "size").write_bytes(b"gone bad")
    publish(run, 3, damage=lambda path: path.unlink(), champion_of=["good"])
    registry.refresh()
    assert numbers(registry.snapshot.champions) == {"size": 1, "good": 2, "group": 2}
    assert row_scorer(champion_scorer(registry)).predict([ROW])[0].prediction == size_of(1, ROW)
    assert "generation 3 is published but can't be loaded" in problems(registry)


def test_every_serving_generation_gets_its_index_once_that_is_possible(run: Run, clock: Clock) -> None:
    """The newest and the champions are served without an index that can't be built, health names each of them, and
    each build is tried again."""
    publish(run, 1, champion_of=["size"])
    publish(run, 2)
    broken = {1, 2}

    def build(loaded: LoadedGeneration) -> str:
        if loaded.number in broken:
            raise ValueError("no rows")
        return f"of {loaded.number}"

    registry = ModelRegistry(run)
    registry.register_index("rows", build)
    registry.refresh()
    for number in (1, 2):
        assert f"generation {number} is served without rows: 'no rows'" in problems(registry)
    broken.remove(1)
    clock.now += LATER
    registry.refresh()
    assert problems(registry) == "generation 2 is served without rows: 'no rows'"
    assert anyio.run(registry.index, registry.snapshot, GenerationRef(1), "rows") == "of 1"
