"""Recommendation by matrix factorisation, as Spark's ``ALSModel`` scores it, and for users who were never trained.

A user and an item each have a factor; a score is the product of the two. Whoever gives ratings gets the factor that
Spark's own last half-step would give them (fold-in), by the same normal equations: ``ALS.computeFactors`` solves the
items first and then the users, so that a trained user's factor is exactly what their training ratings make of the
items'.

Zhou, Wilkinson, Schreiber, Pan 2008, "Large-scale Parallel Collaborative Filtering for the Netflix Prize": explicit
ratings, the regularisation scaled by their number. Hu, Koren, Volinsky 2008, "Collaborative Filtering for Implicit
Feedback Datasets".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]  # scipy has no types
from scipy.optimize import nnls  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring.base import Scorer, lowest, scorer_of
from tidemill.scoring.storage import Array, Stored

Factors = NDArray[np.float32]  # (n, rank), or (rank,) for one, as Spark has them
Places = NDArray[np.intp]
Item = dict[str, Any]

ITEM, SCORE, SIMILARITY = "item", "score", "similarity"
MOST_RATING = float(np.finfo(np.float32).max)  # Spark has ratings in 32 bits
NNLS_STEPS = 100  # for each place of a factor; scipy gives up after 3


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of Spark's ALS that a fold-in depends on."""

    regularisation: float
    implicit: bool
    alpha: float
    nonnegative: bool


class Scale(NamedTuple):
    """The least and the greatest rating that there was."""

    minimum: float
    maximum: float

    def has(self, rating: float) -> bool:
        """Whether a rating is within the scale, all of them in 32 bits."""
        return bool(np.float32(self.minimum) <= np.float32(rating) <= np.float32(self.maximum))


class Recommended(NamedTuple):
    """The best items, the best first; those of the request that the model does not know, and of the others those whose
    rating is outside the scale."""

    items: list[Item]
    unknown: list[str]
    outside: list[str]


@scorer_of("ALS")
class AlsScorer(Scorer):
    """A fitted ALS model with the names of its users and items, and what each user has rated.

    Arrays: user_factors (users, rank) and item_factors (items, rank), float32; users and items, packed Arrow tables
    whose first column is the id, in ascending order (the other columns of items are their titles); rated_offsets
    (users + 1,) and rated_items, the places of the items that each user rated in any row of the generation, held out or
    not.
    """

    kind = "recommendation"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.settings = Settings(**stored.text["settings"])
        self.has_ratings: bool = stored.text["rating"] is not None
        scale = stored.text.get("scale")  # none of implicit preferences, and in files of the first Tidemills
        self.scale = Scale(*scale) if scale else None
        arrays: Mapping[str, Any] = stored.arrays
        self.user_factors: Factors = arrays["user_factors"]
        self.item_factors: Factors = arrays["item_factors"]
        self.users = places_by_text(unpacked(arrays["users"])[0])
        self.titles = unpacked(arrays["items"])
        self.items = places_by_text(self.titles[0])
        self._offsets, self._rated = arrays["rated_offsets"], arrays["rated_items"]
        shapes = (len(self.users), len(self.items), len(self.users) + 1)
        if (len(self.user_factors), len(self.item_factors), len(self._offsets)) != shapes:
            raise ValueError(f"factors of {shapes[0]} users and {shapes[1]} items are wanted")
        self.gram = gram(self.item_factors) if self.settings.implicit else None
        self._norms = np.linalg.norm(self.item_factors, axis=1)

    def predict(self, users: Places, items: Places) -> Factors:
        """(n,): the score of each pair of a user's and an item's place; NaN where either is below 0, so not known."""
        scores = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        return np.where((users >= 0) & (items >= 0), scores, np.float32(np.nan))

    def fold_in(self, items: Places, ratings: Array) -> Factors:
        """The factor (rank,) of whoever rated the items at these places (n,) so."""
        return fold_in(self.item_factors[items], ratings, self.settings, self.gram)

    def rated(self, user: int) -> Places:
        """The places of the items that the user at this place has rated."""
        places: Places = self._rated[self._offsets[user] : self._offsets[user + 1]].astype(np.intp)
        return places

    def rating_counts(self) -> Places:
        """(items,): how many of the generation's ratings each item has."""
        return np.bincount(self._rated, minlength=len(self.items)).astype(np.intp)

    def recommend(self, ratings: Mapping[str, float], top: int) -> Recommended:
        """The ``top`` items for whoever gives these ratings, by the items' ids as text, without the items rated.

        Raises:
            ValueError: none of the items is known, or the ratings are too far from those of training to be
                reckoned with.
        """
        places = {item: self.items[item] for item in ratings if item in self.items}
        unknown = [item for item in ratings if item not in self.items]
        if not places:
            raise ValueError("none of the items is known")
        known = np.fromiter(places.values(), np.intp, len(places))
        factor = self.fold_in(known, np.array([ratings[item] for item in places], dtype=np.float64))
        best, scores = self.best(factor, known, top)
        if not (np.isfinite(factor).all() and np.isfinite(scores).all()):
            raise ValueError("the ratings lead to no finite scores")
        outside = [item for item in places if self.scale and not self.scale.has(ratings[item])]
        return Recommended(self._told(best, scores, SCORE), unknown, outside)

    def for_user(self, user: str, top: int) -> list[Item]:
        """The ``top`` items for a trained user, without what they rated.

        Raises:
            KeyError: the user is not known.
        """
        place = self.users[user]
        return self._best(self.user_factors[place], self.rated(place), top)

    def similar(self, item: str, top: int) -> list[Item]:
        """The ``top`` items whose factors have the smallest angle to this item's, the item itself left out. An item
        whose factor is zero has no angle to any.

        Raises:
            KeyError: the item is not known.
        """
        place = self.items[item]
        lengths = self._norms * self._norms[place]
        usable = np.flatnonzero(lengths > 0)
        usable = usable[usable != place]
        cosines = (self.item_factors[usable] @ self.item_factors[place]) / lengths[usable]
        best = lowest(-cosines.astype(np.float64), top)
        return self._told(usable[best], np.clip(cosines[best], -1.0, 1.0), SIMILARITY)

    def _best(self, factor: Factors, without: Places, top: int) -> list[Item]:
        places, scores = self.best(factor, without, top)
        return self._told(places, scores, SCORE)

    def best(self, factor: Factors, without: Places, top: int) -> tuple[Places, Factors]:
        """The places of the ``top`` items for a user of this factor and their scores, the best first; ties in the order
        of the ids."""
        scores = self.item_factors @ factor
        open_to = np.ones(len(scores), dtype=bool)
        open_to[without] = False
        places = np.flatnonzero(open_to)
        chosen = places[lowest(-scores[places].astype(np.float64), top)]
        return chosen, scores[chosen]

    def _told(self, places: Places, values: NDArray[Any], name: str) -> list[Item]:
        rows = self.titles.take(pa.array(places)).to_pylist()
        return [{ITEM: row.pop(ITEM), name: value} | row for row, value in zip(rows, values.tolist(), strict=True)]


def fold_in(factors: Factors, ratings: Array, settings: Settings, gram: Array | None) -> Factors:
    """The factor (rank,) of whoever gave these ratings (n,) to items with these factors (n, rank).

    Explicit: (A'A + regularisation n I) x = A'r. Implicit, with c = alpha |r|:
    (Y'Y + A'diag(c)A + regularisation p I) x = A'(1 + c), where the right side has only the p positive ratings, and
    ``gram`` is Y'Y over all items. With ``nonnegative`` the x >= 0 that minimises the same quadratic.
    Ratings are rounded to 32 bits first, and the factor last, as Spark has both.
    """
    a = factors.astype(np.float64)
    r = ratings.astype(np.float32).astype(np.float64)
    if settings.implicit:
        assert gram is not None
        confidence = settings.alpha * np.abs(r)
        matrix = gram + a.T @ (confidence[:, None] * a)
        right = a.T @ np.where(r > 0, 1.0 + confidence, 0.0)
        counted = int(np.count_nonzero(r > 0))
    else:
        matrix, right, counted = a.T @ a, a.T @ r, len(r)
    matrix[np.diag_indices_from(matrix)] += settings.regularisation * counted
    x = least_nonnegative(matrix, right) if settings.nonnegative else solved(matrix, right)
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


def gram(factors: Factors) -> Array:
    """Y'Y (rank, rank) over all items."""
    wide = factors.astype(np.float64)
    product: Array = wide.T @ wide
    return product


def solved(matrix: Array, right: Array) -> Array:
    """x of matrix x = right, the matrix symmetric and not negative; of several x the shortest."""
    try:
        x: Array = cho_solve(cho_factor(matrix), right)
    except np.linalg.LinAlgError:  # singular: without regularisation a few ratings don't say enough
        x = np.linalg.lstsq(matrix, right)[0].astype(np.float64)
    return x


def least_nonnegative(matrix: Array, right: Array) -> Array:
    """The x >= 0 that minimises x'Mx / 2 - b'x: |Rx - d| with R'R = M and R'd = b is least there too."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    if not kept.any():
        return np.zeros(len(right))
    roots = np.sqrt(values[kept])
    turned = vectors[:, kept].T
    x: Array = nnls(roots[:, None] * turned, (turned @ right) / roots, maxiter=NNLS_STEPS * len(right))[0]
    return x


def places_by_text(ids: pa.ChunkedArray) -> dict[str, int]:
    return {text: place for place, text in enumerate(ids.cast(pa.string()).to_pylist())}


def packed(table: pa.Table) -> NDArray[np.uint8]:
    """A table as the bytes of an Arrow stream: its types are kept."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def unpacked(stream: NDArray[np.uint8]) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(stream.tobytes())).read_all()


def als_scorer(scorer: Scorer) -> AlsScorer:
    """The scorer, known to recommend.

    Raises:
        TypeError: it does not.
    """
    if not isinstance(scorer, AlsScorer):
        raise TypeError(f"{scorer.model}, a {scorer.estimator}, does not recommend")
    return scorer
