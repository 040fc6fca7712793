"""Columns that give a label away: copies, functions of it, and what only the label decides."""

from __future__ import annotations

import numpy as np
import polars as pl

from tidemill.guessing.columns import ColumnGuess

FEWEST = 20  # rows; in fewer, two columns may agree by chance
REPEATED = 5  # how often a value occurs where it can be said to decide another
ALIKE = 0.99999  # the correlation from which a column is the label on another scale


def gives_away(column: ColumnGuess, label: ColumnGuess) -> str:
    """How the column gives the label away; empty where it does not, or in too few rows to say so."""
    both = pl.DataFrame({"column": column.values, "label": label.values}).drop_nulls()
    if len(both) < FEWEST or both["column"].n_unique() < 2:
        return ""
    if same(both):
        return f"a copy of {label.name}"
    pairs, columns, labels = both.unique().height, both["column"].n_unique(), both["label"].n_unique()
    rarest = int(both["label"].value_counts()["count"].min())  # type: ignore[arg-type]  # a count
    if pairs == labels and rarest >= REPEATED:
        return f"each {label.name} has one value of it: it gives the label away"
    if pairs == columns and len(both) >= REPEATED * columns and (rarest >= REPEATED or label.kind == "float"):
        return f"each value of it has one {label.name}: it gives the label away"
    if column.kind in ("int", "float") and label.kind in ("int", "float"):
        return alike(both, label)
    return ""


def same(both: pl.DataFrame) -> bool:
    return bool((both["column"].cast(pl.String) == both["label"].cast(pl.String)).all())


def alike(both: pl.DataFrame, label: ColumnGuess) -> str:
    """A column that is the label on another scale, or in another order of the same rows."""
    column, target = (both[name].cast(pl.Float64).to_numpy() for name in ("column", "label"))
    correlation = float(np.corrcoef(column, target)[0, 1])
    if abs(correlation) >= ALIKE:
        return f"its correlation with {label.name} is {correlation:.5f}: it gives the label away"
    if labels_rise(both) and len(np.unique(column)) > 2:
        return f"it rises and falls with {label.name} without exception: it gives the label away"
    return ""


def labels_rise(both: pl.DataFrame) -> bool:
    """Whether one column is a monotone function of the other."""
    ordered = both.sort(["label", "column"])["column"]
    falling = both.sort(["label", "column"], descending=[True, False])["column"]
    return bool(ordered.is_sorted() or falling.is_sorted())
