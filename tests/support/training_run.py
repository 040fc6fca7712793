"""Runs for the tests of training, whose batches are sealed without Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from tests.support import SMART_HOME
from tidemill.pipeline import Raw, arrow_schema, find, parse, read
from tidemill.run import files
from tidemill.run.catalog import BatchTimes, Decision, Sealed, Span, wall_clock
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

SMALL = """
name = "small"
source = { path = "small.csv", columns = { x = "float", y = "float" } }
stream = { topic = "t" }
batches = { rows = 40 }
generations = { scheme = "windowed", holdout = { share = 0.0 } }
models = { line = { estimator = "LinearRegression", features = ["x"], label = "y" } }
"""
"""A pipeline file of one model that is quick to train."""


def run_of(folder: Path, **changes: Any) -> Run:
    """A run of a small pipeline in which ``changes`` replace tables."""
    raw = {
        "name": "tried",
        "source": {"path": "data.csv"},
        "stream": {"topic": "t"},
        "batches": {"parts": 3},
        **changes,
    }
    return open_run(parse(Raw("tried", folder, raw)), folder / "run")


def smart_home(folder: Path, **generations: Any) -> Run:
    """A run of the ready pipeline on the real file."""
    raw = read(find("smart-home"))
    raw["generations"] |= generations
    return open_run(parse(Raw("smart-home", folder, raw)), folder / "run")


def real_rows(run: Run) -> pa.Table:
    schema = arrow_schema(run.pipeline.source.schema_)
    return pc.read_csv(SMART_HOME, convert_options=pc.ConvertOptions(column_types=schema)).cast(schema)


def thirds(table: pa.Table) -> list[pa.Table]:
    return [table.slice(len(table) // 3 * part, len(table) // 3) for part in range(3)]


def table_of(run: Run, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=arrow_schema(run.pipeline.source.schema_))


def seal_table(run: Run, number: int, table: pa.Table) -> Path:
    """Write ``table`` as batch ``number`` and seal it, as the collector does."""
    kind = run.pipeline.batches.format
    path = run.batches / f"batch-{number:05d}.{kind}"
    run.catalog.decide(Decision(number, "rows", (Span(0, (number - 1) * 1000, number * 1000 - 1),)))
    pq.write_table(table, path) if kind == "parquet" else pc.write_csv(table, path)
    now = wall_clock()
    sealed = Sealed(run.relative(path), len(table), path.stat().st_size, files.sha256(path))
    run.catalog.seal(number, sealed, times=BatchTimes(now, 0.0, 0.0, 0.0, sealed_at=now))
    return path


def seal_tables(run: Run, tables: Sequence[pa.Table]) -> None:
    """Seal every table in order, and end the stream."""
    for number, table in enumerate(tables, start=1):
        seal_table(run, number, table)
    run.catalog.end_stream({0: 1_000_000}, {})


def quiet_stage(run: Run) -> Stage:
    """A trainer's stage without a process of its own."""
    return Stage(run, "trainer")


def states(run: Run) -> list[tuple[int, str]]:
    """Each generation's number and state."""
    return [(generation.generation, generation.state) for generation in run.catalog.generations()]
