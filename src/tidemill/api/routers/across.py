"""Endpoint: one row predicted by one generation after the other, to show how its prediction has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Query

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import MAX_NUMBER, RequestBody, resolve_generation
from tidemill.api.inputs import ModelInputs, Row
from tidemill.api.models.cache import SharedCache
from tidemill.api.models.catalog_reader import public_reason
from tidemill.api.models.registry import MAX_SCORER_BYTES, ModelRegistry
from tidemill.api.models.snapshot import Snapshot
from tidemill.errors import FeatureError, TidemillError
from tidemill.run.catalog import GenerationRef
from tidemill.scoring import ROW_KINDS, Scorer, row_scorer

MAX_GENERATIONS = 100  # in one answer

Before = Annotated[
    int | None,
    Query(ge=1, le=MAX_NUMBER, description="Only the generations below this number; the newest if left out."),
]
AcrossLimit = Annotated[int, Query(ge=1, le=MAX_GENERATIONS, description="By at most this many generations.")]
ScorerCache = SharedCache[tuple[int, str], Scorer]


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoint of every model that predicts for a row."""
    cache: ScorerCache = SharedCache(MAX_GENERATIONS, MAX_SCORER_BYTES, lambda scorer: scorer.bytes)
    for name in context.models_of(*ROW_KINDS):
        app.add_api_route(
            f"/models/{name}/generations/predict",
            AcrossPredictor(context.registry, name, context.inputs[name], cache).respond,
            methods=["POST"],
            summary=f"Predict by one generation of {name} after the other, the newest first",
            tags=[name],
            responses=openapi.giving(schemas.Across, 400, 413, 422, 503),
            response_class=Json,
            openapi_extra=openapi.row_body(name),
        )


class AcrossPredictor:
    """Predicts one row by many generations of a model.

    ``cache`` holds the scorers for the next row, apart from the registry's, which serve requests for one generation.
    """

    def __init__(self, registry: ModelRegistry, model: str, inputs: ModelInputs, cache: ScorerCache) -> None:
        self.registry = registry
        self.model = model
        self.inputs = inputs
        self._cache = cache

    async def respond(self, body: RequestBody, before: Before = None, limit: AcrossLimit = 50) -> Json:
        snapshot, _ = resolve_generation(self.registry, None)
        row = self._row(body)
        numbers = [number for number in snapshot.kept if before is None or number < before][::-1]
        return Json(await to_thread.run_sync(self._answer, snapshot, row, numbers, limit))

    def _row(self, body: bytes) -> Row:
        row = self.inputs.read(body).row
        if row is None:
            raise FeatureError("rows is a list; one row is wanted", "send one row as a JSON object")
        return row

    def _answer(self, snapshot: Snapshot, row: Row, numbers: Sequence[int], limit: int) -> schemas.Across:
        assert snapshot.newest is not None
        return schemas.Across(
            model=self.model,
            answers=[self._of_generation(snapshot, number, row) for number in numbers[:limit]],
            unseen=unseen(snapshot.newest.scorers[self.model], row),
            more=len(numbers) > limit,
        )

    def _of_generation(self, snapshot: Snapshot, number: int, row: Row) -> schemas.GenerationAnswer:
        """The prediction of one generation, or the reason why it has none."""
        try:
            predicted = row_scorer(self._scorer(snapshot, number)).predict_one(row)
        except TidemillError as error:
            return schemas.GenerationAnswer(generation=number, error=public_reason(self.registry.run, error))
        return schemas.GenerationAnswer(
            generation=number,
            prediction=predicted.prediction,
            probability=predicted.probability,
            label=predicted.label,
            distance=predicted.distance,
        )

    def _scorer(self, snapshot: Snapshot, number: int) -> Scorer:
        ref = GenerationRef(number)
        scorer = self.registry.scorer_in_memory(snapshot, ref, self.model)
        if scorer is not None:
            return scorer
        key = (number, self.model)
        try:
            return self._cache[key]
        except KeyError:
            pass  # not cached
        trained = self.registry.trained_model(snapshot, ref, self.model)
        self._cache[key] = loaded = self.registry.read_scorer(trained)
        return loaded


def unseen(scorer: Scorer, row: Mapping[str, Any]) -> dict[str, str]:
    """The row's categories that the scorer's training has not seen, each by its feature."""
    return {
        feature.name: value
        for feature in scorer.features
        if feature.categories is not None and (value := feature.reader()(row[feature.column])) not in feature.categories
    }
