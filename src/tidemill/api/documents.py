"""The documents that describe the run and its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.examples import Examples
from tidemill.api.models.registry import Snapshot
from tidemill.pipeline import Column, Route
from tidemill.run.catalog import Generation
from tidemill.run.folder import Run
from tidemill.scoring import Feature, kind_of
from tidemill.scoring.als import AlsScorer, Scale

LINKS = {
    "health": "/health",
    "status": "/status",
    "pipeline": "/pipeline",
    "generations": "/generations",
    "models": "/models",
    "batches": "/batches",
    "metrics": "/metrics",
    "docs": "/docs",
    "openapi": "/openapi.json",
}


def home(run: Run, snapshot: Snapshot) -> dict[str, Any]:
    """What there is: the pipeline, its models, its own routes, and where to look next."""
    pipeline = run.pipeline
    return {
        "pipeline": pipeline.name,
        "title": pipeline.title,
        "generation": snapshot.newest.number if snapshot.newest else None,
        "generations": len(snapshot.published),
        "models": {
            name: {"estimator": model.estimator} | entry(name, model.estimator)
            for name, model in pipeline.models.items()
        },
        "routes": [route(one) for one in pipeline.routes],
        "links": LINKS,
        "columns": [column_document(one) for one in pipeline.source.schema_],
        "key": pipeline.stream.key,
        "batches": pipeline.batches.model_dump(),
        "scheme": pipeline.generations.scheme,
    }


def column_document(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "optional": column.optional,
        "unit": column.unit,
        "title": column.title,
    }


def route(declared: Route) -> dict[str, Any]:
    return {
        "method": declared.verb,
        "path": declared.path,
        "model": declared.model,
        "description": declared.description,
    }


def entry(name: str, estimator: str) -> dict[str, str]:
    """What kind of answers a model gives, what it is asked first for, and where: by POST."""
    others = {"recommendation": "recommend", "neighbours": "similar", "text": "similar"}
    kind = kind_of(estimator)
    verb = others.get(kind, "predict")
    return {"kind": kind, verb: f"/models/{name}/{verb}"}


def model(run: Run, snapshot: Snapshot, name: str, generations: list[Generation], examples: Examples) -> dict[str, Any]:
    """A model's inputs and settings, what it can be asked for, and how it did in each of ``generations``."""
    declared = run.pipeline.models[name]
    columns = {column.name: column for column in run.pipeline.source.schema_}
    seen, scale = features(snapshot, name), scale_of(snapshot, name)
    return {
        "model": name,
        "estimator": declared.estimator,
        "label": declared.label,
        "user": declared.user,
        "item": declared.item,
        "rating": declared.rating,
        "ratings": scale._asdict() if scale else None,
        "labels": declared.labels,
        "params": declared.params,
        "scale": declared.scale,
        "inputs": [feature_document(columns[one], seen.get(one)) for one in declared.features],
        "examples": examples.of(snapshot, name),
        "generations": [scores(one, name) for one in generations if name in one.models],
    }


def features(snapshot: Snapshot, name: str) -> Mapping[str, Feature]:
    """What the newest generation's training saw of a model's features; nothing before there is one."""
    scorer = snapshot.newest.scorers.get(name) if snapshot.newest else None
    return {feature.name: feature for feature in scorer.features} if scorer else {}


def scale_of(snapshot: Snapshot, name: str) -> Scale | None:
    """The scale of the ratings in the newest generation, of a recommender that has one."""
    scorer = snapshot.newest.scorers.get(name) if snapshot.newest else None
    return scorer.scale if isinstance(scorer, AlsScorer) else None


def feature_document(column: Column, seen: Feature | None) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "unit": column.unit,
        "title": column.title,
        "categories": list(seen.categories) if seen and seen.categories is not None else None,
        "minimum": seen.minimum if seen else None,
        "maximum": seen.maximum if seen else None,
        "example": seen.example if seen else None,
    }


def scores(generation: Generation, name: str) -> dict[str, Any]:
    trained = generation.models[name]
    return {
        "generation": generation.generation,
        "metrics": trained.metrics,
        "rows": trained.rows,
        "fit_seconds": trained.fit_seconds,
        "published_at": generation.published_at,
    }
