"""Endpoints: predictions by the champion, or by a chosen generation."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request

from tidemill.api import openapi
from tidemill.api.answers import Answer, Json, answer_maker, encode
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import GenerationNumber, read_body, resolve_generation
from tidemill.api.inputs import ModelInputs
from tidemill.api.models.registry import ModelRegistry
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
        predictor = Predictor(context.registry, name, context.inputs[name])
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

    def __init__(self, registry: ModelRegistry, model: str, inputs: ModelInputs, answer: Any = None) -> None:
        """``answer``: the form that a route declares."""
        self.registry = registry
        self.model = model
        self.inputs = inputs
        self._answer: Answer = answer_maker(answer)

    async def champion(self, request: Request) -> Json:
        return await self.respond(request, None)

    async def by_generation(self, request: Request, generation: GenerationNumber) -> Json:
        return await self.respond(request, generation)

    async def respond(self, request: Request, generation: int | None) -> Json:
        """The predictions by this generation, or by the champion for None.

        Raises:
            BadJson, FeatureError, BodyTooLarge: the body has no rows of this model's.
            NotFound, NotReady: there is no such generation, it has no such model, or its file is damaged.
        """
        body = await read_body(request)  # not as a FastAPI dependency, which would add to the time of each prediction
        snapshot, ref = resolve_generation(self.registry, generation, self.model)
        scorer = await self.registry.scorer(snapshot, ref, self.model)
        if len(body) <= INLINE_BYTES:
            return Json(self._predict(body, ref, scorer))
        return Json(await to_thread.run_sync(self._predict, body, ref, scorer))

    def _predict(self, body: bytes, ref: GenerationRef, scorer: Scorer) -> bytes:
        rows, many = self.inputs.read(body)
        if not rows:
            return b"[]"
        predictions = row_scorer(scorer).predict(rows)
        answers = [self._answer(self.model, ref, prediction) for prediction in predictions]
        return encode(answers if many else answers[0])
