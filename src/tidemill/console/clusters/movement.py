"""How far the clusters have moved since the generation before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.console.clusters.describe import Cluster, Columns, is_number, seen_range
from tidemill.console.clusters.geo import Place

EARTH_KM = 6371.0088  # its mean radius (IUGG)


def moved(clusters: Sequence[Cluster], before: Sequence[Cluster], columns: Columns) -> dict[int, float | None]:
    """How far each centre is from that of the same number before: the root mean square over the numeric features, each
    as a share of the range that training saw. None where it can't be told."""
    earlier = {one["cluster"]: one["centre"] for one in before}
    return {
        one["cluster"]: distance(one["centre"], earlier[one["cluster"]], columns) if one["cluster"] in earlier else None
        for one in clusters
    }


def distance(centre: Mapping[str, Any], before: Mapping[str, Any], columns: Columns) -> float | None:
    shares = [
        (centre[name] - before[name]) / seen_range(columns.get(name, {}))
        for name in centre
        if is_number(centre[name]) and is_number(before.get(name)) and seen_range(columns.get(name, {})) > 0
    ]
    return math.sqrt(sum(one * one for one in shares) / len(shares)) if shares else None


def moved_km(clusters: Sequence[Cluster], before: Sequence[Cluster], place: Place) -> dict[int, float | None]:
    """How far each centre is from that of the same number before, along the ground."""
    earlier = {one["cluster"]: point(one, place) for one in before}
    return {one["cluster"]: kilometres(point(one, place), earlier.get(one["cluster"])) for one in clusters}


def point(cluster: Cluster, place: Place) -> tuple[float, float] | None:
    latitude, longitude = cluster["centre"].get(place.latitude), cluster["centre"].get(place.longitude)
    return (latitude, longitude) if is_number(latitude) and is_number(longitude) else None


def kilometres(one: tuple[float, float] | None, other: tuple[float, float] | None) -> float | None:
    """The great-circle distance of two places, by the haversine formula."""
    if one is None or other is None:
        return None
    up, across = math.radians(other[0] - one[0]), math.radians(other[1] - one[1])
    slope = math.cos(math.radians(one[0])) * math.cos(math.radians(other[0]))
    haversine = math.sin(up / 2) ** 2 + slope * math.sin(across / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, haversine)))
