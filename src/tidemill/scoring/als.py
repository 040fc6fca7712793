"""Recommendation by matrix factorisation, as Spark's ``ALSModel``, also for users who were not trained.

A user and an item each have a factor; a score is the product of the two. The factor of a new user is computed from
their ratings (fold-in), by the normal equations of Spark's own last half-step: ``ALS.computeFactors`` solves the items
first and then the users, so a trained user's factor follows exactly from their training ratings and the items' factors.

Zhou, Wilkinson, Schreiber, Pan 2008, "Large-scale Parallel Collaborative Filtering for the Netflix Prize": explicit
ratings, the regularisation scaled by their number. Hu, Koren, Volinsky 2008, "Collaborative Filtering for Implicit
Feedback Datasets".
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring.base import Scorer, highest, scorer_of
from tidemill.scoring.storage import Array, Stored
from tidemill.types import int_from_text

Factors = NDArray[np.float32]  # (n, rank), or (rank,) for one, as Spark has them
Places = NDArray[np.intp]
Item = dict[str, Any]

ITEM, SCORE, SIMILARITY = "item", "score", "similarity"
MOST_RATING = float(np.finfo(np.float32).max)  # Spark has ratings in 32 bits
NNLS_STEPS = 100  # for each component of a factor; scipy's default is 3
SCAN = threading.Lock()  # BLAS uses all cores for one product, and callers that wait for another's spin meanwhile


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of Spark's ALS that a fold-in depends on."""

    regularisation: float
    implicit: bool
    alpha: float
    nonnegative: bool


class Scale(NamedTuple):
    """The lowest and the highest rating of the generation."""

    minimum: float
    maximum: float

    def has(self, rating: float) -> bool:
        """Whether a rating is within the scale, all of them in 32 bits."""
        return bool(np.float32(self.minimum) <= np.float32(rating) <= np.float32(self.maximum))


class Recommended(NamedTuple):
    """The best items, the best first.

    ``unknown``: the items of the request that the model does not know. ``outside``: those of the others whose rating is
    outside the scale.
    """

    items: list[Item]
    unknown: list[str]
    outside: list[str]


@scorer_of("ALS")
class AlsScorer(Scorer):
    """A fitted ALS model with the ids of its users and items, and the items that each user has rated.

    Arrays: user_factors (users, rank) and item_factors (items, rank), float32; users and items, packed Arrow tables
    whose first column is the id, in ascending order (the other columns of items are their titles); rated_offsets
    (users + 1,) and rated_items, the indices of the items that each user rated in any row of the generation, held out
    or not.
    """

    kind = "recommendation"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.settings = Settings(**stored.text["settings"])
        self.has_ratings: bool = stored.text["rating"] is not None
        scale = stored.text.get("scale")  # None for implicit preferences, and in files of the first versions
        self.scale = Scale(*scale) if scale else None
        arrays: Mapping[str, Any] = stored.arrays
        self.user_factors: Factors = arrays["user_factors"]
        self.item_factors: Factors = arrays["item_factors"]
        users = unpacked(arrays["users"])[0]
        self.titles = unpacked(arrays["items"]).combine_chunks()  # ``take`` looks at each chunk
        self.users, self.items = indices_by_text(users), indices_by_text(self.titles[0])
        self._whole_users, self._whole_items = (pa.types.is_integer(ids.type) for ids in (users, self.titles[0]))
        self._offsets, self._rated = arrays["rated_offsets"], arrays["rated_items"]
        shapes = (len(self.users), len(self.items), len(self.users) + 1)
        if (len(self.user_factors), len(self.item_factors), len(self._offsets)) != shapes:
            raise ValueError(f"factors of {shapes[0]} users and {shapes[1]} items are expected")
        self.gram = gram(self.item_factors) if self.settings.implicit else None
        self._norms = np.linalg.norm(self.item_factors, axis=1)

    def predict(self, users: Places, items: Places) -> Factors:
        """(n,): the score of each pair of a user's and an item's index; NaN where either is -1, that is unknown."""
        scores = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        return np.where((users >= 0) & (items >= 0), scores, np.float32(np.nan))

    def scores(self, factor: Factors) -> Factors:
        """(items,): the product of each item's factor with this one (rank,)."""
        with SCAN:
            products: Factors = self.item_factors @ factor
        return products

    def user_id(self, text: str) -> str:
        """A user's id as ``users`` has it: among whole numbers 3.0 is 3."""
        return whole_text(text) if self._whole_users else text

    def item_id(self, text: str) -> str:
        """An item's id as ``items`` has it: among whole numbers 3.0 is 3."""
        return whole_text(text) if self._whole_items else text

    def fold_in(self, items: Places, ratings: Array) -> Factors:
        """The factor (rank,) of a user who gave these ratings to the items at these indices (n,)."""
        return fold_in(self.item_factors[items], ratings, self.settings, self.gram)

    def rated(self, user: int) -> Places:
        """The indices of the items that the user at this index has rated."""
        items: Places = self._rated[self._offsets[user] : self._offsets[user + 1]].astype(np.intp)
        return items

    def rating_counts(self) -> Places:
        """(items,): how many of the generation's ratings each item has."""
        return np.bincount(self._rated, minlength=len(self.items)).astype(np.intp)

    def rated_counts(self) -> Places:
        """(users,): how many items each user has rated."""
        counts: Places = np.diff(self._offsets).astype(np.intp)
        return counts

    def rated_pairs(self) -> tuple[Places, Places]:
        """(n,), (n,): the indices of the user and of the item of each of the generation's ratings."""
        users = np.repeat(np.arange(len(self.users), dtype=np.intp), np.diff(self._offsets))
        return users, self._rated.astype(np.intp)

    def recommend(self, ratings: Mapping[str, float], top: int) -> Recommended:
        """The ``top`` items for a user who gave these ratings, by the items' ids as text, without the rated items.

        Raises:
            ValueError: none of the items is known, or the ratings are so far from those of training that scores
                overflow.
        """
        indices = {item: self.items[item] for item in ratings if item in self.items}
        unknown = [item for item in ratings if item not in self.items]
        if not indices:
            raise ValueError("none of the items is known")
        known = np.fromiter(indices.values(), np.intp, len(indices))
        factor = self.fold_in(known, np.array([ratings[item] for item in indices], dtype=np.float64))
        best, scores = self.best(factor, known, top)
        if not (np.isfinite(factor).all() and np.isfinite(scores).all()):
            raise ValueError("the ratings lead to no finite scores")
        outside = [item for item in indices if self.scale and not self.scale.has(ratings[item])]
        return Recommended(self.documents(best, scores, SCORE), unknown, outside)

    def for_user(self, user: str, top: int) -> list[Item]:
        """The ``top`` items for a trained user, without the items they rated.

        Raises:
            KeyError: the user is unknown.
        """
        index = self.users[user]
        best, scores = self.best(self.user_factors[index], self.rated(index), top)
        return self.documents(best, scores, SCORE)

    def similar(self, item: str, top: int) -> list[Item]:
        """The ``top`` items whose factors have the smallest angle to this item's, without the item itself. An item
        whose factor is zero has no angle to any.

        Raises:
            KeyError: the item is unknown.
        """
        index = self.items[item]
        lengths = self._norms * self._norms[index]
        without = np.append(np.flatnonzero(~(lengths > 0)), index)
        cosines = self.scores(self.item_factors[index])
        with np.errstate(divide="ignore", invalid="ignore"):  # items without a length are left out
            np.divide(cosines, lengths, out=cosines)
        best = highest(cosines, top, without)
        return self.documents(best, np.clip(cosines[best], -1.0, 1.0), SIMILARITY)

    def best(self, factor: Factors, without: Places, top: int) -> tuple[Places, Factors]:
        """The indices of the ``top`` items for a user of this factor, and their scores, the best first.

        The items ``without`` are left out. Ties are in the order of the ids.
        """
        scores = self.scores(factor)
        best = highest(scores, top, without)
        return best, scores[best]

    def documents(self, items: Places, values: NDArray[Any], name: str) -> list[Item]:
        """The documents of the items at these indices: id, the value under ``name``, titles."""
        rows = self.titles.take(pa.array(items)).to_pylist()
        return [{ITEM: row.pop(ITEM), name: value} | row for row, value in zip(rows, values.tolist(), strict=True)]


def fold_in(factors: Factors, ratings: Array, settings: Settings, gram: Array | None) -> Factors:
    """The factor (rank,) of a user who gave these ratings (n,) to items with these factors (n, rank).

    Explicit: (A'A + regularisation n I) x = A'r. Implicit, with c = alpha |r|:
    (Y'Y + A'diag(c)A + regularisation p I) x = A'(1 + c), where the right side has only the p positive ratings, and
    ``gram`` is Y'Y over all items. With ``nonnegative`` the x >= 0 that minimises the same quadratic form.
    Ratings are rounded to 32 bits before, and the factor after, as Spark stores both in 32 bits.
    """
    matrix, right = normal_equations(factors, ratings, settings)
    return solution(matrix if gram is None else matrix + gram, right, settings)


def normal_equations(factors: Factors, ratings: Array, settings: Settings) -> tuple[Array, Array]:
    """The matrix (rank, rank) and the right side (rank,) that these ratings add to a user's equations; for implicit
    ratings without Y'Y."""
    a = factors.astype(np.float64)
    r = ratings.astype(np.float32).astype(np.float64)
    if settings.implicit:
        confidence = settings.alpha * np.abs(r)
        matrix = a.T @ (confidence[:, None] * a)
        right = a.T @ np.where(r > 0, 1.0 + confidence, 0.0)
        counted = int(np.count_nonzero(r > 0))
    else:
        matrix, right, counted = a.T @ a, a.T @ r, len(r)
    matrix[np.diag_indices_from(matrix)] += settings.regularisation * counted
    return matrix, right


def solution(matrix: Array, right: Array, settings: Settings) -> Factors:
    """The factor (rank,) of these equations, with ``nonnegative`` the nearest one without a negative component."""
    x = least_nonnegative(matrix, right) if settings.nonnegative else solve(matrix, right)
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


def gram(factors: Factors) -> Array:
    """Y'Y (rank, rank) over all items."""
    wide = factors.astype(np.float64)
    product: Array = wide.T @ wide
    return product


def solve(matrix: Array, right: Array) -> Array:
    """x of matrix x = right, for a symmetric positive semi-definite matrix; the shortest of several x."""
    try:
        x: Array = cho_solve(cho_factor(matrix), right)
    except np.linalg.LinAlgError:  # singular: without regularisation a few ratings don't determine x
        x = np.linalg.lstsq(matrix, right)[0].astype(np.float64)
    return x


def least_nonnegative(matrix: Array, right: Array) -> Array:
    """The x >= 0 that minimises x'Mx / 2 - b'x. The same x minimises |Rx - d|, with R'R = M and R'd = b."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    if not kept.any():
        return np.zeros(len(right))
    roots = np.sqrt(values[kept])
    rotation = vectors[:, kept].T
    # Imported here: it takes longer to load than the rest of the checks of a pipeline, which need it for nothing.
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # scipy has no types

    x: Array = nnls(roots[:, None] * rotation, (rotation @ right) / roots, maxiter=NNLS_STEPS * len(right))[0]
    return x


def indices_by_text(ids: pa.ChunkedArray) -> dict[str, int]:
    """The index of each id, by the id as text."""
    return {text: index for index, text in enumerate(ids.cast(pa.string()).to_pylist())}


def whole_text(text: str) -> str:
    """The plain notation of a whole number such as 3.0; any other text itself."""
    try:
        return str(int_from_text(text))
    except ValueError:
        return text


def packed(table: pa.Table) -> NDArray[np.uint8]:
    """A table as the bytes of an Arrow stream, which keeps its types."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def unpacked(stream: NDArray[np.uint8]) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(stream.tobytes())).read_all()


def als_scorer(scorer: Scorer) -> AlsScorer:
    """The scorer as one that recommends.

    Raises:
        TypeError: the scorer does not.
    """
    if not isinstance(scorer, AlsScorer):
        raise TypeError(f"{scorer.model}, a {scorer.estimator}, does not recommend")
    return scorer
