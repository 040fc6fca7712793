"""A sample of a generation's rows that depends on their content, not on their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.training.features import column, spark_name

SAMPLE = 1_000
MARGIN = 2  # candidates for each row wanted, as the number of rows below a hash varies
WIDEN = 64  # factor of the share, where there were too few candidates
LEAST_HASH, HASHES = -(2**63), 2**64
HASH, PROBE = "__hash", "__probe"


def sample(rows: DataFrame, names: Sequence[str], count: int, most: int = SAMPLE) -> pa.Table:
    """Up to ``most`` rows that differ in the declared columns ``names``: those of the lowest hashes (Spark's
    ``xxhash64``), as a table of these columns.

    The same rows give the same sample in any order, and every row has the same chance. Rows above a certain hash are
    dropped before duplicates are: Spark shuffles and sorts only a few thousand rows, unless most are equal.

    Args:
        count: how many rows there are.
    """
    content = rows.select(*[column(name) for name in names])
    share = MARGIN * most / max(1, count)
    while True:
        distinct = content.filter(is_below(names, share)).distinct()
        lowest = distinct.withColumn(HASH, content_hash(names)).orderBy(HASH).limit(most)
        table: pa.Table = lowest.drop(HASH).toArrow()
        if len(table) == most or share >= 1:
            return table.rename_columns(list(names))
        share *= WIDEN


def content_hash(names: Sequence[str]) -> Column:
    return F.xxhash64(*[column(name) for name in names])


def is_below(names: Sequence[str], share: float) -> Column:
    """Whether a row's hash is in the lowest ``share`` of all possible hashes."""
    return F.lit(True) if share >= 1 else content_hash(names) < F.lit(LEAST_HASH + int(share * HASHES))


def with_probes(real: pa.Table, made: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Real rows, then probes with the same columns, all under their names in Spark; the column ``PROBE`` marks the
    probes."""
    probes = pa.Table.from_pylist([dict(row) for row in made], schema=real.schema)
    flags = pa.array([False] * len(real) + [True] * len(made), pa.bool_())
    rows = pa.concat_tables([real, probes])
    return rows.rename_columns([spark_name(name) for name in rows.column_names]).append_column(PROBE, flags)
