"""The built-in samples: generated data sets of any length, with the same rows on every machine.

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
import polars.selectors as selectors
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.errors import DiskError, InputError
from tidemill.pipeline import Column, arrow_schema
from tidemill.run.files import publish, temporary
from tidemill.samples import (
    amazon_sales,
    denver_crime,
    dutch_electricity,
    movie_ratings,
    movie_titles,
    price_paid,
    smart_home,
)
from tidemill.texts import did_you_mean
from tidemill.types import JSON_TIMESTAMP

CHUNK_ROWS = 65_536
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Sample:
    """A generated data set. ``version`` increases whenever its rows change.

    ``block(b)`` makes the ``block_rows`` rows from ``b * block_rows`` on, and depends on the number ``b`` alone; so the
    first n rows are the same for any number of rows. ``header`` and ``quoted`` say whether the public file has a header
    line and quotes every field; a sample written as CSV has the same form.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    default_rows: int
    version: int
    block_rows: int
    block: Callable[[int], pa.Table]
    header: bool = True
    quoted: bool = False

    def chunks(self, rows: int, size: int = CHUNK_ROWS) -> Iterator[pa.Table]:
        """The first ``rows`` rows, in tables of at most ``size``."""
        for first in range(0, rows, self.block_rows):
            block = self.block(first // self.block_rows).slice(0, rows - first)
            for start in range(0, len(block), size):
                yield block.slice(start, size)


def made_by(name: str, title: str, default_rows: int, module: Any, header: bool = True, quoted: bool = False) -> Sample:
    """The sample of a generator module of this package."""
    return Sample(
        name=name,
        title=title,
        columns=module.COLUMNS,
        default_rows=default_rows,
        version=module.VERSION,
        block_rows=module.BLOCK_ROWS,
        block=module.block,
        header=header,
        quoted=quoted,
    )


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        made_by("smart-home", "Smart-home device usage", 5_403, smart_home),
        made_by("dutch-electricity", "Dutch electricity use, street by street", 7_650, dutch_electricity),
        made_by("denver-crime", "Crime in Denver, as it was reported", 15_800, denver_crime),
        made_by("amazon-sales", "Products, prices and ratings at Amazon", 1_465, amazon_sales),
        made_by("price-paid", "Prices paid for homes in 1995", 10_300, price_paid, header=False, quoted=True),
        made_by("movie-ratings", "Movie ratings", 100_000, movie_ratings),
        made_by("movie-titles", "Movies with their titles and genres", 2_000, movie_titles),
    )
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
    """Write the first ``rows`` rows of a sample to ``path``, atomically.

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
        raise InputError(f"no folder {path.parent}", "create it first, or give another path with --out")
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder", "give a file with --out")
    written = temporary(path)
    try:
        write(sample, rows, written, COMPRESSIONS.get(path.suffix))
        publish(written, path)
    except OSError as error:
        hint = "check that the disk has room and that you may write there, or give another path with --out"
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
            "end it in .csv, .jsonl or .parquet; .csv and .jsonl may be followed by .gz or .zst",
        )
    return write


def write_csv(sample: Sample, rows: int, path: Path, compression: str | None) -> None:
    with output(path, compression) as file:
        for index, table in enumerate(sample.chunks(rows)):
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            header = sample.header and index == 0
            text = frame.write_csv(include_header=header, quote_style="always" if sample.quoted else "necessary")
            file.write(text.encode())


def write_json_lines(sample: Sample, rows: int, path: Path, compression: str | None) -> None:
    with output(path, compression) as file:
        for table in sample.chunks(rows):
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            file.write(frame.with_columns(selectors.datetime().dt.strftime(JSON_TIMESTAMP)).write_ndjson().encode())


def write_parquet(sample: Sample, rows: int, path: Path, compression: str | None) -> None:
    schema = arrow_schema(sample.columns)
    with path.open("wb") as raw, pq.ParquetWriter(raw, schema, compression="zstd") as file:
        for table in sample.chunks(rows):
            file.write_table(table)


@contextmanager
def output(path: Path, compression: str | None) -> Iterator[Any]:
    """A file whose bytes are compressed as they are written."""
    # opened here, as Arrow opens only paths that are UTF-8
    with path.open("wb") as raw, pa.output_stream(raw, compression=compression) as file:
        yield file
