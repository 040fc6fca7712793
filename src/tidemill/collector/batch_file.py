"""The file of a batch: written under a temporary name as rows arrive, and renamed once the batch is cut."""

from __future__ import annotations

import itertools
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tidemill.kafka.codec import no_rows
from tidemill.run.catalog import Sealed
from tidemill.run.failpoints import Steps
from tidemill.run.files import disk_errors, make_folder, publish, sha256, sync, temporary
from tidemill.run.folder import Run
from tidemill.run.rejects import Rejects

ROW_GROUP = 16_384
STEPS = Steps("batch.synced", "batch.renamed", "batch.placed")

log = logging.getLogger(__name__)


class TableWriter(Protocol):
    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


def writer_of(path: Path, schema: pa.Schema, format: str) -> TableWriter:
    if format == "csv":
        return pyarrow.csv.CSVWriter(path, schema)  # type: ignore[no-any-return]  # pyarrow has no types
    return pyarrow.parquet.ParquetWriter(path, schema, compression="zstd")  # type: ignore[no-any-return]  # the same


def batch_name(batch: int, format: str) -> str:
    return f"batch-{batch:05}.{format}"


def same_content(path: Path, other: Path) -> bool:
    return other.exists() and sha256(path) == sha256(other)


class Draft:
    """The files of the open batch and of its rejects. Memory is bounded by a row group, and by the rows that are added
    while others are written.

    The same rows give the same bytes, in whatever portions they arrive.
    """

    def __init__(self, run: Run, batch: int, schema: pa.Schema) -> None:
        self.batch = batch
        self.rows = 0
        self._run = run
        self._final = run.batches / batch_name(batch, run.pipeline.batches.format)
        self._label = f"batch {batch}, {run.relative(self._final)}"
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._writer: TableWriter | None = None
        self._thread = ThreadPoolExecutor(1, "write")  # starts with the first whole row group
        self._writing: Future[None] | None = None
        self.rejects = Rejects(run.rejects / f"batch-{batch:05}.jsonl")

    def add(self, table: pa.Table) -> None:
        """Add rows. Whole row groups are written in a thread; an error of it is raised by the next call."""
        self._waiting.append(table)
        self._waiting_rows += len(table)
        self.rows += len(table)
        whole = self._waiting_rows // ROW_GROUP * ROW_GROUP
        if whole:
            rows = self._take_waiting()
            self._keep_waiting(rows.slice(whole))
            self._await_writing()
            self._writing = self._thread.submit(self._write, rows.slice(0, whole))

    def close(self) -> None:
        """Write the rows that are still in memory and finish the file, which keeps its temporary name."""
        self._await_writing()
        self._thread.shutdown()
        self._write(self._take_waiting())
        writer, self._writer = self._writer, None
        if writer:
            with disk_errors(self._label):
                writer.close()

    def discard(self) -> None:
        """Remove the files written so far."""
        self._thread.shutdown()
        self._writing = None  # its error does not matter any more
        writer, self._writer = self._writer, None
        with disk_errors(self._label):
            try:
                if writer:
                    writer.close()
            finally:
                temporary(self._final).unlink(missing_ok=True)
                self.rejects.discard()

    def withdraw(self) -> None:
        """Remove the files written so far, and move those that an earlier process published to the folder ``aside``.

        None is deleted: if the catalog is older than the files, the batch was sealed, and these may be the last copies.
        """
        self.discard()
        with disk_errors(self._label):
            self._put_aside(self._final)
            self._put_aside(self.rejects.path)

    def publish(self, first: str | None, last: str | None) -> Sealed:
        """Give the closed file its final name. Returns its record for the catalog."""
        with disk_errors(self._label):
            for final in (self._final, self.rejects.path):
                if final.exists() and not same_content(final, temporary(final)):
                    self._put_aside(final)
            publish(temporary(self._final), self._final, STEPS)
            rejects_path = self.rejects.publish()
        return Sealed(
            path=self._run.relative(self._final),
            rows=self.rows,
            bytes=self._final.stat().st_size,
            sha256=sha256(self._final),
            rejected=self.rejects.count,
            rejects_path=self._run.relative(rejects_path) if rejects_path else None,
            first_timestamp=first,
            last_timestamp=last,
        )

    def _put_aside(self, path: Path) -> None:
        if not path.exists():
            return
        make_folder(self._run.aside)
        names = (f"{path.name}.{number}" for number in itertools.count(1))
        aside = next(free for name in names if not (free := self._run.aside / name).exists())
        path.rename(aside)
        sync(aside.parent)
        sync(path.parent)
        log.warning("%s, which is not sealed, was put aside as %s", path.name, self._run.relative(aside))

    def _take_waiting(self) -> pa.Table:
        """The rows that are not written, or being written; none is waiting then."""
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        return pa.concat_tables([no_rows(self._schema), *waiting])

    def _keep_waiting(self, table: pa.Table) -> None:
        self._waiting, self._waiting_rows = [table], len(table)

    def _await_writing(self) -> None:
        """Wait until what is being written is written.

        Raises:
            DiskError: it can't be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, rows: pa.Table) -> None:
        """Write rows as row groups: whole ones, but for the last one of the file."""
        table = rows.combine_chunks()
        with disk_errors(self._label):
            if self._writer is None:
                self._writer = writer_of(temporary(self._final), self._schema, self._run.pipeline.batches.format)
            for start in range(0, len(table), ROW_GROUP):
                self._writer.write_table(table.slice(start, ROW_GROUP))
