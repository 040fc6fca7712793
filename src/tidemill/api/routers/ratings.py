"""Endpoints: what a recommender knows about its users and items, besides recommendations for one user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from anyio import to_thread
from fastapi import FastAPI, Query

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import (
    DEFAULT_TOP,
    MAX_TOP,
    OptionalGeneration,
    RequestBody,
    checked_top,
    naming,
    read_object,
    resolve_generation,
)
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.paths import rest
from tidemill.api.routers.recommend import User, checked_ratings, item_id
from tidemill.api.values import shown
from tidemill.errors import FeatureError, NotFound
from tidemill.schemas import Shape
from tidemill.scoring import als_questions
from tidemill.scoring.als import AlsScorer, Factors, als_scorer
from tidemill.scoring.als_questions import Ranked

Top = Annotated[int, Query(ge=1, le=MAX_TOP, description="At most this many.")]
GROUP_HINT = 'send {"users": [...], "top": 10}'
ESTIMATE_HINT = 'send {"items": [...], "user": "..."}, or {"items": [...], "ratings": {item: rating, ...}}'
BECAUSE_HINT = 'send {"user": "...", "item": "...", "top": 10}'
IDS: dict[str, Any] = {"type": "array", "items": openapi.either({"type": "string"}, {"type": "integer"}), "minItems": 1}
ID = openapi.either({"type": "string"}, {"type": "integer"})
TOP: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP}


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoints of every model that recommends."""
    for name in context.models_of("recommendation"):
        endpoints, base = RatingEndpoints(context.registry, name), f"/models/{name}"
        get, post = adder(app, name, "GET"), adder(app, name, "POST")
        get(f"{base}/popular", endpoints.popular, "The items with most users", schemas.PopularItems)
        get(f"{base}/users", endpoints.users, "The users with most items", schemas.ActiveUsers)
        summary = "The items that a user has rated, the most surprising first"
        get(f"{base}/rated/{rest('user')}", endpoints.rated, summary, schemas.RatedItems)
        summary = "The best items for several users together"
        post(f"{base}/recommend-to-group", endpoints.group, summary, schemas.GroupRecommendations, GROUP)
        summary = "The scores of items for a user, or for somebody with these ratings"
        post(f"{base}/estimate", endpoints.estimate, summary, schemas.Estimates, ESTIMATE)
        summary = "The user's items that are most like a recommended one"
        post(f"{base}/because", endpoints.because, summary, schemas.Explanation, BECAUSE)


def adder(app: FastAPI, model: str, method: str) -> Callable[..., None]:
    """Adds an endpoint of the model: ``(path, endpoint, summary, shape, schema of the body)``."""

    def add(path: str, endpoint: Any, summary: str, shape: type[Shape], body: Mapping[str, Any] | None = None) -> None:
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            summary=summary,
            tags=[model],
            responses=openapi.giving(shape, *((400, 404, 413, 422, 503) if body else (404, 422, 503))),
            openapi_extra=openapi.json_body(body) if body else None,
            response_class=Json,
        )

    return add


def body_schema(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


GROUP = body_schema(["users"], users=IDS, top=TOP)
ESTIMATE = body_schema(
    ["items"], items=IDS, user=ID, ratings=openapi.either(openapi.RATING_OF_ITEMS, openapi.RATED_ITEMS)
)
BECAUSE = body_schema(["user", "item"], user=ID, item=ID, top=TOP)


class RatingEndpoints:
    """The endpoints of one recommender; its champion answers if the request names no generation."""

    def __init__(self, registry: ModelRegistry, model: str) -> None:
        self._registry = registry
        self._model = model

    async def popular(self, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        def answer(scorer: AlsScorer) -> dict[str, Any]:
            return {"items": scorer.documents(*als_questions.popular_items(scorer, top), "users")}

        return await self._answer(generation, schemas.PopularItems, answer)

    async def users(self, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        def answer(scorer: AlsScorer) -> dict[str, Any]:
            ranked, names = als_questions.active_users(scorer, top), list(scorer.users)
            counted = zip(ranked.places.tolist(), ranked.values.tolist(), strict=True)
            return {"users": [{"user": names[place], "items": count} for place, count in counted]}

        return await self._answer(generation, schemas.ActiveUsers, answer)

    async def rated(self, user: User, generation: OptionalGeneration = None, top: Top = DEFAULT_TOP) -> Json:
        def answer(scorer: AlsScorer) -> dict[str, Any]:
            ranked = als_questions.surprising(scorer, user_at(scorer, user))
            return {"user": user, "items": scorer.documents(*first(ranked, top), "score")}

        return await self._answer(generation, schemas.RatedItems, answer)

    async def group(self, body: RequestBody, generation: OptionalGeneration = None) -> Json:
        document = read_object(body, ("users", "top"), GROUP_HINT)
        users, top = ids_in(document, "users", GROUP_HINT), checked_top(document.get("top", DEFAULT_TOP))

        def answer(scorer: AlsScorer) -> dict[str, Any]:
            places = [user_at(scorer, user) for user in users]
            ranked = als_questions.for_users(scorer, places, top, known=False)
            return {"users": users, "items": scorer.documents(*ranked, "score")}

        return await self._answer(generation, schemas.GroupRecommendations, answer)

    async def estimate(self, body: RequestBody, generation: OptionalGeneration = None) -> Json:
        document = read_object(body, ("items", "user", "ratings"), ESTIMATE_HINT)
        items = ids_in(document, "items", ESTIMATE_HINT)
        if ("user" in document) == ("ratings" in document):
            raise FeatureError("give either a user or ratings", ESTIMATE_HINT)

        def answer(scorer: AlsScorer) -> dict[str, Any]:
            known = np.array([scorer.items[item] for item in items if item in scorer.items], dtype=np.intp)
            ranked = Ranked(known, scorer.item_factors[known] @ factor_of(scorer, document))
            unknown = [item for item in items if item not in scorer.items]
            return {"items": scorer.documents(*ranked, "score"), "unknown": unknown}

        return await self._answer(generation, schemas.Estimates, answer)

    async def because(self, body: RequestBody, generation: OptionalGeneration = None) -> Json:
        document = read_object(body, ("user", "item", "top"), BECAUSE_HINT)
        user, top = item_id(document["user"]), checked_top(document.get("top", DEFAULT_TOP))
        if "item" not in document:
            raise FeatureError("item is missing", BECAUSE_HINT)
        item = item_id(document["item"])

        def answer(scorer: AlsScorer) -> dict[str, Any]:
            ranked = als_questions.because(scorer, user_at(scorer, user), item_at(scorer, item))
            return {"user": user, "item": item, "items": scorer.documents(*first(ranked, top), "similarity")}

        return await self._answer(generation, schemas.Explanation, answer)

    async def _answer(
        self, generation: int | None, shape: type[Shape], answer: Callable[[AlsScorer], dict[str, Any]]
    ) -> Json:
        requested = resolve_generation(self._registry, generation, self._model)
        scorer = als_scorer(await self._registry.scorer(*requested, self._model))
        body = await to_thread.run_sync(answer, scorer)
        return Json(shape.model_validate({"model": self._model, **naming(requested.ref), **body}))


def ids_in(document: Mapping[str, Any], key: str, hint: str) -> list[str]:
    """The ids under ``key``.

    Raises:
        FeatureError: it is not a list of one or more.
    """
    ids = document[key]
    if not isinstance(ids, list) or not ids or len(ids) > MAX_TOP:
        raise FeatureError(f"{key} is {shown(ids)}, not a list of 1 to {MAX_TOP} ids", hint)
    return [item_id(value) for value in ids]


def factor_of(scorer: AlsScorer, document: Mapping[str, Any]) -> Factors:
    """The factor of the request's user, or of somebody with its ratings."""
    if "user" in document:
        trained: Factors = scorer.user_factors[user_at(scorer, item_id(document["user"]))]
        return trained
    ratings = checked_ratings(document["ratings"], scorer)
    known = {scorer.items[item]: rating for item, rating in ratings.items() if item in scorer.items}
    if not known:
        raise FeatureError("none of the rated items is known", "rate items that were trained on")
    factor = scorer.fold_in(np.fromiter(known, np.intp, len(known)), als_questions.values_of(known))
    if not np.isfinite(factor).all():
        raise FeatureError("the ratings lead to no finite scores", "give ratings like those of training")
    return factor


def user_at(scorer: AlsScorer, user: str) -> int:
    if user not in scorer.users:
        raise NotFound(f"{scorer.model} knows no user {shown(user)}", "a user is known by a training row")
    return scorer.users[user]


def item_at(scorer: AlsScorer, item: str) -> int:
    if item not in scorer.items:
        raise NotFound(
            f"{scorer.model} knows no item {shown(item)}", "an item is known once a row of it was trained on"
        )
    return scorer.items[item]


def first(ranked: Ranked, top: int) -> Ranked:
    return Ranked(ranked.places[:top], ranked.values[:top])
