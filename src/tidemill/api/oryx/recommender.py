"""Oryx's paths of a recommender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from starlette.requests import Request

from tidemill.api.oryx.answers import Answer, IdCount, IdValue
from tidemill.api.oryx.questions import considers_known, path_parts, rated_parts, window
from tidemill.api.routers.ratings import item_at, user_at
from tidemill.api.values import shown
from tidemill.errors import RequestError
from tidemill.scoring import als_questions
from tidemill.scoring.als import AlsScorer, Factors, Places
from tidemill.scoring.als_questions import Ranked


class Read(NamedTuple):
    """A path that is read: how a fitted model answers a request to it, and what that is."""

    path: str
    answer: Callable[[Any, Request], Answer]
    summary: str
    query: tuple[str, ...] = ()


WINDOW = ("howMany", "offset")
KNOWN = (*WINDOW, "considerKnownItems")


# --- recommendations ----------------------------------------------------------------------------------------------


def recommend(scorer: AlsScorer, request: Request) -> Answer:
    return for_users(scorer, request, 1)


def recommend_to_many(scorer: AlsScorer, request: Request) -> Answer:
    return for_users(scorer, request, None)


def for_users(scorer: AlsScorer, request: Request, count: int | None) -> Answer:
    users = [user_at(scorer, user) for user in parts_of(request, 1, count)]
    asked = window(request)
    return with_values(scorer, als_questions.for_users(scorer, users, asked.end, considers_known(request)), request)


def recommend_to_anonymous(scorer: AlsScorer, request: Request) -> Answer:
    ratings = rated_parts(parts_of(request, 1, None))
    items, values = known_ratings(scorer, ratings)
    if not len(items):
        message = f"none of the items is known: {', '.join(map(shown, list(ratings)[:5]))}"
        raise RequestError(message, "name items that were trained on")
    factor = finite(scorer.fold_in(items, values))
    return with_values(scorer, Ranked(*scorer.best(factor, items, window(request).end)), request)


def recommend_with_context(scorer: AlsScorer, request: Request) -> Answer:
    name, *context = parts_of(request, 1, None)
    user = user_at(scorer, name)
    items, values = known_ratings(scorer, rated_parts(context))
    ratings = dict(zip(items.tolist(), values.tolist(), strict=True))
    ranked = als_questions.in_context(scorer, user, ratings, window(request).end, considers_known(request))
    return with_values(scorer, ranked, request)


# --- similarities and estimates -----------------------------------------------------------------------------------


def similarity(scorer: AlsScorer, request: Request) -> Answer:
    items = [item_at(scorer, item) for item in parts_of(request, 1, None)]
    return with_values(scorer, als_questions.alike(scorer, items, window(request).end), request)


def similarity_to_item(scorer: AlsScorer, request: Request) -> Answer:
    to, *others = parts_of(request, 2, None)
    cosines = als_questions.cosines_with(scorer, scorer.item_factors[item_at(scorer, to)].astype(np.float64))
    return [at_item(scorer, item, cosines) for item in others]


def estimate(scorer: AlsScorer, request: Request) -> Answer:
    name, *items = parts_of(request, 2, None)
    scores = scorer.scores(scorer.user_factors[user_at(scorer, name)])
    return [at_item(scorer, item, scores) for item in items]


def estimate_for_anonymous(scorer: AlsScorer, request: Request) -> Answer:
    to, *context = parts_of(request, 2, None)
    target = scorer.item_factors[item_at(scorer, to)]
    items, values = known_ratings(scorer, rated_parts(context))
    return float(target @ finite(scorer.fold_in(items, values))) if len(items) else 0.0


def at_item(scorer: AlsScorer, item: str, values: Any) -> float:
    """The value of an item; 0 for an unknown one, or where it has none."""
    return float(np.nan_to_num(values[scorer.items[item]])) if item in scorer.items else 0.0


# --- what users have rated ----------------------------------------------------------------------------------------


def known_items(scorer: AlsScorer, request: Request) -> Answer:
    (name,) = parts_of(request, 1, 1)
    user = scorer.users.get(name)
    return [] if user is None else item_ids(scorer, scorer.rated(user))


def because(scorer: AlsScorer, request: Request) -> Answer:
    user, item = parts_of(request, 2, 2)
    ranked = als_questions.because(scorer, user_at(scorer, user), item_at(scorer, item))
    return with_values(scorer, ranked, request)


def most_surprising(scorer: AlsScorer, request: Request) -> Answer:
    (user,) = parts_of(request, 1, 1)
    return with_values(scorer, als_questions.surprising(scorer, user_at(scorer, user)), request)


def most_popular_items(scorer: AlsScorer, request: Request) -> Answer:
    ranked = als_questions.popular_items(scorer, window(request).end)
    return with_counts(item_ids(scorer, ranked.places), ranked, request)


def most_active_users(scorer: AlsScorer, request: Request) -> Answer:
    ranked, users = als_questions.active_users(scorer, window(request).end), list(scorer.users)
    return with_counts([users[place] for place in ranked.places.tolist()], ranked, request)


def popular_representative_items(scorer: AlsScorer, request: Request) -> Answer:
    return item_ids(scorer, als_questions.representative_items(scorer))


def all_item_ids(scorer: AlsScorer, request: Request) -> Answer:
    return list(scorer.items)


def all_user_ids(scorer: AlsScorer, request: Request) -> Answer:
    return list(scorer.users)


# --- ids ----------------------------------------------------------------------------------------------------------


def parts_of(request: Request, least: int, most: int | None) -> list[str]:
    """The values in the path; ``most`` of them, if that is not None.

    Raises:
        RequestError: there are fewer or more.
    """
    parts = path_parts(request)
    if len(parts) < least or (most is not None and len(parts) > most):
        raise RequestError(f"the path has {len(parts)} values", "see GET /docs; encode a slash in a value as %2F")
    return parts


def known_ratings(scorer: AlsScorer, ratings: dict[str, float]) -> tuple[Places, Any]:
    """The indices of the items that the model knows, and their ratings: (n,), (n,)."""
    known = {scorer.items[item]: rating for item, rating in ratings.items() if item in scorer.items}
    return np.fromiter(known, np.intp, len(known)), np.fromiter(known.values(), np.float64, len(known))


def finite(factor: Factors) -> Factors:
    if not np.isfinite(factor).all():
        raise RequestError("the ratings lead to no finite scores", "give ratings like those of training")
    return factor


def item_ids(scorer: AlsScorer, places: Places) -> list[str]:
    ids: list[str] = scorer.titles[0].take(pa.array(places)).cast(pa.string()).to_pylist()
    return ids


def with_values(scorer: AlsScorer, ranked: Ranked, request: Request) -> Sequence[IdValue]:
    """The part of the items that the request asks for, each with its value."""
    asked = window(request)
    places, values = ranked.places[asked.offset : asked.end], ranked.values[asked.offset : asked.end]
    return [IdValue(item, value) for item, value in zip(item_ids(scorer, places), values.tolist(), strict=True)]


def with_counts(ids: Sequence[str], ranked: Ranked, request: Request) -> Sequence[IdCount]:
    counted = [IdCount(name, count) for name, count in zip(ids, ranked.values.tolist(), strict=True)]
    return counted[window(request).offset :]


READS = (
    Read("/recommend/{user}", recommend, "Items for a user", KNOWN),
    Read("/recommendToMany/{users:rest}", recommend_to_many, "Items for several users together", KNOWN),
    Read("/recommendToAnonymous/{items:rest}", recommend_to_anonymous, "Items for somebody with these ratings", WINDOW),
    Read(
        "/recommendWithContext/{user}/{items:rest}",
        recommend_with_context,
        "Items for a user who also gave these ratings",
        KNOWN,
    ),
    Read("/similarity/{items:rest}", similarity, "Items like these", WINDOW),
    Read("/similarityToItem/{item}/{items:rest}", similarity_to_item, "How similar items are to one"),
    Read("/estimate/{user}/{items:rest}", estimate, "The scores of items for a user"),
    Read(
        "/estimateForAnonymous/{item}/{items:rest}", estimate_for_anonymous, "The score for somebody with these ratings"
    ),
    Read("/knownItems/{user}", known_items, "The items that a user has rated"),
    Read("/because/{user}/{item}", because, "The user's items that are most like a recommended one", WINDOW),
    Read("/mostSurprising/{user}", most_surprising, "The user's items with the lowest scores", WINDOW),
    Read("/popularRepresentativeItems", popular_representative_items, "For each component of the factors its item"),
    Read("/mostActiveUsers", most_active_users, "The users with most items", WINDOW),
    Read("/mostPopularItems", most_popular_items, "The items with most users", WINDOW),
    Read("/item/allIDs", all_item_ids, "All items"),
    Read("/user/allIDs", all_user_ids, "All users"),
)
