"""Reads Parquet in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.errors import SourceError
from tidemill.pipeline import Column
from tidemill.sources.arrow_values import check_schema, convert
from tidemill.sources.chunk import CHUNK_CHARACTERS, Beginning, Chunk
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
            notes = check_schema(self.file.label, file.schema_arrow, self.columns, self.key)
            return Beginning(bool(file.metadata.num_rows), notes)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        row = 1
        with self._open() as file:
            names = selected(file.schema_arrow.names, self.columns)
            size = min(size, rows_within(file.metadata, names, CHUNK_CHARACTERS))
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
                with (
                    self.file.path.open("rb") as opened,
                    pq.ParquetFile(opened, buffer_size=BUFFER, coerce_int96_timestamp_unit="us") as file,
                ):
                    yield file
            except pa.ArrowInvalid as error:
                raise SourceError(
                    f"can't read {self.file.label}: {shorten(str(error))}", "check that it is complete"
                ) from error


def rows_within(metadata: pq.FileMetaData, names: Sequence[str], size: int) -> int:
    """How many rows of the columns ``names`` have about ``size`` bytes, at least one."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    parts = (group.column(index) for group in groups for index in range(group.num_columns))
    total: int = sum(part.total_uncompressed_size for part in parts if is_part_of(part.path_in_schema, names))
    rows: int = metadata.num_rows
    return max(size * rows // max(total, 1), 1)


def is_part_of(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in names)


def selected(names: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """The file's columns in which the declared ones are, or start."""
    wanted = {column.name_in_data for column in columns}
    wanted |= {name.partition(".")[0] for name in wanted}
    return [name for name in names if name in wanted]
