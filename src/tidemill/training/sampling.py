"""A sample of a generation's rows that depends on their content, not on their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.judging.holdout import row_hashes
from tidemill.pipeline import Column
from tidemill.training.features import spark_name

SAMPLE = 1_000
PROBE = "__probe"


def sample(tables: Iterable[pa.Table], columns: Sequence[Column], most: int = SAMPLE) -> pa.Table:
    """Up to ``most`` rows that differ in these columns: those of the lowest hashes (Spark's ``xxhash64``), in the order
    of their hashes, as a table of the columns.

    The same rows give the same sample in any order, and every row has the same chance.

    Args:
        tables: all rows; they have these columns, and may have others.
    """
    names = [column.name for column in columns]
    lowest: pa.Table | None = None
    hashes = np.zeros(0, np.int64)
    for table in tables:
        rows, own = table.select(names), row_hashes(table, columns).view(np.int64)
        if len(hashes) == most:
            below = np.flatnonzero(own < hashes[-1])
            rows, own = rows.take(pa.array(below)), own[below]
        every = rows if lowest is None else pa.concat_tables([lowest, rows])
        hashes, first = np.unique(np.concatenate([hashes, own]), return_index=True)  # equal rows have equal hashes
        hashes, lowest = hashes[:most], every.take(pa.array(first[:most])).combine_chunks()
    assert lowest is not None, "a model is trained on at least one row"
    return lowest


def with_probes(real: pa.Table, made: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Real rows, then probes with the same columns, all under their names in Spark; the column ``PROBE`` marks the
    probes."""
    probes = pa.Table.from_pylist([dict(row) for row in made], schema=real.schema)
    flags = pa.array([False] * len(real) + [True] * len(made), pa.bool_())
    rows = pa.concat_tables([real, probes])
    return rows.rename_columns([spark_name(name) for name in rows.column_names]).append_column(PROBE, flags)
