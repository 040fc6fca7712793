"""The parts of a request that endpoints share: the generation it asks for, its body, and the size of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Path, Query, Request

from tidemill.api.models.health import not_ready
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import Snapshot, require_published
from tidemill.api.values import json_object, shown
from tidemill.errors import BodyTooLarge, FeatureError
from tidemill.texts import did_you_mean

MAX_BODY_BYTES = 1 << 20
MAX_NUMBER = 2**31 - 1  # of generations, batches and rows in parameters
DEFAULT_TOP, MAX_TOP = 10, 1_000

GenerationNumber = Annotated[int, Path(ge=1, le=MAX_NUMBER, description="The generation's number, from 1.")]
OptionalGeneration = Annotated[
    int | None, Query(ge=1, le=MAX_NUMBER, description="The generation's number; the newest if left out.")
]
ListLimit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]
Key = Annotated[str, Path(min_length=1, description="The value of the stream's key column.")]


# --- the generation -----------------------------------------------------------------------------------------------


class RequestedGeneration(NamedTuple):
    """The published generation that answers a request, and the snapshot it is of."""

    snapshot: Snapshot
    number: int


def resolve_generation(registry: ModelRegistry, number: int | None) -> RequestedGeneration:
    """The generation of this number, or the newest one for None, in the snapshot of this moment.

    Raises:
        NotFound: there is no such generation, or it is not published.
        NotReady: the newest is asked for, and there is none yet.
    """
    snapshot = registry.snapshot
    if number is not None:
        require_published(snapshot, number)
        return RequestedGeneration(snapshot, number)
    if snapshot.newest is None:
        raise not_ready(snapshot)
    return RequestedGeneration(snapshot, snapshot.newest.number)


async def newest_generation(request: Request) -> RequestedGeneration:
    return resolve_generation(request.app.state.registry, None)


async def generation_of_query(request: Request, generation: OptionalGeneration = None) -> RequestedGeneration:
    return resolve_generation(request.app.state.registry, generation)


NewestGeneration = Annotated[RequestedGeneration, Depends(newest_generation)]
QueryGeneration = Annotated[RequestedGeneration, Depends(generation_of_query)]


# --- the body -----------------------------------------------------------------------------------------------------


async def read_body(request: Request) -> bytes:
    """The request's body, counted while it arrives.

    Raises:
        BodyTooLarge: it is over ``MAX_BODY_BYTES``, whatever its headers say.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body is over {MAX_BODY_BYTES} bytes (1 MiB)", "send the rows in several requests")
    return bytes(body)


RequestBody = Annotated[bytes, Depends(read_body)]
"""An endpoint takes it before its generation, so that a slow upload is answered by the generation newest at its end."""


def read_object(body: bytes, keys: Sequence[str], hint: str) -> dict[str, Any]:
    """A request's body: an object that has the first of ``keys``, and none but these.

    Raises:
        BadJson: it is not JSON.
        FeatureError: it has another form.
    """
    document = json_object(body, lambda: hint, FeatureError)
    for key in document:
        if key not in keys:
            raise FeatureError(f"{shown(key)} is not a key of this request", did_you_mean(key, keys))
    if keys[0] not in document:
        raise FeatureError(f"{keys[0]} is missing", hint)
    return document


def checked_top(top: Any) -> int:
    """How many items a request asks for.

    Raises:
        FeatureError: it is not a whole number from 1 to ``MAX_TOP``.
    """
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= MAX_TOP:
        raise FeatureError(f"top is {shown(top)}, not a whole number from 1 to {MAX_TOP}", "leave it out for 10")
    return top
