"""A sealed file that was touched is found by its sha256 before it is trained on or served, and named."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.serving_run import api_of, new_run, publish, seal
from tests.support.training_run import quiet_stage, run_of, seal_table, table_of
from tidemill.errors import CatalogError
from tidemill.run.files import sha256
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch
from tidemill.training.trainer import work


def delete(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


TOUCHES = {"is missing": delete, "bytes, the catalog says": cut_short, "has sha256": change_a_byte}


def a_run(folder: Path) -> Run:
    return run_of(
        folder,
        source={"path": "data.csv", "columns": {"x": "float", "y": "float"}},
        batches={"rows": 100},
        models={"line": {"estimator": "LinearRegression", "features": ["x"], "label": "y"}},
    )


@pytest.mark.parametrize("what", TOUCHES)
def test_it_is_not_trained_on(spark: SparkSession, tmp_path: Path, what: str) -> None:
    """The trainer refuses a batch that is missing, cut short or changed by one byte, and nothing is published."""
    run = a_run(tmp_path)
    path = seal_table(run, 1, table_of(run, [{"x": float(x), "y": 2.0 * x} for x in range(100)]))
    run.catalog.end_stream({0: 100}, {})
    TOUCHES[what](path)
    with pytest.raises(CatalogError, match=rf"batch 1, batches/batch-00001\.parquet, .*{what}"):
        work(quiet_stage(run), spark)
    assert run.catalog.generations(state="published") == []


@pytest.mark.parametrize("what", TOUCHES)
def test_it_is_not_served(tmp_path: Path, what: str) -> None:
    """The API refuses to look rows up in such a batch, names it, and goes on with what needs no batch; put back as it
    was, it is served again."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}, {"id": 2}])
    publish(run, 1, [1])
    path = run.batches / "batch-00001.parquet"
    good = path.read_bytes()
    with api_of(run) as client:
        assert client.get("/models/size/rows/1").status_code == 200
        TOUCHES[what](path)
        answer = client.get("/models/size/rows/1")
        assert answer.status_code == 503
        assert what in answer.json()["error"]["message"]
        assert "batch 1, batches/batch-00001.parquet" in answer.json()["error"]["message"]
        assert str(tmp_path) not in answer.text
        assert client.post("/models/size/predict", json={"hours": 1.0, "count": 2}).status_code == 200
        path.write_bytes(good)
        assert client.get("/models/size/rows/1").status_code == 200


def test_a_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads ask for a batch that was not looked at yet, its bytes are read once."""
    run, read = new_run(tmp_path), list[Path]()
    seal(run, 1, [{"id": 1}])
    batch, together = run.catalog.batches()[0], threading.Barrier(8)

    def watched(path: Path) -> str:
        read.append(path)
        return sha256(path)

    def check() -> None:
        together.wait(30)
        check_batch(run, batch)

    monkeypatch.setattr("tidemill.run.integrity.sha256", watched)
    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(check) for _ in range(8)]:
            one.result()
    assert read == [run.folder / batch.path]
    run.close()
