"""Endpoints: recommendations for the ratings of a request and for a trained user, and items like another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from anyio import to_thread
from fastapi import FastAPI, Path, Query
from pydantic_core import SchemaValidator, ValidationError, core_schema

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import (
    DEFAULT_TOP,
    MAX_TOP,
    OptionalGeneration,
    RequestBody,
    RequestedGeneration,
    checked_top,
    naming,
    read_object,
    resolve_generation,
)
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.paths import rest
from tidemill.api.values import shown
from tidemill.errors import FeatureError, NotFound
from tidemill.scoring.als import MOST_RATING, AlsScorer, Recommended, als_scorer
from tidemill.texts import MOST_EXAMPLES
from tidemill.types import whole

INLINE_NUMBERS = 1_000_000  # a search over more of the items' numbers, about a millisecond, runs in a thread

Top = Annotated[int, Query(ge=1, le=MAX_TOP, description="At most this many items.")]
User = Annotated[str, Path(description="A user of the training rows.")]
ItemId = Annotated[str, Path(description="An item of the training rows.")]
Ratings = Mapping[str, Any] | Sequence[Any]
T = TypeVar("T")

RATING = core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-MOST_RATING, le=MOST_RATING)
RATINGS = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(strict=True), RATING))
KEYS = ("ratings", "top")
HINT = 'send {"ratings": {item: rating, ...}, "top": 10}'


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoints of every model that recommends."""
    for name in context.models_of("recommendation"):
        add_recommendations(app, context.registry, name)


class Recommender:
    """Recommends items by one model."""

    def __init__(self, registry: ModelRegistry, model: str) -> None:
        self.registry = registry
        self.model = model

    async def recommend(self, generation: RequestedGeneration, ratings: Ratings, top: int) -> schemas.Recommendations:
        """The best items for these ratings (for a model without ratings also a list of items), without the rated items.

        Raises:
            FeatureError: a rating is not a number, there is none, or none is of a known item; or ``top`` is out of
                range.
            NotFound, NotReady: the generation has no such model, or its file is damaged.
        """
        scorer = await self._scorer(generation)
        checked, count = checked_ratings(ratings, scorer), checked_top(top)
        result = await self._run(scorer, lambda: recommended(scorer, checked, count))
        return schemas.Recommendations.model_validate(
            self._common(generation)
            | {"items": result.items, "unknown": result.unknown, "outside": result.outside or None}
        )

    async def for_user(self, generation: RequestedGeneration, user: str, top: int) -> schemas.UserRecommendations:
        """The best items for a trained user, without those that the user rated.

        Raises:
            FeatureError: ``top`` is out of range.
            NotFound, NotReady: the user is not known, the generation has no such model, or its file is damaged.
        """
        scorer = await self._scorer(generation)
        user, count = scorer.user_id(user), checked_top(top)
        if user not in scorer.users:
            hint = f"a user is known by a training row; for others POST ratings to /models/{self.model}/recommend"
            raise NotFound(f"{self.model} knows no user {shown(user)} in generation {generation.ref}", hint)
        items = await self._run(scorer, lambda: scorer.for_user(user, count))
        return schemas.UserRecommendations.model_validate(self._common(generation) | {"user": user, "items": items})

    async def similar(self, generation: RequestedGeneration, item: str, top: int) -> schemas.SimilarItems:
        """The items whose factors have the smallest angle to this item's.

        Raises:
            FeatureError: ``top`` is out of range.
            NotFound, NotReady: the item is not known, the generation has no such model, or its file is damaged.
        """
        scorer = await self._scorer(generation)
        item, count = scorer.item_id(item), checked_top(top)
        if item not in scorer.items:
            hint = "an item is known once a row of it was trained on"
            raise NotFound(f"{self.model} knows no item {shown(item)} in generation {generation.ref}", hint)
        items = await self._run(scorer, lambda: scorer.similar(item, count))
        return schemas.SimilarItems.model_validate(self._common(generation) | {"item": item, "items": items})

    async def _scorer(self, generation: RequestedGeneration) -> AlsScorer:
        return als_scorer(await self.registry.scorer(*generation, self.model))

    async def _run(self, scorer: AlsScorer, work: Callable[[], T]) -> T:
        return work() if scorer.item_factors.size <= INLINE_NUMBERS else await to_thread.run_sync(work)

    def _common(self, generation: RequestedGeneration) -> dict[str, Any]:
        return {"model": self.model, **naming(generation.ref)}


class RecommendEndpoints:
    """The endpoints of one recommender."""

    def __init__(self, registry: ModelRegistry, model: str) -> None:
        self.recommender = Recommender(registry, model)

    async def recommend(self, body: RequestBody, generation: OptionalGeneration = None) -> Json:
        requested = self._requested(generation)
        ratings, top = read_ratings(body)
        return Json(await self.recommender.recommend(requested, ratings, top))

    async def for_user(self, user: User, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        return Json(await self.recommender.for_user(self._requested(generation), user, top))

    async def similar(self, item: ItemId, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        return Json(await self.recommender.similar(self._requested(generation), item, top))

    def _requested(self, generation: int | None) -> RequestedGeneration:
        return resolve_generation(self.recommender.registry, generation, self.recommender.model)


def read_ratings(body: bytes) -> tuple[Ratings, int]:
    """The ratings and ``top`` of a request's body; the ratings themselves are not checked yet.

    Raises:
        BadJson: it is not JSON.
        FeatureError: it is not an object with ``ratings`` and perhaps ``top``.
    """
    document = read_object(body, KEYS, HINT)
    return document["ratings"], document.get("top", DEFAULT_TOP)


def checked_ratings(ratings: Any, scorer: AlsScorer) -> dict[str, float]:
    """The rating of each item; for a model that was trained without ratings, each item of a list counts 1.

    Raises:
        FeatureError: there is none, or one is not a number that Spark's ALS could hold (of 32 bits).
    """
    is_list = isinstance(ratings, Sequence) and not isinstance(ratings, str)
    if is_list and not scorer.has_ratings:
        ratings = {item_id(item): 1.0 for item in ratings}
    if not isinstance(ratings, Mapping):
        expected = "an object of items and ratings" + ("" if scorer.has_ratings else ", or a list of items")
        raise FeatureError(f"ratings is {shown(ratings)}, not {expected}", HINT)
    if not ratings:
        raise FeatureError("ratings is empty", "give the rating of at least one item")
    try:
        checked: dict[str, float] = RATINGS.validate_python(dict(ratings))
    except ValidationError as error:
        raise FeatureError("; ".join(complaints(error)), "give each rating as a finite number") from None
    return {scorer.item_id(item): rating for item, rating in checked.items()}


def item_id(item: Any) -> str:
    item = whole(item)
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise FeatureError(f"ratings has {shown(item)}, which is not an item", "give each item by its id")
    return str(item)


def complaints(error: ValidationError) -> list[str]:
    details = error.errors(include_url=False, include_context=False)[:MOST_EXAMPLES]
    texts = [
        f"ratings.{str(detail['loc'][0])[:60]} is {shown(detail['input'])}, not a finite number of 32 bits"
        for detail in details
    ]
    more = error.error_count() - len(details)
    return [*texts, f"and {more} more"] if more else texts


def recommended(scorer: AlsScorer, ratings: Mapping[str, float], top: int) -> Recommended:
    try:
        return scorer.recommend(ratings, top)
    except ValueError as error:
        items = list(ratings)
        named = ", ".join(shown(item) for item in items[:MOST_EXAMPLES])
        more = f" and {len(items) - MOST_EXAMPLES} more" if len(items) > MOST_EXAMPLES else ""
        raise FeatureError(f"{error}: {named}{more}", "rate items that were trained on") from None


def add_recommendations(app: FastAPI, registry: ModelRegistry, model: str) -> None:
    endpoints, base = RecommendEndpoints(registry, model), f"/models/{model}"
    common: dict[str, Any] = {"tags": [model], "response_class": Json}
    app.add_api_route(
        f"{base}/recommend",
        endpoints.recommend,
        methods=["POST"],
        summary="The best items for a user with these ratings",
        responses=openapi.giving(schemas.Recommendations, 400, 404, 413, 422, 503),
        openapi_extra=ratings_body(registry, model),
        **common,
    )
    app.add_api_route(
        f"{base}/recommend/{rest('user')}",
        endpoints.for_user,
        summary="The best items for a trained user, without those that the user rated",
        responses=openapi.giving(schemas.UserRecommendations, 404, 422, 503),
        **common,
    )
    app.add_api_route(
        f"{base}/similar/{rest('item')}",
        endpoints.similar,
        summary="The items most like this one",
        responses=openapi.giving(schemas.SimilarItems, 404, 422, 503),
        **common,
    )


def ratings_body(registry: ModelRegistry, model: str) -> dict[str, Any]:
    """The request body of ``recommend``. ``ExampleWriter`` adds an example that the champion can answer."""
    explicit = registry.run.pipeline.models[model].rating is not None
    ratings = openapi.RATING_OF_ITEMS if explicit else openapi.either(openapi.RATING_OF_ITEMS, openapi.RATED_ITEMS)
    schema = {
        "type": "object",
        "properties": {
            "ratings": ratings,
            "top": {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP},
        },
        "required": ["ratings"],
        "additionalProperties": False,
    }
    return openapi.json_body(schema)
