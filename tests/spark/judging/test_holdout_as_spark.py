"""The rows that are held out without Spark are those that Spark holds out."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Column as SparkColumn
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.judging.holdout import HOLDOUT_PARTS, held_out, row_hashes
from tidemill.pipeline import Column, Holdout, arrow_schema

COLUMNS = (
    Column("count", "int", True),
    Column("word", "string", True),
    Column("a `size`", "float", True),
    Column("on", "bool", True),
    Column("when", "timestamp", True),
    Column("text", "string", True),
)
ROWS = 4_000
LETTERS = ["a", "Z", " ", "0", "é", "ß", "Ω", "漢", "😀", "\n", '"']
INTS = [0, -1, 2**63 - 1, -(2**63), 2**53 + 1]
FLOATS = [0.0, -0.0, 5e-324, -1.7976931348623157e308, 1e300, 0.1, float("nan")]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def random_text(dice: random.Random) -> str:
    """Up to 200 bytes; many are empty or short."""
    text = "".join(dice.choices(LETTERS, k=dice.choice([0, 1, 3, 8, dice.randrange(200)])))
    while len(text.encode()) > 200:
        text = text[:-1]
    return text


def random_value(dice: random.Random, kind: str) -> Any:
    match kind:
        case "int":
            return dice.choice([*INTS, dice.randrange(100), dice.randrange(-(2**63), 2**63)])
        case "float":
            return dice.choice([*FLOATS, dice.gauss(0, 1), float(dice.randrange(10))])
        case "bool":
            return dice.random() < 0.5
        case "timestamp":
            return EPOCH + timedelta(microseconds=dice.choice([0, -1, dice.randrange(-(10**15), 10**16)]))
        case _:
            return random_text(dice)


def random_table(seed: int) -> pa.Table:
    dice = random.Random(seed)
    rows = [
        {column.name: None if dice.random() < 0.1 else random_value(dice, column.kind) for column in COLUMNS}
        for _ in range(ROWS)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(COLUMNS))


def values() -> list[SparkColumn]:
    return [F.col(f"`{column.name.replace('`', '``')}`") for column in COLUMNS]


def held_out_by_spark(holdout: Holdout) -> SparkColumn:
    bucket = F.pmod(F.xxhash64(*values(), F.lit(holdout.seed).cast("bigint")), F.lit(HOLDOUT_PARTS))
    return bucket < F.lit(round(holdout.share * HOLDOUT_PARTS))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_rows_are_held_out_as_by_spark(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    """On random rows of all types, with missing and extreme values, each hash and each choice is Spark's own."""
    table, path = random_table(seed), tmp_path / "batch.parquet"
    pq.write_table(table, path)
    rows = spark.read.parquet(str(path))
    holdouts = [Holdout(share=share, seed=key) for share in (0.0, 0.013, 0.2, 0.9) for key in (42, 0, -7, 2**62)]
    hashes = F.xxhash64(*values())
    answers = rows.select(hashes, *map(held_out_by_spark, holdouts)).toArrow()
    assert answers.num_rows == ROWS
    assert np.array_equal(answers.column(0).to_numpy().view(np.uint64), row_hashes(table, COLUMNS))
    for index, holdout in enumerate(holdouts):
        assert np.array_equal(answers.column(index + 1).to_numpy(), held_out(table, COLUMNS, holdout)), holdout
