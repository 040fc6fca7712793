"""A sample of a generation's rows as points, each with its cluster."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.support.serving_run import api_of, json_of, new_run, publish, seal
from tidemill.api.routers.points import MAX_BATCHES, sample, shares
from tidemill.api.rows.batch_rows import page, rows_at, spread
from tidemill.collector.batch_file import ROW_GROUP
from tidemill.run.batch_tables import evenly
from tidemill.run.catalog import Generation
from tidemill.run.folder import Run


@pytest.fixture(params=["parquet", "csv"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Forty batches of ten rows, counted from 0 by their id; hours are the id's last digit."""
    run = new_run(tmp_path, f"batches.format={request.param}")
    for number in range(1, 41):
        first = 10 * (number - 1)
        seal(run, number, [{"id": first + place, "hours": float(place), "note": None} for place in range(10)])
    return run


def points(client: httpx.Client, **params: Any) -> Any:
    answer = client.get("/models/group/points", params=params)
    return json_of(answer)


def test_every_row_where_there_is_room(run: Run) -> None:
    """A small generation is shown whole, in order, with the clusters that its scorer gives, and their centres."""
    publish(run, 1, [1, 2])
    with api_of(run) as client:
        answer = points(client, x="hours", y="id")
        assert answer == points(client, x="hours", y="id")
        assert points(client) == points(client, x="hours", y="id")
        both = points(client, x="hours", y="hours", limit=4)
    run.close()
    columns, clusters = answer.pop("columns"), answer.pop("cluster")
    assert answer == {
        "model": "group",
        "generation": 1,
        "x": "hours",
        "y": "id",
        "rows": 6,
        "sampled": 20,
        "centres": [],
    }
    assert columns == {"x": [float(one % 10) for one in range(20)], "y": list(range(20))}
    assert clusters == [0 if hours <= 5 else 1 for hours in columns["x"]]
    assert both["centres"] == [{"cluster": 0, "x": 0.0, "y": 0.0}, {"cluster": 1, "x": 10.0, "y": 10.0}]
    assert both["sampled"] == 4


def test_a_large_generation_is_sampled_evenly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many batches only some are opened, spread from first to last, and each gives its share: the same rows again
    each time."""
    opened: list[int] = []

    def watched(run: Run, batch: Any, *rest: Any) -> Any:
        opened.append(batch.batch)
        return spread(run, batch, *rest)

    monkeypatch.setattr("tidemill.api.routers.points.spread", watched)
    generation = Generation(1, "published", tuple(range(1, 41)), 400)
    table = sample(run, generation, ["id"], 80)
    assert (len(opened), len(table)) == (MAX_BATCHES, 80)
    assert min(opened) <= 2
    assert max(opened) >= 39
    assert table == sample(run, generation, ["id"], 80)
    assert {opened.count(batch) for batch in opened} == {2}
    by_batch = [value // 10 for value in table["id"].to_pylist()]
    assert {by_batch.count(batch) for batch in by_batch} == {5}
    run.close()


@pytest.mark.parametrize("axis", ["x", "y"])
def test_only_columns_of_numbers(run: Run, axis: str) -> None:
    """A column that is not there, or holds no numbers, is refused with what was meant; nothing else has points."""
    publish(run, 1, [1])
    with api_of(run) as client:
        for column, hint in (("hour", 'did you mean "hours"?'), ("kind", 'did you mean "id"?')):
            answer = client.get("/models/group/points", params={axis: column})
            assert (answer.status_code, answer.json()["error"]["hint"]) == (422, hint)
        assert client.get("/models/group/points", params={"generation": 9}).status_code == 404
        assert client.get("/models/size/points").status_code == 404
    run.close()


def test_a_damaged_file_is_refused(run: Run) -> None:
    """Points are made only of files that are what the catalog says."""
    publish(run, 1, [1])
    path = run.folder / run.catalog.batches()[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with api_of(run) as client:
        answer = client.get("/models/group/points")
    run.close()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "catalog")
    assert str(run.folder) not in answer.text


def test_rows_without_a_value_are_left_out(tmp_path: Path) -> None:
    """A row that lacks a value of either column is no point."""
    run = new_run(tmp_path, "source.columns.watts=float?")
    seal(run, 1, [{"id": 1, "watts": 2.5}, {"id": 2, "watts": None}, {"id": 3, "watts": 3.5}])
    publish(run, 1, [1])
    with api_of(run) as client:
        answer = points(client, x="watts", y="id")
    run.close()
    assert answer["columns"] == {"x": [2.5, 3.5], "y": [1, 3]}
    assert (answer["sampled"], len(answer["cluster"])) == (2, 2)


def test_few_row_groups_of_a_large_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a large Parquet file, and an even sample of it, read only the row groups and columns they need."""
    read: list[list[int]] = []
    run = new_run(tmp_path)
    seal(run, 1, [{"id": number} for number in range(3 * ROW_GROUP + 5)])
    batch = run.catalog.batches()[0]

    whole = pq.ParquetFile.read_row_groups

    def watched(file: Any, groups: list[int], **more: Any) -> Any:
        read.append(groups)
        return whole(file, groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    over = page(run, batch, ROW_GROUP - 2, 4)["id"].to_pylist()
    assert over == [ROW_GROUP - 2, ROW_GROUP - 1, ROW_GROUP, ROW_GROUP + 1]
    assert page(run, batch, 3 * ROW_GROUP, 20)["id"].to_pylist() == list(range(3 * ROW_GROUP, batch.rows))
    assert len(page(run, batch, batch.rows, 20)) == 0
    some = spread(run, batch, 8, ["id"], 2)
    assert some["id"].to_pylist() == sorted(some["id"].to_pylist())
    assert (len(some), some.column_names) == (8, ["id"])
    assert read == [[0, 1], [3], [], [1, 3]]
    run.close()


def test_a_page_of_a_large_csv_file_reads_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows at the beginning of a large CSV file are had without the rest of it; those at its end are there too."""
    read: list[int] = []

    class CountingFile(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            found: bytes = super().read(size)
            read.append(len(found))
            return found

    whole = pyarrow.csv.open_csv
    handles = ExitStack()
    monkeypatch.setattr(
        "pyarrow.csv.open_csv", lambda path, **more: whole(handles.enter_context(CountingFile(path)), **more)
    )
    run = new_run(tmp_path, "batches.format=csv")
    seal(run, 1, [{"id": number, "note": "x" * 100_000} for number in range(900)])
    batch = run.catalog.batches()[0]
    assert page(run, batch, 0, 20)["id"].to_pylist() == list(range(20))
    assert 0 < sum(read) < batch.bytes / 2
    assert page(run, batch, 895, 20)["id"].to_pylist() == list(range(895, 900))
    read.clear()
    assert len(page(run, batch, 900, 20)) == 0
    assert read == []
    handles.close()
    run.close()


def test_a_generation_is_sampled_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit, the batches are read once for each pair of columns, and fewer points are as evenly spread."""
    opened: list[int] = []

    def watched(run: Run, batch: Any, *rest: Any) -> Any:
        opened.append(batch.batch)
        return spread(run, batch, *rest)

    monkeypatch.setattr("tidemill.api.routers.points.spread", watched)
    publish(run, 1, [1, 2])
    with api_of(run) as client:
        values = [points(client, x="hours", y="id", limit=limit)["columns"]["y"] for limit in (4, 10, 5000)]
        assert opened == [1, 2]
        points(client, x="id", y="id", limit=10)
        assert opened == [1, 2, 1, 2]
    run.close()
    assert values == [[2, 7, 12, 17], list(range(1, 20, 2)), list(range(20))]


def test_places_are_even() -> None:
    """Places are spread from one end to the other, each once, and shares follow the sizes."""
    assert evenly(4, 8).tolist() == [1, 3, 5, 7]
    assert evenly(5, 3).tolist() == [0, 1, 2]
    assert evenly(3, 0).tolist() == []
    assert shares([10, 30, 0, 60], 10) == [1, 3, 0, 6]
    assert shares([], 10) == []


def test_chosen_rows_come_in_order(run: Run) -> None:
    """Rows are found by their places, whatever the format."""
    batch = run.catalog.batches()[1]
    table = rows_at(run, batch, evenly(3, batch.rows), ["hours", "id"])
    assert (table["id"].to_pylist(), table["hours"].to_pylist()) == ([11, 15, 18], [1.0, 5.0, 8.0])
    assert page(run, batch, 8, 5)["id"].to_pylist() == [18, 19]
    run.close()
