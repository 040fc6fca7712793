"""Settings that many columns of a file share, which then stand once in ``[source]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl

from tidemill.guessing.columns import ColumnGuess

FEWEST = 3  # columns that share a setting


class Shared(NamedTuple):
    """The settings for all columns, and the columns with their other ones."""

    settings: Mapping[str, Any]
    columns: list[ColumnGuess]


def shared_settings(columns: Sequence[ColumnGuess]) -> Shared:
    """The decimal comma and the values for a missing one that at least three columns have, where they mean the same in
    all others."""
    settings: dict[str, Any] = {}
    floats = [column for column in columns if column.kind == "float"]
    if len(floats) >= FEWEST and all(column.settings.get("decimal") == "," for column in floats):
        settings["decimal"] = ","
    lists = [list(column.settings["missing"]) for column in columns if "missing" in column.settings]
    common = max(lists, key=lists.count, default=[])
    if common != [""] and lists.count(common) >= FEWEST and not any(is_value(column, common) for column in columns):
        settings["missing"] = common
    return Shared(settings, [without(column, settings) for column in columns])


def is_value(column: ColumnGuess, missing: Sequence[Any]) -> bool:
    """Whether one of these is a value of the column."""
    kinds = str if column.kind == "string" else (int, float) if column.kind in ("int", "float") else ()
    values = pl.Series([value for value in missing if isinstance(value, kinds)], dtype=column.present.dtype).implode()
    return bool(column.present.is_in(values).any())


def without(column: ColumnGuess, settings: Mapping[str, Any]) -> ColumnGuess:
    """The column without the settings that the source has for all."""
    own = {key: value for key, value in column.settings.items() if settings.get(key) != value}
    return replace(column, settings=own)
