"""The rows of the stream by their key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.serving_run import ROW, api_of, message_of, new_run, publish, seal, size_of
from tidemill.run.folder import Run

BATCHES: list[list[dict[str, Any]]] = [
    [{"id": 1, "note": "first"}, {"id": 2, "note": 'a "quoted", text\nover lines'}, {"id": 3, "note": ""}],
    [{"id": 4}, {"id": 1, "count": 8}, {"id": 1, "count": 9}],
]


def two_batches_run(folder: Path, *assignments: str) -> Run:
    """A run of two batches and two generations, the second of both batches."""
    run = new_run(folder, *assignments)
    for number, rows in enumerate(BATCHES, start=1):
        seal(run, number, rows)
        publish(run, number, list(range(1, number + 1)))
    return run


@pytest.fixture(params=["parquet", "csv"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    folder = tmp_path / "with [brackets] * and ?"
    folder.mkdir()
    run = two_batches_run(folder, f"batches.format={request.param}")
    with api_of(run) as client:
        yield client
    run.close()


def test_a_row_is_found_with_its_prediction(api: httpx.Client) -> None:
    """A row comes back as it was streamed, with its batch and what the newest generation predicts for it."""
    assert api.get("/models/size/rows/4").json() == {
        "model": "size",
        "generation": 2,
        "key": "4",
        "rows": [{"batch": 2, "row": ROW | {"id": 4}, "prediction": size_of(2, ROW)}],
    }
    row = api.get("/models/good/rows/4").json()["rows"][0]
    assert set(row) == {"batch", "row", "prediction", "probability", "label"}


def test_texts_come_back_as_they_were(api: httpx.Client) -> None:
    """Quotes, line ends, an empty text and a missing one keep their meaning."""
    notes = [api.get(f"/models/size/rows/{key}").json()["rows"][0]["row"]["note"] for key in (2, 3, 4)]
    assert notes == [BATCHES[0][1]["note"], "", None]


def test_a_repeated_key_gives_all_its_rows_newest_first(api: httpx.Client) -> None:
    """A key that was streamed several times gives each of its rows, the newest first, and no more than asked for."""
    rows = api.get("/models/size/rows/1").json()["rows"]
    assert [(row["batch"], row["row"]["count"]) for row in rows] == [(2, 9), (2, 8), (1, 3)]
    assert [row["prediction"] for row in rows] == [size_of(2, row["row"]) for row in rows]
    limited = api.get("/models/size/rows/1", params={"limit": 2}).json()["rows"]
    assert limited == rows[:2]


def test_an_older_generation_knows_its_own_batches(api: httpx.Client) -> None:
    """Asked of an older generation, rows and predictions are those of that generation."""
    document = api.get("/models/size/rows/1", params={"generation": 1}).json()
    assert (document["generation"], len(document["rows"])) == (1, 1)
    assert document["rows"][0]["prediction"] == size_of(1, ROW)
    answer = api.get("/models/size/rows/4", params={"generation": 1})
    assert (answer.status_code, message_of(answer)) == (404, 'no row with id "4" in generation 1')


@pytest.mark.parametrize("key", ["77", "-1", "9223372036854775807"])
def test_a_row_that_was_never_streamed(api: httpx.Client, key: str) -> None:
    """A key that no row of the generation's batches has is 404, with a hint."""
    answer = api.get(f"/models/size/rows/{key}")
    assert (answer.status_code, message_of(answer)) == (404, f'no row with id "{key}" in generation 2')
    assert "its batches" in answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    "key",
    [
        "one",
        "1.5",
        "1 or 1=1",
        "'; drop table rows; --",
        "9223372036854775808",
        "..%2f..%2fcatalog.sqlite",
        "%00",
        "%D9%A1",
    ],
)
def test_a_key_of_the_wrong_type(api: httpx.Client, key: str) -> None:
    """A text that is no value of the key's column is 422 and nothing is looked for."""
    answer = api.get(f"/models/size/rows/{key}")
    assert answer.status_code == 422
    assert message_of(answer).endswith("not a whole number of 64 bits")


@pytest.mark.parametrize(
    ("column", "key", "status"),
    [
        ("note", "first", 200),
        ("note", "a/b", 404),
        ("note", "x' or '1'='1", 404),
        ("note", "%00", 404),
        ("kind", "lamp", 200),
        ("hours", "2", 200),
        ("hours", "2.0e0", 200),
        ("hours", "nan", 422),
        ("hours", "1_0", 422),
        ("on", "true", 200),
        ("on", "false", 404),
        ("on", "1", 422),
        ("seen", "2026-01-02T03:04:05Z", 200),
        ("seen", "2026-01-02T04:04:05+01:00", 200),
        ("seen", "2026-01-02", 404),
        ("seen", "now", 422),
    ],
)
def test_a_key_is_read_as_its_column_is_declared(tmp_path: Path, column: str, key: str, status: int) -> None:
    """The key in the address is read as the declared type of the key's column."""
    run = two_batches_run(tmp_path, f"stream.key={column}")
    with api_of(run) as client:
        assert client.get(f"/models/size/rows/{key}").status_code == status
    run.close()


def test_a_stream_without_a_key_has_no_rows_to_ask_for(tmp_path: Path) -> None:
    """Where no key is declared the answer is 404 and says how to declare one."""
    run = two_batches_run(tmp_path, 'stream={topic="devices"}')
    with api_of(run) as client:
        answer = client.get("/models/size/rows/1")
        assert (answer.status_code, message_of(answer)) == (404, "the rows of this stream have no key")
        assert "[stream] key" in answer.json()["error"]["hint"]
    run.close()


def test_a_row_that_lacks_a_feature_has_no_prediction(tmp_path: Path) -> None:
    """A streamed row without a value for a feature is shown without a prediction, and says why."""
    run = new_run(tmp_path, "source.columns.hours='float?'")
    seal(run, 1, [{"hours": None}])
    publish(run, 1, [1])
    with api_of(run) as client:
        row = client.get("/models/size/rows/1").json()["rows"][0]
    assert row["prediction"] is None
    assert row["reason"] == "hours is null, not a finite number"
    run.close()


def test_a_batch_file_that_is_gone(tmp_path: Path) -> None:
    """A batch file that can't be read is 503 and names the batch; nothing of the machine's paths is told."""
    run = two_batches_run(tmp_path)
    for path in run.batches.iterdir():
        path.unlink()
    with api_of(run) as client:
        answer = client.get("/models/size/rows/1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "catalog")
        assert message_of(answer) == "the file of sealed batch 2, batches/batch-00002.parquet, is missing"
        assert str(tmp_path) not in answer.text
    run.close()
