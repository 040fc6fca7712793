"""Similar rows over real HTTP: by features, by words, by key; of any generation; every row, or each key once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest

from tests.support.serving_run import api_of, wait_for_generation
from tests.support.training_run import run_of, seal_table, table_of
from tidemill.api.app import create_app
from tidemill.api.dependencies import resolve_generation
from tidemill.api.inputs import model_inputs
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.api.rows.similar import NeighbourIndex, SimilarRows
from tidemill.errors import FeatureError
from tidemill.run.catalog import TrainedModel
from tidemill.run.files import sha256
from tidemill.run.folder import Run
from tidemill.scoring.storage import write

COLUMNS = {"sku": "string", "name": "string?", "price": "float", "kind": "string", "at": "timestamp"}
MODELS = {
    "near": {
        "estimator": "BucketedRandomProjectionLSH",
        "features": ["price", "kind"],
        "params": {"bucketLength": 10.0},
        "newest_of_key": True,
    },
    "alike": {"estimator": "IDF", "features": ["name"], "newest_of_key": True},
}
EVERY_ROW = {name: {**model, "newest_of_key": False} for name, model in MODELS.items()}
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROW: dict[str, Any] = {"name": "thing", "price": 1.0, "kind": "bag", "at": AT}
FIRST: list[dict[str, Any]] = [
    {"sku": "a", "name": "Laptop sleeve", "price": 10.0},
    {"sku": "b", "name": "Laptop stand", "price": 12.0, "kind": "stand"},
    {"sku": "c", "name": "Apple", "price": 500.0},
    {"sku": "d", "name": None, "price": 11.0},
]
SECOND: list[dict[str, Any]] = [
    {"sku": "a", "name": "Apples", "price": 700.0},
    {"sku": "é/ü", "name": "Laptops, laptops", "price": 13.0, "kind": "stand"},
]
FEATURE = {"categories": None, "minimum": None, "maximum": None}
PRICE = FEATURE | {"name": "price", "kind": "float", "minimum": 1.0, "maximum": 700.0, "example": 10.0}
KIND = FEATURE | {"name": "kind", "kind": "string", "categories": ["bag", "stand"], "example": "bag"}
NAME = FEATURE | {"name": "name", "kind": "string", "example": "Laptop sleeve"}


def similar_run(folder: Path, key: str | None = "sku", **changes: Any) -> Run:
    stream = {"topic": "t"} | ({"key": key} if key else {})
    tables = {"source": {"path": "data.csv", "columns": COLUMNS}, "stream": stream, "models": MODELS}
    return run_of(folder, **(tables | changes))


def publish_searches(
    run: Run, generation: int, batches: Sequence[int], words: Sequence[str] = ("apple", "laptop")
) -> None:
    """Publish scorers whose answers one can work out: price alone decides the bucket; each word weighs 1."""
    texts: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "near": ({"features": [PRICE, KIND], "bucket_length": 10.0}, {"vectors": np.array([[1.0, 0.0, 0.0]])}),
        "alike": ({"features": [NAME], "vocabulary": list(words)}, {"idf": np.ones(len(words))}),
    }
    run.catalog.begin_generation(generation, list(batches), rows=4)
    models = []
    for name in run.pipeline.models:
        text, arrays = texts[name]
        path = run.generations / f"{generation:05}" / "scorers" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        estimator = run.pipeline.models[name].estimator
        write(path, {"model": name, "estimator": estimator} | text, arrays)
        models.append(
            TrainedModel(
                model=name,
                estimator=estimator,
                metrics={},
                fit_seconds=0.5,
                parity={"rows": 3},
                rows={"train": 3, "holdout": 0, "skipped": 0},
                scorer_path=run.relative(path),
                sha256=sha256(path),
                spark_path=f"generations/{generation:05}/spark/{name}",
            )
        )
    run.catalog.publish_generation(generation, models)


def seal_rows(run: Run, batch: int, rows: Sequence[dict[str, Any]]) -> None:
    seal_table(run, batch, table_of(run, [ROW | row for row in rows]))


def two_generations(folder: Path, **changes: Any) -> Run:
    """Generation 1 of the first batch, generation 2 of both."""
    run = similar_run(folder, **changes)
    seal_rows(run, 1, FIRST)
    seal_rows(run, 2, SECOND)
    publish_searches(run, 1, [1], words=["apple", "laptop", "sleeve", "stand"])
    publish_searches(run, 2, [1, 2])
    return run


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    run = two_generations(tmp_path_factory.mktemp("similar"))
    with api_of(run) as client:
        yield client


def items(answer: httpx.Response, measure: str) -> list[tuple[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [(item["row"]["sku"], pytest.approx(item[measure], abs=1e-9)) for item in answer.json()["items"]]


def near(api: httpx.Client, row: Any, **more: Any) -> httpx.Response:
    return api.post("/models/near/similar", json={"row": row} | more)


def test_the_nearest_rows_by_features(api: httpx.Client) -> None:
    """Rows in the same bucket, ranked by distance, with all declared columns; a one-hot step counts the root of 2."""
    answer = near(api, {"price": 12.0, "kind": "stand"}, top=3)
    assert items(answer, "distance") == [("b", 0.0), ("é/ü", 1.0), ("d", 3**0.5)]
    document = answer.json()
    assert document["items"][0]["row"] == {
        "sku": "b",
        "name": "Laptop stand",
        "price": 12.0,
        "kind": "stand",
        "at": "2026-01-02T03:04:05Z",
    }
    assert {key: document[key] for key in ("model", "generation", "unknown", "probe")} == {
        "model": "near",
        "generation": 2,
        "unknown": [],
        "probe": "single",
    }


def test_fewer_in_the_bucket_than_asked_for_widens_the_search(api: httpx.Client) -> None:
    """The answer says so, and has as many rows as there are keys."""
    answer = near(api, {"price": 501.0, "kind": "bag"})
    assert answer.json()["probe"] == "multi"
    assert [sku for sku, _ in items(answer, "distance")] == ["c", "a", "é/ü", "b", "d"]


def test_a_category_that_training_has_not_seen_is_named(api: httpx.Client) -> None:
    """Its distance to every other is 1."""
    answer = near(api, {"price": 11.0, "kind": "box"}, top=1)
    assert answer.json()["unknown"] == ["box"]
    assert items(answer, "distance") == [("d", 1.0)]


def test_rows_by_words(api: httpx.Client) -> None:
    """Plurals and case don't matter; the newest row of each key counts; unknown words are named."""
    answer = api.post("/models/alike/similar", json={"text": "LAPTOPS shiny", "top": 5})
    assert items(answer, "similarity") == [("b", 1.0), ("é/ü", 1.0)]
    assert answer.json()["unknown"] == ["shiny"]
    assert "probe" not in answer.json()
    assert api.get("/models/alike/similar", params={"text": "LAPTOPS shiny", "top": 5}).json() == answer.json()


def test_words_in_common_rank_first(api: httpx.Client) -> None:
    """The cosine between a text of one word and one of two is the root of a half."""
    answer = api.get("/models/alike/similar", params={"text": "laptop apple"})
    assert items(answer, "similarity") == [(sku, 0.5**0.5) for sku in ("b", "c", "a", "é/ü")]


@pytest.mark.parametrize("text", ["zebra", "", "!!!"])
def test_no_known_word_finds_nothing(api: httpx.Client, text: str) -> None:
    """An empty list is an answer."""
    document = api.post("/models/alike/similar", json={"text": text}).json()
    assert document["items"] == []
    assert document["unknown"] == (["zebra"] if text == "zebra" else [])


def test_rows_like_a_streamed_one(api: httpx.Client) -> None:
    """By its key, which may have any characters: the newest row with it, itself left out."""
    answer = api.get("/models/near/similar/b", params={"top": 2})
    assert items(answer, "distance") == [("é/ü", 1.0), ("d", 3**0.5)]
    assert answer.json()["key"] == "b"
    answer = api.get("/models/alike/similar/%C3%A9%2F%C3%BC")
    assert items(answer, "similarity") == [("b", 1.0)]
    assert items(api.get("/models/near/similar/a", params={"top": 1}), "distance") == [("c", 200.0)]


def test_an_older_generation_answers_from_its_own_rows(api: httpx.Client) -> None:
    """In generation 1 the key a is still a sleeve."""
    answer = api.get("/models/alike/similar", params={"text": "sleeve laptop", "generation": 1})
    assert items(answer, "similarity") == [("a", 1.0), ("b", 0.5)]
    assert answer.json()["generation"] == 1
    answer = api.post("/models/near/similar", params={"generation": 1}, json={"row": {"price": 10.0, "kind": "bag"}})
    assert [sku for sku, _ in items(answer, "distance")] == ["a", "d", "b", "c"]


@pytest.mark.parametrize(
    ("path", "params", "message"),
    [
        ("/models/near/similar/zz", {}, 'no row with sku "zz" in generation 2'),
        ("/models/near/similar/é/ü", {"generation": 1}, "in generation 1"),
        ("/models/near/similar/a", {"generation": 3}, "there is no generation 3"),
        ("/models/alike/similar/d", {}, "lacks a value that alike looks at"),
        ("/models/near/predict", {}, ""),
        ("/models/near/rows/a", {}, ""),
        ("/models/alike/profile", {}, ""),
    ],
)
def test_what_is_not_there(api: httpx.Client, path: str, params: dict[str, Any], message: str) -> None:
    """404 says what is missing; models that find rows have no predictions, rows or profiles."""
    answer = api.get(path, params=params)
    assert answer.status_code == 404
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        ("near", {"row": {"kind": "bag"}}, "price is missing"),
        ("near", {"row": {"price": "1", "kind": "bag"}}, 'price is "1"'),
        ("near", {"row": [1]}, "row is [1], not a JSON object"),
        ("near", {"text": "laptop"}, '"text" is not a key of this request'),
        ("near", {}, "row is missing"),
        ("near", {"row": {"price": 1.0, "kind": "bag"}, "top": 0}, "top is 0"),
        ("near", {"row": {"price": 1.0, "kind": "bag"}, "top": 1001}, "top is 1001"),
        ("near", {"row": {"price": 1.0, "kind": "bag"}, "top": 2.5}, "top is 2.5"),
        ("near", {"row": {"price": 1.0, "kind": "bag"}, "top": True}, "top is true"),
        ("alike", {"text": 5}, "text is 5, not a string"),
        ("alike", {"top": 5}, "text is missing"),
        ("alike", [], "the body is [], not a JSON object"),
    ],
)
def test_a_bad_body_is_named(api: httpx.Client, model: str, body: Any, message: str) -> None:
    """422 with what was found."""
    answer = api.post(f"/models/{model}/similar", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["text=a&top=0", "text=a&top=1001", "text=a&top=x", "", "text=a&generation=0"])
def test_a_bad_query_is_named(api: httpx.Client, query: str) -> None:
    assert api.get(f"/models/alike/similar?{query}").status_code == 422


def test_no_json_is_400(api: httpx.Client) -> None:
    for model in MODELS:
        answer = api.post(f"/models/{model}/similar", content=b"{")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-json")


def test_the_openapi_document_has_both(api: httpx.Client) -> None:
    """Each with its own body, answer and examples; the home page says where to ask."""
    document = api.get("/openapi.json").json()
    body = document["paths"]["/models/near/similar"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["row"] == {"$ref": "#/components/schemas/near.row"}
    assert document["components"]["schemas"]["near.row"]["examples"] == [{"price": 10.0, "kind": "bag"}]
    assert set(document["paths"]["/models/alike/similar"]) == {"get", "post"}
    assert set(document["paths"]) >= {"/models/near/similar/{key}", "/models/alike/similar/{key}"}
    assert api.get("/").json()["models"]["near"]["similar"] == "/models/near/similar"
    assert [feature["name"] for feature in api.get("/models/alike").json()["inputs"]] == ["name"]


def test_every_row_is_searched(tmp_path: Path) -> None:
    """Without ``newest_of_key`` older rows of a key are found too, equal ones each: by features, words, key."""
    run = two_generations(tmp_path, models=EVERY_ROW)
    seal_rows(run, 3, [SECOND[0], SECOND[0]])
    publish_searches(run, 3, [1, 2, 3])
    with api_of(run) as client:
        wait_for_generation(client, 3)
        answer = near(client, {"price": 700.0, "kind": "bag"}, top=4)
        assert items(answer, "distance") == [("a", 0.0), ("a", 0.0), ("a", 0.0), ("c", 200.0)]
        answer = client.get("/models/alike/similar", params={"text": "laptop apple"})
        assert [sku for sku, _ in items(answer, "similarity")] == ["a", "b", "c", "a", "é/ü", "a", "a"]
        answer = client.get("/models/near/similar/a", params={"top": 3})
        assert items(answer, "distance") == [("a", 0.0), ("a", 0.0), ("c", 200.0)]


def test_a_stream_without_a_key(tmp_path: Path) -> None:
    """None of its rows can be asked for by a key."""
    run = similar_run(tmp_path, key=None, models=EVERY_ROW)
    seal_rows(run, 1, [FIRST[0], FIRST[0], FIRST[1]])
    publish_searches(run, 1, [1])
    with api_of(run) as client:
        answer = client.get("/models/alike/similar", params={"text": "laptop"})
        assert [sku for sku, _ in items(answer, "similarity")] == ["a", "a", "b"]
        assert client.get("/models/alike/similar/a").status_code == 404


@pytest.mark.parametrize(
    ("key", "text", "status"),
    [("price", "10", 200), ("price", "ten", 422), ("at", "2026-01-02T03:04:05Z", 200), ("at", "then", 422)],
)
def test_a_key_is_read_as_its_column_is_declared(tmp_path: Path, key: str, text: str, status: int) -> None:
    run = similar_run(tmp_path, key=key)
    seal_rows(run, 1, FIRST[:1])
    publish_searches(run, 1, [1])
    with api_of(run) as client:
        answer = client.get(f"/models/near/similar/{text}")
        assert answer.status_code == status
        assert status != 200 or answer.json()["items"] == []


def test_what_is_searched_is_made_before_a_generation_is_served(tmp_path: Path) -> None:
    """The newest snapshot comes with its rows prepared, and they share their memory with the generation's table."""
    run = two_generations(tmp_path)
    registry = ModelRegistry(run)
    rows = GenerationRows(run)
    similar = SimilarRows(registry, "near", model_inputs(run.pipeline, "near"), rows)
    registry.register_index(similar.index_name, similar.build_index)
    registry.refresh()
    assert registry.snapshot.newest is not None
    made = list(registry.snapshot.newest.indexes.values())
    assert [type(one) for one in made] == [NeighbourIndex]
    assert made[0].table is rows.of(registry.snapshot.newest.record)


def test_no_request_fails_while_generations_arrive(tmp_path: Path) -> None:
    """Each answer is of one generation, from its own rows: later generations have more of them."""
    run = similar_run(tmp_path)
    seal_rows(run, 1, FIRST)
    publish_searches(run, 1, [1])

    def ask(client: httpx.Client) -> tuple[int, int]:
        document = near(client, {"price": 10.0, "kind": "bag"}, top=1000).json()
        return document["generation"], len(document["items"])

    with api_of(run) as client, ThreadPoolExecutor(2) as pool:
        wait_for_generation(client, 1)
        for number in range(2, 6):
            seal_rows(run, number, [{"sku": f"n{number}"}])
            jobs = [pool.submit(ask, client) for _ in range(20)]
            publish_searches(run, number, range(1, number + 1))
            jobs += [pool.submit(ask, client) for _ in range(20)]
            assert {job.result() for job in jobs} <= {(one, 3 + one) for one in (number - 1, number)}
            wait_for_generation(client, number)
        older = client.post(
            "/models/near/similar", params={"generation": 2}, json={"row": {"price": 1.0, "kind": "bag"}}
        )
        assert older.json()["generation"] == 2


def test_a_batch_file_that_is_gone(tmp_path: Path) -> None:
    """Its generation is served without the search, which is 503, and /health says why; the one before it answers."""
    run = two_generations(tmp_path)
    (run.batches / "batch-00002.parquet").unlink()
    with api_of(run) as client:
        wait_for_generation(client, 2)
        assert "batch-00002.parquet" in " ".join(client.get("/health").json()["problems"])
        for asked in ({"text": "laptop"}, {"text": "laptop", "generation": "2"}):
            answer = client.get("/models/alike/similar", params=asked)
            assert answer.status_code == 503
            assert "batch-00002.parquet" in answer.text
            assert str(tmp_path) not in answer.text
        assert client.get("/models/alike/similar", params={"text": "laptop", "generation": 1}).status_code == 200


def test_each_way_of_asking_has_its_kind_of_model(tmp_path: Path) -> None:
    """A text is not for neighbours; a row will do for a model of texts, which looks at its column only."""
    run = two_generations(tmp_path)
    registry, rows = ModelRegistry(run), GenerationRows(run)
    similar = {name: SimilarRows(registry, name, model_inputs(run.pipeline, name), rows) for name in MODELS}
    for searcher in similar.values():
        registry.register_index(searcher.index_name, searcher.build_index)
    registry.refresh()
    newest, second = resolve_generation(registry, None), resolve_generation(registry, 2)
    with pytest.raises(FeatureError, match="near does not compare texts"):
        anyio.run(similar["near"].by_text, newest, "laptop", 5)
    by_row = anyio.run(similar["alike"].by_row, newest, {"name": "laptop", "more": 1}, 5)
    assert by_row == anyio.run(similar["alike"].by_text, second, "laptop", 5)


def test_the_app_can_be_made_without_a_generation(tmp_path: Path) -> None:
    """Routes are there from the start."""
    run = similar_run(tmp_path)
    app = create_app(run, ModelRegistry(run))
    assert "/models/near/similar" in {getattr(route, "path", "") for route in app.routes}
