"""Endpoints: predictions by the champion, or by a chosen generation."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request

from tidemill.api import openapi
from tidemill.api.answers import Answer, Json, answer_maker, encode, encode_many
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import (
    MAX_BODY_BYTES,
    MAX_PREDICT_BYTES,
    GenerationNumber,
    read_until,
    resolve_generation,
    within,
)
from tidemill.run.catalog import GenerationRef
from tidemill.scoring import ROW_KINDS, Scorer, row_scorer

INLINE_BYTES = 16 << 10  # larger bodies are answered in a thread, which leaves the event loop to other requests


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoints of every model that predicts for a row."""

    def post(path: str, endpoint: Any, model: str, summary: str) -> None:
        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            summary=summary,
            tags=[model],
            responses=openapi.predict_responses(),
            response_class=Json,
            openapi_extra=openapi.predict_body(model),
        )

    for name in context.models_of(*ROW_KINDS):
        predictor = Predictor(context, name)
        context.direct[predictor.champion] = predictor.champion
        context.direct[predictor.by_generation] = predictor.by_plain_generation
        post(
            f"/models/{name}/predict",
            predictor.champion,
            name,
            f"Predict by the champion of {name}; see GET /models/{name}/verdict",
        )
        by_generation = f"/models/{name}/generations/{{generation}}/predict"
        post(by_generation, predictor.by_generation, name, f"Predict by one generation of {name}")


class Predictor:
    """Predicts by one model; the answers are as every model's, or of a declared route's own form."""

    def __init__(self, context: RouteContext, model: str, answer: Any = None) -> None:
        """``answer``: the form that a route declares."""
        self.registry = context.registry
        self.model = model
        self.inputs = context.inputs[model]
        self._large_limiter = context.large_limiter
        self._declared = answer
        self._answer: Answer = answer_maker(answer)

    async def champion(self, request: Request) -> Json:
        return await self.respond(request, None)

    async def by_generation(self, request: Request, generation: GenerationNumber) -> Json:
        return await self.respond(request, generation)

    async def by_plain_generation(self, request: Request) -> Json:
        """As :meth:`by_generation`, where the generation in the path is a plain number."""
        return await self.respond(request, int(request.path_params["generation"]))

    async def respond(self, request: Request, generation: int | None) -> Json:
        """The predictions by this generation, or by the champion for None.

        Raises:
            BadJson, FeatureError, BodyTooLarge: the body has no rows of this model's.
            NotFound, NotReady: there is no such generation, it has no such model, or its file is damaged.
        """
        body, more = await read_until(request, MAX_BODY_BYTES)
        if len(body) <= MAX_BODY_BYTES:
            return await self._respond_to(body, generation)
        async with self._large_limiter:
            if more:
                body, _ = await read_until(request, MAX_PREDICT_BYTES, body)
            return await self._respond_to(within(MAX_PREDICT_BYTES, body), generation)

    async def _respond_to(self, body: bytes, generation: int | None) -> Json:
        snapshot, ref = resolve_generation(self.registry, generation, self.model)
        scorer = await self.registry.scorer(snapshot, ref, self.model)
        if len(body) <= INLINE_BYTES:
            return Json(self._predict(body, ref, scorer))
        return Json(await to_thread.run_sync(self._predict, body, ref, scorer))

    def _predict(self, body: bytes, ref: GenerationRef, scorer: Scorer) -> bytes:
        rows = self.inputs.read(body)
        if rows.row is not None:
            return encode(self._answer(self.model, ref, row_scorer(scorer).predict_one(rows.row)))
        if rows.empty:
            return b"[]"
        return encode_many(self.model, ref, row_scorer(scorer).predict_columns(rows.columns), self._declared)
