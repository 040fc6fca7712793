"""Bad requests, each with its status and message, and a walk over everything that the OpenAPI document promises."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from tests.support.serving_run import api_of, new_run, publish, seal, wait_for_generation
from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.context import MAX_LARGE_BODIES
from tidemill.api.dependencies import MAX_BODY_BYTES, MAX_PREDICT_BYTES
from tidemill.api.inputs import MAX_ROWS
from tidemill.api.models.snapshot import Snapshot
from tidemill.run.folder import Run

GOOD = {"kind": "lamp", "hours": 2.5, "on": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = new_run(tmp_path_factory.mktemp("requests"))
    seal(run, 1, [{}])
    publish(run, 1, [1])
    run.catalog.begin_generation(2, [1, 2], 6)
    yield run
    run.close()


@pytest.fixture(scope="module")
def api(run: Run) -> Iterator[httpx.Client]:
    with api_of(run) as client:
        yield client


def error_body(answer: httpx.Response) -> dict[str, str]:
    body = schemas.ErrorBody.model_validate_json(answer.content)
    return body.error.model_dump()


# --- features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hours": None}, "hours is null, not a finite number"),
        ({"hours": "2"}, 'hours is "2", not a finite number'),
        ({"hours": True}, "hours is true, not a finite number"),
        ({"hours": [2]}, "hours is [2], not a finite number"),
        ({"kind": 5}, "kind is 5, not a string"),
        ({"kind": None}, "kind is null, not a string"),
        ({"on": 1}, "on is 1, not true or false"),
        ({"on": "true"}, 'on is "true", not true or false'),
        ({"on": 1, "kind": 2}, "kind is 2, not a string; on is 1, not true or false"),
    ],
)
def test_a_mistyped_feature_is_named(api: httpx.Client, change: dict[str, Any], message: str) -> None:
    """A feature of the wrong type is 422 with its name, what was found and what is wanted; never a silent 0."""
    for path in ("/models/good/predict", "/models/good/generations/1/predict", "/is_good"):
        answer = api.post(path, json=GOOD | change)
        assert (answer.status_code, error_body(answer)["code"]) == (422, "feature")
        assert error_body(answer)["message"] == message
        assert "kind (string), hours (float), on (bool)" in error_body(answer)["hint"]


@pytest.mark.parametrize("count", ["5", 5.5, 1e16, True, None, 2**63, -(2**63) - 1, {}])
def test_an_int_feature_takes_whole_numbers_only(api: httpx.Client, count: object) -> None:
    """A column declared int takes 5, and neither a text, a fraction, a boolean nor more than 64 bits."""
    assert api.post("/models/size/predict", json={"hours": 1, "count": 5}).status_code == 200
    answer = api.post("/models/size/predict", json={"hours": 1, "count": count})
    assert answer.status_code == 422
    assert error_body(answer)["message"].startswith("count is ")
    assert error_body(answer)["message"].endswith("not a whole number of 64 bits")


def test_a_float_feature_takes_whole_numbers_too(api: httpx.Client) -> None:
    """A column declared float takes 5 as well as 5.0."""
    whole, point = (api.post("/models/size/predict", content=b'{"hours": %s, "count": 1}' % h) for h in (b"5", b"5.0"))
    assert whole.json() == point.json()


def test_a_missing_feature_is_named(api: httpx.Client) -> None:
    """All features that are missing are named in one answer."""
    answer = api.post("/models/good/predict", json={"hours": 1, "unknown": 2})
    assert (answer.status_code, error_body(answer)["message"]) == (422, "kind is missing; on is missing")
    assert error_body(api.post("/models/good/predict", json={}))["message"].count("missing") == 3


def test_rows_that_are_no_list(api: httpx.Client) -> None:
    """Rows that are no list are told as such, but a whole row of a stream that has such a column is answered."""
    answer = api.post("/models/good/predict", json={"rows": 3})
    assert (answer.status_code, error_body(answer)["message"]) == (422, "rows is 3, not a list")
    assert api.post("/models/good/predict", json=GOOD | {"rows": 3}).status_code == 200


def test_a_fault_in_a_list_is_placed(api: httpx.Client) -> None:
    """In a list of rows each fault says which row it is in; at most five are shown, the rest counted."""
    rows = [GOOD, GOOD | {"hours": "x"}, 7, {"kind": "fan", "hours": 1}]
    answer = api.post("/models/good/predict", json={"rows": rows})
    assert answer.status_code == 422
    assert error_body(answer)["message"] == (
        'rows[1].hours is "x", not a finite number; rows[2] is 7, not a JSON object; rows[3].on is missing'
    )
    message = error_body(api.post("/models/good/predict", json={"rows": [{}] * 4}))["message"]
    assert message.count("missing") == 5
    assert message.endswith("; and 7 more")


def test_a_long_value_is_cut(api: httpx.Client) -> None:
    """A message stays readable whatever was sent."""
    answer = api.post("/models/good/predict", json=GOOD | {"hours": "x" * 100_000})
    assert len(error_body(answer)["message"]) < 120


def test_a_value_that_training_never_saw_is_answered(api: httpx.Client) -> None:
    """A string that no training row had is a string all the same."""
    assert api.post("/models/good/predict", json=GOOD | {"kind": "toaster"}).status_code == 200


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"", 400, "bad-json", "the body is empty"),
        (b"{", 400, "bad-json", "the body is not JSON: "),
        (b"hours=2&count=3", 400, "bad-json", "the body is not JSON: "),
        (b'{"hours": NaN, "count": 1}', 400, "bad-json", "the body is not JSON: "),
        (b'{"hours": 1e999, "count": 1}', 400, "bad-json", "the body is not JSON: "),
        (b'{"hours": "\xff"}', 400, "bad-json", "the body is not JSON: "),
        (b"[" * 100_000, 400, "bad-json", "the body is not JSON: "),
        (b"[]", 422, "feature", "the body is [], not a JSON object"),
        (b"5", 422, "feature", "the body is 5, not a JSON object"),
        (b"null", 422, "feature", "the body is null, not a JSON object"),
        (b'{"rows": 5}', 422, "feature", "rows is 5, not a list"),
    ],
)
def test_a_body_that_is_no_row(api: httpx.Client, body: bytes, status: int, code: str, message: str) -> None:
    """A body that is no JSON is 400, JSON of another form 422, each with what a row has."""
    for path in ("/models/size/predict", "/models/size/generations/1/predict", "/size_of"):
        answer = api.post(path, content=body)
        assert (answer.status_code, error_body(answer)["code"]) == (status, code)
        assert error_body(answer)["message"].startswith(message)
        assert '{"rows": [...]}' in error_body(answer)["hint"]


def padded(size: int) -> bytes:
    row = b'{"hours": 2, "count": 3}'
    return row + b" " * (size - len(row))


def chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]


@pytest.mark.parametrize("cut", [lambda body: body, chunks], ids=["whole", "chunked"])
@pytest.mark.parametrize(
    ("path", "most", "words"),
    [
        ("/models/size/generations/predict", MAX_BODY_BYTES, "1048576 bytes (1 MiB)"),
        ("/size_of", MAX_PREDICT_BYTES, "8388608 bytes (8 MiB)"),
    ],
)
def test_a_body_has_at_most_some_mebibytes(api: httpx.Client, cut: Any, path: str, most: int, words: str) -> None:
    """1 MiB is read, of rows to predict for 8 MiB; one byte more is 413, whether or not the size was announced."""
    for size in (MAX_BODY_BYTES - 1, MAX_BODY_BYTES, most):
        assert api.post(path, content=cut(padded(size))).status_code == 200
    for size in (most + 1, most + (8 << 20)):
        answer = api.post(path, content=cut(padded(size)))
        assert (answer.status_code, error_body(answer)["code"]) == (413, "body-too-large")
        assert words in error_body(answer)["message"]
    assert api.post(path, content=padded(100)).status_code == 200


def test_many_large_bodies_at_once_are_all_answered(api: httpx.Client) -> None:
    """Only a few large bodies are in memory at a time: the others wait, and small requests pass them."""
    row = {"hours": 1, "count": 2, "other": "x" * 180}
    with ThreadPoolExecutor(3 * MAX_LARGE_BODIES) as pool:
        large = [
            pool.submit(api.post, "/size_of", json={"rows": [row] * MAX_ROWS}) for _ in range(3 * MAX_LARGE_BODIES)
        ]
        assert all(api.post("/size_of", json=row).status_code == 200 for _ in range(20))
        assert {len(one.result().raise_for_status().json()) for one in large} == {MAX_ROWS}


def test_a_request_has_at_most_ten_thousand_rows(api: httpx.Client) -> None:
    """10,000 rows are answered, one more is 413."""
    row = {"hours": 1, "count": 2}
    assert len(api.post("/size_of", json={"rows": [row] * MAX_ROWS}).json()) == MAX_ROWS
    answer = api.post("/size_of", json={"rows": [row] * (MAX_ROWS + 1)})
    assert (answer.status_code, error_body(answer)["message"]) == (413, "10001 rows in one request; at most 10000")


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "message", "hint"),
    [
        ("GET", "/nothing", 404, 'there is nothing at "/nothing"', "GET / lists"),
        ("POST", "/rows", 404, "this stream takes no rows by HTTP", "open = true"),
        ("GET", "/health/", 404, 'there is nothing at "/health/"', "GET / lists"),
        ("GET", "/models/goood", 404, 'there is no model "goood"', 'did you mean "good"?'),
        ("POST", "/models/x/predict", 404, 'there is no model "x"', "known: size, good, group"),
        ("GET", "/models/good/colour", 404, 'there is nothing at "/models/good/colour"', "GET / lists"),
        ("GET", "/models/..%2f..%2fetc%2fpasswd", 404, 'there is no model ".."', "known: "),
        ("GET", "/docs/assets/..%2f..%2fcore.py", 404, "there is nothing at ", "GET / lists"),
        ("GET", "/docs/assets/core.py", 404, "there is no such file", "GET /docs"),
        ("POST", "/models/good/generations/7/predict", 404, "there is no generation 7", "published: 1"),
        ("POST", "/models/good/generations/2/predict", 404, "generation 2 is still being trained", "published: 1"),
        ("POST", "/models/good/generations/0/predict", 422, 'generation is "0": ', "GET /docs"),
        ("POST", "/models/good/generations/-1/predict", 422, 'generation is "-1": ', "GET /docs"),
        ("POST", "/models/good/generations/one/predict", 422, 'generation is "one": ', "GET /docs"),
        ("POST", f"/models/good/generations/{10**30}/predict", 422, "generation is ", "GET /docs"),
        ("GET", "/generations/9", 404, "there is no generation 9", "published: 1"),
        ("GET", "/generations/x", 422, 'generation is "x": ', "GET /docs"),
        ("GET", "/generations?limit=0", 422, 'limit is "0": ', "GET /docs"),
        ("GET", "/generations?after=-1", 422, 'after is "-1": ', "GET /docs"),
        ("GET", "/models/group/profile?generation=0", 422, 'generation is "0": ', "GET /docs"),
        ("GET", "/models/good/predict", 405, 'GET is not for "/models/good/predict"', "use POST"),
        ("DELETE", "/health", 405, 'DELETE is not for "/health"', "use GET"),
        ("POST", "/docs", 405, 'POST is not for "/docs"', "use GET"),
    ],
)
def test_a_wrong_address(api: httpx.Client, method: str, path: str, status: int, message: str, hint: str) -> None:
    """Every wrong address or parameter gets the same error form, a message that names it and a way out."""
    answer = api.request(method, path, json=GOOD if method == "POST" else None)
    error = error_body(answer)
    assert answer.status_code == status
    assert error["message"].startswith(message)
    assert hint in error["hint"]
    assert (status == 405) == ("allow" in answer.headers)


# --- the OpenAPI document -----------------------------------------------------------------------------------------

SHAPES: dict[str, Any] = {
    "/": schemas.Home,
    "/health": schemas.Health,
    "/status": schemas.StatusBody,
    "/stream": schemas.StreamBody,
    "/pipeline": schemas.Home,
    "/batches": list[schemas.BatchBody],
    "/batches/{batch}": schemas.BatchBody,
    "/batches/{batch}/rows": schemas.BatchRows,
    "/rejects": schemas.RejectPlaces,
    "/rejects/reasons": schemas.RejectKinds,
    "/rejects/{place}": schemas.RejectsBody,
    "/generations": list[schemas.GenerationBody],
    "/generations/{generation}": schemas.GenerationBody,
    "/models": list[schemas.ModelBody],
    "/verdict": schemas.VerdictBody,
    "/models/{model}/verdict": schemas.ModelVerdictBody,
    "/models/{model}/verdicts": schemas.VerdictsBody,
    "/models/{model}/matrix": schemas.MatrixBody,
    "/models/{model}": schemas.ModelBody,
    "/models/{model}/history": schemas.History,
    "/models/{model}/profile": schemas.Profile,
    "/models/{model}/points": schemas.Points,
    "/models/{model}/rows/{key}": schemas.FoundRows,
    "/models/{model}/predict": schemas.Answered,
    "/models/{model}/generations/predict": schemas.Across,
    "/models/{model}/generations/{generation}/predict": schemas.Answered,
    "/size_of": schemas.Answered,
}


@pytest.fixture(scope="module")
def document(api: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = api.get("/openapi.json").json()
    return answer


def test_the_inputs_are_typed_with_examples(document: dict[str, Any]) -> None:
    """Each model's rows have the declared types and an example from the newest generation's training."""
    schema = document["components"]["schemas"]["good.row"]
    assert {name: one["type"] for name, one in schema["properties"].items()} == {
        "kind": "string",
        "hours": "number",
        "on": "boolean",
    }
    assert schema["required"] == ["kind", "hours", "on"]
    assert schema["examples"] == [{"kind": "lamp", "hours": 2.5, "on": True}]
    body = document["paths"]["/is_good"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["oneOf"][0] == {"$ref": "#/components/schemas/good.row"}


def test_every_endpoint_is_in_the_document(document: dict[str, Any]) -> None:
    """The document has every endpoint of every model, and the declared routes."""
    per_model = ["", "/history", "/profile", "/rows/{key}", "/verdict", "/verdicts", "/matrix", "/champion"]
    per_model += ["/predict", "/generations/predict", "/generations/{generation}/predict"]
    paths = [f"/models/{model}{rest}" for model in ("size", "good", "group") for rest in per_model]
    paths += [
        "/models/group/points",
        "/status",
        "/stream",
        "/verdict",
        "/pipeline",
        "/batches",
        "/batches/{batch}",
        "/batches/{batch}/rows",
        "/rejects",
        "/rejects/reasons",
        "/rejects/{place}",
        "/",
        "/health",
        "/generations",
        "/generations/{generation}",
        "/models",
        "/metrics",
        "/is_good",
        "/size_of",
    ]
    assert sorted(document["paths"]) == sorted(paths)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def model_of(path: str) -> str:
    parts = path.split("/")
    return (
        parts[2] if len(parts) > 2 and parts[1] == "models" else {"/is_good": "good", "/size_of": "size"}.get(path, "")
    )


def general(path: str) -> str:
    parts = path.split("/")
    return "/".join([*parts[:2], "{model}", *parts[3:]]) if len(parts) > 2 and parts[1] == "models" else path


def filled(path: str, value: str) -> str:
    """The path with this value in each place but that of rejects."""
    return re.sub(r"\{(generation|key|batch)\}", value, path)


def test_every_promise_of_the_document_is_kept(api: httpx.Client, document: dict[str, Any]) -> None:
    """Each operation answers a good request as its schema says, and each bad one with a status that it documents."""
    for path, method, operation in operations(document):
        address = filled(path, "1").replace("{place}", "source")
        schema = document["components"]["schemas"].get(f"{model_of(path)}.row", {})
        example = schema.get("examples", [None])[0]
        if path.endswith("/champion"):
            example = {"generation": 1, "because": "a test"}
        answer = api.request(method, address, json=example if method == "POST" else None)
        expected = 404 if path in ("/models/size/profile", "/models/good/profile") else 200
        if path.endswith("/champion"):
            expected = 409  # it serves already
        assert answer.status_code == expected, (path, answer.text)
        if expected == 200 and general(path) in SHAPES:
            TypeAdapter(SHAPES[general(path)]).validate_json(answer.content)
        bad = [
            api.request(method, address, content=b"{"),
            api.request(method, address, content=b"[]"),
            api.request(method, address, content=b" " * (MAX_PREDICT_BYTES + 1)),
            api.request(method, filled(path, "x")),
            api.request(method, filled(path, "77"), json=example),
            api.request(method, address, params={"generation": "x", "limit": "x"}),
            api.request("PATCH", address),
        ]
        for answer in bad:
            assert str(answer.status_code) in operation["responses"], (path, answer.status_code)
            if answer.status_code != 200:
                error_body(answer)


def test_the_examples_change_with_the_newest_generation(tmp_path: Path) -> None:
    """Before there is a generation the examples are plain values of the type, afterwards what training saw."""
    run = new_run(tmp_path)
    with api_of(run) as client:
        before = client.get("/openapi.json").json()["components"]["schemas"]["good.row"]
        assert before["examples"] == [{"kind": "text", "hours": 1.5, "on": True}]
        publish(run, 1)
        wait_for_generation(client, 1)
        after = client.get("/openapi.json").json()["components"]["schemas"]["good.row"]
        assert after["examples"] == [GOOD]
        assert after["properties"]["hours"]["description"] == "In training: 0 to 24"
    run.close()


def test_the_document_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the document is made the API answers all else; however many ask for it, it is made once a generation."""
    go_on, making = threading.Event(), threading.Semaphore(0)
    whole: Callable[..., dict[str, Any]] = openapi.OpenApiDocument._document

    def slow(self: openapi.OpenApiDocument, snapshot: Snapshot) -> dict[str, Any]:
        making.release()
        assert go_on.wait(30)
        return whole(self, snapshot)

    monkeypatch.setattr(openapi.OpenApiDocument, "_document", slow)
    run = new_run(tmp_path)
    publish(run, 1)
    with api_of(run) as client, ThreadPoolExecutor(50) as pool:
        try:
            asked = [pool.submit(client.get, "/openapi.json") for _ in range(50)]
            assert making.acquire(timeout=30)
            for path in ("/health", "/metrics", "/models", "/docs"):
                assert client.get(path).status_code == 200
        finally:
            go_on.set()
        documents = [one.result().raise_for_status().content for one in asked]
        assert not making.acquire(blocking=False)
        publish(run, 2)
        wait_for_generation(client, 2)
        documents.append(client.get("/openapi.json").content)
        assert making.acquire(blocking=False)
    run.close()
    assert (len(documents), len(set(documents))) == (51, 1)


@pytest.mark.parametrize("path", ["/models/size/predict", "/is_good", "/size_of"])
@pytest.mark.parametrize("body", ["[" * 300 + "]" * 300, '{"hours": ' + "[" * 300 + "]" * 300 + "}"])
def test_a_deeply_nested_value_is_an_answer(tmp_path: Path, path: str, body: str) -> None:
    """A value that is nested too deeply to be shown is refused like any other of the wrong type."""
    run = new_run(tmp_path)
    publish(run, 1)
    with api_of(run) as client:
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "a deeply nested value" in answer.json()["error"]["message"]
    run.close()
