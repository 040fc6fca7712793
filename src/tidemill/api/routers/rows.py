"""The endpoint ``POST /rows``: rows into a stream that stays open."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import FastAPI, Query, Request

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import read_body
from tidemill.api.posting import MAX_ROWS, RowBodies
from tidemill.errors import ParameterError, RowsUnfit, RowsUnknown
from tidemill.kafka.intake import Outcome, Rejected, RowIntake, RowRequest
from tidemill.texts import MOST_EXAMPLES, listed

WAIT_SECONDS = 30.0  # for Kafka
INLINE_BYTES = 16 << 10  # larger bodies are checked in a thread
MOST_KEY = 255  # characters
NDJSON = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
REPLAYED = {"Idempotent-Replayed": "true"}
KEY_HINT = "send an Idempotency-Key with each request: then a repeated one is written once"

Strict = Annotated[bool, Query(description="Write none of the rows if one of them does not fit.")]


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoint, where the stream stays open."""
    if context.intake is None:
        return
    bodies = RowBodies(context.pipeline, context.registry.run.folder, context.intake.objection)
    app.add_api_route(
        "/rows",
        RowsEndpoint(bodies, context.intake).post,
        methods=["POST"],
        summary="Write rows into the stream",
        tags=["stream"],
        responses=openapi.giving(schemas.PostedRows, 400, 413, 422, 503),
        response_class=Json,
        openapi_extra=described(bodies),
    )


def described(bodies: RowBodies) -> dict[str, Any]:
    """The body and the header of the request, for OpenAPI."""
    row = bodies.schema()
    example = bodies.example()
    many = {"type": "array", "items": row, "maxItems": MAX_ROWS}
    of_rows = {"type": "object", "properties": {"rows": many}, "required": ["rows"]}
    examples = {"one row": {"value": example}, "rows": {"value": [example]}}
    line = orjson.dumps(example).decode()
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [row, many, of_rows]}, "examples": examples},
                NDJSON[0]: {"schema": {"type": "string", "description": "A row a line."}, "example": f"{line}\n"},
            },
        },
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A name of this request's own. A repeated request is written once.",
                "schema": {"type": "string", "minLength": 1, "maxLength": MOST_KEY, "pattern": "^[!-~]+$"},
            }
        ],
    }


class RowsEndpoint:
    """Writes the rows of requests."""

    def __init__(self, bodies: RowBodies, intake: RowIntake) -> None:
        self._bodies = bodies
        self._intake = intake

    async def post(self, request: Request, strict: Strict = False) -> Json:
        """Write the request's rows that fit, all in one transaction; answer once it is committed in all replicas."""
        return answer(await self.write(await self._read(request, idempotency_key(request)), strict))

    async def write(self, rows: RowRequest, strict: bool) -> Outcome:
        """Write the rows that fit; with ``strict`` none if one does not.

        Raises:
            RowsUnfit: no row fits, or with ``strict`` one does not.
            KeyReused, RowsRefused, RowsUnknown: as :class:`RowIntake` says.
        """
        if not rows.messages.count or (strict and rows.rejected):
            rows.messages.close()
            if rows.rejected:
                self._intake.count_rejected(rows.rejected)
                raise unfit(rows)
            return Outcome(0)
        return await self._outcome(self._intake.accept(rows))

    async def _read(self, request: Request, key: str | None) -> RowRequest:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in NDJSON:
            return await self._bodies.ndjson(request.stream(), key)
        if kind != "application/json":  # so that no form of another site can send rows
            raise ParameterError(
                "content-type is neither application/json nor application/x-ndjson",
                "send the header content-type: application/json",
            )
        body = await read_body(request)
        if len(body) <= INLINE_BYTES:
            return self._bodies.json(body, key)
        return await to_thread.run_sync(self._bodies.json, body, key)

    async def _outcome(self, future: Future[Outcome]) -> Outcome:
        """The outcome, waited for at most ``WAIT_SECONDS``.

        Raises:
            RowsRefused: the rows were not written.
            RowsUnknown: it is not known yet whether they were.
        """
        outcome = asyncio.wrap_future(future)
        try:
            return await asyncio.wait_for(asyncio.shield(outcome), WAIT_SECONDS)
        except TimeoutError:
            if await to_thread.run_sync(self._intake.withdraw, future):
                return await outcome  # it raises
            if outcome.done():
                return outcome.result()
            outcome.add_done_callback(asyncio.Future.exception)  # nobody waits for it any longer
            raise RowsUnknown("Kafka did not answer in time: the rows may be written or not", KEY_HINT) from None


def idempotency_key(request: Request) -> str | None:
    """
    Raises:
        ParameterError: the header is empty, too long, or has other characters than visible ASCII ones.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= MOST_KEY and all("!" <= character <= "~" for character in key)):
        message = f"the header Idempotency-Key is not a text of 1 to {MOST_KEY} visible ASCII characters"
        raise ParameterError(message, "for example a UUID")
    return key


def unfit(rows: RowRequest) -> RowsUnfit:
    reasons = [f"row {row}: {reason}" for row, reason in rows.examples[:MOST_EXAMPLES]]
    count = f"none of {rows.rejected:,} rows fits" if rows.rejected > 1 else "the row does not fit"
    if rows.messages.count:
        count = f"{rows.rejected:,} of {rows.rejected + rows.messages.count:,} rows do not fit"
    return RowsUnfit(f"{count}: {listed(reasons, separator='; ')}", "nothing was written; GET /docs shows a row")


def answer(outcome: Outcome) -> Json:
    more = outcome.rejected - len(outcome.examples)
    body = schemas.PostedRows(
        accepted=outcome.accepted,
        rejected=[rejected_row(example) for example in outcome.examples],
        more_rejected=more or None,
        offsets={str(partition): list(ends) for partition, ends in sorted(outcome.offsets.items())},
    )
    return Json(body, headers=REPLAYED if outcome.repeated else None)


def rejected_row(example: Rejected) -> schemas.RejectedRow:
    return schemas.RejectedRow(row=example.row, reason=example.reason)
