"""The API's answers: health, generations, models, predictions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import wait_for
from tests.support.serving_run import (
    PROFILE,
    ROW,
    api_of,
    chance_of_good,
    message_of,
    new_run,
    publish,
    scorer_path,
    seal,
    size_of,
    wait_for_generation,
)
from tidemill import schemas
from tidemill.api.models import catalog_reader
from tidemill.api.models import registry as registry_module
from tidemill.errors import PipelineInvalid
from tidemill.run.catalog import CollectorProgress, StageStatus
from tidemill.run.folder import Run
from tidemill.run.locks import locked


@pytest.fixture
def api(run: Run) -> Iterator[httpx.Client]:
    """An API with two generations, over one and two batches."""
    for number in (1, 2):
        seal(run, number, [{}, {"id": 2, "hours": 20.0}])
        publish(run, number, list(range(1, number + 1)))
    with api_of(run) as client:
        yield client


# --- before there is a generation ---------------------------------------------------------------------------------


def test_while_nothing_is_published_health_and_predictions_say_what_is_awaited(run: Run) -> None:
    """Before the first generation every route that needs one answers 503 with the rows of the open batch."""
    progress = CollectorProgress(open_batch=1, open_rows=812, open_target=1801)
    with locked(run.stage_lock("collector")), api_of(run) as client:
        assert message_of(client.get("/health")) == "no generation yet; the stream has not started"
        run.catalog.save_stage(StageStatus("collector", "running", os.getpid(), progress=progress))
        awaited = "no generation yet; batch 1 has 812 of 1801 rows"
        wait_for(lambda: message_of(client.get("/health")) == awaited, awaited)
        health = client.get("/health")
        assert (health.status_code, health.json()["status"], health.json()["reason"]) == (503, "waiting", awaited)
        for answer in (
            client.post("/models/size/predict", json=ROW),
            client.post("/is_good", json=ROW),
            client.get("/models/group/profile"),
            client.get("/models/size/rows/1"),
        ):
            assert (answer.status_code, message_of(answer)) == (503, awaited)


@pytest.mark.parametrize(
    ("batch", "awaited"), [(1, "batch 1 has 5 rows"), (3, "batch 2 is sealed and waits for the trainer")]
)
def test_a_batch_without_a_set_size_is_awaited(run: Run, batch: int, awaited: str) -> None:
    """Where nothing says how many rows a batch will have, health tells how many it has, or that it is sealed."""
    progress = CollectorProgress(open_batch=batch, open_rows=5, open_target=None)
    with locked(run.stage_lock("collector")), api_of(run) as client:
        run.catalog.save_stage(StageStatus("collector", "running", os.getpid(), progress=progress))
        wait_for(lambda: message_of(client.get("/health")) == f"no generation yet; {awaited}", awaited)


def test_a_generation_in_training_is_awaited(run: Run) -> None:
    """While generation 1 is being trained, health says so, and asking for it says the same."""
    run.catalog.begin_generation(1, [1], 1801)
    with api_of(run) as client:
        assert message_of(client.get("/health")) == "no generation yet; generation 1 is being trained on 1801 rows"
        answer = client.post("/models/size/generations/1/predict", json=ROW)
        assert (answer.status_code, message_of(answer)) == (404, "generation 1 is still being trained")
        assert client.get("/generations/1").json()["state"] == "training"


def test_a_failed_stage_is_told(run: Run) -> None:
    """Health names a stage that failed and why, also one that died without a word."""
    run.catalog.save_stage(StageStatus("trainer", "failed", 1, error={"code": "x", "message": "no Java", "hint": ""}))
    with api_of(run) as client:
        health = client.get("/health").json()
        assert (health["status"], health["reason"]) == ("failed", "no generation yet; the trainer failed: no Java")
        run.catalog.save_stage(StageStatus("collector", "running", 1))
        died = "the collector failed: its process is gone"
        wait_for(lambda: died in client.get("/health").json()["problems"], died)
        publish(run, 1)
        wait_for_generation(client, 1)
        assert died in client.get("/health").json()["problems"]


def test_a_failed_generation_is_told(run: Run) -> None:
    """A generation that failed answers 404 with its reason and what there is instead; later ones are served."""
    run.catalog.begin_generation(1, [1], 3)
    run.catalog.fail_generation(1, "a label with one class")
    with api_of(run) as client:
        assert message_of(client.get("/health")) == "no generation yet; generation 1 failed: a label with one class"
        publish(run, 2)
        wait_for_generation(client, 2)
        answer = client.post("/models/size/generations/1/predict", json=ROW)
        assert (answer.status_code, message_of(answer)) == (404, "generation 1 failed: a label with one class")
        assert answer.json()["error"]["hint"] == "published: 2"
        assert client.get("/health").json()["generations"] == 1


# --- what there is ------------------------------------------------------------------------------------------------


def test_health_when_ready(api: httpx.Client) -> None:
    """Health answers 200 with the pipeline, the newest generation and the models."""
    health = api.get("/health").json()
    assert health.pop("published_at").endswith("Z")
    assert health == {
        "status": "ready",
        "pipeline": "devices",
        "generation": 2,
        "generations": 2,
        "models": ["good", "group", "size"],
        "champions": {"size": 2, "good": 2, "group": 2},
        "problems": [],
    }
    assert api.head("/health").status_code == 200


def test_generations_are_listed_and_paged(api: httpx.Client, run: Run) -> None:
    """`/generations` is what the catalog holds, in order; `after` and `limit` choose a page of it."""
    documents = [schemas.GenerationBody.of(record).document() for record in run.catalog.generations()]
    assert api.get("/generations").json() == documents
    assert api.get("/generations", params={"after": 1}).json() == documents[1:]
    assert api.get("/generations", params={"limit": 1}).json() == documents[:1]
    assert api.get("/generations/2").json() == documents[1]


def test_a_model_shows_its_inputs_and_its_metrics_per_generation(api: httpx.Client) -> None:
    """`/models/{model}` has the typed inputs with what training saw, the settings, and every generation's metrics."""
    model = api.get("/models/good").json()
    assert (model["estimator"], model["label"], model["labels"]) == (
        "LogisticRegression",
        "good",
        {"0": "bad", "1": "good"},
    )
    assert [(feature["name"], feature["kind"]) for feature in model["inputs"]] == [
        ("kind", "string"),
        ("hours", "float"),
        ("on", "bool"),
    ]
    assert model["inputs"][0]["categories"] == ["lamp", "fan"]
    assert [generation["generation"] for generation in model["generations"]] == [1, 2]
    assert model["generations"][0]["metrics"] == {"accuracy": 0.9, "auc": None}
    models = api.get("/models").json()
    assert [one["model"] for one in models] == ["size", "good", "group"]
    assert [generation["generation"] for generation in models[0]["generations"]] == [2]


def test_the_profile_shows_clusters(api: httpx.Client) -> None:
    """A clustering model's profile is what training wrote, of any generation; other models have none."""
    assert api.get("/models/group/profile").json() == {"model": "group", "generation": 2, **PROFILE}
    assert api.get("/models/group/profile", params={"generation": 1}).json()["generation"] == 1
    assert api.get("/models/group/profile", params={"generation": 9}).status_code == 404
    answer = api.get("/models/size/profile")
    assert (answer.status_code, message_of(answer)) == (404, "size has no clusters: it is a LinearRegression")


# --- predictions --------------------------------------------------------------------------------------------------


def test_the_newest_generation_predicts(api: httpx.Client) -> None:
    """A prediction is what the newest coefficients give, with probabilities and label where there are any."""
    assert api.post("/models/size/predict", json=ROW).json() == {
        "model": "size",
        "generation": 2,
        "prediction": size_of(2, ROW),
    }
    answer = api.post("/models/good/predict", json=ROW | {"hours": 3}).json()
    chance = chance_of_good(2, {"hours": 3})
    assert answer.pop("probability") == pytest.approx({"0": 1 - chance, "1": chance}, rel=1e-12)
    assert answer == {"model": "good", "generation": 2, "prediction": 1, "label": "good"}
    assert api.post("/models/group/predict", json={"hours": 18}).json()["prediction"] == 1


def test_every_generation_predicts(api: httpx.Client) -> None:
    """Each generation of each model has its own endpoint, which answers with that generation's coefficients."""
    for number in (1, 2):
        answer = api.post(f"/models/size/generations/{number}/predict", json=ROW).json()
        assert answer == {"model": "size", "generation": number, "prediction": size_of(number, ROW)}


def test_rows_are_answered_in_their_order(api: httpx.Client) -> None:
    """A list of rows is answered by a list in the same order, however long; an empty list by an empty one."""
    rows = [ROW | {"count": count} for count in range(5000)]
    answers = api.post("/models/size/predict", json={"rows": [{"hours": 2, "count": n} for n in range(5000)]}).json()
    assert [answer["prediction"] for answer in answers] == [size_of(2, row) for row in rows]
    assert api.post("/models/size/predict", json={"rows": rows[:1]}).json()[0]["prediction"] == size_of(2, rows[0])
    assert api.post("/models/size/predict", json={"rows": []}).json() == []


def test_a_declared_route_answers_in_its_own_keys(api: httpx.Client) -> None:
    """A route of the pipeline file maps its keys to parts of the prediction; without a map it answers as all do."""
    chance = chance_of_good(2, ROW)
    expected = {"class": 0, "p": 1 - chance, "name": "bad", "g": 2, "m": "good", "new": None}
    answer = api.post("/is_good", json=ROW | {"hours": 1.5}).json()
    chance = chance_of_good(2, {"hours": 1.5})
    assert answer.pop("all") == pytest.approx({"0": 1 - chance, "1": chance}, rel=1e-12)
    assert answer == expected | {"p": pytest.approx(1 - chance, rel=1e-12)}
    assert [one["m"] for one in api.post("/is_good", json={"rows": [ROW, ROW]}).json()] == ["good", "good"]
    assert api.post("/size_of", json=ROW).json() == api.post("/models/size/predict", json=ROW).json()


def test_categories_that_training_has_not_seen_are_named(api: httpx.Client) -> None:
    """A prediction names the categories of its row that are new to the model, and only such a prediction has the key;
    each row of many has its own, and a declared route may have them as a part."""
    new = ROW | {"kind": "ladder"}
    answer = api.post("/models/good/predict", json=new).json()
    assert answer["unseen"] == {"kind": "ladder"}
    assert "unseen" not in api.post("/models/good/predict", json=ROW).json()
    rows = [ROW, new, ROW | {"kind": "fan"}, ROW | {"kind": ""}]
    answers = api.post("/models/good/predict", json={"rows": rows}).json()
    assert [one.get("unseen") for one in answers] == [None, {"kind": "ladder"}, None, {"kind": ""}]
    assert answers[1] == answer
    assert [one["new"] for one in api.post("/is_good", json={"rows": rows[:2]}).json()] == [None, {"kind": "ladder"}]
    assert "unseen" not in api.post("/models/group/predict", json=new).json()


def test_a_declared_route_can_not_hide_a_model(tmp_path: Path) -> None:
    """A declared path below /models/ is a fault of the pipeline file."""
    with pytest.raises(PipelineInvalid, match=r"routes\[0\].path"):
        new_run(tmp_path, 'routes=[{path="/models/size/predict", model="group"}]')


# --- hot and atomic -----------------------------------------------------------------------------------------------


def test_older_generations_are_kept_within_bounds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older generations are loaded when asked for, and only so many are kept."""
    monkeypatch.setattr(registry_module, "MAX_OLDER_SCORERS", 2)
    for number in range(1, 6):
        publish(run, number)
    with api_of(run) as client:
        for number in (1, 2, 3, 4, 5, 1):
            answer = client.post(f"/models/size/generations/{number}/predict", json=ROW).json()
            assert answer["prediction"] == size_of(number, ROW)


def test_a_damaged_generation_is_not_swapped_in(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer that is not what the catalog says keeps its generation out: the one before answers, health says why."""
    monkeypatch.setattr(catalog_reader, "RETRY_SECONDS", 0.1)
    publish(run, 1)
    with api_of(run) as client:
        wait_for_generation(client, 1)
        publish(run, 2, damage=damage)
        problem = "generation 2 is published but can't be loaded"
        wait_for(lambda: problem in str(client.get("/health").json()["problems"]), problem)
        assert client.post("/models/size/predict", json=ROW).json()["prediction"] == size_of(1, ROW)
        answer = client.post("/models/size/generations/2/predict", json=ROW)
        assert answer.status_code == 503
        assert message_of(answer).startswith("generation 2 can't be served: ")
        damage(scorer_path(run, 2, "size"))  # the same bit back
        wait_for_generation(client, 2)
        assert client.get("/health").json()["problems"] == []


def test_a_missing_scorer_keeps_its_generation_out(run: Run) -> None:
    """When the only generation's file is gone, the API starts all the same and says why it has none."""
    publish(run, 1)
    scorer_path(run, 1, "good").unlink()
    with api_of(run) as client:
        health = client.get("/health")
        assert health.status_code == 503
        assert "generation 1 is published but can't be loaded" in message_of(health)


def test_the_api_goes_on_without_its_catalog(run: Run) -> None:
    """While the catalog can't be read the API answers from what it has, says so, and follows it again afterwards."""
    publish(run, 1)
    with api_of(run) as client:
        rename(run, "generations", "gone")
        problem = "the catalog can't be read at the moment"
        wait_for(lambda: problem in str(client.get("/health").json()["problems"]), problem)
        assert client.post("/models/size/predict", json=ROW).json()["prediction"] == size_of(1, ROW)
        assert client.get("/models/group/profile").status_code == 503
        assert client.get("/metrics").status_code == 200
        rename(run, "gone", "generations")
        publish(run, 2)
        wait_for_generation(client, 2)


def damage(path: Path) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename(run: Run, before: str, after: str) -> None:
    with run.catalog.engine.begin() as connection:
        connection.exec_driver_sql(f"alter table {before} rename to {after}")
