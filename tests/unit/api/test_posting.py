"""``POST /rows``: what a body may be, which rows fit, and what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_intake import MemoryIntake
from tests.support.open_stream import open_pipeline
from tests.support.serving_run import api_of
from tidemill.api import posting
from tidemill.api.posting import Lines, RowBodies
from tidemill.api.routers import rows as rows_router
from tidemill.errors import RowsBusy
from tidemill.kafka.codec import decode
from tidemill.kafka.intake import IN_MEMORY_BYTES, MessageSpool, RowMessage
from tidemill.kafka.messages import messages
from tidemill.run.folder import Run, open_run

JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson; charset=utf-8"}
COLUMNS = {"n": "int", "x": "float?", "word": "string?", "yes": "bool?", "at": "timestamp?"}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(["2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31 12:00", "2026-01-31T12:00:00+02:00", "31.1."]),
    st.just([1]),
)
ROWS = st.dictionaries(st.sampled_from([*COLUMNS, "other"]), VALUES)
BODIES = RowBodies(open_pipeline(columns=COLUMNS, partitions=8).pipeline, Path(), MemoryIntake().objection)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    opened = open_run(open_pipeline(), tmp_path_factory.mktemp("run"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[tuple[httpx.Client, MemoryIntake]]:
    intake = MemoryIntake()
    with api_of(run, intake=intake) as client:
        yield client, intake


@pytest.fixture
def api(served: tuple[httpx.Client, MemoryIntake]) -> tuple[httpx.Client, MemoryIntake]:
    client, intake = served
    intake.__init__()  # type: ignore[misc]  # as new for each test
    return client, intake


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_number_that_json_does_not_have_is_never_missing(value: str) -> None:
    """It is rejected, also in a column that may be missing; as JSON and as a line."""
    body = b'{"n": 1, "x": %s}' % value.encode()
    for request in (BODIES.json(body, None), anyio.run(BODIES.ndjson, pieces(body), None)):
        assert request.messages.count == 0
        assert f"JSON has no {value}" in request.examples[0].reason
        request.messages.close()


@given(st.lists(ROWS, max_size=4))
def test_rows_are_judged_as_the_stream_judges_them(rows: list[dict[str, Any]]) -> None:
    """A row of a request is accepted if a message with it is one, becomes the same row, and gets the partition of the
    source's rows with its key; as JSON and as a line."""
    values = [orjson.dumps(row) for row in rows if is_json(row)]
    table, bad = decode(values, BODIES.columns)
    of_source = [(message.key, message.partition) for message in messages(table, "n", 8)]
    for request in (
        BODIES.json(b"[%s]" % b",".join(values), None),
        anyio.run(BODIES.ndjson, pieces(b"\n".join(values)), None),
    ):
        sent = list(request.messages)
        request.messages.close()
        again, worse = decode([message.value for message in sent], BODIES.columns)
        assert [example.row - 1 for example in request.examples] == [message.position for message in bad]
        assert worse == []
        assert again.to_pylist() == table.to_pylist()
        assert [(message.key, message.partition) for message in sent] == of_source


def is_json(row: dict[str, Any]) -> bool:
    try:
        return bool(orjson.dumps(row))
    except TypeError:
        return False


async def pieces(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@given(st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)), st.integers(1, 9))
def test_lines_are_the_same_in_any_pieces(lines: list[bytes], size: int) -> None:
    """However a body arrives, its lines are those between its line ends, numbered from 1, without the empty ones."""
    cut, body = Lines(), b"\n".join(lines)
    for start in range(0, len(body), size):
        cut.feed(body[start : start + size])
    expected = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    assert cut.finish() == expected
    assert cut.total == len(body)


def test_large_requests_wait_on_the_disk(tmp_path: Path) -> None:
    """A spool gives its messages as often as they are read, in memory or not."""
    spool = MessageSpool(tmp_path)
    written = [RowMessage(number, None if number % 2 else b"", bytes(IN_MEMORY_BYTES // 2)) for number in range(5)]
    for message in written:
        spool.add(message)
    assert list(spool) == list(spool) == written
    assert spool.bytes > 2 * IN_MEMORY_BYTES
    spool.close()


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b'{"n": 1}', [1]),
        (b'[{"n": 1}, {"n": 2, "other": []}]', [1, 2]),
        (b'{"rows": [{"n": 1}, {"n": 2}]}', [1, 2]),
        (b"[]", []),
    ],
)
def test_a_body_of_json(api: tuple[httpx.Client, MemoryIntake], body: bytes, written: list[int]) -> None:
    """A row, a list of rows, or rows."""
    client, intake = api
    answer = client.post("/rows", content=body, headers=JSON)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == len(written)
    assert [row["n"] for row in intake.rows] == written


def test_rows_that_do_not_fit_are_told_and_not_written(api: tuple[httpx.Client, MemoryIntake]) -> None:
    """The others are written; with strict none is. All of them are counted."""
    client, intake = api
    body = b'{"n": 1}\n\n{"n": "x"}\n{"n": 2'
    told = {"row": 3, "reason": "n is 'x', not a whole number of 64 bits"}
    assert client.post("/rows?strict=true", content=body, headers=NDJSON).status_code == 422
    assert intake.messages == []
    answer = client.post("/rows", content=body, headers=NDJSON | {"Idempotency-Key": "again"})
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"][0] == told
    assert answer.json()["rejected"][1]["reason"].startswith("not JSON")
    assert answer.json()["offsets"] == {"0": [0, 0]}
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert "tidemill_posted_rejected_total 4.0" in client.get("/metrics").text


def test_a_row_that_is_too_large_is_told_in_its_place(api: tuple[httpx.Client, MemoryIntake]) -> None:
    """Rows that the topic does not take are rejected in the order of the request, like those that do not fit."""
    client, intake = api
    intake.largest = 40
    rows = [{"n": 1, "note": "x" * 40}, {"n": "x"}, {"n": 3}, {"n": 4, "note": "x" * 40}]
    for body, headers in ((orjson.dumps(rows), JSON), (b"\n".join(map(orjson.dumps, rows)), NDJSON)):
        rejected = client.post("/rows", content=body, headers=headers).json()["rejected"]
        assert [(row["row"], row["reason"] == "it is too large") for row in rejected] == [
            (1, True),
            (2, False),
            (4, True),
        ]
    assert [row["n"] for row in intake.rows] == [3, 3]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"n": 1}', {"content-type": "text/plain"}, 422, "parameter"),
        (b'{"n": 1}', JSON | {"Idempotency-Key": "x" * 256}, 422, "parameter"),
        (b'{"n": 1}', JSON | {"Idempotency-Key": "a b"}, 422, "parameter"),
        (b'{"n": 1', JSON, 400, "bad-json"),
        (b"", JSON, 400, "bad-json"),
        (b"3", JSON, 422, "feature"),
        (b'{"rows": 3}', JSON, 422, "rows-unfit"),
        (b"[3]", JSON, 422, "rows-unfit"),
        (b'[{"n": "x", "deep": %s}]' % (b"[" * 300 + b"]" * 300), JSON, 422, "rows-unfit"),
        (b'{"n": 1.5}\n{}', NDJSON, 422, "rows-unfit"),
        (b"[%s{}]" % (b"{}," * posting.MAX_ROWS), JSON, 413, "body-too-large"),
        (b'{"n": 1}%s' % (b" " * (1 << 20)), JSON, 413, "body-too-large"),
    ],
)
def test_a_request_that_is_refused(
    api: tuple[httpx.Client, MemoryIntake], body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """It gets its error, and nothing of it is written."""
    client, intake = api
    answer = client.post("/rows", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert intake.messages == []


def test_bounds_of_a_stream_of_rows(api: tuple[httpx.Client, MemoryIntake], monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of rows is bounded, and so is a line of it; what came before an error is not written."""
    client, intake = api
    monkeypatch.setattr(posting, "MAX_STREAM_BYTES", 3 * posting.MAX_LINE_BYTES)
    long = b'{"n": 1, "note": "%s"}\n' % (b"x" * posting.MAX_LINE_BYTES)
    answer = client.post("/rows", content=b'{"n": 1}\n' + long + b'{"n": 2}', headers=NDJSON)
    assert (answer.json()["accepted"], answer.json()["rejected"][0]["row"]) == (2, 2)
    assert client.post("/rows", content=b'{"n": 3}\n' + 3 * long, headers=NDJSON).status_code == 413
    assert [row["n"] for row in intake.rows] == [1, 2]


def test_a_writer_that_is_busy_or_silent(
    api: tuple[httpx.Client, MemoryIntake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says when to come again, and whether rows may have been written."""
    client, intake = api
    intake.refusal = RowsBusy("too many")
    busy = client.post("/rows", json={"n": 1})
    assert (busy.status_code, busy.json()["error"]["code"], busy.headers["Retry-After"]) == (503, "rows-busy", "1")
    monkeypatch.setattr(rows_router, "WAIT_SECONDS", 0.01)
    intake.refusal, intake.silent = None, True
    assert client.post("/rows", json={"n": 1}).json()["error"]["code"] == "rows-refused"
    intake.begun = True
    assert client.post("/rows", json={"n": 1}).json()["error"]["code"] == "rows-unknown"


def test_the_document_describes_rows(run: Run, api: tuple[httpx.Client, MemoryIntake]) -> None:
    """Each column has its type, and both content types have an example that is accepted."""
    client, intake = api
    content = client.get("/openapi.json").json()["paths"]["/rows"]["post"]["requestBody"]["content"]
    for kind, example in (
        ("application/json", orjson.dumps(content["application/json"]["examples"]["rows"]["value"])),
        ("application/x-ndjson", content["application/x-ndjson"]["example"].encode()),
    ):
        answer = client.post("/rows", content=example, headers={"content-type": kind})
        assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, [])
    row = content["application/json"]["schema"]["anyOf"][0]
    assert (row["required"], row["properties"]["n"]["type"]) == (["n"], "integer")
    assert "tidemill_posted_rows_total 2.0" in client.get("/metrics").text
    assert len(intake.messages) == 2


def test_no_rows_where_none_are_taken(run: Run) -> None:
    """Without a writer there is no such endpoint."""
    with api_of(run, name="second") as client:
        assert client.post("/rows", json={"n": 1}).status_code == 404
