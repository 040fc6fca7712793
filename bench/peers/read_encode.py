"""The limit of producing: pyarrow reads a CSV file, typed, and each row becomes one JSON object in bytes; no Kafka.

python bench/peers/read_encode.py FILE
"""

from __future__ import annotations

import sys
import time

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc

NAMES = ("UserID", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths", "SmartHomeEfficiency")


def main(path: str) -> None:
    began, rows, size = time.perf_counter(), 0, 0
    types = {name: pa.int64() for name in NAMES}
    for block in pc.open_csv(path, convert_options=pc.ConvertOptions(column_types=types)):
        frame = pl.from_arrow(block)
        assert isinstance(frame, pl.DataFrame)
        values = frame.write_ndjson().encode().splitlines()
        rows += len(values)
        size += sum(map(len, values[:1]))
    print(f"{time.perf_counter() - began:.3f} {rows}")


if __name__ == "__main__":
    main(sys.argv[1])
