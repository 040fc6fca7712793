"""The declared routes that ask SQL: a database for each generation, one query at a time for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import pyarrow as pa
from anyio import CapacityLimiter
from duckdb.value.constant import Value
from fastapi import Request
from starlette.requests import ClientDisconnect

from tidemill.api.answers import Json, composed, encode
from tidemill.api.custom.checks import predictions, route_faults
from tidemill.api.custom.params import Parameter, Parameters, from_json
from tidemill.api.custom.routes import chosen, generation_parameter, place_of
from tidemill.api.custom.sql import (
    ROWS,
    Cursor,
    Database,
    Result,
    batches_of,
    bound,
    plain_key,
    too_long,
    with_predictions,
)
from tidemill.api.custom.sql_query import Query
from tidemill.api.models.registry import Live, Served, Snapshot
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.errors import Busy, NotFound, PipelineInvalid, QueryError, TidemillError
from tidemill.pipeline import GENERATION, Param, Route
from tidemill.pipeline.routes import MOST_BYTES
from tidemill.run.folder import Run
from tidemill.run.integrity import side_table

NAME = "sql"  # of what is prepared for each generation
MOST_QUERIES = 4  # at a time; the others wait, so that SQL leaves threads to what else the API does


class Databases:
    """A database for each generation, made before the generation takes requests."""

    def __init__(self, live: Live, rows: GenerationRows) -> None:
        """
        Raises:
            PipelineInvalid: a route's SQL has a fault; nothing may be served then.
        """
        self.live = live
        self.run: Run = live.run
        self._rows = rows
        document = self.run.pipeline.document()
        faults = list(route_faults(document))
        if faults:
            raise PipelineInvalid(self.run.pipeline.name, faults)
        self._predictions = predictions(document)
        self._side: dict[str, pa.Table] = {}
        live.prepare(NAME, self._made)

    def _made(self, served: Served) -> Database:
        table = self._rows.of(served.record)
        batches = batches_of(served.record, self.run.catalog.batches())
        for name in self.run.pipeline.tables.keys() - self._side.keys():  # they never change
            self._side[name] = side_table(self.run, name)
        return Database(self._side | {ROWS: with_predictions(table, batches, served.scorers, self._predictions)})


class SqlRoute:
    """A declared route that asks the rows of a generation."""

    def __init__(self, route: Route, live: Live, limiter: CapacityLimiter) -> None:
        assert route.sql is not None
        self.route = route
        self.live = live
        self.sql: str = route.sql
        self.limits = live.run.pipeline.serve
        self._limiter = limiter
        values = [sql_parameter(route, name, one) for name, one in route.params.items()]
        self.parameters = Parameters([*generation_parameter(route), *values], route.body)
        self._making: dict[int, asyncio.Task[Any]] = {}

    async def respond(self, request: Request) -> Json:
        """The answer, if it is there before the time limit and before the client is gone.

        Raises:
            TimeLimit: it is not; what is at work for it is left behind.
            Busy: it was not even begun, as all slots are taken.
            ClientDisconnect: nobody waits for it any more.
        """
        given = await self.parameters.read(request)
        snapshot = self.live.now
        number = chosen(self.live, snapshot, given)
        values = {name: bound(one.kind, given[name]) for name, one in self.route.params.items()}
        query = Query(self._limiter)
        answer = asyncio.create_task(self._answer(query, snapshot, number, values))
        client = asyncio.create_task(gone(request))
        try:
            limit = self.limits.time_limit
            await asyncio.wait((answer, client), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return Json(answer.result())
            if client.done():
                raise ClientDisconnect
            raise busy() if query.waits else too_long()
        finally:
            answer.cancel()
            client.cancel()

    async def _answer(self, query: Query, snapshot: Snapshot, number: int, values: Mapping[str, Value | None]) -> bytes:
        database = await self._database(snapshot, number)

        def work(cursor: Cursor) -> bytes:
            result = cursor.fetch(self.sql, values, self.limits.row_limit)
            return encoded(shaped(self.route.answer, result, number))

        return await query.run(database, work)

    async def _database(self, snapshot: Snapshot, number: int) -> Database:
        """The database of a generation; all who wait for it wait for the same one, which is made to its end."""
        making = self._making.get(number)
        if making is None:
            making = self._making[number] = asyncio.create_task(self.live.extra(snapshot, number, NAME))
            making.add_done_callback(partial(self._made, number))
        return cast(Database, await asyncio.shield(making))

    def _made(self, number: int, making: asyncio.Task[Any]) -> None:
        del self._making[number]
        if not making.cancelled():
            making.exception()  # was told to whoever still waited


def busy() -> TidemillError:
    message = f"{MOST_QUERIES} SQL queries, as many as this API runs at a time, are still at work"
    return Busy(message, "ask again later; one that was given up may be inside a step of DuckDB's that goes to its end")


async def gone(request: Request) -> None:
    """Wait until the client hangs up; the request's body has been read by then, or is not looked at."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def sql_parameter(route: Route, name: str, one: Param) -> Parameter:
    default = None if one.default is None else from_json(one.kind, one.default)
    longest = MOST_BYTES if one.kind == "string" else None
    return Parameter(name, name, place_of(route, name), one.kind, one.required, default, longest=longest)


def encoded(answer: Any) -> bytes:
    """The answer as JSON.

    Raises:
        QueryError: JSON can't hold it.
    """
    try:
        return encode(answer)
    except TypeError as error:
        raise QueryError(f"a value of the answer is beyond JSON: {error}", "cast it in the SQL") from error


def shaped(answer: Any, result: Result, generation: int) -> Any:
    """The answer that a route makes of the rows: a list of objects, unless it says otherwise.

    Raises:
        NotFound: it wants a row, and there is none.
    """

    def part(name: str) -> Any:
        return generation if name == GENERATION else PARTS[name](result)

    return part("rows") if answer is None else composed(answer, part)


def objects(result: Result) -> list[dict[str, Any]]:
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def first(result: Result) -> tuple[Any, ...]:
    if not result.rows:
        raise NotFound("no row is of that kind", "see the route's description for what it looks for")
    return result.rows[0]


PARTS: dict[str, Callable[[Result], Any]] = {
    "rows": objects,
    "row": lambda result: dict(zip(result.columns, first(result), strict=True)),
    "value": lambda result: first(result)[0],
    "list": lambda result: [row[0] for row in result.rows],
    "object": lambda result: {plain_key(row[0]): row[1] for row in result.rows},
}
