"""Rows of every column type and labels of every kind: a data set that models of all estimators can learn from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.support.fitting import Fitted, Row, frame

MIXED_COLUMNS = {
    "size": "float",
    "age": "int",
    "constant": "int",
    "colour": "string",
    "shape": "string",
    "on": "bool",
    "two": "int",
    "three": "string",
    "good": "bool",
    "price": "float",
}
MIXED_FEATURES = ["colour", "size", "shape", "age", "on", "constant"]
COLOURS, SHAPES = ["red", "green", "blue", "naïve\n“", ""], ["round", "square"]
FINITE = st.floats(-1e9, 1e9, allow_nan=False)
any_row: st.SearchStrategy[Row] = st.fixed_dictionaries(
    {
        "size": FINITE | st.floats(29_900, 30_100),
        "age": st.integers(-(2**53), 2**53) | st.integers(0, 90),
        "constant": st.integers(-10, 10),
        "colour": st.sampled_from(COLOURS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        "shape": st.sampled_from([*SHAPES, "unseen"]),
        "on": st.booleans(),
    }
)
"""A row of features alone, with extreme values and categories that training has not seen."""


def mixed_rows(count: int, seed: int = 1) -> list[Row]:
    """Random rows, the same ones for the same seed."""
    dice = random.Random(seed)
    rows = []
    for _ in range(count):
        size, age, colour = dice.gauss(3e4, 25.0), dice.randrange(-5, 90), dice.choice(COLOURS)
        rows.append(
            {
                "size": size,
                "age": age,
                "constant": 7,
                "colour": colour,
                "shape": dice.choice(SHAPES),
                "on": dice.random() < 0.5,
                "two": int(age + dice.gauss(0, 20) > 40),
                "three": "low" if size < 29_990 else "mid" if age < 50 else "top",
                "good": size + dice.gauss(0, 30) > 3e4,
                "price": size / 7 + age * 3 + (100 if colour == "red" else 0) + dice.gauss(0, 5),
            }
        )
    return rows


def assert_scored_as_in_spark(fitted: Mapping[str, Fitted], spark: SparkSession, rows: Sequence[Row]) -> None:
    """Every model's scorer gives Spark's answers on all of these rows, which have features but no labels."""
    labels = {"two": 0, "three": "low", "good": True, "price": 0.0}
    table = frame(spark, MIXED_COLUMNS, [row | labels for row in rows]).cache()
    for model in fitted.values():
        report = model.parity(table)
        assert report["rows"] == report["equal"] == len(rows)
    table.unpersist()
