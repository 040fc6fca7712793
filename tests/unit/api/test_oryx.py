"""The paths of Oryx 2 on a recommender, a clustering and a classifier: answers, forms, windows, errors."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from tests.support import serving_run
from tests.support.memory_intake import MemoryIntake
from tests.support.serving_run import api_of, chance_of_good, message_of, new_run, publish, routes_document, seal
from tidemill.api.oryx.checks import oryx_faults
from tidemill.kafka.intake import Outcome, RowRequest
from tidemill.scoring.als import packed

JSON = {"Accept": "application/json"}
USERS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
ITEMS = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [-1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
RATED = [[0, 2], [], [1, 2, 3]]
TASTE: tuple[dict[str, Any], dict[str, Any]] = (
    {"estimator": "ALS", "rating": "hours", "settings": serving_run.SETTINGS},
    {
        "user_factors": USERS,
        "item_factors": ITEMS,
        "users": packed(pa.table({"user": ["ann", "b/b", "cy,d"]})),
        "items": packed(pa.table({"item": ["i0", "i/1", "i,2", "i3", "i4"]})),
        "rated_offsets": np.cumsum([0, *map(len, RATED)]),
        "rated_items": np.array([item for items in RATED for item in items], dtype=np.int32),
    },
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    document = routes_document() | {"serve": {"oryx": ["taste", "group", "good"]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(serving_run.SEARCHING, "taste", TASTE)
        run = new_run(tmp_path_factory.mktemp("oryx"), document=document)
        seal(run, 1, [{"id": 1}])
        publish(run, 1, [1])
        with api_of(run) as client:
            yield client


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/recommend/ann", ["i/1,0.0", "i4,0.0", "i3,-1.0"]),
        ("/recommend/ann?howMany=1&offset=1", ["i4,0.0"]),
        ("/recommend/ann?considerKnownItems=true&howMany=2", ['"i,2",3.0', "i0,1.0"]),
        ("/recommend/b%2Fb?howMany=2&rescorerParams=x", ['"i,2",4.0', "i/1,2.0"]),
        ("/recommendToMany/ann/b%2Fb", ["i/1,1.0", "i4,0.0", "i3,-0.5"]),
        ("/recommendToMany/ann/b%2Fb/", ["i/1,1.0", "i4,0.0", "i3,-0.5"]),
        ("/recommendWithContext/ann/", ["i/1,0.0", "i4,0.0", "i3,-1.0"]),
        ("/similarity/i0?howMany=2", ['"i,2",0.6', "i/1,0.0"]),
        ("/similarityToItem/i0/i,2/i3/none", ["0.6", "-1.0", "0.0"]),
        ("/estimate/ann/i,2/none/i3", ["3.0", "0.0", "-1.0"]),
        ("/estimateForAnonymous/i0/none", ["0.0"]),
        ("/knownItems/cy,d", ["i/1", '"i,2"', "i3"]),
        ("/knownItems/nobody", []),
        ("/because/ann/i/1", None),
        ("/because/ann/i%2F1", ['"i,2",0.8', "i0,0.0"]),
        ("/because/b%2Fb/i0", []),
        ("/mostSurprising/cy,d?howMany=2", ["i3,-1.0", "i/1,2.0"]),
        ("/popularRepresentativeItems", ['"i,2"', '"i,2"']),
        ("/mostActiveUsers", ['"cy,d",3', "ann,2", "b/b,0"]),
        ("/mostPopularItems?howMany=2", ['"i,2",2', "i0,1"]),
        ("/item/allIDs", ["i0", "i/1", '"i,2"', "i3", "i4"]),
        ("/user/allIDs", ["ann", "b/b", '"cy,d"']),
        ("/assign/9", ["1"]),
        ("/distanceToNearest/9", ["1.0"]),
        ("/predict/lamp,0.5,true", ["0"]),
    ],
)
def test_answers(api: httpx.Client, path: str, lines: list[str] | None) -> None:
    """One value or pair a line, quoted where it must be; worked out by hand from the factors above."""
    answer = api.get(path)
    if lines is None:
        assert answer.status_code == 404
        return
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    got = answer.text.splitlines()
    assert [line.rsplit(",", 1)[0] for line in got] == [line.rsplit(",", 1)[0] for line in lines]
    for ours, theirs in zip(got, lines, strict=True):
        last = ours.rsplit(",", 1)[-1]
        assert ours == theirs or float(last) == pytest.approx(float(theirs.rsplit(",", 1)[-1]), abs=1e-6)


def test_ratings_of_the_request(api: httpx.Client) -> None:
    """A new user's factor is exact: the same that our own endpoint uses; in a context, that of the user with more."""
    own = api.post("/models/taste/recommend", json={"ratings": {"i0": 5.0, "i/1": 1.0}}).json()["items"]
    there = api.get("/recommendToAnonymous/i0=5/i%2F1/none=3", headers=JSON).json()
    assert [(item["id"], item["value"]) for item in there] == [(item["item"], item["score"]) for item in own]
    value = api.get("/estimateForAnonymous/i,2/i0=5/i%2F1").text
    assert float(value) == pytest.approx(own[0]["score"], rel=1e-6)
    before = dict(line.split(",") for line in api.get("/recommend/b%2Fb").text.splitlines() if line[0] != '"')
    after = dict(
        line.split(",") for line in api.get("/recommendWithContext/b%2Fb/i0=-9").text.splitlines() if line[0] != '"'
    )
    assert float(after["i3"]) > float(before["i3"])
    assert "i0" not in after


def test_our_own_names(api: httpx.Client) -> None:
    """The same answers by our own endpoints, with the titles of items, the generation, and what is not known."""

    def own(path: str, body: dict[str, Any] | None = None) -> Any:
        answer = api.get(path) if body is None else api.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["model"], answer.json()["generation"]) == ("taste", 1)
        return answer.json()

    assert own("/models/taste/popular?top=1")["items"] == [{"item": "i,2", "users": 2}]
    assert own("/models/taste/users?top=2")["users"] == [{"user": "cy,d", "items": 3}, {"user": "ann", "items": 2}]
    assert own("/models/taste/rated/cy%2Cd?top=1")["items"] == [{"item": "i3", "score": -1.0}]
    group = own("/models/taste/recommend-to-group", {"users": ["ann", "b/b"], "top": 1})
    assert group["items"] == [{"item": "i/1", "score": 1.0}]
    because = own("/models/taste/because", {"user": "ann", "item": "i/1", "top": 1})["items"]
    assert because == [{"item": "i,2", "similarity": pytest.approx(0.8)}]
    estimates = own("/models/taste/estimate", {"user": "ann", "items": ["i,2", "none"]})
    assert (estimates["items"], estimates["unknown"]) == ([{"item": "i,2", "score": 3.0}], ["none"])
    rated = own("/models/taste/estimate", {"ratings": {"i0": 5, "i/1": 1}, "items": ["i,2"]})["items"][0]["score"]
    assert rated == pytest.approx(float(api.get("/estimateForAnonymous/i,2/i0=5/i%2F1").text), rel=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("recommend-to-group", {"users": ["nobody"]}, 404),
        ("recommend-to-group", {"users": []}, 422),
        ("estimate", {"items": ["i0"]}, 422),
        ("estimate", {"items": ["i0"], "user": "ann", "ratings": {"i0": 1}}, 422),
        ("estimate", {"items": ["i0"], "ratings": {"none": 1}}, 422),
        ("because", {"user": "ann"}, 422),
        ("because", {"user": "ann", "item": "none"}, 404),
    ],
)
def test_our_own_refusals(api: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    """Who or what is unknown is 404; a body that asks for nothing, or for two things, is 422."""
    assert api.post(f"/models/taste/{path}", json=body).status_code == status


def test_both_forms(api: httpx.Client) -> None:
    """JSON where Accept prefers it, with ids and values; else CSV, of the type that was asked for."""
    assert api.get("/recommend/ann?howMany=1", headers=JSON).json() == [{"id": "i/1", "value": 0.0}]
    assert api.get("/mostPopularItems?howMany=1", headers=JSON).json() == [{"id": "i,2", "count": 2}]
    assert api.get("/item/allIDs", headers=JSON).json() == ["i0", "i/1", "i,2", "i3", "i4"]
    csv = api.get("/item/allIDs", headers={"Accept": "text/csv;q=0.9, application/json;q=0.1"})
    assert csv.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/recommend/nobody", 404, 'knows no user "nobody"'),
        ("/similarity/i0/none", 404, 'knows no item "none"'),
        ("/estimate/ann", 404, ""),
        ("/recommend/ann?howMany=0", 400, "howMany is 0"),
        ("/recommend/ann?howMany=99999&offset=2", 400, "howMany is 99999"),
        ("/recommend/ann?offset=x", 400, 'offset is "x", not a whole number'),
        ("/recommendToAnonymous/none", 400, "none of the items is known"),
        ("/recommendToAnonymous/i0=many", 400, 'the rating of "i0" is "many", not a number'),
        ("/recommendToMany/", 400, "the path has 0 values"),
        ("/assign/x", 400, 'hours is "x", not a finite number'),
        ("/predict/1,2", 400, "the data point has 2 values"),
        ("/predict/%22a", 400, "is no line of CSV"),
        ("/feature/importance", 404, "has no feature importances"),
    ],
)
def test_refusals(api: httpx.Client, path: str, status: int, message: str) -> None:
    """Who or what is unknown is 404, what can't be read 400; the message names it."""
    answer = api.get(path)
    assert (answer.status_code, message in message_of(answer)) == (status, True), answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", "/pref/ann/i0"), ("DELETE", "/pref/ann/i0"), ("POST", "/ingest"), ("POST", "/add")),
        *(("POST", "/add/1"), ("POST", "/train"), ("POST", "/train/1,2,3")),
    ],
)
def test_writes_are_refused(api: httpx.Client, method: str, path: str) -> None:
    """As by Oryx's serving layer where it is read-only."""
    answer = api.request(method, path, content=b"" if method == "POST" else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read-only")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, MemoryIntake]]:
    """A run of a stream of ratings that takes rows from requests, and what is written into it."""
    document = routes_document() | {"serve": {"oryx": ["taste", "group"], "cors": ["https://example.org"]}}
    columns = {"kind": "string", "count": "int", "hours": "float", "seen": "timestamp", "note": "string?"}
    document["source"] = {"open": True, "columns": columns}
    document["stream"] = {"topic": "ratings"}
    document["models"] = {name: document["models"][name] for name in ("taste", "group")}
    intake = MemoryIntake()
    with api_of(new_run(tmp_path_factory.mktemp("open"), document=document), intake=intake) as client:
        yield client, intake


def test_ratings_are_written(opened: tuple[httpx.Client, MemoryIntake]) -> None:
    """A rating becomes a row with the time of now, or of the line; a request's lines are written together."""
    client, intake = opened
    intake.messages.clear()
    assert client.post("/pref/a%2Fb/7", content=b"4.5\n").status_code == 204
    assert client.post("/pref/ann/8").status_code == 204
    body = gzip.compress(b'ann,1\n"b,c",2,3.5\nd,3,-1,1700000000000\n')
    assert client.post("/ingest", content=body, headers={"Content-Encoding": "gzip"}).status_code == 204
    rows = [(row["kind"], row["count"], row["hours"]) for row in intake.rows]
    assert rows == [("a/b", 7, 4.5), ("ann", 8, 1.0), ("ann", 1, 1.0), ("b,c", 2, 3.5), ("d", 3, -1.0)]
    assert str(intake.rows[-1]["seen"]).startswith("2023-11-14T22:13:20")
    assert all(row["seen"] for row in intake.rows)


def test_a_repeated_rating_is_the_same_request(
    opened: tuple[httpx.Client, MemoryIntake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an Idempotency-Key it has the same digest, whatever the time is."""
    client, intake = opened
    requests: list[RowRequest] = []
    accept = intake.accept

    def noting(request: RowRequest) -> Future[Outcome]:
        requests.append(request)
        return accept(request)

    monkeypatch.setattr(intake, "accept", noting)
    for body in (b"4.5", b"4.5", b"3"):
        assert client.post("/pref/ann/7", content=body, headers={"Idempotency-Key": "k"}).status_code == 204
    assert {request.key for request in requests} == {"k"}
    assert [request.digest == requests[0].digest for request in requests] == [True, True, False]


def test_data_points_are_written(opened: tuple[httpx.Client, MemoryIntake]) -> None:
    """A whole row of the stream a line; what may be missing may be empty."""
    client, intake = opened
    intake.messages.clear()
    assert client.post("/add/ann,1,2.5,2026-01-02T03:04:05Z,").status_code == 204
    assert client.post("/add", content=b"bo,2,3,2026-01-02T03:04:05Z,hi\n").status_code == 204
    long = "x" * (1 << 18)  # twice as much as Python's csv module takes by default
    assert client.post("/add", content=f"cy,3,1,2026-01-02T03:04:05Z,{long}\n".encode()).status_code == 204
    assert [(row["kind"], row["hours"], row.get("note")) for row in intake.rows] == [
        ("ann", 2.5, None),
        ("bo", 3.0, "hi"),
        ("cy", 1.0, long),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/pref/ann/8", b"many", 400),
        ("POST", "/pref/ann/x", b"", 400),
        ("DELETE", "/pref/ann/8", None, 403),
        ("POST", "/ingest", b"ann,1\nann,1,\n", 400),
        ("POST", "/ingest", b"ann,1\nann\n", 400),
        ("POST", "/ingest", b"ann,1,2,soon\n", 400),
        ("POST", "/add/1", b"", 400),
        ("POST", "/add", b'"\n', 400),
        ("POST", "/add", b"ann,1,x,2026-01-02T03:04:05Z,\n", 400),
    ],
)
def test_what_can_not_be_written(
    opened: tuple[httpx.Client, MemoryIntake], method: str, path: str, body: bytes | None, status: int
) -> None:
    """Nothing of the request is written; a rating can't be taken back."""
    client, intake = opened
    intake.messages.clear()
    answer = client.request(method, path, content=body)
    assert (answer.status_code, intake.messages) == (status, []), answer.text


def test_pages_of_other_sites_may_not_write(opened: tuple[httpx.Client, MemoryIntake]) -> None:
    """A browser sends text without asking first, so a page's origin must be the API's own or a named one."""
    client, intake = opened
    intake.messages.clear()
    statuses = [
        client.post("/pref/ann/8", headers={"Origin": origin}).status_code
        for origin in ("https://evil.example", "null", "https://example.org", str(client.base_url).rstrip("/"))
    ]
    assert statuses == [403, 403, 204, 204]
    assert len(intake.messages) == 2


def zipped(text: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.csv", text)
    return made.getvalue()


def test_data_points_of_a_body(api: httpx.Client) -> None:
    """Lines: plain, compressed, or parts of a form; a whole row of the stream gives its features."""
    lines = b"lamp,0.5,true\nfan,3,false\n"
    row = "7,fan,3,5,false,2026-01-02T03:04:05Z,,0,1.5"
    expected = "0\n1\n"
    assert api.post("/predict", content=lines).text == expected
    assert api.get(f"/predict/{row}").text == "1\n"
    assert api.post("/predict", content=lines, headers=JSON).json() == ["0", "1"]
    for encoding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        assert api.post("/predict", content=compress(lines), headers={"Content-Encoding": encoding}).text == expected
    form = {"a": ("a", gzip.compress(lines), "application/gzip"), "b": ("b", zipped(lines), "application/zip")}
    assert api.post("/predict", files=form).text == expected * 2
    assert (
        api.post("/predict", content=gzip.compress(lines)[:-9], headers={"Content-Encoding": "gzip"}).status_code == 400
    )
    assert api.post("/predict", content=b"\xff").status_code == 400


def test_each_class_and_its_probability(api: httpx.Client) -> None:
    """In the order of the classes; a clustering has none at this path."""
    chance = chance_of_good(1, {"hours": 3.0})
    answer = api.get("/classificationDistribution/fan,3,false", headers=JSON).json()
    assert answer == [{"id": "0", "value": pytest.approx(1 - chance)}, {"id": "1", "value": pytest.approx(chance)}]


def test_ready_and_documented(api: httpx.Client, tmp_path: Path) -> None:
    """``/ready`` is 200 once there is a model, 503 before, as all the others; OpenAPI has every path."""
    assert (api.get("/ready").status_code, api.head("/ready").status_code) == (200, 200)
    paths = api.get("/openapi.json").json()["paths"]
    names = {parameter["name"] for parameter in paths["/recommend/{user}"]["get"]["parameters"]}
    assert names == {"user", "howMany", "offset", "considerKnownItems"}
    run = new_run(tmp_path, document=routes_document() | {"serve": {"oryx": "taste"}})
    with api_of(run) as client:
        assert [client.get(path).status_code for path in ("/ready", "/item/allIDs", "/assign/1")] == [503, 503, 404]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("taste", []),
        (["taste", "group", "good"], []),
        ("tast", ['"tast"']),
        ("words", ['"words", a IDF']),
        (["good", "size"], ['"good" and "size"']),
    ],
)
def test_a_fault_of_the_file(names: Any, found: list[str]) -> None:
    """A name of no model, a model that Oryx has no paths for, and two with the same paths."""
    raw = routes_document() | {"serve": {"oryx": names}}
    assert [fault.found for fault in oryx_faults(raw)] == found
