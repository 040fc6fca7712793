"""The parts of a request that endpoints share: the generation it asks for, its body, and the size of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Path, Query, Request
from starlette.requests import ClientDisconnect

from tidemill.api.models.health import not_ready
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import Snapshot, require_published
from tidemill.api.values import json_object, shown
from tidemill.errors import BodyTooLarge, FeatureError, ParameterError
from tidemill.run.catalog import Generation, GenerationRef
from tidemill.texts import did_you_mean
from tidemill.types import is_int

MAX_BODY_BYTES = 1 << 20
MAX_PREDICT_BYTES = 8 << 20  # of rows to predict for: 10,000 of 800 bytes
MAX_NUMBER = 2**31 - 1  # of generations, batches and rows in parameters
DEFAULT_TOP, MAX_TOP = 10, 1_000

GenerationNumber = Annotated[int, Path(ge=1, le=MAX_NUMBER, description="The generation's number, from 1.")]
OptionalGeneration = Annotated[
    int | None, Query(ge=1, le=MAX_NUMBER, description="The generation's number; the model's champion if left out.")
]
ListLimit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]
Key = Annotated[str, Path(description="The value of the stream's key column.")]


# --- the generation -----------------------------------------------------------------------------------------------


class RequestedGeneration(NamedTuple):
    """The generation that answers a request, and the snapshot it is of."""

    snapshot: Snapshot
    ref: GenerationRef

    @property
    def record(self) -> Generation:
        """
        Raises:
            CatalogError: it can't be read.
        """
        return self.snapshot.record(self.ref)


def naming(ref: GenerationRef) -> dict[str, Any]:
    """The keys of a body that name a generation."""
    return {"generation": ref.number} | ({"line": ref.line} if ref.line else {})


def resolve_generation(registry: ModelRegistry, number: int | None, model: str | None = None) -> RequestedGeneration:
    """The run's own generation of this number; for None the champion of ``model``, or without a model the newest.

    It is that of the snapshot of this moment: each endpoint calls it once, after it has the request's body.

    Raises:
        NotFound: there is no such generation, or it is not published.
        NotReady: no number is given, and there is no generation yet.
    """
    snapshot = registry.snapshot
    if number is not None:
        require_published(snapshot, GenerationRef(number))
        return RequestedGeneration(snapshot, GenerationRef(number))
    if snapshot.newest is None:
        raise not_ready(snapshot)
    return RequestedGeneration(snapshot, snapshot.newest.ref if model is None else snapshot.champions[model])


# --- the body -----------------------------------------------------------------------------------------------------


async def read_body(request: Request) -> bytes:
    """The request's body, counted while it arrives.

    Raises:
        BodyTooLarge: it is over ``MAX_BODY_BYTES``, whatever its headers say.
    """
    body, _ = await read_until(request, MAX_BODY_BYTES)
    return within(MAX_BODY_BYTES, body)


async def read_until(request: Request, most: int, begun: bytes = b"") -> tuple[bytes, bool]:
    """The request's body, or the first of it that is over ``most`` bytes, and whether more is to come.

    Args:
        begun: what is read of it already.

    Raises:
        ClientDisconnect: the client is gone.
    """
    chunks, size, more = [begun], len(begun), True
    while more and size <= most:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks), more


def within(most: int, body: bytes) -> bytes:
    """The body, of at most so many bytes.

    Raises:
        BodyTooLarge: it has more.
    """
    if len(body) > most:
        raise BodyTooLarge(f"the body is over {most} bytes ({most >> 20} MiB)", "send the rows in several requests")
    return body


RequestBody = Annotated[bytes, Depends(read_body)]
"""An endpoint has it before it resolves the generation, so a slow upload is answered by the champion at its end."""


def read_object(
    body: bytes, keys: Sequence[str], hint: str, refusal: type[FeatureError] | type[ParameterError] = FeatureError
) -> dict[str, Any]:
    """A request's body: an object that has the first of ``keys``, and none but these.

    Raises:
        BadJson: it is not JSON.
        FeatureError, ParameterError: it has another form; ``refusal`` says which of them.
    """
    document = json_object(body, lambda: hint, refusal)
    for key in document:
        if key not in keys:
            raise refusal(f"{shown(key)} is not a key of this request", did_you_mean(key, keys))
    if keys[0] not in document:
        raise refusal(f"{keys[0]} is missing", hint)
    return document


def checked_top(top: Any) -> int:
    """How many items a request asks for.

    Raises:
        FeatureError: it is not a whole number from 1 to ``MAX_TOP``.
    """
    if not is_int(top) or not 1 <= top <= MAX_TOP:
        raise FeatureError(f"top is {shown(top)}, not a whole number from 1 to {MAX_TOP}", "leave it out for 10")
    return int(top)
