"""The rows of a generation outside Spark: the same whether they are kept in memory or read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.training_run import run_of, seal_tables, table_of
from tidemill.errors import CatalogError
from tidemill.judging.holdout import held_out
from tidemill.run.folder import Run
from tidemill.training import generation
from tidemill.training.generation import write_training
from tidemill.training.registry import TrainingStats, inputs_of
from tidemill.training.rows import KEPT_BYTES, RowReader, Rows
from tidemill.training.stats import collect_stats

COLUMNS = {
    "x": "float?",
    "word": "string",
    "kind": "int",
    "on": "bool",
    "at": "timestamp",
    "y": "float",
    "z": "string",
}
MODELS = {
    "line": {"estimator": "LinearRegression", "features": ["x", "word", "hour(at)"], "label": "y"},
    "kinds": {"estimator": "LogisticRegression", "features": ["on", "y"], "label": "kind"},
}
USED = ["x", "word", "kind", "on", "at", "y"]
BATCHES, ROWS = 4, 60


def row_of(place: int) -> dict[str, Any]:
    return {
        "x": None if place % 9 == 4 else place / 7,
        "word": ("ash", "", "fir")[place % 3],
        "kind": place % 2,
        "on": place % 5 > 1,
        "at": f"2026-03-{place % 28 + 1:02d}T{place % 24:02d}:00:00Z",
        "y": place * 1.5,
        "z": "not used",
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four sealed batches of two models' rows, a fifth of them held out."""
    run = run_of(tmp_path, source={"path": "x.csv", "columns": COLUMNS}, models=MODELS)
    text = pa.Table.from_pylist([row_of(place) for place in range(BATCHES * ROWS)])
    moments = text["at"].cast(pa.timestamp("us", "UTC"))
    table = text.set_column(text.column_names.index("at"), "at", moments).cast(table_of(run, []).schema)
    seal_tables(run, [table.slice(number * ROWS, ROWS) for number in range(BATCHES)])
    return run


def everything(rows: Rows) -> pa.Table:
    return pa.concat_tables(part.table.append_column("held", pa.array(part.held)) for part in rows)


def test_rows_that_are_kept_are_those_of_the_files(run: Run) -> None:
    """Whatever fits into memory, the rows, their order and those held out are the same, time and again."""
    batches = run.catalog.batches()
    for most in (KEPT_BYTES, 8_000, 0):
        reader = RowReader(run, USED, most)
        for _ in range(2):
            rows = reader.rows(batches)
            table = everything(rows)
            assert table.equals(everything(rows))
            whole = pa.concat_tables(pq.read_table(run.folder / batch.path) for batch in batches)
            assert table.select(USED).cast(whole.select(USED).schema).equals(whole.select(USED))
            held = held_out(whole, run.pipeline.source.schema_, run.pipeline.generations.holdout)
            assert 0 < held.sum() < len(held)
            assert np.array_equal(table["held"].to_numpy(), held)


def test_only_what_is_not_kept_is_read_again(run: Run) -> None:
    """Rows in memory outlive their file; a batch that a generation does not have is forgotten."""
    batches = run.catalog.batches()
    reader = RowReader(run, USED)
    reader.rows(batches[:2])
    (run.folder / batches[0].path).unlink()
    assert len(everything(reader.rows(batches[:3]))) == 3 * ROWS
    reader.rows(batches[1:3])
    with pytest.raises(CatalogError, match="is missing"):
        reader.rows(batches[:3])


def test_memory_is_bounded(run: Run) -> None:
    """What does not fit is not kept, and what is kept stays below the bound."""
    batches = run.catalog.batches()
    size = sum(part.bytes for part in RowReader(run, USED).rows(batches[:1]))
    reader = RowReader(run, USED, most=2 * size + size // 2)
    reader.rows(batches)
    for batch in batches[:2]:
        (run.folder / batch.path).unlink()
    (run.folder / batches[3].path).unlink()
    with pytest.raises(CatalogError, match="sealed batch 4"):
        everything(reader.rows(batches))


def test_spark_is_given_the_same_file_whatever_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that starts again, and keeps nothing yet, gives Spark the same bytes; they are the training rows."""
    monkeypatch.setattr(generation, "AT_ONCE", 100)
    batches, columns = run.catalog.batches(), [c for c in run.pipeline.source.schema_ if c.name in USED]
    warm, cold = RowReader(run, USED), RowReader(run, USED, most=0)
    warm.rows(batches[:3])
    for name, reader in (("warm", warm), ("cold", cold)):
        write_training(reader.rows(batches), columns, tmp_path / name)
    assert (tmp_path / "warm").read_bytes() == (tmp_path / "cold").read_bytes()
    written, rows = pq.read_table(tmp_path / "warm"), everything(warm.rows(batches))
    training = rows.filter(pa.compute.invert(rows["held"])).select(USED)
    assert written.rename_columns(USED).to_pylist() == training.to_pylist()
    assert written.column_names[0] == "c_x"
    assert pq.ParquetFile(tmp_path / "warm").num_row_groups == 2


def test_statistics_are_of_the_training_rows(run: Run) -> None:
    """Counts, bounds, examples and classes, as a count by hand gives them, whatever the parts are."""
    rows = RowReader(run, USED).rows(run.catalog.batches())
    stats = collect_stats(rows, inputs_of(run.pipeline), holds_out=True)
    every = everything(rows).to_pylist()
    usable = [row for row in every if row["x"] is not None]
    training = [row for row in usable if not row["held"]]
    y = [row["y"] for row in training]
    assert stats["line"] == TrainingStats(
        rows={"train": len(training), "holdout": len(usable) - len(training), "skipped": len(every) - len(usable)},
        seen={
            "x": {
                "minimum": min(row["x"] for row in training),
                "maximum": max(row["x"] for row in training),
                "example": training[0]["x"],
            },
            "word": {"minimum": None, "maximum": None, "example": training[0]["word"]},
            "hour(at)": {
                "minimum": None,
                "maximum": None,
                "example": f"{training[0]['at']:%Y-%m-%dT%H:%M:%S}.000000Z",
            },
        },
        label=(min(y), max(y), sum(value % 1 > 0 for value in y)),
        classes=None,
        holds_out=True,
        empty_strings=True,
    )
    first = next(row for row in every if not row["held"])
    assert stats["kinds"].label == (0.0, 1.0, 0)
    assert stats["kinds"].seen["on"] == {"minimum": 0.0, "maximum": 1.0, "example": first["on"]}
