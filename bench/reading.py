"""How fast files are read into rows of the declared columns, beside Arrow's own readers of the same file.

CSV, JSON Lines and Parquet, in one process and in turn, by the processor time of one thread and by the clock. Then CSV
with cleanings, and the samples beside their generators.

    python -m bench.reading [--rows 1000000] [--turns 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.reading import SMART_HOME_COLUMNS, opened, pipeline

from tidemill.pipeline import arrow_schema
from tidemill.samples import SAMPLES, find_sample, write_sample
from tidemill.sources.source import SourceReader, open_source

FORMATS = ("csv", "jsonl", "parquet")
CLEANED: dict[str, dict[str, Any]] = {
    "strip": {"UsageHoursPerDay": {"type": "float", "strip": ["kWh"]}},
    "missing": {"MalfunctionIncidents": {"type": "int?", "missing": [-1, "n/a"]}},
    "thousands": {"UserID": {"type": "int", "thousands": "_"}},
}


class Rate(NamedTuple):
    """Rows a second of processor time, and of the clock."""

    rows: int
    processor: float
    clock: float


def rate(read: Callable[[], int]) -> Rate:
    """How fast ``read`` reads the rows whose number it returns."""
    processor, clock = time.process_time(), time.perf_counter()
    rows = read()
    return Rate(rows, rows / (time.process_time() - processor), rows / (time.perf_counter() - clock))


def read_chunks(reader: SourceReader) -> int:
    """Read all rows as the producer does."""
    return sum(len(chunk.rows) for chunk in reader.chunks())


def read_by_arrow(path: Path) -> int:
    """Read a file of smart-home's columns with Arrow's own reader in one thread, typed, and drop its rows."""
    schema = arrow_schema(find_sample("smart-home").columns)
    if path.suffix == ".csv":
        csv = pa.csv.open_csv(
            path,
            read_options=pa.csv.ReadOptions(use_threads=False),
            convert_options=pa.csv.ConvertOptions(column_types=schema),
        )
        return sum(len(batch) for batch in csv)
    if path.suffix == ".jsonl":
        return len(
            pa.json.read_json(
                path,
                read_options=pa.json.ReadOptions(use_threads=False),
                parse_options=pa.json.ParseOptions(explicit_schema=schema),
            )
        )
    return sum(len(batch) for batch in pq.ParquetFile(path).iter_batches(use_threads=False))


@contextmanager
def sample_file(form: str, rows: int) -> Iterator[Path]:
    """A temporary file of smart-home's rows."""
    with tempfile.TemporaryDirectory(prefix="tidemill-reading-") as folder:
        path = Path(folder, f"rows.{form}")
        write_sample("smart-home", rows, path)
        yield path


def both(path: Path, turns: int, columns: Mapping[str, Any] = SMART_HOME_COLUMNS) -> tuple[list[Rate], list[Rate]]:
    """The rates of ``SourceReader.chunks`` and of Arrow's own reader, in turn."""
    pairs = [
        (rate(lambda: read_chunks(opened(path, columns))), rate(lambda: read_by_arrow(path))) for _ in range(turns)
    ]
    return [ours for ours, _ in pairs], [arrows for _, arrows in pairs]


def median(rates: list[Rate]) -> Rate:
    return sorted(rates, key=lambda rate: rate.processor)[len(rates) // 2]


def show(what: str, rates: list[Rate], peer: str, peers: list[Rate]) -> None:
    ours, theirs = median(rates), median(peers)
    print(
        f"{what:28} {ours.processor:12,.0f} rows/s ({ours.clock:,.0f} by the clock)   {peer} {theirs.processor:12,.0f}"
        f" ({theirs.clock:,.0f})   ratio {ours.processor / theirs.processor:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--samples", action="store_true", help="the samples too")
    given = parser.parse_args()
    for form in FORMATS:
        with sample_file(form, given.rows) as path:
            show(form, *interleaved(both(path, given.turns), "Arrow"))
            for name, cleaned in CLEANED.items() if form == "csv" else ():
                columns = {**SMART_HOME_COLUMNS, **cleaned}
                show(f"csv with {name}", *interleaved(both(path, given.turns, columns), "Arrow"))
    for name in SAMPLES if given.samples else ():
        show_sample(name, given.rows // 10, given.turns)


def interleaved(rates: tuple[list[Rate], list[Rate]], peer: str) -> tuple[list[Rate], str, list[Rate]]:
    return rates[0], peer, rates[1]


def show_sample(name: str, rows: int, turns: int) -> None:
    sample = find_sample(name)
    columns = {column.name: column.kind + "?" * column.optional for column in sample.columns}
    reader = open_source(pipeline(columns, sample=name, rows=rows), Path())
    pairs = [
        (rate(lambda: read_chunks(reader)), rate(lambda: sum(map(len, sample.chunks(rows))))) for _ in range(turns)
    ]
    show(f"sample {name}", [ours for ours, _ in pairs], "generator", [made for _, made in pairs])


if __name__ == "__main__":
    main()
