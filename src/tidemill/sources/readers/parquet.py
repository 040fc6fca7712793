"""Reads Parquet in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.errors import SourceError
from tidemill.pipeline import Column
from tidemill.sources.arrow_values import convert, refuse_types
from tidemill.sources.chunk import Beginning, Chunk, absent_notes, refuse_missing
from tidemill.sources.readers.opening import BUFFER, SourceFile, read_errors
from tidemill.texts import shorten


class ParquetFile:
    """A Parquet file. The line of a reject is its row, from 1."""

    def __init__(self, file: SourceFile, columns: Sequence[Column], key: str) -> None:
        """``key``: the path of these data in the pipeline file."""
        self.file = file
        self.columns = columns
        self.key = key

    def check(self) -> Beginning:
        with self._open() as file:
            schema = file.schema_arrow
            refuse_missing(self.file.label, schema.names, self.columns)
            refuse_types(self.file.label, schema, self.columns, self.key)
            notes = absent_notes(self.file.label, schema.names, self.columns, self.key)
            return Beginning(bool(file.metadata.num_rows), notes)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        row = 1
        with self._open() as file:
            there = set(file.schema_arrow.names)
            names = [column.name for column in self.columns if column.name in there]
            for batch in file.iter_batches(size, columns=names, use_threads=False):
                wanted = pa.Table.from_batches([batch.slice(0, limit + 1 - row)])
                yield convert(wanted, self.columns, self.file.label, row)
                row += len(wanted)
                if row > limit:
                    return

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with read_errors(self.file):
            try:
                # opened here, as Arrow opens only paths that are UTF-8
                with self.file.path.open("rb") as opened, pq.ParquetFile(opened, buffer_size=BUFFER) as file:
                    yield file
            except pa.ArrowInvalid as error:
                raise SourceError(
                    f"can't read {self.file.label}: {shorten(str(error))}", "check that it is complete"
                ) from error
