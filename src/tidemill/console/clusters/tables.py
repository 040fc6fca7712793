"""A profile's clusters as rows of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.console import formatting
from tidemill.console.clusters.describe import Cluster, is_number

Row = dict[str, Any]

LEAST_DIGITS = 4


def shares(clusters: Sequence[Cluster]) -> dict[int, str]:
    """Each cluster's share of all rows, in percent."""
    total = sum(one["size"] for one in clusters)
    return {one["cluster"]: formatting.share(one["size"] / total if total else None) for one in clusters}


def written(rows: Sequence[Row], but: str = "") -> list[Row]:
    """The rows with their figures as one reads them; the column ``but`` stays as it is."""
    digits = {name: digits_of([row.get(name) for row in rows]) for row in rows for name in row}
    return [
        {
            name: formatting.number(value, digits[name])
            if name != but and isinstance(value, int | float | None)
            else value
            for name, value in row.items()
        }
        for row in rows
    ]


def digits_of(values: Sequence[Any]) -> int:
    """So many significant digits that the values of a column can be told apart, as those of a longitude in one town."""
    numbers = [value for value in values if is_number(value)]
    spread = max(numbers) - min(numbers) if numbers else 0.0
    if not spread:
        return LEAST_DIGITS
    return max(LEAST_DIGITS, 3 + math.ceil(math.log10(max(map(abs, numbers)) / spread)))


def centres(clusters: Sequence[Cluster]) -> list[Row]:
    found = shares(clusters)
    return [
        {"cluster": one["cluster"], "size": one["size"], "share": found[one["cluster"]], **one["centre"]}
        for one in clusters
    ]


def categories(clusters: Sequence[Cluster]) -> list[Row]:
    """For each feature and category its share in each cluster, in percent; those of which there is most come first."""
    named = {(name, one) for cluster in clusters for name, found in cluster["shares"].items() for one in found}

    def rows_of(feature: str, category: str) -> float:
        return math.fsum(one["size"] * one["shares"].get(feature, {}).get(category, 0.0) for one in clusters)

    return [
        {"feature": feature, "category": category}
        | {
            f"cluster {one['cluster']}": formatting.share(one["shares"].get(feature, {}).get(category, 0.0))
            for one in clusters
        }
        for feature, category in sorted(named, key=lambda pair: (pair[0], -rows_of(*pair), pair[1]))
    ]


def moves(clusters: Sequence[Cluster], before: Sequence[Cluster], far: Mapping[int, float | None]) -> list[Row]:
    """The change of each cluster since the generation before; nothing where it was not there."""
    earlier = {one["cluster"]: one for one in before}
    return [move(one, earlier.get(one["cluster"]), far[one["cluster"]]) for one in clusters]


def move(cluster: Cluster, before: Cluster | None, far: float | None) -> Row:
    row: Row = {"cluster": cluster["cluster"], "moved": far}
    row["size"] = None if before is None else cluster["size"] - before["size"]
    for name, value in cluster["centre"].items():
        was = None if before is None else before["centre"].get(name)
        row[name] = value - was if is_number(value) and is_number(was) else None
    return row
