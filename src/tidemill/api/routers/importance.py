"""Endpoint: how important each feature is to a model of trees."""

from __future__ import annotations

from fastapi import FastAPI

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import OptionalGeneration, naming, resolve_generation
from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import NotFound
from tidemill.scoring.trees import importances_of, is_of_trees

IMPORTANCE_HINT = "trees and forests have them, from the generations on that this version trains"


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoint of every model of trees."""
    for name, model in context.pipeline.models.items():
        if is_of_trees(model.estimator):
            app.add_api_route(
                f"/models/{name}/importance",
                ImportanceEndpoint(context.registry, name).importance,
                summary="How important each feature is",
                tags=[name],
                responses=openapi.giving(schemas.Importances, 404, 422, 503),
                response_class=Json,
            )


class ImportanceEndpoint:
    """The importances of one model's features."""

    def __init__(self, registry: ModelRegistry, model: str) -> None:
        self._registry = registry
        self._model = model

    async def importance(self, generation: OptionalGeneration = None) -> Json:
        requested = resolve_generation(self._registry, generation, self._model)
        found = importances_of(await self._registry.scorer(*requested, self._model))
        if found is None:
            raise NotFound(f"{self._model} has no importances in generation {requested.ref}", IMPORTANCE_HINT)
        return Json(schemas.Importances(model=self._model, **naming(requested.ref), importances=found))
