"""The rows of a sealed batch, and what did not fit."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from tests.support import wait_for
from tests.support.serving_run import DOCUMENT, ROW, api_of, json_of, new_run, seal
from tidemill.api.context import MAX_FILE_READS
from tidemill.api.rows.reject_lines import MARK_INTERVAL, MAX_COUNTED, RejectLines, counted, marks, parsed
from tidemill.api.rows.rejects import RejectsFile, page
from tidemill.collector.batch_file import Draft
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Decision, SideTableRecord, SourceState, Span
from tidemill.run.folder import Run
from tidemill.run.rejects import Rejects

SEVEN = [{"id": number, "note": 'a "quoted", text\nover lines'} for number in range(7)]


@pytest.fixture(params=["parquet", "csv"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    run = new_run(tmp_path, f"batches.format={request.param}")
    seal(run, 1, SEVEN)
    yield run
    run.close()


def test_rows_come_in_pages(run: Run) -> None:
    """A page has the rows as they were streamed, and the columns with what people call them."""
    with api_of(run) as client:
        page = client.get("/batches/1/rows", params={"offset": 2, "limit": 3}).json()
        ids = [
            [row["id"] for row in client.get("/batches/1/rows", params=params).json()["items"]]
            for params in ({}, {"offset": 5}, {"offset": 7}, {"offset": 2**31 - 1}, {"limit": 1})
        ]
        columns = client.get("/pipeline").json()["columns"]
        refused = [client.get("/batches/1/rows", params=one).status_code for one in ({"limit": 201}, {"offset": -1})]
        assert client.get("/batches/2/rows").json()["error"]["message"] == "no batch 2 is sealed"
    assert page == {
        "batch": 1,
        "rows": 7,
        "offset": 2,
        "columns": columns,
        "items": [ROW | one for one in SEVEN[2:5]],
    }
    assert ids == [list(range(7)), [5, 6], [], [], [0]]
    assert refused == [422, 422]


def test_a_damaged_file_gives_no_rows(run: Run) -> None:
    """A file that is not what the catalog says is refused by its name, as the lookup refuses it."""
    path = run.folder / run.catalog.batches()[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with api_of(run) as client:
        answer = client.get("/batches/1/rows")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "catalog")
    assert path.name in answer.text
    assert str(run.folder) not in answer.text


def rejecting_run(folder: Path) -> Run:
    """A run with rejects of its source, of a side table, of its second batch and after its last row."""
    document = deepcopy(DOCUMENT)
    document["tables"] = {"names": {"path": "names.csv", "key": "kind", "columns": {"kind": "string"}}}
    run = new_run(folder, document=document)
    seal(run, 1, [{"id": 1}])
    of_source = [{"file": "a.csv", "line": one, "reason": f"reason {one % 3}", "text": "x" * 600} for one in range(8)]
    of_table = [{"file": "names.csv", "line": 9, "reason": "too few", "text": ""}]
    for name, lines in (("source", of_source), ("table-names", of_table)):
        kept = Rejects(run.rejects / f"{name}.jsonl", live=True)
        kept.extend(lines)
        kept.publish()
    run.catalog.save_source(SourceState("print", rows=9, rejected=8, produced=9, complete=True))
    run.catalog.save_side_table(SideTableRecord("names", "tables/names.parquet", 1, 1, "0" * 64, "print"))
    draft = Draft(run, 2, arrow_schema(run.pipeline.source.schema_))
    draft.rejects.add(partition=0, offset=6, reason="not JSON", text="{")
    draft.close()
    run.catalog.decide(Decision(2, "end", (Span(0, 6, 6),)))
    run.catalog.seal(2, draft.publish(None, None))
    tail = Rejects(run.rejects / "batch-00003.jsonl")
    tail.add(partition=0, offset=7, reason="an empty message", text="")
    tail.publish(run.rejects / "tail.jsonl")
    run.catalog.end_stream({0: 8}, {0: 1})
    return run


@pytest.fixture
def rejecting(tmp_path: Path) -> Iterator[Run]:
    run = rejecting_run(tmp_path)
    yield run
    run.close()


@pytest.fixture
def api(rejecting: Run) -> Iterator[httpx.Client]:
    with api_of(rejecting) as client:
        yield client


def rejects(client: httpx.Client, place: str, **params: Any) -> Any:
    answer = client.get(f"/rejects/{place}", params=params)
    return json_of(answer)


def test_all_places_are_listed(api: httpx.Client) -> None:
    """Each place that has rejects is listed with their number; a batch without any is not."""
    assert api.get("/rejects").json() == {
        "rejected": 11,
        "places": [
            {"place": "source", "rejected": 8},
            {"place": "table-names", "rejected": 1},
            {"place": "tail", "rejected": 1},
            {"place": "batch-00002", "rejected": 1},
        ],
    }


def test_the_rejects_of_a_place(api: httpx.Client) -> None:
    """Each reject has its reason, where it was, and how it began; reasons are counted, the most frequent first."""
    page = rejects(api, "source", offset=6, limit=1)
    assert page == {
        "place": "source",
        "rejected": 8,
        "offset": 6,
        "items": [{"reason": "reason 0", "file": "a.csv", "line": 6, "text": "x" * 500}],
        "reasons": [
            {"reason": "reason 0", "count": 3},
            {"reason": "reason 1", "count": 3},
            {"reason": "reason 2", "count": 2},
        ],
        "counted": 8,
    }
    assert len(rejects(api, "source")["items"]) == 8
    assert rejects(api, "batch-00002")["items"] == [{"reason": "not JSON", "partition": 0, "offset": 6, "text": "{"}]
    assert rejects(api, "tail")["items"] == [{"reason": "an empty message", "partition": 0, "offset": 7, "text": ""}]
    assert rejects(api, "table-names")["reasons"] == [{"reason": "too few", "count": 1}]


def test_a_place_without_rejects_is_empty(api: httpx.Client) -> None:
    """A batch in which every row fitted has an empty list."""
    page = rejects(api, "batch-00001")
    assert (page["rejected"], page["items"], page["reasons"], page["counted"]) == (0, [], [], 0)


@pytest.mark.parametrize(
    "place", ["batch-00003", "batch-1", "table-other", "sources", "..%2Fcatalog", "%2Fetc%2Fpasswd"]
)
def test_only_places_that_there_are(api: httpx.Client, place: str) -> None:
    """A name is looked up, never followed as a path; an unknown one is refused with what was meant."""
    answer = api.get(f"/rejects/{place}")
    assert answer.status_code == 404
    if place == "sources":
        assert answer.json()["error"]["hint"] == 'did you mean "source"?'


def test_reasons_are_counted_over_a_part(rejecting: Run, api: httpx.Client) -> None:
    """Of very many rejects only the first are counted, and the answer says over how many; a line that is just being
    written is not shown."""
    line = b'{"file":"a.csv","line":1,"reason":"late","text":"y"}\n'
    with (rejecting.rejects / "source.jsonl").open("ab") as file:
        file.write(line * MAX_COUNTED + line[:9])
    say_rejected(rejecting, api, MAX_COUNTED + 9)
    page = rejects(api, "source", offset=MAX_COUNTED + 6)
    assert page["counted"] == MAX_COUNTED
    assert page["reasons"][0] == {"reason": "late", "count": MAX_COUNTED - 8}
    assert [item["reason"] for item in page["items"]] == ["late"] * 2


def say_rejected(run: Run, client: httpx.Client, count: int) -> None:
    """Have the catalog count so many rejects of the source, and the API know it."""
    run.catalog.save_source(SourceState("print", rows=count + 1, rejected=count, produced=1, complete=True))
    wait_for(lambda: rejects(client, "source", limit=1)["rejected"] == count, "the count of rejects")


def test_a_page_is_found_without_reading_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any page has its lines, of which no others are read as JSON; a file is looked through once, until it changes,
    and where the catalog says that there are no more it is not looked at for any."""
    seen: list[int] = []
    looked: list[str] = []

    def watched(lines: Iterable[bytes]) -> list[dict[str, Any]]:
        found = parsed(lines)
        seen.append(len(found))
        return found

    monkeypatch.setattr("tidemill.api.rows.reject_lines.parsed", watched)
    for name, work in (("marks", marks), ("counted", counted)):

        def noted(file: BinaryIO, name: str = name, work: Any = work) -> Any:
            looked.append(name)
            return work(file)

        monkeypatch.setattr(f"tidemill.api.rows.reject_lines.{name}", noted)
    path, count = tmp_path / "tail.jsonl", 3 * MARK_INTERVAL + 5
    path.write_bytes(b"".join(b'{"reason":"%s","line":%d}\n' % (b"x" * (one % 50), one) for one in range(count)))
    place, lines = RejectsFile("tail", count, path), RejectLines()
    for offset in (
        0,
        7,
        MARK_INTERVAL - 1,
        MARK_INTERVAL,
        MARK_INTERVAL + 1,
        2 * MARK_INTERVAL - 2,
        2 * MARK_INTERVAL,
        3 * MARK_INTERVAL,
        count - 2,
    ):
        items = page(place, lines, offset, 4).items
        assert [item.line for item in items] == list(range(offset, min(offset + 4, count)))
    assert page(place, lines, count, 4).items == page(place, lines, 2**31 - 1, 4).items == []
    assert (sum(seen), looked) == (MAX_COUNTED + 8 * 4 + 2, ["counted", "marks"])
    assert page(replace(place, rejected=2**31), lines, 2**31 - 1, 4).items == []
    with path.open("ab") as file:
        file.write(b'{"reason":"y","line":%d}\n' % count)
    assert [item.line for item in page(replace(place, rejected=count + 1), lines, count, 4).items] == [count]
    assert sorted(looked) == ["counted", "counted", "marks", "marks"]


def test_marks_are_where_lines_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever blocks end, a mark is at the beginning of its line."""
    content = b"".join(b"%d\n" % one for one in range(400))
    (tmp_path / "lines").write_bytes(content)
    monkeypatch.setattr("tidemill.api.rows.reject_lines.MARK_INTERVAL", 7)
    for size in (1, 2, 3, 64, 2**20):
        monkeypatch.setattr("tidemill.api.rows.reject_lines.BLOCK", size)
        with (tmp_path / "lines").open("rb") as file:
            found = marks(file)
        assert [int(content[place:].split(b"\n")[0]) for place in found] == list(range(0, 400, 7))


def test_slow_readers_hold_up_nobody_else(rejecting: Run, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests wait for a file, only a few read at a time, and the others of the API are answered."""
    go_on, reading = threading.Event(), threading.Semaphore(0)

    def slow(*_: Any) -> dict[str, Any]:
        reading.release()
        assert go_on.wait(30)
        return {}

    monkeypatch.setattr("tidemill.api.rows.rejects.page", slow)
    with ThreadPoolExecutor(50) as pool:
        try:
            asked = [pool.submit(api.get, "/rejects/source") for _ in range(50)]
            for _ in range(MAX_FILE_READS):
                assert reading.acquire(timeout=30)
            assert api.get("/health").status_code == 503
            assert {api.get(path).status_code for path in ("/status", "/batches", "/rejects", "/metrics")} == {200}
            assert not reading.acquire(blocking=False)
        finally:
            go_on.set()
        assert {one.result().status_code for one in asked} == {200}


@pytest.mark.parametrize("content", [b"gone bad\n", b"1\n", None])
def test_a_damaged_file_is_told(rejecting: Run, api: httpx.Client, content: bytes | None) -> None:
    """A rejects file that is gone, or holds something else, is refused by its name."""
    path = rejecting.rejects / "batch-00002.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    answer = api.get("/rejects/batch-00002")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "catalog")
    assert "batch-00002.jsonl is missing or damaged" in answer.json()["error"]["message"]
