"""A profile's clusters as rows of tables: sizes and centres, categories, and how far each has moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.console import formatting
from tidemill.console.clusters.describe import Columns, is_number
from tidemill.console.clusters.geo import CoordinateColumns, kilometres
from tidemill.console.forms.fields import column_key, input_range
from tidemill.schemas import Cluster

Row = dict[str, Any]
OWN = ("cluster", "size", "share", "moved")  # keys of these tables beside those of the features


def shares(clusters: Sequence[Cluster]) -> dict[int, float | None]:
    """Each cluster's share of all rows; None if there are no rows."""
    total = sum(cluster.size for cluster in clusters)
    return {cluster.cluster: cluster.size / total if total else None for cluster in clusters}


def percentages(clusters: Sequence[Cluster]) -> dict[int, str]:
    """Each cluster's share of all rows, in percent."""
    return {number: formatting.share(share) for number, share in shares(clusters).items()}


def centres(clusters: Sequence[Cluster]) -> list[Row]:
    """A row for each cluster: its number, size, share of all rows and centre. All figures are numbers."""
    of_all = shares(clusters)
    return [
        {"cluster": cluster.cluster, "size": cluster.size, "share": of_all[cluster.cluster]}
        | {column_key(name, OWN): value for name, value in cluster.centre.items()}
        for cluster in clusters
    ]


def categories(clusters: Sequence[Cluster]) -> list[Row]:
    """A row for each category with its share in each cluster, the category with the most rows of a feature first."""
    pairs = {(name, category) for cluster in clusters for name, shares in cluster.shares.items() for category in shares}

    def rows_of(feature: str, category: str) -> float:
        return math.fsum(cluster.size * share_of(cluster, feature, category) for cluster in clusters)

    return [
        {"feature": feature, "category": category}
        | {cluster_title(cluster): share_of(cluster, feature, category) for cluster in clusters}
        for feature, category in sorted(pairs, key=lambda pair: (pair[0], -rows_of(*pair), pair[1]))
    ]


def share_of(cluster: Cluster, feature: str, category: str) -> float:
    return cluster.shares.get(feature, {}).get(category, 0.0)


def terms(clusters: Sequence[Cluster]) -> list[Row]:
    """A row for each cluster and text, with the terms of the greatest weight at the centre, the greatest first."""
    return [
        {"cluster": cluster.cluster, "feature": feature, "terms": ", ".join(weights)}
        for cluster in clusters
        for feature, weights in (cluster.terms or {}).items()
    ]


def cluster_title(cluster: Cluster) -> str:
    return f"cluster {cluster.cluster}"


# --- movement -------------------------------------------------------------------------------------------------------


def moves(clusters: Sequence[Cluster], before: Sequence[Cluster], distances: Mapping[int, float | None]) -> list[Row]:
    """The change of each cluster's size and centre since the generation before; None for a cluster that is new."""
    earlier = {cluster.cluster: cluster for cluster in before}
    return [move(cluster, earlier.get(cluster.cluster), distances[cluster.cluster]) for cluster in clusters]


def move(cluster: Cluster, before: Cluster | None, distance: float | None) -> Row:
    row: Row = {"cluster": cluster.cluster, "moved": distance}
    row["size"] = None if before is None else cluster.size - before.size
    for name, value in cluster.centre.items():
        was = None if before is None else before.centre.get(name)
        row[column_key(name, OWN)] = value - was if is_number(value) and is_number(was) else None
    return row


def moved(clusters: Sequence[Cluster], before: Sequence[Cluster], columns: Columns) -> dict[int, float | None]:
    """How far each centre is from the centre of the same number before: the root mean square over the numeric features,
    each as a share of its range in training. None for a cluster that is new, or if no feature has a range.
    """
    earlier = {cluster.cluster: cluster.centre for cluster in before}
    return {
        cluster.cluster: centre_distance(cluster.centre, earlier.get(cluster.cluster, {}), columns)
        for cluster in clusters
    }


def centre_distance(centre: Mapping[str, Any], before: Mapping[str, Any], columns: Columns) -> float | None:
    ranges = {name: input_range(columns[name]) for name in centre if name in columns}
    relative = [
        (centre[name] - before[name]) / width
        for name, width in ranges.items()
        if width > 0 and is_number(centre[name]) and is_number(before.get(name))
    ]
    return math.sqrt(sum(share * share for share in relative) / len(relative)) if relative else None


def moved_km(
    clusters: Sequence[Cluster], before: Sequence[Cluster], columns: CoordinateColumns
) -> dict[int, float | None]:
    """How many kilometres each centre is from the centre of the same number before."""
    earlier = {cluster.cluster: point(cluster, columns) for cluster in before}
    return {cluster.cluster: kilometres(point(cluster, columns), earlier.get(cluster.cluster)) for cluster in clusters}


def point(cluster: Cluster, columns: CoordinateColumns) -> tuple[float, float] | None:
    latitude, longitude = cluster.centre.get(columns.latitude), cluster.centre.get(columns.longitude)
    return (latitude, longitude) if is_number(latitude) and is_number(longitude) else None
