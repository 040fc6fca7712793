"""The bodies that a model answers: predictions, recommendations, similar items and rows."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from tidemill.schemas.base import OfGeneration, Shape, omitted_if_none


class Answered(OfGeneration):
    """A prediction. ``probability`` has every class, where the model gives it; ``label`` is the name of the class,
    where it has one; ``unseen`` has the row's categories that training has not seen, each by its feature."""

    prediction: int | float | bool | str
    probability: dict[str, float] | None = omitted_if_none()
    label: str | None = omitted_if_none()
    unseen: dict[str, str] | None = omitted_if_none()


class Predicted(Protocol):
    """The part of a scorer's prediction that ``answer_document`` reads."""

    @property
    def prediction(self) -> int | float | bool | str: ...
    @property
    def probability(self) -> dict[str, float] | None: ...
    @property
    def label(self) -> str | None: ...
    @property
    def unseen(self) -> dict[str, str] | None: ...


def answer_document(model: str, generation: int, line: str, predicted: Predicted) -> dict[str, Any]:
    """An ``Answered`` as plain values: ten thousand rows a request are too many to build and check as models."""
    answer: dict[str, Any] = {"model": model, "generation": generation}
    if line:
        answer["line"] = line
    answer["prediction"] = predicted.prediction
    if predicted.probability is not None:
        answer["probability"] = predicted.probability
    if predicted.label is not None:
        answer["label"] = predicted.label
    if predicted.unseen is not None:
        answer["unseen"] = predicted.unseen
    return answer


class FoundRow(Shape):
    """A row of the stream with its prediction, or with the reason why it has none."""

    batch: int
    row: dict[str, Any]
    prediction: int | float | bool | str | None
    probability: dict[str, float] | None = omitted_if_none()
    label: str | None = omitted_if_none()
    unseen: dict[str, str] | None = omitted_if_none()
    reason: str | None = omitted_if_none()


class FoundRows(OfGeneration):
    """The rows with a key, the newest first."""

    key: str
    rows: list[FoundRow]


class GenerationAnswer(Shape):
    """The prediction of one generation, or the ``error`` that says why there is none."""

    generation: int
    prediction: int | float | bool | str | None = omitted_if_none()
    probability: dict[str, float] | None = omitted_if_none()
    label: str | None = omitted_if_none()
    distance: float | None = omitted_if_none()
    error: str | None = omitted_if_none()


class Across(Shape):
    """One row's predictions, the newest generation first. ``unseen``: the row's categories that the newest generation's
    training has not seen, each by its feature; ``more``: whether there are older generations."""

    model: str
    answers: list[GenerationAnswer]
    unseen: dict[str, str]
    more: bool


class TitledItem(BaseModel):
    """An item by its id, with the other columns of the side table that describes items."""

    model_config = ConfigDict(extra="allow", strict=True)
    item: int | str


class Items(OfGeneration):
    """Items, the best match first; ``more``: whether there are others."""

    items: list[TitledItem]
    more: bool


class ScoredItem(TitledItem):
    """``score``: the rating that the model expects; for implicit preferences about 1 for an item that the user likes,
    else 0.
    """

    score: float


class SimilarItem(TitledItem):
    """``similarity``: the cosine of the angle between the two items' factors."""

    similarity: float


class Recommendations(OfGeneration):
    """Items, the best first; ``unknown``: the request's items that were not trained on; ``outside``: those rated
    outside the scale of the generation's rows."""

    items: list[ScoredItem]
    unknown: list[str]
    outside: list[str] | None = omitted_if_none()


class UserRecommendations(OfGeneration):
    """Items that the user has not rated, the best first."""

    user: str
    items: list[ScoredItem]


class SimilarItems(OfGeneration):
    """Items, the most similar first."""

    item: str
    items: list[SimilarItem]


class GroupRecommendations(OfGeneration):
    """Items that none of the users has rated, the best for all of them together first."""

    users: list[str]
    items: list[ScoredItem]


class Estimates(OfGeneration):
    """The scores of the items that were asked for, in their order; ``unknown``: those that were not trained on."""

    items: list[ScoredItem]
    unknown: list[str]


class RatedItems(OfGeneration):
    """The items that a user has rated, with the scores that the model gives them, the lowest, most surprising first."""

    user: str
    items: list[ScoredItem]


class Explanation(OfGeneration):
    """The items that a user has rated and that are most like a recommended one."""

    user: str
    item: str
    items: list[SimilarItem]


class CountedItem(TitledItem):
    """``users``: how many have rated the item."""

    users: int


class PopularItems(OfGeneration):
    """Items, those that most users have rated first."""

    items: list[CountedItem]


class ActiveUser(Shape):
    """``items``: how many the user has rated."""

    user: str
    items: int


class ActiveUsers(OfGeneration):
    """Users, those who have rated most items first."""

    users: list[ActiveUser]


class Importances(OfGeneration):
    """How important each feature is to a model of trees, as Spark measures it: together 1."""

    importances: dict[str, float]


class NearRow(Shape):
    """A row of the stream; ``distance`` is Euclidean, in feature space."""

    distance: float
    row: dict[str, Any]


class NearRows(OfGeneration):
    """Rows, the nearest first. ``unknown``: the given row's categories that training has not seen. ``probe``: whether
    only rows that share a bucket with it were searched (single), or others too because these were too few (multi)."""

    items: list[NearRow]
    unknown: list[str]
    probe: Literal["single", "multi"]
    key: str | None = omitted_if_none()


class AlikeRow(Shape):
    """A row of the stream; ``similarity`` is the cosine of the angle between its text and the given one, at most 1."""

    similarity: float
    row: dict[str, Any]


class AlikeRows(OfGeneration):
    """Rows, the most similar first. ``unknown``: the given words that training has not seen."""

    items: list[AlikeRow]
    unknown: list[str]
    key: str | None = omitted_if_none()
