"""The declared routes that query SQL: a database for each generation, and each query in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any, cast

import pyarrow as pa
from anyio import CapacityLimiter
from duckdb.value.constant import Value
from fastapi import Request
from starlette.requests import ClientDisconnect

from tidemill.api.answers import Json, compose, encode
from tidemill.api.custom.checks import predictions, route_faults
from tidemill.api.custom.params import Parameter, Parameters
from tidemill.api.custom.routes import generation_parameter, location_of
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
from tidemill.api.dependencies import RequestedGeneration, resolve_generation
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import LoadedGeneration
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.api.values import from_json
from tidemill.errors import Busy, NotFound, PipelineInvalid, QueryError, TidemillError
from tidemill.pipeline import GENERATION, Param, Route
from tidemill.pipeline.routes import MOST_BYTES
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run
from tidemill.run.integrity import side_table

SQL_INDEX = "sql"  # the registry's name for a generation's database
MAX_QUERIES = 4  # at a time; the others wait, so that SQL leaves threads to the rest of the API
INTERRUPT_SECONDS = 0.05  # between the interrupts of a query that is given up


class DatabaseBuilder:
    """Builds the database of a generation. ``build`` must be registered as the registry's index ``SQL_INDEX``."""

    def __init__(self, run: Run, rows: GenerationRows) -> None:
        """
        Raises:
            PipelineInvalid: the SQL of a route has a fault.
        """
        self.run = run
        self._rows = rows
        document = self.run.pipeline.document()
        faults = list(route_faults(document))
        if faults:
            raise PipelineInvalid(self.run.pipeline.name, faults)
        self._predictions = predictions(document)
        self._side_tables: dict[str, pa.Table] = {}

    def build(self, loaded: LoadedGeneration) -> Database:
        table = self._rows.of(loaded.record)
        batches = batches_of(loaded.record, self.run.catalog.batches())
        for name in self.run.pipeline.tables.keys() - self._side_tables.keys():  # side tables never change
            self._side_tables[name] = side_table(self.run, name)
        rows = with_predictions(table, batches, loaded.scorers, self._predictions)
        return Database(self._side_tables | {ROWS: rows})


class SqlQuery:
    """One query, run once, in a thread that can be abandoned: DuckDB can't be interrupted within a long step.

    The thread closes its cursor and releases its slot when it ends, however long that takes. A query that nobody waits
    for any more is interrupted until then.
    """

    def __init__(self, limiter: CapacityLimiter) -> None:
        self._limiter = limiter
        self.waits = False
        """Whether it waits for a slot."""
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._cursor: Cursor | None = None
        self._ended = False

    async def run(self, database: Database, work: Callable[[Cursor], bytes]) -> bytes:
        """The result of ``work``, which starts once there is a slot. Cancelling this does not wait for the thread."""
        self.waits = True
        await self._limiter.acquire_on_behalf_of(self)
        self.waits = False
        try:
            # A daemon: the process may exit without it.
            threading.Thread(target=self._in_thread, args=(database, work), name="query", daemon=True).start()
        except RuntimeError:
            self._limiter.release_on_behalf_of(self)
            raise
        try:
            return await self._answer
        except asyncio.CancelledError:
            self._give_up()
            raise

    def _in_thread(self, database: Database, work: Callable[[Cursor], bytes]) -> None:
        result: bytes | Exception
        try:
            with closing(database.cursor()) as self._cursor:
                result = work(self._cursor)
        except Exception as error:  # noqa: BLE001  # any error is raised where the query is awaited
            result = error
        with suppress(RuntimeError):  # the API has stopped meanwhile, and its event loop is closed
            self._loop.call_soon_threadsafe(self._end, result)

    def _end(self, result: bytes | Exception) -> None:
        self._ended = True
        self._limiter.release_on_behalf_of(self)
        if self._answer.done():
            return  # nobody waits for it any more
        if isinstance(result, Exception):
            self._answer.set_exception(result)
        else:
            self._answer.set_result(result)

    def _give_up(self) -> None:
        """Interrupt the query until its thread has ended; an interrupt before the query begins has no effect."""
        if self._ended:
            return
        if self._cursor is not None:
            self._cursor.give_up()
        self._loop.call_later(INTERRUPT_SECONDS, self._give_up)


class SqlRoute:
    """A declared route that queries the rows of a generation."""

    def __init__(self, route: Route, registry: ModelRegistry, limiter: CapacityLimiter) -> None:
        """``limiter``: limits concurrent queries."""
        assert route.sql is not None
        self.route = route
        self.registry = registry
        self.sql: str = route.sql
        self.limits = registry.run.pipeline.serve
        self._limiter = limiter
        parameters = [sql_parameter(route, name, param) for name, param in route.params.items()]
        self.parameters = Parameters([*generation_parameter(route), *parameters], route.body)
        self._pending: dict[GenerationRef, asyncio.Task[Any]] = {}  # databases, by generation

    async def respond(self, request: Request) -> Json:
        """The answer, unless the time limit ends or the client hangs up first.

        Raises:
            TimeLimit: the time is up; the query is abandoned.
            Busy: the time is up, and the query has not started, as all slots are taken.
            ClientDisconnect: the client hung up.
        """
        values = await self.parameters.read(request)
        generation = resolve_generation(self.registry, values.get(GENERATION))
        bindings = {name: bound(param.kind, values[name]) for name, param in self.route.params.items()}
        query = SqlQuery(self._limiter)
        answer = asyncio.create_task(self._answer(query, generation, bindings))
        client = asyncio.create_task(disconnected(request))
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

    async def _answer(
        self, query: SqlQuery, generation: RequestedGeneration, bindings: Mapping[str, Value | None]
    ) -> bytes:
        database = await self._database(generation)

        def work(cursor: Cursor) -> bytes:
            result = cursor.fetch(self.sql, bindings, self.limits.row_limit)
            return encoded(shaped(self.route.answer, result, generation.ref.number))

        return await query.run(database, work)

    async def _database(self, generation: RequestedGeneration) -> Database:
        """The database of a generation. Concurrent requests share one build, which no request's end cancels."""
        ref = generation.ref
        pending = self._pending.get(ref)
        if pending is None:
            pending = asyncio.create_task(self.registry.index(*generation, SQL_INDEX))
            self._pending[ref] = pending
            pending.add_done_callback(partial(self._built, ref))
        return cast(Database, await asyncio.shield(pending))

    def _built(self, ref: GenerationRef, pending: asyncio.Task[Any]) -> None:
        del self._pending[ref]
        if not pending.cancelled():
            pending.exception()  # marks it as retrieved: the requests that still waited have raised it


def busy() -> TidemillError:
    message = f"{MAX_QUERIES} SQL queries, as many as this API runs at a time, are still running"
    hint = (
        "ask again later; a query that was given up may be inside a long step of DuckDB's, which can't be interrupted"
    )
    return Busy(message, hint)


async def disconnected(request: Request) -> None:
    """Wait until the client hangs up. The request's body has been read by then, or is not needed."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def sql_parameter(route: Route, name: str, param: Param) -> Parameter:
    default = None if param.default is None else from_json(param.kind, param.default)
    max_bytes = MOST_BYTES if param.kind == "string" else None
    location = location_of(route, name)
    return Parameter(name, name, location, param.kind, param.required, default, max_bytes=max_bytes)


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
    """The answer that a route makes of the rows: a list of objects, unless the route declares another form.

    Raises:
        NotFound: the form needs a row, and there is none.
    """

    def part(name: str) -> Any:
        return generation if name == GENERATION else PARTS[name](result)

    return part("rows") if answer is None else compose(answer, part)


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
