"""What can be asked of a fitted ALS model besides recommendations for one user: all by its factors, exactly.

Users and items are indices; where a list is asked for, ties are in the order of the ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidemill.scoring.als import AlsScorer, Factors, Places, normal_equations, solution
from tidemill.scoring.base import lowest
from tidemill.scoring.storage import Array


class Ranked(NamedTuple):
    """Items or users by their indices, the first one first, each with its value: (n,), (n,)."""

    places: Places
    values: NDArray[Any]


def for_users(scorer: AlsScorer, users: Sequence[int], top: int, known: bool) -> Ranked:
    """The best items for the mean of these users' factors; without ``known`` none that one of them has rated."""
    factor = scorer.user_factors[list(users)].astype(np.float64).mean(axis=0).astype(np.float32)
    without = nothing() if known else np.unique(np.concatenate([scorer.rated(user) for user in users]))
    return Ranked(*scorer.best(factor, without, top))


def in_context(scorer: AlsScorer, user: int, ratings: Mapping[int, float], top: int, known: bool) -> Ranked:
    """The best items for a user who also gave these ratings, without the items of the ratings; without ``known`` none
    that the user has rated."""
    items = np.fromiter(ratings, np.intp, len(ratings))
    without = items if known else np.union1d(items, scorer.rated(user))
    return Ranked(*scorer.best(factor_in_context(scorer, user, items, values_of(ratings)), without, top))


def factor_in_context(scorer: AlsScorer, user: int, items: Places, ratings: Array) -> Factors:
    """The factor (rank,) of a trained user with more ratings (n,).

    The model holds which items the user has rated, but not how. The equations M x = b of the trained factor x have the
    M of these items (for implicit preferences each counted once), so b is M x, and the new ratings add to both. Without
    any the factor is the trained one.
    """
    trained: Factors = scorer.user_factors[user]
    if not len(items):
        return trained
    rated = scorer.item_factors[scorer.rated(user)]
    matrix, _ = normal_equations(rated, np.ones(len(rated)), scorer.settings)
    if scorer.gram is not None:
        matrix = matrix + scorer.gram
    more, right = normal_equations(scorer.item_factors[items], ratings, scorer.settings)
    return solution(matrix + more, matrix @ trained.astype(np.float64) + right, scorer.settings)


def alike(scorer: AlsScorer, items: Sequence[int], top: int) -> Ranked:
    """The items whose factors have the smallest angle to the mean of these items' factors, without these."""
    factor = scorer.item_factors[list(items)].astype(np.float64).mean(axis=0)
    cosines = cosines_with(scorer, factor)
    cosines[list(items)] = np.nan
    usable = np.flatnonzero(~np.isnan(cosines))
    best = usable[lowest(-cosines[usable], top)]
    return Ranked(best, cosines[best])


def because(scorer: AlsScorer, user: int, item: int) -> Ranked:
    """The items that the user has rated, by their cosine with this item, the highest first."""
    rated = scorer.rated(user)
    cosines = cosines_with(scorer, scorer.item_factors[item].astype(np.float64))[rated]
    order = lowest(-np.nan_to_num(cosines), len(rated))
    return Ranked(rated[order], np.nan_to_num(cosines[order]))


def surprising(scorer: AlsScorer, user: int) -> Ranked:
    """The items that the user has rated, by the score that the model gives them, the lowest first."""
    rated = scorer.rated(user)
    scores = scorer.item_factors[rated] @ scorer.user_factors[user]
    order = lowest(scores.astype(np.float64), len(rated))
    return Ranked(rated[order], scores[order])


def popular_items(scorer: AlsScorer, top: int) -> Ranked:
    """The items that most users have rated, with their numbers of users."""
    return most(scorer.rating_counts(), top)


def active_users(scorer: AlsScorer, top: int) -> Ranked:
    """The users who have rated most items, with their numbers of items."""
    return most(scorer.rated_counts(), top)


def representative_items(scorer: AlsScorer) -> Places:
    """(rank,): for each component of the factors the item where it is highest."""
    highest: Places = scorer.item_factors.argmax(axis=0)
    return highest


def cosines_with(scorer: AlsScorer, factor: Array) -> Array:
    """(items,): the cosine of each item's factor with this one (rank,); NaN where a factor is zero."""
    factors = scorer.item_factors.astype(np.float64)
    lengths = np.linalg.norm(factors, axis=1) * np.linalg.norm(factor)
    cosines: Array = np.divide(factors @ factor, lengths, out=np.full(len(factors), np.nan), where=lengths > 0)
    return cosines.clip(-1.0, 1.0)


def most(counts: Places, top: int) -> Ranked:
    best = lowest(-counts.astype(np.float64), top)
    return Ranked(best, counts[best])


def values_of(ratings: Mapping[int, float]) -> Array:
    return np.fromiter(ratings.values(), np.float64, len(ratings))


def nothing() -> Places:
    return np.zeros(0, dtype=np.intp)
