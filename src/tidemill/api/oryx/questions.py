"""What a request to one of Oryx's paths asks: the parts of its path, its window of a list, its data points."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import NamedTuple

from starlette.requests import Request

from tidemill.api.paths import segments
from tidemill.api.values import EXPECTED, from_text, shown
from tidemill.errors import RequestError
from tidemill.pipeline import Column
from tidemill.sources.chunk import RECORD_CHARACTERS

MOST = 100_000  # of ``howMany`` and ``offset`` together
DEFAULT_HOW_MANY = 10


class Window(NamedTuple):
    """The part of a list that is asked for."""

    how_many: int
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.how_many


def path_parts(request: Request) -> list[str]:
    """The values in the path, after its first word; a slash at its end adds none."""
    parts = segments(request.scope)[2:]
    return parts[:-1] if parts and not parts[-1] else parts


def window(request: Request) -> Window:
    """``howMany`` and ``offset`` of the query.

    Raises:
        RequestError: one is no number of a list's size.
    """
    asked = Window(whole(request, "howMany", DEFAULT_HOW_MANY), whole(request, "offset", 0))
    if asked.how_many < 1 or asked.offset < 0 or asked.end > MOST:
        message = f"howMany is {asked.how_many} and offset {asked.offset}"
        raise RequestError(message, f"howMany is at least 1, offset at least 0, and their sum at most {MOST}")
    return asked


def whole(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        return int(from_text("int", given))
    except ValueError:
        raise RequestError(f"{name} is {shown(given)}, not a whole number", "leave it out for the default") from None


def considers_known(request: Request) -> bool:
    """``considerKnownItems`` of the query: whether items that a user has rated may be recommended."""
    return request.query_params.get("considerKnownItems", "").lower() == "true"


def rated_parts(parts: Sequence[str]) -> dict[str, float]:
    """Ratings by item, from ``item=rating`` or an item alone, which counts 1.

    Raises:
        RequestError: a rating is not a number.
    """
    return dict(map(rated_part, parts))


def rated_part(part: str) -> tuple[str, float]:
    item, given, rating = part.partition("=")
    try:
        return item, float(from_text("float", rating)) if given else 1.0
    except ValueError:
        message = f"the rating of {shown(item)} is {shown(rating)}, not a number"
        raise RequestError(message, "give item=rating, or the item alone for 1") from None


def values_of(line: str) -> list[str]:
    """The values of a line of CSV.

    Raises:
        RequestError: it is no CSV.
    """
    csv.field_size_limit(RECORD_CHARACTERS)  # a global setting of the csv module; it has no other
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise RequestError(f"{shown(line)} is no line of CSV: {error}", "quote a value with commas or quotes") from None


class DataPoints:
    """Reads data points of a model, each a line of CSV: the columns that its features are made of, in the order of the
    features, or a whole row of the stream, of which only these are looked at."""

    def __init__(self, features: Sequence[Column], columns: Sequence[Column]) -> None:
        self._features = features
        self._columns = columns

    def row(self, datum: str) -> dict[str, object]:
        """The features of a data point.

        Raises:
            RequestError: it has another number of values, or one of another type.
        """
        values = values_of(datum)
        if len(values) == len(self._columns):
            given = dict(zip((column.name for column in self._columns), values, strict=True))
        elif len(values) == len(self._features):
            given = dict(zip((column.name for column in self._features), values, strict=True))
        else:
            raise RequestError(f"the data point has {len(values)} values: {shown(datum)}", self._hint())
        return {column.name: self._value(column, given[column.name]) for column in self._features}

    def _value(self, column: Column, text: str) -> object:
        try:
            return from_text(column.kind, text.strip() if column.kind != "string" else text)
        except ValueError:
            message = f"{column.name} is {shown(text)}, not {EXPECTED[column.kind]}"
            raise RequestError(message, self._hint()) from None

    def _hint(self) -> str:
        features = ",".join(column.name for column in self._features)
        return f"give {features}, or all {len(self._columns)} columns of the stream in their order"
