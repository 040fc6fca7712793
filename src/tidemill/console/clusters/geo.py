"""Places on the earth: which columns hold them, and how a plot of them keeps its proportions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

LATITUDES, LONGITUDES = {"lat", "latitude"}, {"lon", "lng", "long", "longitude"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class Place(NamedTuple):
    """The two columns that hold a place."""

    latitude: str
    longitude: str


class View(NamedTuple):
    """What a map shows: its middle in degrees, and how much of either way from it is to be seen at least."""

    latitude: float
    longitude: float
    up: float
    across: float
    narrowing: float  # a degree of longitude is so much of one of latitude


def place(columns: Iterable[str]) -> Place | None:
    """The columns of latitude and longitude by their names ("GEO_LAT", "pickupLongitude"); None where one is not there,
    or where there are several."""
    named = {column: set(words(column)) for column in columns}
    latitudes = [column for column, found in named.items() if found & LATITUDES]
    longitudes = [column for column, found in named.items() if found & LONGITUDES]
    return Place(latitudes[0], longitudes[0]) if len(latitudes) == 1 and len(longitudes) == 1 else None


def words(name: str) -> list[str]:
    return [word.lower() for word in WORD.findall(name)]


def narrowing(latitude: float) -> float:
    """How long a degree of longitude is beside one of latitude; at the poles not quite nothing."""
    return max(math.cos(math.radians(max(-90.0, min(90.0, latitude)))), 0.01)


def view(latitudes: Iterable[float], longitudes: Iterable[float], margin: float = 0.05) -> View:
    """What shows all these places, of which there must be one, with a margin around them."""
    up, down = most_and_least(latitudes)
    right, left = most_and_least(longitudes)
    middle = (up + down) / 2
    half_up, half_across = (up - down) / 2 or 0.005, (right - left) / 2 or 0.005
    return View(middle, (left + right) / 2, half_up * (1 + margin), half_across * (1 + margin), narrowing(middle))


def most_and_least(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return max(found), min(found)
