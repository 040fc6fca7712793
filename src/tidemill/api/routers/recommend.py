"""Recommendations over HTTP: for the ratings of a request, for a trained user, and items like another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from anyio import to_thread
from fastapi import FastAPI, Path, Query, Request
from pydantic_core import SchemaValidator, ValidationError, core_schema

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.inputs import shown
from tidemill.api.models.registry import Live
from tidemill.api.paging import DEFAULT_TOP, MOST_TOP, checked_top, read_object
from tidemill.api.routers.predict import read_body
from tidemill.api.routers.views import ChosenGeneration, newest_number
from tidemill.errors import MOST_EXAMPLES, FeatureError, NotFound
from tidemill.scoring.als import MOST_RATING, AlsScorer, Recommended, als_scorer

INLINE_NUMBERS = 1_000_000  # more of the items' numbers than this take a thread of their own, about a millisecond

Top = Annotated[int, Query(ge=1, le=MOST_TOP, description="At most so many items.")]
User = Annotated[str, Path(min_length=1, description="A user of the training rows.")]
ItemId = Annotated[str, Path(min_length=1, description="An item of the training rows.")]
Ratings = Mapping[str, Any] | Sequence[Any]
T = TypeVar("T")

RATING = core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-MOST_RATING, le=MOST_RATING)
RATINGS = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(strict=True), RATING))
KEYS = ("ratings", "top")


class Recommender:
    """Recommends by one model. Every answer names the model and the generation; ``generation`` None is the newest."""

    def __init__(self, live: Live, model: str) -> None:
        self.live = live
        self.model = model

    async def recommend(self, generation: int | None, ratings: Ratings, top: int) -> dict[str, Any]:
        """``{"model", "generation", "items": [{"item", "score", ...titles}], "unknown", "outside"?}`` for whoever gives
        these ratings (of a model without ratings also a list of items), the rated items left out. ``outside`` names the
        known items whose rating is below or above all that the generation's rows have.

        Raises:
            FeatureError: a rating is no number, none is given, or none is of a known item; or ``top`` is out of range.
            NotFound, NotReady: there is no such generation.
        """
        number, scorer = await self._scorer(generation)
        given = checked_ratings(ratings, scorer)
        count = checked_top(top)
        found = await self._done(scorer, lambda: recommended(scorer, given, count))
        outside = {"outside": found.outside} if found.outside else {}
        return self._answer(number, found.items) | {"unknown": found.unknown} | outside

    async def for_user(self, generation: int | None, user: str, top: int) -> dict[str, Any]:
        """``{"model", "generation", "user", "items"}`` for a trained user, without what they rated.

        Raises:
            FeatureError: ``top`` is out of range.
            NotFound, NotReady: the user is not known, or there is no such generation.
        """
        number, scorer = await self._scorer(generation)
        count = checked_top(top)
        if user not in scorer.users:
            hint = f"a user is known by a training row; for others POST ratings to /models/{self.model}/recommend"
            raise NotFound(f"{self.model} knows no user {shown(user)} in generation {number}", hint)
        items = await self._done(scorer, lambda: scorer.for_user(user, count))
        return self._answer(number, items) | {"user": user}

    async def similar(self, generation: int | None, item: str, top: int) -> dict[str, Any]:
        """``{"model", "generation", "item", "items": [{"item", "similarity", ...titles}]}``: the items whose factors
        have the smallest angle to this one's.

        Raises:
            FeatureError: ``top`` is out of range.
            NotFound, NotReady: the item is not known, or there is no such generation.
        """
        number, scorer = await self._scorer(generation)
        count = checked_top(top)
        if item not in scorer.items:
            hint = "an item is known once a row of it was trained on"
            raise NotFound(f"{self.model} knows no item {shown(item)} in generation {number}", hint)
        items = await self._done(scorer, lambda: scorer.similar(item, count))
        return self._answer(number, items) | {"item": item}

    async def _scorer(self, generation: int | None) -> tuple[int, AlsScorer]:
        snapshot = self.live.now
        number = generation or newest_number(self.live, snapshot)
        return number, als_scorer(await self.live.scorer(snapshot, number, self.model))

    async def _done(self, scorer: AlsScorer, work: Callable[[], T]) -> T:
        return work() if scorer.item_factors.size <= INLINE_NUMBERS else await to_thread.run_sync(work)

    def _answer(self, generation: int, items: list[dict[str, Any]]) -> dict[str, Any]:
        return {"model": self.model, "generation": generation, "items": items}


class RecommendViews:
    """The endpoints of one recommender."""

    def __init__(self, live: Live, model: str) -> None:
        self.recommender = Recommender(live, model)

    async def recommend(self, request: Request, generation: ChosenGeneration = None) -> Json:
        ratings, top = read_ratings(await read_body(request))
        return Json(await self.recommender.recommend(generation, ratings, top))

    async def for_user(self, user: User, top: Top = DEFAULT_TOP, generation: ChosenGeneration = None) -> Json:
        return Json(await self.recommender.for_user(generation, user, top))

    async def similar(self, item: ItemId, top: Top = DEFAULT_TOP, generation: ChosenGeneration = None) -> Json:
        return Json(await self.recommender.similar(generation, item, top))


HINT = 'send {"ratings": {item: rating, ...}, "top": 10}'


def read_ratings(body: bytes) -> tuple[Ratings, int]:
    """The ratings and ``top`` of a request's body; what the ratings hold is not looked at yet.

    Raises:
        BadJson: it is no JSON.
        FeatureError: it is not an object with ``ratings``, and ``top`` at most beside it.
    """
    document = read_object(body, KEYS, HINT)
    return document["ratings"], document.get("top", DEFAULT_TOP)


def checked_ratings(ratings: Any, scorer: AlsScorer) -> dict[str, float]:
    """The rating of each item; where the model was trained without ratings, a list of items counts 1 for each.

    Raises:
        FeatureError: there is none, or one is no number that Spark's ALS could hold (of 32 bits).
    """
    listed = isinstance(ratings, Sequence) and not isinstance(ratings, str)
    if listed and not scorer.has_ratings:
        ratings = {item_text(one): 1.0 for one in ratings}
    if not isinstance(ratings, Mapping):
        wanted = "an object of items and ratings" + ("" if scorer.has_ratings else ", or a list of items")
        raise FeatureError(f"ratings is {shown(ratings)}, not {wanted}", HINT)
    if not ratings:
        raise FeatureError("ratings is empty", "give the rating of at least one item")
    try:
        checked: dict[str, float] = RATINGS.validate_python(dict(ratings))
    except ValidationError as error:
        raise FeatureError("; ".join(complaints(error)), "give each rating as a finite number") from None
    return checked


def item_text(item: Any) -> str:
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise FeatureError(f"ratings has {shown(item)}, which is no item", "give each item by its id")
    return str(item)


def complaints(error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_context=False)[:MOST_EXAMPLES]
    told = [
        f"ratings.{str(one['loc'][0])[:60]} is {shown(one['input'])}, not a finite number of 32 bits" for one in found
    ]
    more = error.error_count() - len(found)
    return [*told, f"and {more} more"] if more else told


def recommended(scorer: AlsScorer, ratings: Mapping[str, float], top: int) -> Recommended:
    try:
        return scorer.recommend(ratings, top)
    except ValueError as error:
        items = list(ratings)
        named = ", ".join(shown(item) for item in items[:MOST_EXAMPLES])
        more = f" and {len(items) - MOST_EXAMPLES} more" if len(items) > MOST_EXAMPLES else ""
        raise FeatureError(f"{error}: {named}{more}", "rate items that were trained on") from None


def add_recommendations(app: FastAPI, live: Live, model: str) -> None:
    """The endpoints of a model that recommends."""
    views, base = RecommendViews(live, model), f"/models/{model}"
    described: dict[str, Any] = {"tags": [model], "response_class": Json}
    app.add_api_route(
        f"{base}/recommend",
        views.recommend,
        methods=["POST"],
        summary="The best items for whoever gives these ratings",
        responses=openapi.giving(schemas.Recommendations, 400, 404, 413, 422, 503),
        openapi_extra=ratings_body(live, model),
        **described,
    )
    app.add_api_route(
        f"{base}/recommend/{{user:path}}",
        views.for_user,
        summary="The best items for a trained user, without what they rated",
        responses=openapi.giving(schemas.UserRecommendations, 404, 422, 503),
        **described,
    )
    app.add_api_route(
        f"{base}/similar/{{item:path}}",
        views.similar,
        summary="The items most like this one",
        responses=openapi.giving(schemas.SimilarItems, 404, 422, 503),
        **described,
    )


def ratings_body(live: Live, model: str) -> dict[str, Any]:
    """The request body of ``recommend``; ``RouteExamples`` adds an example of the newest generation's."""
    rated = live.run.pipeline.models[model].rating is not None
    schema = {
        "type": "object",
        "properties": {
            "ratings": openapi.RATING_OF_ITEMS
            if rated
            else openapi.either(openapi.RATING_OF_ITEMS, openapi.RATED_ITEMS),
            "top": {"type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": DEFAULT_TOP},
        },
        "required": ["ratings"],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
