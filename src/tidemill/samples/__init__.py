"""The built-in samples: data sets that are generated, the same rows on every machine, as many as are asked for.

The ready pipelines (``*.toml``) stand beside their generators.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill import rows as wire
from tidemill.errors import DiskError, InputError, did_you_mean
from tidemill.files import publish, temporary
from tidemill.samples import smart_home
from tidemill.spec import Column

CHUNK_ROWS = 65_536
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Sample:
    """A generated data set. ``version`` grows whenever its rows change.

    ``block(b)`` makes the ``block_rows`` rows from ``b * block_rows`` on, out of nothing but the number ``b``; so the
    first n rows are the same however many are asked for.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    default_rows: int
    version: int
    block_rows: int
    block: Callable[[int], pa.Table]

    def chunks(self, rows: int, size: int = CHUNK_ROWS) -> Iterator[pa.Table]:
        """The first ``rows`` rows, in tables of at most ``size``."""
        for first in range(0, rows, self.block_rows):
            block = self.block(first // self.block_rows).slice(0, rows - first)
            for start in range(0, len(block), size):
                yield block.slice(start, size)


SAMPLES: dict[str, Sample] = {
    "smart-home": Sample(
        name="smart-home",
        title="Smart-home device usage",
        columns=smart_home.COLUMNS,
        default_rows=5_403,
        version=smart_home.VERSION,
        block_rows=smart_home.BLOCK_ROWS,
        block=smart_home.block,
    ),
}


def find_sample(name: str) -> Sample:
    """The sample of that name.

    Raises:
        InputError: there is none.
    """
    if name not in SAMPLES:
        raise InputError(f'no sample "{name}"', did_you_mean(name, sorted(SAMPLES)))
    return SAMPLES[name]


def write_sample(name: str, rows: int, path: Path) -> None:
    """Write the first ``rows`` rows of a sample to ``path``, which appears whole or not at all.

    The ending decides the format: ``.csv``, ``.jsonl`` or ``.parquet``; the first two also with ``.gz`` or ``.zst``.

    Raises:
        InputError: no such sample, no row asked for, an unknown ending, or no such folder.
        DiskError: it could not be written.
    """
    sample = find_sample(name)
    if rows < 1:
        raise InputError(f"{rows} rows of the sample {name}", "ask for one row or more")
    write = writer_of(path)
    if not os.path.isdir(path.parent):
        raise InputError(f"no folder {path.parent}", "make it first, or give another place with --out")
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder", "give a file with --out")
    written = temporary(path)
    try:
        write(sample, rows, written, COMPRESSIONS.get(path.suffix))
        publish(written, path)
    except OSError as error:
        hint = "see that the disk has room and that you may write there, or give another place with --out"
        raise DiskError(f"can't write {path}: {error.strerror or error}", hint) from error
    finally:
        written.unlink(missing_ok=True)


def writer_of(path: Path) -> Callable[[Sample, int, Path, str | None], None]:
    bare = path.with_suffix("") if path.suffix in COMPRESSIONS else path
    writers = {".csv": write_csv, ".jsonl": write_json_lines, ".parquet": write_parquet}
    write = writers.get(bare.suffix)
    if write is None or (write is write_parquet and bare is not path):
        raise InputError(
            f"can't tell the format of {path.name} from its ending",
            "end it in .csv, .jsonl or .parquet; .csv and .jsonl may go on with .gz or .zst",
        )
    return write


def write_csv(sample: Sample, rows: int, path: Path, compression: str | None) -> None:
    with output(path, compression) as file:
        for place, table in enumerate(sample.chunks(rows)):
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            file.write(frame.write_csv(include_header=place == 0).encode())


def write_json_lines(sample: Sample, rows: int, path: Path, compression: str | None) -> None:
    with output(path, compression) as file:
        for table in sample.chunks(rows):
            file.writelines(line + b"\n" for line in wire.encode(table))


def write_parquet(sample: Sample, rows: int, path: Path, compression: str | None) -> None:
    with pq.ParquetWriter(path, wire.arrow_schema(sample.columns), compression="zstd") as file:
        for table in sample.chunks(rows):
            file.write_table(table)


@contextmanager
def output(path: Path, compression: str | None) -> Iterator[Any]:
    """The file to write bytes to, compressed on their way."""
    with pa.output_stream(os.fspath(path), compression=compression) as file:
        yield file
