"""Endpoints: rows of the stream like another one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import (
    DEFAULT_TOP,
    MAX_TOP,
    Key,
    OptionalGeneration,
    RequestBody,
    RequestedGeneration,
    read_object,
    resolve_generation,
)
from tidemill.api.paths import rest
from tidemill.api.rows.similar import SEARCHED_KINDS, SimilarRows
from tidemill.api.values import shown
from tidemill.errors import FeatureError
from tidemill.scoring import Kind

Top = Annotated[int, Query(ge=1, le=MAX_TOP, description="At most this many rows.")]
Text = Annotated[str, Query(description="Words, in any order; plurals count as singulars.")]

ROW_HINT = 'send {"row": {feature: value, ...}, "top": 10}'
TEXT_HINT = 'send {"text": "words", "top": 10}'


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoints of every model that searches rows."""
    for name in context.models_of(*SEARCHED_KINDS):
        add_similar(app, context.similar[name], context.kinds[name])


class SimilarEndpoints:
    """The endpoints of one model that searches rows."""

    def __init__(self, similar: SimilarRows) -> None:
        self.similar = similar

    async def by_row(self, body: RequestBody, generation: OptionalGeneration = None) -> Json:
        requested = self._requested(generation)
        document = read_object(body, ("row", "top"), ROW_HINT)
        row = document["row"]
        if not isinstance(row, dict):
            raise FeatureError(f"row is {shown(row)}, not a JSON object", ROW_HINT)
        return Json(await self.similar.by_row(requested, row, document.get("top", DEFAULT_TOP)))

    async def by_text(self, body: RequestBody, generation: OptionalGeneration = None) -> Json:
        requested = self._requested(generation)
        document = read_object(body, ("text", "top"), TEXT_HINT)
        text = document["text"]
        if not isinstance(text, str):
            raise FeatureError(f"text is {shown(text)}, not a string", TEXT_HINT)
        return Json(await self.similar.by_text(requested, text, document.get("top", DEFAULT_TOP)))

    async def by_text_of_query(self, text: Text, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        return Json(await self.similar.by_text(self._requested(generation), text, top))

    async def by_key(self, key: Key, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        return Json(await self.similar.by_key(self._requested(generation), key, top))

    def _requested(self, generation: int | None) -> RequestedGeneration:
        return resolve_generation(self.similar.registry, generation, self.similar.model)


def add_similar(app: FastAPI, similar: SimilarRows, kind: Kind) -> None:
    endpoints, base = SimilarEndpoints(similar), f"/models/{similar.model}/similar"
    common: dict[str, Any] = {"tags": [similar.model], "response_class": Json}
    shape = schemas.AlikeRows if kind == "text" else schemas.NearRows
    app.add_api_route(
        base,
        endpoints.by_text if kind == "text" else endpoints.by_row,
        methods=["POST"],
        summary="The rows most like this text" if kind == "text" else "The rows most like this one",
        responses=openapi.giving(shape, 400, 404, 413, 422, 503),
        openapi_extra=similar_body(similar.model, kind),
        **common,
    )
    responses = openapi.giving(shape, 404, 422, 503)
    if kind == "text":
        summary = "The rows most like this text"
        app.add_api_route(base, endpoints.by_text_of_query, summary=summary, responses=responses, **common)
    if similar.key is not None:
        summary = "The rows most like the newest one with this key"
        app.add_api_route(f"{base}/{rest('key')}", endpoints.by_key, summary=summary, responses=responses, **common)


def similar_body(model: str, kind: Kind) -> dict[str, Any]:
    """The request body of the search."""
    query = {"text": {"type": "string"}} if kind == "text" else {"row": openapi.reference(openapi.row_component(model))}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": query | {"top": {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP}},
        "required": list(query),
        "additionalProperties": False,
    }
    if kind == "text":
        schema["examples"] = [{"text": "laptop sleeve", "top": 5}]
    return openapi.json_body(schema)
