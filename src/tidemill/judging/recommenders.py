"""The losses of recommenders: the error of ratings, and how well wanted items are ranked, for trained and new users.

NDCG: Järvelin & Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques", with binary gains and the discount
1 / log2(1 + rank), as Spark's ``RankingEvaluator``. Items are ranked among the model's whole catalogue: ranking against
a sample of items can change which model wins (Krichene & Rendle 2020, "On Sampled Metrics for Item Recommendation").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.judging.losses import Losses, Shown
from tidemill.judging.questions import (
    Mask,
    Question,
    RatingRows,
    Terms,
    places,
    questions,
    rating_rows,
    ratings_of,
    user_numbers,
)
from tidemill.scoring.als import MOST_RATING, AlsScorer, Factors, Places
from tidemill.scoring.storage import Array

TOP = 10
MOST_SCORES = 8_000_000  # that are in memory at a time

RANKING_LOSS = f"1 - NDCG@{TOP}"
DISCOUNTS: Array = 1 / np.log2(np.arange(2, TOP + 2))
LOWEST = np.finfo(np.float32).min  # of finite scores
RANKS: Array = np.arange(1.0, TOP + 1)


# --- the error of ratings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RatingSums:
    """How many ratings there are, and their sum. Sums of several tables are added with ``+``."""

    count: int = 0
    total: float = 0.0

    def __add__(self, other: RatingSums) -> RatingSums:
        return RatingSums(self.count + other.count, self.total + other.total)


def rating_sums(training: pa.Table, rating: str) -> RatingSums:
    """The sums of the table's ratings that Spark can hold."""
    ratings = ratings_of(training[rating])
    usable = ratings[np.abs(ratings) <= MOST_RATING]
    return RatingSums(len(usable), float(usable.sum()))


def rating_losses(scorer: AlsScorer, table: pa.Table, user: str, item: str, rating: str) -> Losses:
    """The absolute errors of the predicted ratings, on the rows whose user and item the model knows.

    The rows of a user are a group. Shown: ``rmse``; ``cold_users`` and ``cold_items``, the shares of the table's
    distinct users and items that the model does not know; ``cold_rows``, how many rows have such a user or item.
    """
    return error_losses(scorer, rating_rows(table, user, item, rating), scorer.predict)


def mean_rating_losses(
    sums: RatingSums, scorer: AlsScorer, table: pa.Table, user: str, item: str, rating: str
) -> Losses:
    """The losses of the trivial model, which always predicts the mean of the ratings summed up in ``sums``.

    They are on the rows of ``rating_losses`` of the same scorer. Without any rating in ``sums`` there is no loss.
    """
    rows = rating_rows(table, user, item, rating)
    mean = sums.total / sums.count if sums.count else np.nan
    return error_losses(scorer, rows, lambda users, items: np.full(len(users), mean))


def error_losses(
    scorer: AlsScorer, rows: RatingRows, predict: Callable[[Places, Places], NDArray[np.floating]]
) -> Losses:
    """The absolute errors of what ``predict`` says of the indices of users and items, on the rows known to the scorer.

    A row without a finite prediction is left out.
    """
    users, items = places(rows.user_ids, scorer.users), places(rows.item_ids, scorer.items)
    warm = np.flatnonzero((users[rows.users] >= 0) & (items[rows.items] >= 0))
    with np.errstate(over="ignore", invalid="ignore"):  # enormous factors: the score is not finite
        predicted = predict(users[rows.users[warm]], items[rows.items[warm]]).astype(np.float64)
    errors = np.abs(predicted - rows.ratings[warm])
    finite = np.isfinite(errors)
    warm, errors = warm[finite], errors[finite]
    shown: Shown = {
        "rmse": float(np.sqrt(np.mean(errors**2))) if len(errors) else None,
        "cold_users": mean(users < 0),
        "cold_items": mean(items < 0),
        "cold_rows": float(np.sum((users[rows.users] < 0) | (items[rows.items] < 0))),
    }
    groups = user_numbers(rows.user_ids)[rows.users[warm]]
    return Losses("absolute error", rows.rows[warm].astype(np.int64), errors, groups, shown=shown)


# --- how well the wanted items are ranked -----------------------------------------------------------------------------


def ranking_losses(
    scorer: AlsScorer, table: pa.Table, user: str, item: str, rating: str | None, **terms: Unpack[Terms]
) -> Losses:
    """1 - NDCG@10 of each user who is asked (``questions``), over the model's whole catalogue without the known items.

    A new user's factor is folded in from the given half. Units are the users' numbers. Shown: ``ndcg``, ``precision``,
    ``recall`` and ``map`` of the first 10 items, as Spark's ``RankingEvaluator`` has them; ``coverage``, the share of
    the catalogue that is recommended to anybody; ``users``, how many are asked, and ``new_users``, the new among them.
    """
    asked = questions(scorer, table, user, item, rating, **terms)
    factors = np.zeros((len(asked), scorer.item_factors.shape[1]), dtype=np.float32)
    for index, question in enumerate(asked):
        factors[index] = factor_of(scorer, question)
    return losses_of(asked, len(scorer.items), lambda block: factors[block] @ scorer.item_factors.T)


def popularity_losses(
    scorer: AlsScorer, table: pa.Table, user: str, item: str, rating: str | None, **terms: Unpack[Terms]
) -> Losses:
    """The losses of the trivial model, which recommends the items with the most ratings in the scorer's generation;
    ``held_out`` rows, which are in its batches, do not count.

    Users, known and wanted items are those of ``ranking_losses`` with the same arguments; equally popular items are in
    the order of their ids.
    """
    asked = questions(scorer, table, user, item, rating, **terms)
    scores = np.empty(len(scorer.items), dtype=np.float32)
    counts = scorer.rating_counts()
    if terms.get("held_out", False):
        counts = counts_without(scorer, rating_rows(table, user, item, rating))
    scores[np.argsort(-counts, kind="stable")] = -np.arange(len(scores))
    return losses_of(asked, len(scores), lambda block: np.tile(scores, (len(asked[block]), 1)))


def counts_without(scorer: AlsScorer, held: RatingRows) -> Places:
    """(items,): how many of the generation's ratings each item has, but for those of the users and items of rows."""
    users, items = scorer.rated_pairs()
    of_users = places(held.user_ids, scorer.users)[held.users]
    of_items = places(held.item_ids, scorer.items)[held.items]
    known, width = (of_users >= 0) & (of_items >= 0), len(scorer.items)
    counted = ~np.isin(users * width + items, of_users[known] * width + of_items[known])
    return np.bincount(items[counted], minlength=width).astype(np.intp)


def factor_of(scorer: AlsScorer, question: Question) -> Factors:
    """(rank,): the trained factor of the user, or that of a new user."""
    if question.user < 0:
        return scorer.fold_in(question.given, question.ratings)
    factor: Factors = scorer.user_factors[question.user]
    return factor


def losses_of(asked: Sequence[Question], items: int, scores: Callable[[slice], Factors]) -> Losses:
    """The losses of a model that gives the users of a block these scores (users, items), in blocks of bounded size."""
    hits = np.zeros((len(asked), TOP), dtype=bool)
    recommended = np.zeros(items, dtype=bool)
    size = max(1, MOST_SCORES // max(1, items))
    for start in range(0, len(asked), size):
        block = slice(start, start + size)
        with np.errstate(over="ignore", invalid="ignore"):  # enormous ratings: such users get no recommendation
            of_block = scores(block)
        best = top_items(of_block, [question.out for question in asked[block]])
        wanted = [question.wanted for question in asked[block]]
        hits[block] = np.isin(pair_keys(best, items), np.concatenate(list(keys_of(wanted, items))))
        recommended[best[best >= 0]] = True
    units = np.array([question.unit for question in asked], dtype=np.int64)
    counts = np.array([question.total for question in asked], dtype=np.intp)
    ndcg = ndcg_of(hits, counts)
    shown = ranking_figures(hits, counts) | {
        "ndcg": mean(ndcg),
        "coverage": mean(recommended) if len(asked) else None,
        "users": float(len(asked)),
        "new_users": float(sum(question.user < 0 for question in asked)),
    }
    return Losses(RANKING_LOSS, units, 1 - ndcg, shown=shown)


def top_items(scores: Factors, out: Sequence[Places]) -> Places:
    """(n, TOP): the items of the highest scores (n, items), the best first, without those ``out`` of each row.

    Ties are in the order of the items. Where there are fewer items than ``TOP`` the rest is -1; a row with a score that
    is not finite has none. The scores are changed.
    """
    count, items = scores.shape
    finite = np.isfinite(scores.min(axis=1)) & np.isfinite(scores.max(axis=1))  # of NaN both are NaN
    scores[~finite] = -np.inf
    scores[np.repeat(np.arange(count), [len(places) for places in out]), np.concatenate(out)] = -np.inf
    top = min(TOP, items)
    least = np.partition(scores, items - top, axis=1)[:, items - top]
    row, item = np.nonzero(scores >= np.maximum(least, LOWEST)[:, None])
    order = np.lexsort((-scores[row, item], row))  # stable, and the items are in order
    row, item = row[order], item[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(count))[row]
    best = np.full((count, TOP), -1, dtype=np.intp)
    best[row[rank < top], rank[rank < top]] = item[rank < top]
    return best


def pair_keys(best: Places, items: int) -> Places:
    """(n, TOP): a number for each pair of a row and an item (n, TOP); -1 where there is no item."""
    keys: Places = np.where(best >= 0, np.arange(len(best))[:, None] * items + best, -1)
    return keys


def keys_of(wanted: Sequence[Places], items: int) -> Iterator[Places]:
    """For each row the numbers of its pairs with the wanted items."""
    return (row * items + places for row, places in enumerate(wanted))


def ndcg_of(hits: Mask, counts: Places) -> Array:
    """(n,): NDCG@10 of hits (n, TOP) in the order of the ranks, where ``counts`` (n,) items are wanted, 1 or more."""
    ideal = np.cumsum(DISCOUNTS)[np.minimum(counts, TOP) - 1]
    ndcg: Array = np.cumsum(hits * DISCOUNTS, axis=1)[:, -1] / ideal  # summed as the ideal is: the best is exactly 1
    return ndcg


def ranking_figures(hits: Mask, counts: Places) -> Shown:
    """The means of precision@10, recall@10 and average precision@10, of hits (n, TOP) and wanted items (n,)."""
    correct = hits.sum(axis=1)
    average_precision = (hits * np.cumsum(hits, axis=1) / RANKS).sum(axis=1) / np.minimum(counts, TOP)
    return {"precision": mean(correct / TOP), "recall": mean(correct / counts), "map": mean(average_precision)}


def mean(values: NDArray[np.bool_] | Array) -> float | None:
    """The mean; None without values."""
    return float(np.mean(values)) if len(values) else None
