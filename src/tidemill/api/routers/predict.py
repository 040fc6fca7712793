"""Predictions over HTTP, for the newest generation or a chosen one."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import Path, Request

from tidemill.api.answers import Answer, Json, encode, mapped
from tidemill.api.health import waiting
from tidemill.api.inputs import Inputs
from tidemill.api.models.registry import Live
from tidemill.errors import BodyTooLarge
from tidemill.scoring import Scorer, row_scorer

MOST_BYTES = 1 << 20
INLINE_BYTES = 16 << 10  # more work than this leaves the event loop to other requests

GenerationNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The generation's number, from 1.")]


async def read_body(request: Request) -> bytes:
    """The request's body, counted as it comes in.

    Raises:
        BodyTooLarge: it is over ``MOST_BYTES``, whatever its headers say.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise BodyTooLarge(f"the body is over {MOST_BYTES} bytes (1 MiB)", "send the rows in several requests")
    return bytes(body)


class Predictor:
    """Answers for one model, in the standard form or in that of a declared route."""

    def __init__(self, live: Live, model: str, inputs: Inputs, answer: Any = None, placeholder: str = "") -> None:
        """``placeholder``: what a declared route's path calls the generation, where it has one."""
        self.live = live
        self.model = model
        self.inputs = inputs
        self._answer: Answer = mapped(answer)
        self._placeholder = placeholder

    async def newest(self, request: Request) -> Json:
        if self._placeholder in request.path_params:
            return await self.chosen(request, request.path_params[self._placeholder])
        body = await read_body(request)
        snapshot = self.live.now
        if snapshot.newest is None:
            raise waiting(snapshot)
        number = snapshot.newest.number
        return await self._respond(body, number, await self.live.scorer(snapshot, number, self.model))

    async def chosen(self, request: Request, generation: GenerationNumber) -> Json:
        body = await read_body(request)
        scorer = await self.live.scorer(self.live.now, generation, self.model)
        return await self._respond(body, generation, scorer)

    async def _respond(self, body: bytes, generation: int, scorer: Scorer) -> Json:
        if len(body) <= INLINE_BYTES:
            return Json(self._predict(body, generation, scorer))
        return Json(await to_thread.run_sync(self._predict, body, generation, scorer))

    def _predict(self, body: bytes, generation: int, scorer: Scorer) -> bytes:
        rows, many = self.inputs.read(body)
        if not rows:
            return b"[]"
        answers = [self._answer(self.model, generation, one) for one in row_scorer(scorer).predict(rows)]
        return encode(answers if many else answers[0])
