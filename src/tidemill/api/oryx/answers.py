"""Answers in the two forms of Oryx: CSV, one value or pair a line, or JSON where the client accepts only that."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from starlette.requests import Request
from starlette.responses import Response

from tidemill.api.answers import Json

CSV_TYPES = ("text/plain", "text/csv")
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class IdValue:
    """An item, a user or a class, with its score, similarity or probability."""

    id: str
    value: float


@dataclass(frozen=True, slots=True)
class IdCount:
    """An item or a user, with a number of users or items."""

    id: str
    count: int


Value = IdValue | IdCount | str | float | None
Answer = Value | Sequence[Value]


def render(request: Request, answer: Answer) -> Response:
    """The answer in the form that the request prefers; CSV as plain text if it has no preference."""
    chosen = preferred(request.headers.get("accept", ""))
    if chosen == JSON_TYPE:
        return Json(answer)
    values = answer if isinstance(answer, list) else [answer]
    return Response("".join(map(line, values)), media_type=chosen)


def preferred(accept: str) -> str:
    """The type of the answer: of those that an Accept header names the one with the highest weight."""
    best, weight = CSV_TYPES[0], 0.0
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if name in (*CSV_TYPES, JSON_TYPE) and (given := quality(parameters)) > weight:
            best, weight = name, given
    return best


def quality(parameters: Sequence[str]) -> float:
    """The weight that a type of an Accept header has; 0 if it can't be read."""
    given = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0


def line(value: Value) -> str:
    """A line of CSV (RFC 4180)."""
    cells = astuple(value) if isinstance(value, IdValue | IdCount) else (value,)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
