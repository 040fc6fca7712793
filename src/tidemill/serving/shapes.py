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
    published_at: str | None
    error: str | None = None


class InputBody(Shape):
    """A feature, with what training saw of it once there is a generation."""

    name: str
    kind: Literal["int", "float", "string", "bool"]
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


class ModelBody(Shape):
    model: str
    estimator: str
    label: str | None
    labels: dict[str, str]
    params: dict[str, Any]
    scale: str
    inputs: list[InputBody]
    generations: list[Scores]


class Profile(Shape):
    """The clusters of a model, in the features' original units."""

    model: str
    generation: int
    clusters: list[dict[str, Any]]


class FoundRow(Shape):
    """A row of the stream with its prediction, or with why it has none."""

    batch: int
    row: dict[str, Any]
    prediction: int | float | bool | str | None
    probability: dict[str, float] | None = None
    label: str | None = None
    reason: str | None = None


class FoundRows(Shape):
    model: str
    generation: int
    key: str
    rows: list[FoundRow]


class Answered(Shape):
    """A prediction; ``probability`` for each class where the model gives it, ``label`` where the class has a name."""

    model: str
    generation: int
    prediction: int | float | bool | str
    probability: dict[str, float] | None = None
    label: str | None = None


class HomeModel(Shape):
    estimator: str
    predict: str


class HomeRoute(Shape):
    method: str
    path: str
    model: str


class Home(Shape):
    pipeline: str
    title: str
    generation: int | None
    generations: int
    models: dict[str, HomeModel]
    routes: list[HomeRoute]
    links: dict[str, str]
