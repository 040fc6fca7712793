"""Geographic coordinates: the columns that hold them, the distance of two points, and a map's extent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

LATITUDES, LONGITUDES = {"lat", "latitude"}, {"lon", "lng", "long", "longitude"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
EARTH_KM = 6371.0088  # mean radius (IUGG)


class CoordinateColumns(NamedTuple):
    """The names of the two columns that hold a point's coordinates, in degrees."""

    latitude: str
    longitude: str


class MapExtent(NamedTuple):
    """The area that a map shows: its middle, and the least distance from there to its edges, all in degrees."""

    latitude: float
    longitude: float
    half_height: float
    half_width: float
    narrowing: float  # the length of a degree of longitude, in degrees of latitude


def coordinate_columns(columns: Iterable[str]) -> CoordinateColumns | None:
    """The columns of latitude and longitude, recognised by a word of their names ("GEO_LAT", "pickupLongitude"); None
    unless there is exactly one of each."""
    words = {column: set(words_of(column)) for column in columns}
    latitudes = [column for column in words if words[column] & LATITUDES]
    longitudes = [column for column in words if words[column] & LONGITUDES]
    return CoordinateColumns(latitudes[0], longitudes[0]) if len(latitudes) == len(longitudes) == 1 else None


def words_of(name: str) -> list[str]:
    return [word.lower() for word in WORD.findall(name)]


def narrowing(latitude: float) -> float:
    """The length of a degree of longitude, in degrees of latitude; at least 0.01, so that a pole can be drawn."""
    return max(math.cos(math.radians(max(-90.0, min(90.0, latitude)))), 0.01)


def extent(latitudes: Iterable[float], longitudes: Iterable[float], margin: float = 0.05) -> MapExtent:
    """The extent that shows all these points (at least one), with a margin around them."""
    south, north = least_and_most(latitudes)
    west, east = least_and_most(longitudes)
    middle = (north + south) / 2
    half_height, half_width = (north - south) / 2 or 0.005, (east - west) / 2 or 0.005
    return MapExtent(
        middle, (west + east) / 2, half_height * (1 + margin), half_width * (1 + margin), narrowing(middle)
    )


def least_and_most(values: Iterable[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[0], ordered[-1]


def kilometres(start: tuple[float, float] | None, end: tuple[float, float] | None) -> float | None:
    """The great-circle distance of two points ``(latitude, longitude)``, by the haversine formula."""
    if start is None or end is None:
        return None
    up, across = math.radians(end[0] - start[0]), math.radians(end[1] - start[1])
    cosines = math.cos(math.radians(start[0])) * math.cos(math.radians(end[0]))
    haversine = math.sin(up / 2) ** 2 + cosines * math.sin(across / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, haversine)))
