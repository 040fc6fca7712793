"""Declared routes: where each value comes from, what a model is asked, and the answer in the pipeline's own form."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.routes_run import FORM, MODEL_ROUTES, error_of, faults_of
from tests.support.serving_run import (
    PROFILE,
    api_of,
    new_run,
    publish,
    routes_document,
    seal,
    size_of,
    wait_for_generation,
)
from tidemill.api.custom.checks import route_faults
from tidemill.api.custom.params import Parameter, Parameters
from tidemill.api.values import EXAMPLES, from_json, from_text
from tidemill.errors import ParameterError, PipelineInvalid
from tidemill.pipeline import ACTIONS, Raw, parse
from tidemill.run.folder import Run

BATCHES: list[list[dict[str, Any]]] = [
    [{"id": 1, "note": "a green lamp"}, {"id": 2, "hours": 20.0, "note": "lamps"}],
    [{"id": 1, "hours": 6.0, "count": 8}, {"id": 1, "hours": 7.0, "count": 9}, {"id": 5, "hours": 9.0}],
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two windowed generations, one of each batch."""
    run = new_run(tmp_path_factory.mktemp("routes"), document=routes_document(*MODEL_ROUTES))
    for number, rows in enumerate(BATCHES, start=1):
        seal(run, number, rows)
        publish(run, number, [number])
    yield run
    run.close()


@pytest.fixture(scope="module")
def api(run: Run) -> Iterator[httpx.Client]:
    with api_of(run) as client:
        yield client


def size(generation: int, hours: float, count: int = 2) -> float:
    return size_of(generation, {"hours": hours, "count": count})


# --- where a value comes from -------------------------------------------------------------------------------------


def test_a_form_and_a_generation_in_the_path(api: httpx.Client) -> None:
    """A form's texts become the declared types, and the generation is the one in the path."""
    answer = api.post("/predict/1", data={"usage_hours": "1e1", "n": "4"})
    assert answer.json() == {"predicted": size(1, 10.0, 4), "g": 1, "by": "tidemill"}
    assert api.post("/2", data={"usage_hours": "3"}).json() == size(2, 3.0)
    assert api.post("/2", content=b"usage_hours=%33", headers={"Content-Type": FORM}).json() == size(2, 3.0)


def test_the_query(api: httpx.Client) -> None:
    """A GET's values come from its query; what is left out has its default."""
    assert api.get("/asked", params={"usage_hours": "2.5"}).json() == {
        "model": "size",
        "generation": 2,
        "prediction": size(2, 2.5),
    }
    assert api.get("/asked?usage_hours=2.5&n=7&other=x").json()["prediction"] == size(2, 2.5, 7)


def test_features_in_the_path(api: httpx.Client) -> None:
    """A path can have the features themselves."""
    assert api.get("/at/2.5/7").json() == size(2, 2.5, 7)


def test_a_json_object(api: httpx.Client) -> None:
    """A JSON body has the client's names, the generation's too."""
    assert api.post("/json", json={"usage_hours": 1.5, "n": 3}).json() == size(2, 1.5, 3)
    assert api.post("/json", json={"usage_hours": 1, "g": 1}).json() == size(1, 1.0)


def test_a_row_as_one_object(api: httpx.Client) -> None:
    """`inputs.row` is where the whole row is."""
    assert api.post("/nested", json={"device": {"hours": 1, "count": 1, "more": 0}}).json() == size(2, 1.0, 1)
    error = error_of(api.post("/nested", json={"device": {"hours": 1}}))
    assert error == (422, "feature", "in device: count is missing")
    assert error_of(api.post("/nested", json={"device": 5}))[2] == "device is 5, not a JSON object"
    assert error_of(api.post("/nested", json={}))[2] == "device is missing"


def test_rows_of_a_chosen_generation(api: httpx.Client) -> None:
    """Without names of its own a route takes a row or rows, as every model does, of the generation in its path too."""
    rows = [{"hours": 1, "count": 1}, {"hours": 2, "count": 1}]
    assert api.post("/v1/size", json={"rows": rows}).json() == [size(1, 1.0, 1), size(1, 2.0, 1)]
    assert api.post("/v2/size", json=rows[0]).json() == size(2, 1.0, 1)


@pytest.mark.parametrize(
    ("method", "path", "sent", "expected"),
    [
        ("POST", "/2", {"data": {}}, (422, "feature", "usage_hours is missing")),
        ("POST", "/2", {"data": {"usage_hours": ""}}, (422, "feature", 'usage_hours is "", not a finite number')),
        (
            "POST",
            "/2",
            {"data": {"usage_hours": "1", "n": "1.5"}},
            (422, "feature", 'n is "1.5", not a whole number of 64 bits'),
        ),
        (
            "POST",
            "/2",
            {"data": {"usage_hours": "1e999"}},
            (422, "feature", 'usage_hours is "1e999", not a finite number'),
        ),
        (
            "POST",
            "/2",
            {"content": b"\xff=1"},
            (400, "bad-form", "the body is not a form in UTF-8, or has too many fields"),
        ),
        (
            "POST",
            "/2",
            {"content": b"a&" * 2000},
            (400, "bad-form", "the body is not a form in UTF-8, or has too many fields"),
        ),
        ("POST", "/2", {"files": {"x": b"y"}}, (400, "bad-form", f'the body is "multipart/form-data", not {FORM}')),
        (
            "POST",
            "/2",
            {"content": b"x" * (1 << 20) + b"x"},
            (413, "body-too-large", "the body is over 1048576 bytes (1 MiB)"),
        ),
        ("GET", "/asked", {}, (422, "feature", "usage_hours is missing")),
        (
            "GET",
            "/asked?usage_hours=nan&n=x",
            {},
            (422, "feature", 'usage_hours is "nan", not a finite number; n is "x", not a whole number of 64 bits'),
        ),
        ("GET", "/at/x/1", {}, (422, "feature", 'hours is "x", not a finite number')),
        ("POST", "/json", {"json": {"usage_hours": "1"}}, (422, "feature", 'usage_hours is "1", not a finite number')),
        (
            "POST",
            "/json",
            {"json": {"usage_hours": 1, "g": "x"}},
            (422, "parameter", 'g is "x", not a whole number of 64 bits'),
        ),
        ("POST", "/json", {"json": [1]}, (422, "parameter", "the body is [1], not a JSON object")),
        ("POST", "/json", {"content": b"{"}, (400, "bad-json", "the body is not JSON: ")),
        ("POST", "/json", {"content": b""}, (400, "bad-json", "the body is empty")),
        ("POST", "/json", {"json": {"usage_hours": 1, "g": 0}}, (404, "not-found", "there is no generation 0")),
        ("GET", "/history?id=1&most=0", {}, (422, "parameter", 'most is "0", not a whole number from 1 to 1000')),
        ("GET", "/history", {}, (422, "parameter", "id is missing")),
        ("GET", "/search?top=1", {}, (422, "parameter", "name is missing")),
        (
            "POST",
            "/recommend",
            {"json": {"property_features": {}, "num_recommendations": 1001}},
            (422, "parameter", "num_recommendations is 1001, not a whole number from 1 to 1000"),
        ),
    ],
)
def test_a_missing_or_mistyped_value_is_named(
    api: httpx.Client, method: str, path: str, sent: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    """A value that is missing or of another type is told by the name that the client knows."""
    status, code, message = error_of(api.request(method, path, **sent))
    assert (status, code) == expected[:2]
    assert message.startswith(expected[2])


@pytest.mark.parametrize("path", ["/model9/1/cluster", "/9", "/model999999999/1/cluster"])
def test_an_unknown_generation(api: httpx.Client, path: str) -> None:
    """A number that no generation has is 404 and says which there are."""
    answer = api.get(path)
    assert error_of(answer)[0] == 404
    assert error_of(answer)[2].startswith("there is no generation 9")
    assert answer.json()["error"]["hint"] == "published: 1 to 2"


@pytest.mark.parametrize("path", ["/one", "/-1", "/1.0", "/modelx/1/cluster", "/" + "9" * 5000, "/٣"])
def test_a_generation_is_a_number(api: httpx.Client, path: str) -> None:
    """Another word in a generation's place is another address."""
    assert error_of(api.get(path))[:2] == (404, "not-found")


def test_our_own_paths_stay(api: httpx.Client) -> None:
    """A templated path hides none of Tidemill's own."""
    for path in ("/health", "/generations", "/models", "/metrics", "/docs", "/openapi.json", "/generations/1"):
        assert api.get(path).status_code == 200, path
    assert error_of(api.get("/predict/1"))[:2] == (405, "method-not-allowed")


# --- what a model is asked ----------------------------------------------------------------------------------------


def test_clusters(api: httpx.Client) -> None:
    """The clusters of the generation in the path, bare; and of the newest as everywhere."""
    assert api.get("/1").json() == PROFILE["clusters"]
    assert api.get("/clusters").json() == api.get("/models/group/profile").json()
    assert api.post("/group_of", json={"hours": 18}).json() == {
        "cluster": 1,
        "centre": {"hours": 20.0},
        "distance": 2.0,
    }


def test_a_row_by_its_key(api: httpx.Client) -> None:
    """A streamed row's prediction by its key, bare, of the newest row where the key repeats."""
    assert api.get("/model1/2/cluster").json() == 1
    assert api.get("/model2/1/cluster").content == b"0"
    assert api.get("/history?id=1").json() == {
        "rows": [
            {"when": 2, "watched": 9, "size": size(2, 7.0, 9)},
            {"when": 2, "watched": 8, "size": size(2, 6.0, 8)},
        ],
        "last": api.get("/models/size/rows/1").json()["rows"][0]["row"],
        "value": size(2, 7.0, 9),
        "key": "1",
    }
    assert api.get("/found?key=5").json() == api.get("/models/good/rows/5").json()


def test_a_key_of_another_generation(api: httpx.Client) -> None:
    """A key that the generation has not is 404: the hint tells the generations that have it, or that none ever had."""
    answer = api.get("/model1/5/cluster")
    assert error_of(answer) == (404, "not-found", 'no row with id "5" in generation 1')
    assert answer.json()["error"]["hint"] == "it was streamed: ask for generation 2"
    answer = api.get("/model1/77/cluster")
    assert error_of(answer)[0] == 404
    assert "never streamed" in answer.json()["error"]["hint"]
    assert error_of(api.get("/model1/1%20or%201=1/cluster"))[:2] == (422, "parameter")


def test_similar_rows(api: httpx.Client) -> None:
    """The nearest rows by a row's features, in the pipeline's own keys; by a key; by words."""
    answer = api.post("/recommend", json={"property_features": {"hours": 8.5, "count": 3}}).json()
    assert answer["message"] == "found"
    assert [(recommendation["id"], set(recommendation)) for recommendation in answer["recommendations"]] == [
        (5, {"id", "distCol"}),
        (1, {"id", "distCol"}),
    ]
    assert answer["recommendations"][0]["distCol"] == pytest.approx(0.5)
    one = api.post("/recommend", json={"property_features": {"hours": 1, "count": 1}, "num_recommendations": 1})
    assert len(one.json()["recommendations"]) == 1
    assert [one["row"]["id"] for one in api.get("/like/5").json()] == [1, 1]
    assert api.get("/search?name=lamp").json()["items"] == []
    assert error_of(api.get("/like/77"))[0] == 404


def test_recommendations(api: httpx.Client) -> None:
    """Items for a request's own ratings, for a known user, and like another item."""
    answer = api.post("/films", json={"ratings": {"0": 5, "77": 1}, "top": 1}).json()
    assert answer["unknown"] == ["77"]
    assert [set(item) for item in answer["items"]] == [{"film", "stars"}]
    assert [one["item"] for one in api.get("/films/of/ann").json()] == [1, 2]
    assert [one["title"] for one in api.get("/films/like/0?top=1").json()] == ["two"]
    assert error_of(api.get("/films/of/bob"))[0] == 404
    assert error_of(api.post("/films", json={}))[2] == "ratings is missing"


# --- what is told of them -----------------------------------------------------------------------------------------


def test_home_lists_them(api: httpx.Client) -> None:
    """Home has each route with its method, path, model and description, for programs and for people."""
    asked = {"method": "GET", "path": "/asked", "model": "size", "description": "Size, by query"}
    assert asked in api.get("/").json()["routes"]
    page = api.get("/", headers={"Accept": "text/html"}).text
    assert "<code>GET /asked</code> Size, by query" in page


def test_openapi_has_them(api: httpx.Client) -> None:
    """Each route is described: its parameters, its body with examples, and its answer."""
    paths = api.get("/openapi.json").json()["paths"]
    assert {route["path"] for route in MODEL_ROUTES} <= set(paths)
    assert paths["/asked"]["get"]["parameters"] == [
        {
            "name": "usage_hours",
            "in": "query",
            "required": True,
            "description": "In training: 0 to 24",
            "example": 2.5,
            "schema": {"type": "number", "examples": [2.5]},
        },
        {
            "name": "n",
            "in": "query",
            "required": False,
            "description": "In training: 0 to 9",
            "example": 3,
            "schema": {
                "type": "integer",
                "minimum": -(2**63),
                "maximum": 2**63 - 1,
                "default": 2,
                "examples": [3],
            },
        },
    ]
    predict = paths["/predict/{generation}"]["post"]
    assert [(parameter["name"], parameter["in"]) for parameter in predict["parameters"]] == [("generation", "path")]
    body = predict["requestBody"]["content"][FORM]["schema"]
    assert (list(body["properties"]), body["required"]) == (["usage_hours", "n"], ["usage_hours"])
    answer = predict["responses"]["200"]["content"]["application/json"]["schema"]
    assert (answer["required"], answer["properties"]["by"]) == (["predicted", "g", "by"], {"const": "tidemill"})
    bare = paths["/v{generation}/size"]["post"]
    assert bare["requestBody"]["content"]["application/json"]["schema"]["oneOf"][0]["$ref"].endswith("/size.row")
    nested = paths["/nested"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert nested["properties"]["device"] == {"$ref": "#/components/schemas/size.row"}


def test_every_status_is_promised(api: httpx.Client) -> None:
    """Whatever is asked of a route, its answer's status is among those that the document has."""
    bodies: list[dict[str, Any]] = [{}, {"content": b"{"}, {"json": []}, {"content": b"x" * ((1 << 20) + 1)}]
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if not {(method.upper(), path)} & {(one.get("method", verb_of(one)), one["path"]) for one in MODEL_ROUTES}:
                continue
            for address in (re.sub(r"{.*?}", "1", path), re.sub(r"{.*?}", "77", path)):
                for sent in bodies:
                    answer = api.request(method, address, **sent)
                    assert str(answer.status_code) in operation["responses"], (path, answer.text)


def verb_of(route: dict[str, Any]) -> str:
    return ACTIONS[route.get("does", "predict")].method


def test_requests_while_a_generation_arrives(tmp_path: Path) -> None:
    """Many requests at once all get one generation's whole answer while the next is swapped in."""
    run = new_run(tmp_path, document=routes_document(*MODEL_ROUTES, SQL_SIZES))
    seal(run, 1, BATCHES[0])
    publish(run, 1, [1])
    seen: list[tuple[int, Any]] = []
    stop = threading.Event()
    with api_of(run) as client:

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, timeout=30) as own:
                while not stop.is_set():
                    answer = own.get("/sizes")
                    seen.append((answer.status_code, answer.json()))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        seal(run, 2, BATCHES[1])
        publish(run, 2, [1, 2])
        wait_for_generation(client, 2)
        last = client.get("/sizes").json()
        stop.set()
        for thread in threads:
            thread.join()
    run.close()
    whole = {1: [size(1, 2.0, 3), size(1, 20.0, 3)], 2: last["sizes"]}
    assert len(whole[2]) == 5
    assert {status for status, _ in seen} == {200}
    assert all(one["sizes"] == whole[one["g"]] for _, one in seen)


SQL_SIZES = {
    "path": "/sizes",
    "sql": "select size from rows order by batch, size",
    "answer": {"sizes": "list", "g": "generation"},
}


# --- values -------------------------------------------------------------------------------------------------------

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "string": st.text(),
    "bool": st.booleans(),
}


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])))
def test_a_value_is_the_same_in_every_place(drawn: tuple[str, Any]) -> None:
    """As text and as JSON a value comes out as it was."""
    kind, value = drawn
    text = str(value).lower() if kind == "bool" else str(value)
    assert from_json(kind, value) == value
    assert from_text(kind, text) == value


@settings(deadline=None)
@given(
    st.datetimes(timezones=st.timezones() | st.just(UTC), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1))
)
def test_moments_are_in_utc(moment: datetime) -> None:
    """A timestamp comes out in UTC, whatever zone it is written in."""
    try:
        text = moment.isoformat()
        assert from_text("timestamp", text) == datetime.fromisoformat(text)
        assert from_text("timestamp", text).tzinfo is UTC
    except ValueError:
        assert moment.utcoffset() is not None


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(EXAMPLES)), st.text() | st.text("0123456789+-.eE: TZ"))
def test_any_text_is_a_value_or_refused(kind: str, text: str) -> None:
    """Whatever a client sends is a value of the type, or 422 with the client's own name for it."""
    parameters = Parameters([Parameter("x", "their x", "query", kind)])
    given: dict[Any, Any] = {"query": {"their x": text}}
    try:
        from_text(kind, text)
    except ValueError:
        with pytest.raises(ParameterError, match=r"^their x is "):
            parameters.of(given)
    else:
        assert parameters.of(given)["x"] is not None


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        (
            {"model": "group", "does": "similar"},
            'routes[0].does: found "similar" of group, a KMeans; expected one of predict, row, profile',
        ),
        (
            {"model": "size", "does": "profile"},
            'routes[0].does: found "profile" of size, a LinearRegression; expected one of predict, row',
        ),
        ({"model": "taste"}, 'routes[0].does: found "predict" of taste, a ALS; expected one of similar, recommend'),
        (
            {"model": "near", "does": "similar", "inputs": {"text": "q"}},
            "routes[0].inputs.text: found an input for BucketedRandomProjectionLSH; expected one of generation",
        ),
        (
            {"model": "size", "inputs": {"hour": "h"}},
            "routes[0].inputs.hour: found an unknown input; expected one of generation, row, hours, count",
        ),
        (
            {"model": "size", "inputs": {"hours": "h", "count": "h"}},
            'routes[0].inputs.hours: found "h"; expected a name of its own',
        ),
        (
            {"model": "size", "inputs": {"hours": "count"}},
            'routes[0].inputs.hours: found "count"; expected a name of its own',
        ),
        (
            {"model": "size", "method": "GET", "inputs": {"row": "r"}},
            "routes[0].inputs.row: found row, an object; expected a POST route",
        ),
        (
            {"model": "size", "body": "form", "inputs": {"row": "r"}},
            "routes[0].inputs.row: found row, an object; expected a POST route",
        ),
        (
            {"model": "taste", "does": "recommend", "method": "GET"},
            "routes[0]: found ratings, an object; expected a POST route",
        ),
        (
            {"model": "size", "inputs": {"hours": {"name": "h", "default": "x"}}},
            "routes[0].inputs.hours.default: found 'x'; expected a value of the type float",
        ),
        (
            {"model": "near", "does": "similar", "inputs": {"top": {"name": "n", "default": 0}}},
            "routes[0].inputs.top.default: found 0; expected 1 to 1000",
        ),
        ({"model": "size", "answer": "predicted"}, 'routes[0].answer: found "predicted"; expected one of prediction,'),
        (
            {"model": "size", "answer": {"x": "clusters"}},
            'routes[0].answer.x: found "clusters"; expected one of prediction,',
        ),
        ({"model": "size", "items": {"x": "id"}}, "routes[0].items: found keys for a list of rows; expected none"),
        (
            {"model": "near", "does": "similar", "items": {"x": "idd"}},
            'routes[0].items.x: found "idd"; expected a column, or distance',
        ),
        (
            {"model": "words", "does": "similar", "items": {"x": "distance"}},
            'routes[0].items.x: found "distance"; expected a column, or similarity',
        ),
        (
            {"model": "size", "does": "row", "items": {"x": "label"}},
            'routes[0].items.x: found "label"; expected a column, or batch, prediction',
        ),
        (
            {"model": "taste", "does": "recommend", "items": {"x": "title"}},
            'routes[0].items.x: found "title"; expected a column, or item, score',
        ),
        (
            {"model": "taste", "does": "similar", "items": {"x": "hours"}},
            'routes[0].items.x: found "hours"; expected a column, or item, similarity',
        ),
        ({"model": "good", "answer": "centre"}, 'routes[0].answer: found "centre", which no answer of good would have'),
        (
            {"model": "size", "answer": {"x": "distance"}},
            'routes[0].answer.x: found "distance", which no answer of size would have; expected one of prediction,',
        ),
        ({"model": "size", "answer": "probability"}, 'routes[0].answer: found "probability", which no answer'),
        ({"model": "group", "answer": "probabilities"}, 'routes[0].answer: found "probabilities", which no answer'),
        (
            {"model": "size", "answer": "unseen"},
            'routes[0].answer: found "unseen", which no answer of size would have; expected one of prediction, '
            "generation, line, model; none of its features is a string",
        ),
        ({"model": "group", "does": "row", "answer": "label"}, 'routes[0].answer: found "label", which no answer'),
        (
            {"model": "words", "does": "similar", "inputs": {"text": {"name": "name", "default": 5}}},
            "routes[0].inputs.text.default: found 5; expected a value of the type string",
        ),
        (
            {"model": "size", "does": "row", "inputs": {"key": {"name": "id", "default": "x"}}},
            "routes[0].inputs.key.default: found 'x'; expected a value of the type int",
        ),
        (
            {"model": "taste", "does": "recommend", "inputs": {"user": {"name": "who", "default": 1}}},
            "routes[0].inputs.user.default: found 1; expected a value of the type string",
        ),
        (
            {"model": "taste", "does": "similar", "inputs": {"item": {"name": "film", "default": True}}},
            "routes[0].inputs.item.default: found True; expected a value of the type int",
        ),
        (
            {"model": "size", "inputs": {"hours": {"name": "h", "default": 10**400}}},
            "routes[0].inputs.hours.default: found 1000000",
        ),
        (
            {"model": "size", "path": "/x/{hour}"},
            "routes[0].path: found {hour}; expected generation, or a name among inputs or params",
        ),
        ({"model": "size", "path": "/x/{"}, 'routes[0].path: found "/x/{"; expected names in braces'),
        (
            {"model": "size", "path": "/health"},
            'routes[0].path: found "/health"; expected a path that not every run has',
        ),
    ],
)
def test_a_fault_of_a_route(route: dict[str, Any], fault: str) -> None:
    """What a route can't do is told before anything runs, with what it could."""
    faults = faults_of({"path": "/x"} | route)
    assert any(text.startswith(fault) for text in faults), faults


def test_what_each_kind_of_model_has() -> None:
    """The parts that only some models have are no fault where they have them."""
    vector = {"estimator": "LinearSVC", "features": ["hours"], "label": "is_good", "labels": {"0": "bad"}}
    mixture = {"estimator": "GaussianMixture", "features": ["hours"], "params": {"k": 2}}
    titles = {"path": "films.csv", "key": "id", "columns": {"id": "int", "title": "string"}}
    document = routes_document(
        {"path": "/a", "model": "good", "answer": {"x": "probability", "y": "probabilities", "z": "label"}},
        {"path": "/b", "model": "vector", "answer": {"x": "probability", "z": "label"}},
        {"path": "/c", "model": "mixture", "answer": {"x": "probability", "y": "centre", "z": "label"}},
        {"path": "/d", "model": "taste", "does": "recommend", "items": {"x": "title", "y": "score", "z": "id"}},
        {"path": "/e", "model": "good", "does": "row", "items": {"x": "label", "y": "probability", "z": "note"}},
        {"path": "/f", "model": "good", "does": "row", "items": {"x": "unseen"}, "answer": "unseen"},
    )
    document["models"] |= {"vector": vector, "mixture": mixture}
    document["models"]["taste"]["titles"], document["tables"] = "films", {"films": titles}
    assert [one.path for one in route_faults(document)] == [
        "routes[1].answer.x",
        "routes[2].answer.z",
        "routes[3].items.z",
    ]


@pytest.mark.parametrize("column", ["seen", {"type": "timestamp", "default": "0001-01-01T00:00:00+23:00"}])
def test_a_moment_before_the_calendar(column: Any) -> None:
    """A default that is no moment in UTC is a fault, of a column as of a parameter."""
    document = routes_document({"path": "/x", "model": "size"})
    if column == "seen":
        param = {"type": "timestamp", "default": "0001-01-01T00:00:00+23:00"}
        document["routes"] = [{"path": "/x", "sql": "select $at as at", "params": {"at": param}}]
    else:
        document["source"]["columns"]["seen"] = column
    with pytest.raises(PipelineInvalid) as found:
        parse(Raw("devices.toml", Path(), document))
    path = "routes[0].params.at.default" if column == "seen" else "source.columns.seen.default"
    assert [fault.path for fault in found.value.faults] == [path]


def test_a_key_route_needs_a_key() -> None:
    """A route that looks rows up wants a stream with a key."""
    route = {"path": "/x/{key}", "model": "size", "does": "row"}
    assert faults_of(route) == []
    assert faults_of(route, key=None) == [
        "routes[0].does: found a look-up by key; expected a stream with a key; for example [stream] key"
    ]


def test_two_routes_of_one_shape() -> None:
    """Two paths that match the same addresses are a fault; a generation's is another shape."""
    one, two = ({"path": f"/{{{name}}}", "method": "GET", "model": "size", "inputs": {"hours": name}} for name in "ab")
    assert "each path once for GET, whatever its names in braces" in faults_of(one, two)[0]
    other = {"path": "/{generation}", "method": "GET", "model": "group", "does": "profile"}
    assert faults_of(one, other) == []
