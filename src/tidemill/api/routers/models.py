"""Endpoints: the models, their history, their clusters, and their predictions for rows of the stream."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Query

from tidemill import schemas
from tidemill.api import documents
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import (
    Key,
    ListLimit,
    OptionalGeneration,
    RequestedGeneration,
    naming,
    resolve_generation,
)
from tidemill.api.inputs import ModelInputs
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.openapi import Responses, giving
from tidemill.api.paths import rest
from tidemill.api.routers.run import AfterGeneration
from tidemill.api.rows.lookup import KeyedRow
from tidemill.errors import FeatureError, NotFound
from tidemill.scoring import ROW_KINDS, Prediction, Scorer, kind_of, row_scorer

PointCount = Annotated[int, Query(ge=10, le=1000, description="At most this many points.")]


def add_routes(app: FastAPI, context: RouteContext) -> None:
    def get(path: str, endpoint: Any, summary: str, tag: str, responses: Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=[tag], responses=responses, response_class=Json)

    def all_models() -> Json:
        run, snapshot = context.registry.run, context.registry.snapshot
        newest = [snapshot.newest.record] if snapshot.newest else []
        names = run.pipeline.models
        return Json([documents.model_body(run, snapshot, name, newest, context.examples) for name in names])

    get("/models", all_models, "All models, with the newest metrics", "run", giving(list[schemas.ModelBody]))
    for name, kind in context.kinds.items():
        endpoints, base = ModelEndpoints(context, name), f"/models/{name}"
        body, history = giving(schemas.ModelBody, 422), giving(schemas.History, 422)
        get(base, endpoints.model_body, "Inputs, settings, and metrics per generation", name, body)
        get(f"{base}/history", endpoints.history, "Metrics from generation to generation", name, history)
        if kind in ROW_KINDS:
            profile, rows = giving(schemas.Profile, 404, 422, 503), giving(schemas.FoundRows, 404, 422, 503)
            get(f"{base}/profile", endpoints.profile, "The clusters", name, profile)
            summary = "Predictions for rows of the stream, by their key"
            get(f"{base}/rows/{rest('key')}", endpoints.rows, summary, name, rows)


class ModelEndpoints:
    """The endpoints about one model."""

    def __init__(self, context: RouteContext, model: str) -> None:
        self.registry = context.registry
        self.model = model
        self.inputs = context.inputs[model]
        self.lookup = context.lookup
        self.examples = context.examples

    def model_body(self, after: AfterGeneration = 0, limit: ListLimit = 1000) -> Json:
        snapshot = self.registry.snapshot
        numbers = [number for number in snapshot.published if number > after]
        generations = snapshot.generations.of(numbers[:limit])
        return Json(documents.model_body(self.registry.run, snapshot, self.model, generations, self.examples))

    def history(self, points: PointCount = 200) -> Json:
        snapshot = self.registry.snapshot
        published = snapshot.generations.of(snapshot.published)
        estimator = self.registry.run.pipeline.models[self.model].estimator
        return Json(documents.history_body(published, self.model, estimator, points))

    def profile(self, generation: OptionalGeneration = None) -> Json:
        requested = resolve_generation(self.registry, generation, self.model)
        return Json(profile_document(self.registry, requested, self.model))

    async def rows(self, key: Key, generation: OptionalGeneration = None, limit: ListLimit = 100) -> Json:
        requested = resolve_generation(self.registry, generation, self.model)
        scorer = await self.registry.scorer(*requested, self.model)
        return Json(await to_thread.run_sync(self._rows, requested, scorer, key, limit))

    def _rows(self, requested: RequestedGeneration, scorer: Scorer, key: str, limit: int) -> schemas.FoundRows:
        rows = self.lookup.find(requested.record, key, limit)
        return schemas.FoundRows(
            model=self.model,
            **naming(requested.ref),
            key=key,
            rows=[found_row(row, predict_row(self.inputs, row, scorer)) for row in rows],
        )


def profile_document(registry: ModelRegistry, generation: RequestedGeneration, model: str) -> dict[str, Any]:
    """The clusters of a generation, as ``schemas.Profile``.

    Raises:
        NotFound: the generation has no such model, or the model has no clusters.
        CatalogError: the catalog can't be read.
    """
    registry.trained_model(*generation, model)
    profile = registry.run.catalog.trained(generation.ref).models[model].profile
    estimator = registry.run.pipeline.models[model].estimator
    if profile is None and kind_of(estimator) == "clustering":
        hint = "an older Tidemill trained this replay, which kept no profiles: ask for one of the run's own generations"
        raise NotFound(f"the profile of {model} in generation {generation.ref} is not known", hint)
    if profile is None:
        raise NotFound(f"{model} has no clusters: it is a {estimator}", "ask for a model that clusters")
    return schemas.profile_document(model, naming(generation.ref), profile)


def predict_row(inputs: ModelInputs, row: KeyedRow, scorer: Scorer) -> Prediction | FeatureError:
    """The prediction for a row of the stream; for a row that lacks a feature, the error that names it."""
    try:
        return row_scorer(scorer).predict_one(inputs.row(row.values))
    except FeatureError as error:
        return error


def found_row(row: KeyedRow, predicted: Prediction | FeatureError) -> schemas.FoundRow:
    """A row with its prediction, or with the reason why it has none."""
    if isinstance(predicted, FeatureError):
        return schemas.FoundRow(batch=row.batch, row=row.values, prediction=None, reason=predicted.message)
    return schemas.FoundRow(
        batch=row.batch,
        row=row.values,
        prediction=predicted.prediction,
        probability=predicted.probability,
        label=predicted.label,
        unseen=predicted.unseen,
    )
