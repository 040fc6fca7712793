"""The bodies about generations and their models: settings, metrics, clusters, points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tidemill.schemas.base import Number, OfGeneration, Shape, omitted_if_none
from tidemill.schemas.freshness import FreshnessBody
from tidemill.types import ColumnKind


class Trained(Shape):
    """A model of one generation. ``rows`` counts the rows it was fitted on, scored on and could not use."""

    estimator: str
    metrics: dict[str, Number | None]
    fit_seconds: float
    parity: dict[str, Any]
    rows: dict[str, int]
    sha256: str
    spark_path: str


class GenerationBody(Shape):
    """A generation; ``rows`` counts all rows of its batches. ``removed_at``: when its files were removed, if they
    were. ``freshness``: once it has answered, where it is known."""

    generation: int
    state: Literal["training", "published", "failed"]
    batches: list[int]
    rows: int
    models: dict[str, Trained]
    began_at: str
    published_at: str | None
    removed_at: str | None = omitted_if_none()
    freshness: FreshnessBody | None = omitted_if_none()
    error: str | None = omitted_if_none()


class CommandGeneration(GenerationBody):
    """A generation, as ``tidemill generations --json`` has it. ``serves``: the models that it serves for."""

    serves: list[str]


class InputBody(Shape):
    """A column of a model's features, with its values in training once there is a generation. ``features``: those that
    are functions of it."""

    name: str
    kind: ColumnKind
    unit: str | None
    title: str | None
    categories: list[str] | None
    minimum: Number | None
    maximum: Number | None
    example: Any
    features: list[str] | None = omitted_if_none()


class Scores(Shape):
    """A model's metrics in one generation."""

    generation: int
    metrics: dict[str, Number | None]
    rows: dict[str, int]
    fit_seconds: float
    published_at: str | None


class ExampleBody(Shape):
    """Values that the model can answer: a user and an item it knows, a text, a key of the stream."""

    user: str | None = omitted_if_none()
    item: str | None = omitted_if_none()
    text: str | None = omitted_if_none()
    key: Any = omitted_if_none()


class RatingScale(Shape):
    """The lowest and the highest rating in the champion's rows."""

    minimum: float
    maximum: float


class ModelBody(Shape):
    """A model; ``user``, ``item`` and ``rating`` are the columns of a recommender, ``ratings`` the scale of an explicit
    one once there is a generation. ``champion`` is the generation that answers requests without one, which the
    replay ``line`` trained where it is not one of the run's own; ``ratings``, ``inputs`` and ``examples`` are those of
    its training."""

    model: str
    estimator: str
    champion: int | None
    line: str | None = omitted_if_none()
    label: str | None
    user: str | None
    item: str | None
    rating: str | None
    ratings: RatingScale | None
    labels: dict[str, str]
    params: dict[str, Any]
    scale: str
    inputs: list[InputBody]
    examples: ExampleBody | None
    generations: list[Scores]


class MetricSpread(Shape):
    mean: float
    min: Number
    max: Number


class HistoryPoint(Shape):
    """A model over the generations from ``first`` to ``last``; a metric that none of them has is null."""

    first: int
    last: int
    rows: float
    fit_seconds: float
    metrics: dict[str, MetricSpread | None]


class History(Shape):
    """A model from its first generation to its newest. Each point stands for ``per_point`` generations, the last one
    for the rest. ``rows``: the mean number of rows of a generation's batches."""

    model: str
    estimator: str
    generations: int
    per_point: int
    points: list[HistoryPoint]


class Spread(Shape):
    """The distances of a cluster's training rows from its centre; null where it has none."""

    mean: float | None
    max: float | None


class Cluster(Shape):
    """A cluster's training rows. Its centre is in the features' own units; distances are those of the feature space:
    Euclidean, or cosine where the model's own are."""

    cluster: int
    size: int
    centre: dict[str, float]
    shares: dict[str, dict[str, float]]
    terms: dict[str, dict[str, float]] | None = omitted_if_none()
    distance: Spread
    to_centres: dict[str, float]


class Profile(OfGeneration):
    """The clusters of a model. ``renumbered`` maps Spark's number of each cluster to the number here; ``matched_to`` is
    the generation whose clusters these were matched with."""

    clusters: list[Cluster]
    renumbered: dict[str, int]
    matched_to: int | None


def profile_document(model: str, generation: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """A ``Profile`` as plain values, from the profile that the catalog holds; an older version may have written it.

    Args:
        generation: the keys that name it.
    """
    return {"model": model, **generation, **profile}


class PointColumns(Shape):
    x: list[Number]
    y: list[Number]


class PointCentre(Shape):
    cluster: int
    x: float
    y: float


class Points(OfGeneration):
    """Some of a generation's ``rows``, evenly spread, by two of their columns; rows that lack a value are left out.
    Point i is at ``columns.x[i]``, ``columns.y[i]`` and in ``cluster[i]``. There are centres only where both columns
    are features."""

    x: str
    y: str
    rows: int
    sampled: int
    columns: PointColumns
    cluster: list[int]
    centres: list[PointCentre]
