"""Oryx's paths that write: ratings and data points become rows of a stream that is open to requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tidemill.api.context import RouteContext
from tidemill.api.oryx.bodies import lines_of
from tidemill.api.oryx.questions import path_parts, values_of
from tidemill.api.posting import RowBodies
from tidemill.api.routers.rows import RowsEndpoint, idempotency_key
from tidemill.api.values import EXPECTED, from_text, shown
from tidemill.errors import ReadOnly, RequestError, RowsUnfit
from tidemill.pipeline import Column, Model, Pipeline

WRITTEN = 204
Row = dict[str, Any]
ToRow = Callable[[Sequence[str]], Row]
"""Makes a row of the stream of a line's values; RequestError where it can't."""


class StreamWriter:
    """Writes the lines of requests as rows, all of a request's or none, as ``POST /rows`` does."""

    def __init__(self, context: RouteContext, to_row: ToRow) -> None:
        assert context.intake is not None
        self._bodies = RowBodies(context.pipeline, context.registry.run.folder, context.intake.objection)
        self._rows = RowsEndpoint(self._bodies, context.intake)
        self._origins = context.pipeline.serve.cors
        self._to_row = to_row

    async def one_line(self, request: Request) -> Response:
        """The line is the value in the path."""
        return await self._write_lines(request, ["/".join(path_parts(request))])

    async def lines(self, request: Request) -> Response:
        """The lines are those of the body."""
        return await self._write_lines(request, await lines_of(request))

    async def rating(self, request: Request) -> Response:
        """User and item are in the path, the strength is the first line of the body; 1 without one."""
        user, item = two_parts(request)
        first = next(iter(await lines_of(request)), "1")
        return await self._write(request, [[user, item, first.strip()]])

    async def _write_lines(self, request: Request, lines: Sequence[str]) -> Response:
        return await self._write(request, list(map(values_of, lines)))

    async def _write(self, request: Request, lines: Sequence[Sequence[str]]) -> Response:
        """``lines``: the values of each. Of these the request's digest is made, which a repeated request has too; its
        rows may have another time."""
        refuse_other_sites(request, self._origins)
        rows = orjson.dumps(list(map(self._to_row, lines)), option=orjson.OPT_UTC_Z)
        if lines:
            checked = self._bodies.json(rows, idempotency_key(request))
            digest = sha256(b"oryx\n" + orjson.dumps(lines)).hexdigest()
            try:
                await self._rows.write(replace(checked, digest=digest), strict=True)
            except RowsUnfit as error:
                raise RequestError(error.message, error.hint) from error
        return Response(status_code=WRITTEN)


def refuse_other_sites(request: Request, allowed: Sequence[str]) -> None:
    """Refuse a page of another site: browsers send text without asking first, but say where it comes from.

    Raises:
        ReadOnly: the request is such a page's, and its origin is not among ``[serve] cors``.
    """
    origin = request.headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise ReadOnly(f"pages of {shown(origin)} may not write", "name the origin in [serve] cors")


def two_parts(request: Request) -> tuple[str, str]:
    parts = path_parts(request)
    if len(parts) != 2:
        raise RequestError(f"the path has {len(parts)} values", "give /pref/{user}/{item}; encode a slash as %2F")
    return parts[0], parts[1]


class RatingLines:
    """Makes rows of ``user,item[,strength[,timestamp]]``: strength 1 and the time of now where they are left out.

    ``missing``: required columns of the stream that such a line has no value for.
    """

    def __init__(self, model: Model, columns: Sequence[Column]) -> None:
        by_name = {column.name: column for column in columns}
        assert model.user is not None
        assert model.item is not None
        self._user, self._item = by_name[model.user], by_name[model.item]
        self._rating = by_name[model.rating] if model.rating else None
        self._when = [column for column in columns if column.kind == "timestamp"]
        given = {self._user.name, self._item.name, *(column.name for column in self._when)}
        given |= {self._rating.name} if self._rating else set()
        self.missing = [column.name for column in columns if column.name not in given and not column.optional]

    def row(self, values: Sequence[str]) -> Row:
        if not 2 <= len(values) <= 4:
            raise RequestError(f"{shown(','.join(values))} has {len(values)} values", LINE_HINT)
        strength = values[2] if len(values) > 2 else "1"
        if not strength:
            raise RequestError("a rating without strength would take one back", TAKEN_BACK)
        row = {self._user.name: value(self._user, values[0]), self._item.name: value(self._item, values[1])}
        if self._rating is not None:
            row[self._rating.name] = value(self._rating, strength)
        elif number(strength) != 1:
            raise RequestError(f"the strength is {shown(strength)}", "the model has no rating: each row counts 1")
        moment = datetime.now(UTC) if len(values) < 4 else when(values[3])
        return row | {column.name: moment for column in self._when}


LINE_HINT = "send user,item[,strength[,timestamp in milliseconds]]"
TAKEN_BACK = "a stream only grows: send another row for this user and item"


class PointLines:
    """Makes rows of data points: all columns of the stream in their order, where an empty value is a missing one."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._columns = pipeline.source.schema_

    def row(self, values: Sequence[str]) -> Row:
        if len(values) != len(self._columns):
            names = ",".join(column.name for column in self._columns)
            raise RequestError(f"{shown(','.join(values))} has {len(values)} values", f"send {names}")
        pairs = zip(self._columns, values, strict=True)
        return {column.name: value(column, text) for column, text in pairs if text or not column.optional}


def value(column: Column, text: str) -> Any:
    try:
        return from_text(column.kind, text)
    except ValueError:
        message = f"{column.name} is {shown(text)}, not {EXPECTED[column.kind]}"
        raise RequestError(message, "nothing of the request was written") from None


def number(text: str) -> float:
    try:
        return float(from_text("float", text))
    except ValueError:
        raise RequestError(f"the strength is {shown(text)}, not a number", LINE_HINT) from None


def when(text: str) -> datetime:
    try:
        milliseconds = int(text)
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds > 0 else refused(text)
    except (ValueError, OverflowError, OSError):
        return refused(text)


def refused(text: str) -> datetime:
    raise RequestError(f"the timestamp is {shown(text)}, not milliseconds since 1970", LINE_HINT)
