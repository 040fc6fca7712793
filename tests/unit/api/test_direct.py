"""Predictions are answered without FastAPI; nobody can tell, but by the time it takes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import orjson
import pytest
import structlog
from starlette.types import Message, Scope

from tests.support.serving_run import DOCUMENT, KEY, new_run, publish, seal
from tidemill.api.app import create_app
from tidemill.api.direct import Application
from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import CatalogError
from tidemill.run.folder import Run
from tidemill.scoring import RowScorer
from tidemill.web.api_key import ApiKey

GOOD = {"kind": "lamp", "hours": 2.5, "on": True}
SIZE = {"hours": 2, "count": 3}
ROUTES: list[dict[str, Any]] = [
    *DOCUMENT["routes"],
    {"path": "/by/2", "method": "GET", "model": "group", "answer": "distance"},
    {"path": "/by/3", "model": "group", "answer": {"of": {"value": 2}}},  # in the place of the next one
    {"path": "/by/{generation}", "model": "size", "answer": {"n": "generation", "p": "prediction"}},
    {"path": "/{kind}/good", "method": "GET", "model": "good"},
    {"path": "/form", "body": "form", "model": "group", "answer": {"c": "centre", "d": "distance"}},
    {"path": "/named", "model": "good", "inputs": {"kind": "sort", "on": {"name": "lit", "default": True}}},
    {"path": "/asked", "method": "GET", "model": "group"},
]
FORM = {"content-type": "application/x-www-form-urlencoded"}
Headers = dict[str, str]
Asked = tuple[str, str, Headers, list[bytes]]


def post(target: str, body: Any = GOOD, headers: Headers | None = None) -> Asked:
    return "POST", target, headers or {}, [body if isinstance(body, bytes) else orjson.dumps(body)]


MANY = {"rows": [GOOD, GOOD | {"kind": "new"}, GOOD | {"hours": -1e300, "more": 1}, GOOD | {"hours": 3}]}
REQUESTS: list[Asked] = [
    post("/models/good/predict"),
    post("/models/good/predict?generation=1&x=%FF"),
    post("/models/good/predict", MANY),
    post("/models/good/predict", {"rows": []}),
    post("/models/good/predict", {"rows": [GOOD, 1, {}]}),
    post("/models/good/predict", {"rows": [GOOD] * 10_001}),
    post("/models/good/predict", b""),
    post("/models/good/predict", b"{"),
    post("/models/good/predict", b"[]"),
    post("/models/good/predict", GOOD | {"kind": None}),
    post("/models/good/predict", GOOD | {"kind": "unseen"}),
    post("/models/good/predict", b" " * (8 << 20) + b"1"),
    post("/models/good/predict", GOOD | {"more": "x" * (2 << 20)}),
    post("/models/good/predict", GOOD, {"content-type": "text/plain"}),
    post("/models/good/predict", GOOD, {"origin": "http://other"}),
    post("/models/good/predict", GOOD, {"origin": "http://friend"}),
    post("/models/good/predict", GOOD, {"host": "evil.example"}),
    post("/models/good/predict", GOOD, {"authorization": f"Bearer {KEY}"}),
    post("/models/good/predict", GOOD, {"x-api-key": "wrong"}),
    post("/models/%67ood/predict"),
    post("/models%2fgood/predict"),
    post("/models/good/predict/"),
    post("//models/good/predict"),
    post("/models/Good/predict"),
    post("/models/words/predict"),
    ("POST", "/models/good/predict", {}, [b'{"kind": "la', b'mp", "hours": 2.5, ', b"", b'"on": true}']),
    *((method, "/models/good/predict", {}, [b""]) for method in ("GET", "HEAD", "PUT", "OPTIONS", "DELETE")),
    ("OPTIONS", "/models/good/predict", {"origin": "http://friend", "access-control-request-method": "POST"}, [b""]),
    ("GET", "/models/good/generations/1/predict", {}, [b""]),
    *(
        post(f"/models/good/generations/{number}/predict")
        for number in (
            "1",
            "2",
            "3",
            "7",
            "0",
            "-1",
            "01",
            "+1",
            "1.0",
            "%31",
            "1_0",
            "one",
            "",
            "9" * 9,
            "9" * 30,
            "1/2",
        )
    ),
    post("/models/size/predict", SIZE),
    post("/models/size/predict", {"rows": [SIZE, SIZE | {"count": 4.0}]}),
    post("/models/size/generations/1/predict", SIZE),
    post("/models/group/predict", {"hours": 9}),
    post("/models/group/predict", {"rows": [{"hours": 9}, {"hours": 1e200}]}),
    post("/models/group/generations/2/predict", {"hours": 9}),
    post("/models/group/generations/1/predict", {"hours": 9}),
    post("/is_good", MANY),
    post("/is_good"),
    post("/size_of", {"rows": [SIZE] * 3}),
    post("/size_of?x=1", SIZE),
    ("GET", "/size_of", {}, [b""]),
    *(post(f"/by/{number}", SIZE) for number in ("1", "2", "3", "9", "0", "x", "1%2f2", "%31")),
    ("GET", "/lamp/good?hours=2&on=true", {}, [b""]),
    ("HEAD", "/lamp/good?hours=2&on=true", {}, [b""]),
    ("GET", "/la%2fmp/good?hours=2&on=true", {}, [b""]),
    ("GET", "/lamp/good?hours=many", {}, [b""]),
    ("GET", "/asked?hours=3", {}, [b""]),
    ("HEAD", "/asked?hours=3", {}, [b""]),
    ("POST", "/asked?hours=3", {}, [b""]),
    post("/form", b"hours=3", FORM),
    post("/form", b"hours=x", FORM),
    post("/named", {"sort": "lamp", "hours": 1}),
    post("/named", {"sort": "lamp"}),
    ("GET", "/health", {}, [b""]),
]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "key": {"key": ApiKey(KEY)},
    "own names": {"own_names": True},
    "cors": {},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Run]]:
    """A run with two generations and a third in training, by the name of its settings."""
    opened: dict[str, Run] = {}

    def of(name: str) -> Run:
        origins = ['serve.cors=["http://friend"]'] if name == "cors" else []
        run = new_run(tmp_path_factory.mktemp("direct"), *origins, document=DOCUMENT | {"routes": ROUTES})
        for number in (1, 2):
            seal(run, number, [{}])
            publish(run, number, [number])
        run.catalog.begin_generation(3, [1, 2], 6)
        return opened.setdefault(name, run)

    yield of
    for run in opened.values():
        run.close()


def application(run: Run, direct: bool, log: io.StringIO | None = None, **settings: Any) -> Application:
    """The API, which logs into ``log``."""
    lines = structlog.PrintLogger(log or io.StringIO())
    registry = ModelRegistry(run, structlog.wrap_logger(lines, [structlog.processors.JSONRenderer()]))
    app = create_app(run, registry, direct=direct, **settings)
    registry.refresh()
    return app


async def answer(app: Application, asked: Asked, hangs_up: bool = False) -> list[Message]:
    """What the app sends."""
    method, target, headers, chunks = asked
    raw_path, _, query = target.partition("?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 5000),
        "client": ("127.0.0.1", 5001),
        "scheme": "http",
        "root_path": "",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in ({"host": "localhost:5000"} | headers).items()],
        "state": {},
    }
    sent: list[Message] = []
    last = len(chunks) - 1
    coming: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": index < last or hangs_up}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def all_answers(app: Application, requests: Sequence[Asked]) -> list[Any]:
    async def ask() -> list[Any]:
        return [await answer(app, asked) for asked in requests]

    return anyio.run(ask)


def counted(app: Application) -> list[str]:
    """How many requests the metrics have of each route, method and status."""
    [sent] = all_answers(app, [("GET", "/metrics", {"x-api-key": KEY}, [b""])])
    text = sent[1]["body"].decode()
    return sorted(re.findall(r"tidemill_http_requests_total\{.*|tidemill_http_request_seconds_count\{.*", text))


@pytest.mark.parametrize("name", SETTINGS)
def test_both_ways_answer_alike(runs: Callable[[str], Run], name: str) -> None:
    """Status, headers in their order, body and metrics are the same, byte for byte, of good and of bad requests."""
    run = runs(name)
    direct, framework = (application(run, way, **SETTINGS[name]) for way in (True, False))
    for ours, theirs, asked in zip(
        all_answers(direct, REQUESTS), all_answers(framework, REQUESTS), REQUESTS, strict=True
    ):
        assert ours == theirs, asked[:3]
    assert counted(direct) == counted(framework)


def test_the_requests_of_this_test_go_both_ways(runs: Callable[[str], Run]) -> None:
    """Predictions are answered directly; other requests, and odd notations, are FastAPI's."""
    app = application(runs("ways"), direct=True)
    taken = {
        target
        for method, target, _, _ in REQUESTS
        if app._direct.find({"type": "http", "method": method, "path": unquote(target), "raw_path": target.encode()})
    }
    assert {"/models/good/predict", "/models/good/generations/1/predict", "/is_good", "/by/1", "/form"} <= taken
    assert {"/models/size/predict", "/models/group/generations/2/predict", "/by/3", "/models/%67ood/predict"} <= taken
    assert not {"/models/good/generations/one/predict", "/models%2fgood/predict", "/by/1%2f2", "/health"} & taken


@pytest.mark.parametrize("error", [ZeroDivisionError("a secret"), CatalogError("a file is damaged", "see the log")])
def test_faults_are_alike(runs: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """An unexpected error is 500 and one of the catalog 503, in the same form, both ways."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(RowScorer, "predict_one", fail)
    run = runs(type(error).__name__)
    logs = [io.StringIO(), io.StringIO()]
    asked = [post("/is_good"), post("/models/good/predict")]
    answers = [all_answers(application(run, way, log), asked) for way, log in zip((True, False), logs, strict=True)]
    assert answers[0] == answers[1]
    assert "secret" not in str(answers)
    words = "a file could not be read" if isinstance(error, CatalogError) else "a request failed"
    assert [log.getvalue().count(words) for log in logs] == [2, 2]
    assert answers[0][0][0]["status"] == (503 if isinstance(error, CatalogError) else 500)


def test_a_client_that_is_gone_is_counted_alike(runs: Callable[[str], Run]) -> None:
    """A client that hangs up in the middle of its body gets no answer, and counts as 499."""
    run = runs("gone")
    for direct in (True, False):
        app = application(run, direct)
        assert anyio.run(answer, app, post("/is_good", b"{"), True) == []
        assert any('route="/is_good",status="499"' in line for line in counted(app))


def test_the_document_does_not_depend_on_the_way(runs: Callable[[str], Run], tmp_path: Path) -> None:
    """The OpenAPI document describes all routes."""
    run = runs("document")
    asked: Asked = ("GET", "/openapi.json", {}, [b""])
    ours, theirs = (all_answers(application(run, way), [asked]) for way in (True, False))
    assert ours == theirs
