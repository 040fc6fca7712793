"""The shapes of the API's answers, for its OpenAPI document. Extra keys are forbidden so that the two can't drift."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(Shape):
    code: str
    message: str
    hint: str


class ErrorBody(Shape):
    """Every error of the API."""

    error: Problem


class Health(Shape):
    """There is a generation to answer from. ``problems`` is what is wrong all the same."""

    status: Literal["ready"]
    pipeline: str
    generation: int
    generations: int
    models: list[str]
    published_at: str | None
    problems: list[str]


class Unready(ErrorBody):
    status: Literal["waiting", "failed"]
    reason: str
    pipeline: str
    problems: list[str]


class Trained(Shape):
    """A model of one generation. ``rows`` counts those it was fitted on, scored on and could not use."""

    estimator: str
    metrics: dict[str, float | None]
    fit_seconds: float
    parity: dict[str, Any]
    rows: dict[str, int]
    sha256: str
    spark_path: str


class GenerationBody(Shape):
    """A generation; ``rows`` counts all rows of its batches."""

    generation: int
    state: Literal["training", "published", "failed"]
    batches: list[int]
    rows: int
    models: dict[str, Trained]
    began_at: str
    published_at: str | None
    error: str | None = None


class InputBody(Shape):
    """A feature, with what training saw of it once there is a generation."""

    name: str
    kind: Literal["int", "float", "string", "bool"]
    unit: str | None
    title: str | None
    categories: list[str] | None
    minimum: float | None
    maximum: float | None
    example: Any


class Scores(Shape):
    """How a model did in one generation."""

    generation: int
    metrics: dict[str, float | None]
    rows: dict[str, int]
    fit_seconds: float
    published_at: str | None


class ExampleBody(Shape):
    """What a model can be asked for: a user and an item it knows, a text, a key of the stream."""

    user: str | None = None
    item: str | None = None
    text: str | None = None
    key: Any = None


class RatingScale(Shape):
    """The least and the greatest rating that the newest generation's rows have."""

    minimum: float
    maximum: float


class ModelBody(Shape):
    """A model; ``user``, ``item`` and ``rating`` are the columns of a recommender, ``ratings`` the scale of an explicit
    one once there is a generation."""

    model: str
    estimator: str
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
    min: float
    max: float


class HistoryPoint(Shape):
    """A model over the generations from ``first`` to ``last``; a metric that none of them has is null."""

    first: int
    last: int
    rows: float
    fit_seconds: float
    metrics: dict[str, MetricSpread | None]


class History(Shape):
    """A model from its first generation to its newest, each point standing for ``per_point`` of them (the last one for
    what is left). ``rows``: those of a generation's batches, in the mean."""

    model: str
    estimator: str
    generations: int
    per_point: int
    points: list[HistoryPoint]


class Spread(Shape):
    """How far a cluster's training rows are from its centre; null where it has none."""

    mean: float | None
    max: float | None


class Cluster(Shape):
    """A cluster's training rows. Its centre is in the features' own units, distances are those of the feature space:
    Euclidean, or cosine where the model's own are."""

    cluster: int
    size: int
    centre: dict[str, float]
    shares: dict[str, dict[str, float]]
    distance: Spread
    to_centres: dict[str, float]


class Profile(Shape):
    """The clusters of a model. ``renumbered``: the number here of each cluster, by Spark's own; ``matched_to``: the
    generation whose clusters have given theirs their numbers."""

    model: str
    generation: int
    clusters: list[Cluster]
    renumbered: dict[str, int]
    matched_to: int | None


class PointColumns(Shape):
    x: list[float]
    y: list[float]


class PointCentre(Shape):
    cluster: int
    x: float
    y: float


class Points(Shape):
    """Some of a generation's ``rows``, evenly spread, by two of their columns; none that lacks a value. Point i is at
    ``columns.x[i]``, ``columns.y[i]`` and in ``cluster[i]``. Centres only where both columns are features."""

    model: str
    generation: int
    x: str
    y: str
    rows: int
    sampled: int
    columns: PointColumns
    cluster: list[int]
    centres: list[PointCentre]


class FoundRow(Shape):
    """A row of the stream with its prediction, or with why it has none."""

    batch: int
    row: dict[str, Any]
    prediction: int | float | bool | str | None
    probability: dict[str, float] | None = None
    label: str | None = None
    unseen: dict[str, str] | None = None
    reason: str | None = None


class FoundRows(Shape):
    model: str
    generation: int
    key: str
    rows: list[FoundRow]


class Answered(Shape):
    """A prediction; ``probability`` for each class where the model gives it, ``label`` where the class has a name,
    ``unseen`` where the row has categories that training has not seen: each by its feature."""

    model: str
    generation: int
    prediction: int | float | bool | str
    probability: dict[str, float] | None = None
    label: str | None = None
    unseen: dict[str, str] | None = None


class GenerationAnswer(Shape):
    """The prediction of one generation, or the ``error`` that says why there is none."""

    generation: int
    prediction: int | float | bool | str | None = None
    probability: dict[str, float] | None = None
    label: str | None = None
    distance: float | None = None
    error: str | None = None


class Across(Shape):
    """One row's predictions, the newest generation first. ``unseen``: its features whose category the newest
    generation's training has not seen; ``more``: whether there are older generations."""

    model: str
    answers: list[GenerationAnswer]
    unseen: dict[str, str]
    more: bool


class TitledItem(BaseModel):
    """An item by its id, with the other columns of the side table that tells more of it."""

    model_config = ConfigDict(extra="allow", strict=True)
    item: int | str


class Items(Shape):
    """Items, the best match first; ``more``: whether there are others."""

    model: str
    generation: int
    items: list[TitledItem]
    more: bool


class ScoredItem(TitledItem):
    """``score``: the rating that the model expects; of implicit preferences, about 1 for what is liked, else 0."""

    score: float


class SimilarItem(TitledItem):
    """``similarity``: the cosine of the angle between the two items' factors."""

    similarity: float


class Recommendations(Shape):
    """Items, the best first; ``unknown``: those of the request that were not trained on; ``outside``: those rated
    outside the scale of the generation's rows."""

    model: str
    generation: int
    items: list[ScoredItem]
    unknown: list[str]
    outside: list[str] | None = None


class UserRecommendations(Shape):
    model: str
    generation: int
    user: str
    items: list[ScoredItem]


class SimilarItems(Shape):
    model: str
    generation: int
    item: str
    items: list[SimilarItem]


class NearRow(Shape):
    """A row of the stream; ``distance`` is Euclidean, in feature space."""

    distance: float
    row: dict[str, Any]


class NearRows(Shape):
    """Rows, the nearest first. ``unknown``: categories of the row asked for that training has not seen. ``probe``:
    whether only rows that share a bucket with it were searched (single), or, as these were too few, others too."""

    model: str
    generation: int
    items: list[NearRow]
    unknown: list[str]
    probe: Literal["single", "multi"]
    key: str | None = None


class AlikeRow(Shape):
    """A row of the stream; ``similarity`` is the cosine of its text's angle to the text asked for, at most 1."""

    similarity: float
    row: dict[str, Any]


class AlikeRows(Shape):
    """Rows, the most alike first. ``unknown``: the words asked for that training has not seen."""

    model: str
    generation: int
    items: list[AlikeRow]
    unknown: list[str]
    key: str | None = None
