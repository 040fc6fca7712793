"""Reads each side table once, before the stream starts, into a file of the run."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import SideTableRecord
from tidemill.run.files import disk_errors, publish, sha256, temporary
from tidemill.run.rejects import Rejects
from tidemill.run.stage import Stage
from tidemill.sources.source import SourceReader


def read_tables(stage: Stage, readers: Mapping[str, SourceReader]) -> None:
    """Read every side table that the catalog does not have yet, and record it there.

    Raises:
        SourceError: a recorded table was read from other data, or none of a table's rows fits.
        DiskError: a table can't be written.
    """
    recorded = stage.run.catalog.side_tables()
    for name, reader in readers.items():
        if name in recorded:
            reader.refuse_other(recorded[name].fingerprint)
        elif not stage.stop.is_set():
            read_table(stage, name, reader)


def read_table(stage: Stage, name: str, reader: SourceReader) -> None:
    """Publish the table's file and its rejects, then record it; do nothing if the stage is asked to stop."""
    run = stage.run
    rejects = Rejects(run.rejects / f"table-{name}.jsonl", live=True)  # live: the collector may remove temporary files
    rows = fitting_rows(stage, name, reader, rejects)
    if stage.stop.is_set():
        return
    reader.refuse_changed()
    unique = first_of_each(rows, run.pipeline.tables[name].key)
    path = run.tables / f"{name}.parquet"
    with disk_errors(f"the table {name}"):
        pq.write_table(unique, temporary(path), compression="zstd")
        publish(temporary(path), path)
    rejects.publish()
    digest = sha256(path)
    table = SideTableRecord(name, run.relative(path), len(unique), rejects.count, digest, reader.fingerprint)
    run.catalog.save_side_table(table)
    repeated = len(rows) - len(unique)
    stage.log.info("read a table", table=name, rows=len(unique), rejected=rejects.count, repeated=repeated)


def fitting_rows(stage: Stage, name: str, reader: SourceReader, rejects: Rejects) -> pa.Table:
    """The rows of a table that fit; the others are added to ``rejects``.

    Raises:
        SourceError: no row fits.
    """
    chunks, example = [], ""
    for chunk in reader.chunks():
        rejects.extend([reject.document() for reject in chunk.rejects])
        example = example or chunk.first_reason()
        chunks.append(chunk.rows)
        if stage.stop.is_set():
            break
    rows = pa.concat_tables([arrow_schema(stage.run.pipeline.tables[name].schema_).empty_table(), *chunks])
    if not len(rows) and not stage.stop.is_set():
        raise reader.nothing_fits(example)
    return rows


def first_of_each(rows: pa.Table, key: str) -> pa.Table:
    """The first row of each key, in order."""
    keys = pl.Series(rows[key].combine_chunks())
    return rows.filter(keys.is_first_distinct().to_arrow())
