"""Recommendations over HTTP: two generations trained by real Spark, served as the stage serves them.

Users "even/0" .. like the films of even number, users "odd/0" .. the others. Film 40 first comes in batch 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyspark.sql import SparkSession

from tests.support.routes_run import refused_examples
from tests.support.serving_run import api_of
from tests.support.training_run import quiet_stage, run_of, seal_tables, table_of
from tidemill import schemas
from tidemill.run.folder import Run
from tidemill.run.stage import Stage
from tidemill.sources.source import open_tables
from tidemill.sources.tables import read_tables
from tidemill.training.trainer import work

PARAMS = {"rank": 4, "maxIter": 5, "seed": 3, "numUserBlocks": 1, "numItemBlocks": 1}
MODELS = {
    "taste": {
        "estimator": "ALS",
        "user": "who",
        "item": "film",
        "rating": "stars",
        "titles": "films",
        "params": PARAMS,
    },
    "liked": {"estimator": "ALS", "user": "who", "item": "film", "params": PARAMS | {"implicitPrefs": True}},
}
COLUMNS = {"who": "string", "film": "int", "stars": "float"}
FILMS = {"path": "films.csv", "key": "film", "columns": {"year": "int", "film": "string", "title": "string?"}}


def new_run(folder: Path) -> Run:
    titles = [f"{1900 + film},{film},Film {film}" for film in range(39)]  # none of film 40
    (folder / "films.csv").write_text("\n".join(["year,film,title", *titles]) + "\n")
    return run_of(
        folder,
        source={"path": "x.csv", "columns": COLUMNS},
        tables={"films": FILMS},
        models=MODELS,
        generations={"scheme": "cumulative", "holdout": {"share": 0.1}},
        routes=[{"path": "/films", "model": "taste", "does": "recommend", "answer": {"outside": "outside"}}],
    )


def ratings(films: range) -> list[dict[str, Any]]:
    """Each of 20 users rates two thirds of the films: 4 or 5 of what they like, else 1 or 2."""
    return [
        {
            "who": f"{('even', 'odd')[user % 2]}/{user}",
            "film": film,
            "stars": (4.0 if film % 2 == user % 2 else 1.0) + (user + film) % 5 % 2,
        }
        for user in range(20)
        for film in films
        if (user + film) % 3
    ]


@pytest.fixture(scope="module")
def run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("recommend")
    run = new_run(folder)
    read_tables(Stage(run, "producer"), open_tables(run.pipeline, folder))
    seal_tables(run, [table_of(run, ratings(range(20))), table_of(run, ratings(range(20, 41)))])
    work(quiet_stage(run), spark)
    return run


@pytest.fixture(scope="module")
def client(run: Run) -> Iterator[httpx.Client]:
    with api_of(run) as client:
        yield client


def recommend(client: httpx.Client, ratings: Any, model: str = "taste", **query: Any) -> httpx.Response:
    body = {"ratings": ratings} | ({"top": query.pop("top")} if "top" in query else {})
    return client.post(f"/models/{model}/recommend", json=body, params=query)


def films(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [item["item"] for item in answer.json()["items"]]


def refused(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    error = schemas.ErrorBody.model_validate_json(answer.text).error
    assert words in f"{error.message}; {error.hint}"


def test_a_new_user_gets_what_people_of_their_taste_like(client: httpx.Client) -> None:
    """Ten items by default, the best first, in the item column's own type and with their titles; not the rated ones."""
    answer = recommend(client, {"0": 5.0, "2": 5, "1": 1.0, "nix": 4.0})
    document = answer.json()
    schemas.Recommendations.model_validate(document)
    assert (document["model"], document["generation"], document["unknown"]) == ("taste", 2, ["nix"])
    assert len(document["items"]) == 10
    assert not set(films(answer)) & {0, 1, 2}
    assert all(film % 2 == 0 for film in films(answer))
    scores = [item["score"] for item in document["items"]]
    assert scores == sorted(scores, reverse=True)
    first = next(item for item in document["items"] if item["item"] < 39)
    assert first == {
        "item": first["item"],
        "score": first["score"],
        "year": 1900 + first["item"],
        "title": f"Film {first['item']}",
    }
    assert all(film % 2 for film in films(recommend(client, {"1": 5.0, "3": 5.0, "2": 1.0}, top=5)))


def test_as_many_as_asked_for(client: httpx.Client) -> None:
    """``top`` counts the items; where there are fewer, all of them; an item without a title has nulls."""
    assert len(films(recommend(client, {"0": 5.0}, top=3))) == 3
    every = recommend(client, {"0": 5.0}, top=1000).json()["items"]
    assert {one["item"] for one in every} == set(range(1, 41))
    assert next(one for one in every if one["item"] == 40)["title"] is None


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"ratings": {}}, 422, "ratings is empty"),
        ({"ratings": {"nix": 1.0, "nul": 2}}, 422, 'none of the items is known: "nix", "nul"'),
        ({"ratings": {"1": "five"}}, 422, 'ratings.1 is "five", not a finite number'),
        ({"ratings": {"1": True, "2": None}}, 422, "of 32 bits; ratings.2 is null"),
        ({"ratings": {"1": 1e39}}, 422, "ratings.1 is 1e+39, not a finite number of 32 bits"),
        ({"ratings": [1, 2]}, 422, "ratings is [1,2], not an object of items and ratings"),
        ({"ratings": "1"}, 422, 'ratings is "1"'),
        ({}, 422, "ratings is missing"),
        ([], 422, "the body is [], not a JSON object"),
        ({"ratings": {"1": 1.0}, "tpo": 5}, 422, 'did you mean "top"?'),
        ({"ratings": {"1": 1.0}, "top": 0}, 422, "top is 0, not a whole number from 1 to 1000"),
        ({"ratings": {"1": 1.0}, "top": 1001}, 422, "top is 1001"),
        ({"ratings": {"1": 1.0}, "top": 5.5}, 422, "top is 5.5"),
        ({"ratings": {"1": 1.0}, "top": True}, 422, "top is true"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(client: httpx.Client, body: Any, status: int, words: str) -> None:
    """The message names the value, and nothing is guessed."""
    refused(client.post("/models/taste/recommend", json=body), status, words)


def test_a_body_that_is_no_json_or_too_large_is_refused(client: httpx.Client) -> None:
    """With the status that says so."""
    refused(client.post("/models/taste/recommend", content=b'{"ratings": {"1": NaN}}'), 400, "the body is not JSON")
    refused(client.post("/models/taste/recommend", content=b""), 400, "the body is empty")
    refused(client.post("/models/taste/recommend", content=b" " * 2_000_000), 413, "1 MiB")


def test_ratings_outside_the_scale_are_answered_and_named(client: httpx.Client) -> None:
    """They count as they are; what is unknown is not named twice, and where there is nothing to name the key is not
    there."""
    answer = recommend(client, {"1": 5.5, "nix": -1.0, "2": 1, "3": 0.5})
    schemas.Recommendations.model_validate(answer.json())
    assert films(answer)
    assert (answer.json()["unknown"], answer.json()["outside"]) == (["nix"], ["1", "3"])
    assert "outside" not in recommend(client, {"1": 5.0, "2": 1.0, "nix": 70.0}).json()
    assert "outside" not in recommend(client, {"0": 70.0}, model="liked").json()  # implicit preferences have no scale
    five, six = (recommend(client, {"1": rating}, top=1).json()["items"][0]["score"] for rating in (5.0, 6.0))
    assert six > five


def test_a_declared_route_may_tell_what_is_outside(client: httpx.Client) -> None:
    """By the part ``outside``, which is null where there is nothing to name."""
    assert client.post("/films", json={"ratings": {"1": 9.0}}).json() == {"outside": ["1"]}
    assert client.post("/films", json={"ratings": {"1": 4.0}}).json() == {"outside": None}
    assert refused_examples(client) == []


def test_a_trained_user_gets_what_they_have_not_rated(client: httpx.Client) -> None:
    """Without any of their items in any row of the generation, held out or not; ids may hold slashes."""
    answer = client.get("/models/taste/recommend/odd/3", params={"top": 7})
    schemas.UserRecommendations.model_validate(answer.json())
    rated = {rating["film"] for rating in ratings(range(41)) if rating["who"] == "odd/3"}
    assert answer.json()["user"] == "odd/3"
    assert not set(films(answer)) & rated
    assert all(film % 2 for film in films(answer)[:3])
    refused(client.get("/models/taste/recommend/nobody"), 404, "POST ratings to /models/taste/recommend")
    refused(client.get("/models/taste/recommend/odd/3", params={"top": 1001}), 422, "top is ")


def test_similar_items_are_liked_by_the_same_people(client: httpx.Client) -> None:
    """By the cosine of their factors, the nearest first, the item itself left out."""
    answer = client.get("/models/taste/similar/4", params={"top": 6})
    document = answer.json()
    schemas.SimilarItems.model_validate(document)
    assert document["item"] == "4"
    assert all(film % 2 == 0 and film != 4 for film in films(answer))
    similarities = [item["similarity"] for item in document["items"]]
    assert similarities == sorted(similarities, reverse=True)
    assert all(-1 <= one <= 1 for one in similarities)
    refused(client.get("/models/taste/similar/41"), 404, 'taste knows no item "41" in generation 2')


def test_every_endpoint_answers_from_a_chosen_generation(client: httpx.Client) -> None:
    """Film 40 was not in batch 1, so generation 1 doesn't know it; a generation that is not there is 404."""
    old = recommend(client, {"0": 5.0, "40": 5.0}, generation=1, top=1000)
    assert (old.json()["generation"], old.json()["unknown"]) == (1, ["40"])
    assert max(films(old)) == 19
    assert max(films(client.get("/models/taste/recommend/odd/3?generation=1&top=1000"))) <= 19
    refused(client.get("/models/taste/similar/40?generation=1"), 404, "in generation 1")
    for path in ("recommend/odd/3", "similar/4"):
        refused(client.get(f"/models/taste/{path}?generation=9"), 404, "there is no generation 9")
    refused(recommend(client, {"0": 5.0}, generation=9), 404, "there is no generation 9")
    refused(recommend(client, {"0": 5.0}, generation=0), 422, "generation is ")


def test_without_ratings_a_list_of_items_is_enough(client: httpx.Client) -> None:
    """A model of implicit preferences without a rating column takes items by their ids, each of which counts 1."""
    listed = recommend(client, ["0", 2, 4], model="liked")
    weighed = recommend(client, {"0": 1.0, "2": 1.0, "4": 1.0}, model="liked")
    assert films(listed) == films(weighed)
    assert set(listed.json()["items"][0]) == {"item", "score"}
    refused(recommend(client, [True], model="liked"), 422, "ratings has true, which is not an item")
    refused(recommend(client, [], model="liked"), 422, "ratings is empty")


def test_a_recommender_has_the_endpoints_that_it_can_answer(client: httpx.Client) -> None:
    """It predicts for no row and has no clusters; the pages and documents say what it is asked for instead."""
    for path in ("predict", "generations/1/predict"):
        assert client.post(f"/models/taste/{path}", json={}).status_code == 404
    for path in ("rows/1", "profile"):
        assert client.get(f"/models/taste/{path}").status_code == 404
    home = client.get("/").json()
    schemas.Home.model_validate(home)
    asked = {"estimator": "ALS", "kind": "recommendation", "recommend": "/models/taste/recommend"}
    assert home["models"]["taste"] == asked
    assert "/models/taste/recommend" in client.get("/", headers={"Accept": "text/html"}).text
    model = client.get("/models/taste").json()
    schemas.ModelBody.model_validate(model)
    assert (model["user"], model["item"], model["rating"]) == ("who", "film", "stars")
    assert model["ratings"] == {"minimum": 1.0, "maximum": 5.0}
    assert client.get("/models/liked").json()["ratings"] is None
    assert {"rmse", "mae", "r2", "cold_rows"} == set(model["generations"][-1]["metrics"])
    paths = client.get("/openapi.json").json()["paths"]
    for name, given in (("taste", [5.0, 1.0]), ("liked", [1.0, 1.0])):
        body = paths[f"/models/{name}/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        [example] = body["examples"]
        assert list(example["ratings"].values()) == given
        answer = client.post(f"/models/{name}/recommend", json=example).json()
        assert (answer["unknown"], len(answer["items"])) == ([], example["top"])
    assert {"/models/taste/recommend/{user}", "/models/taste/similar/{item}"} <= set(paths)
    assert "/models/taste/predict" not in paths


def test_before_the_first_generation_it_says_what_is_waited_for(tmp_path: Path) -> None:
    """503, as every endpoint that needs a model."""
    with api_of(new_run(tmp_path)) as client:
        refused(recommend(client, {"0": 5.0}), 503, "no generation")
        refused(client.get("/models/taste/similar/4"), 503, "no generation")
