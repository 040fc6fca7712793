"""What the users of a table are asked, so that recommenders can be compared by how well they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.judging.losses import Indices
from tidemill.scoring.als import MOST_RATING, AlsScorer, Places
from tidemill.scoring.storage import Array

MOST_USERS = 2_000  # who are asked; the lowest of their numbers

Mask = NDArray[np.bool_]
Hashes = NDArray[np.uint64]


# --- rows and ids -----------------------------------------------------------------------------------------------------


class RatingRows(NamedTuple):
    """The n rows of a table that have a user, an item and a rating that Spark can hold.

    ``rows``: their indices in the table. ``users``, ``items``: the indices of their ids in ``user_ids`` and
    ``item_ids``, which are the distinct ids as text. ``ratings``: 1 in a table without ratings.
    """

    rows: Places
    users: Places
    items: Places
    ratings: Array
    user_ids: list[str]
    item_ids: list[str]


def rating_rows(table: pa.Table, user: str, item: str, rating: str | None) -> RatingRows:
    """The usable rows of a table with these columns."""
    ratings = np.ones(len(table)) if rating is None else ratings_of(table[rating])
    usable = np.abs(ratings) <= MOST_RATING  # NaN is not
    for name in (user, item):
        usable &= table[name].is_valid().to_numpy()
    users, user_ids = encoded(table[user], usable)
    items, item_ids = encoded(table[item], usable)
    return RatingRows(np.flatnonzero(usable), users, items, ratings[usable], user_ids, item_ids)


def ratings_of(column: pa.ChunkedArray) -> Array:
    """(n,): the ratings of a column; NaN for a missing one."""
    ratings: Array = column.cast(pa.float64(), safe=False).to_numpy()
    return ratings


def encoded(column: pa.ChunkedArray, usable: Mask) -> tuple[Places, list[str]]:
    """The usable ids of a column as indices of the distinct ones, and those as text, as a scorer has them."""
    ids = column.filter(pa.array(usable)).combine_chunks().dictionary_encode()
    return ids.indices.to_numpy().astype(np.intp), ids.dictionary.cast(pa.string()).to_pylist()


def places(ids: Sequence[str], known: Mapping[str, int]) -> Places:
    """(n,): the index that the model has for each id; -1 for an unknown one."""
    return np.fromiter((known.get(text, -1) for text in ids), np.intp, len(ids))


def hashes(ids: Sequence[str], seed: int = 0) -> Hashes:
    """(n,): a hash of 64 bits of each id and the seed, the same in every process and on every machine (BLAKE2b)."""
    salt = seed.to_bytes(blake2b.SALT_SIZE, "big", signed=True)
    digests = b"".join(blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in ids)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def user_numbers(ids: Sequence[str]) -> Indices:
    """(n,): a number of 63 bits for each user that depends on the id's text alone."""
    return (hashes(ids) >> np.uint64(1)).astype(np.int64)


def mixed(values: Hashes) -> Hashes:
    """Each value with its bits mixed. Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators"."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


# --- what users are asked ---------------------------------------------------------------------------------------------


class Terms(TypedDict, total=False):
    """How users are asked.

    seed: of the hash that chooses which half of a user's ratings is given. By default 0.
    only_new: ask only users whom the model has not trained.
    held_out: the table's rows are of the model's own batches, held out of training. Their items are not known then,
        although ``AlsScorer.rated`` has them.
    paired: ask every model for the same items, whichever users and items it has trained: a trained user too for the
        half that is not given, and an item that the model does not know counts as not found.
    """

    seed: int
    only_new: bool
    held_out: bool
    paired: bool


class Question(NamedTuple):
    """What one user is asked. Items are indices of the model.

    ``unit``: the user's number. ``user``: their index in the model, -1 for a new one. ``given`` and ``ratings``: what a
    new user is folded in from. ``out``: the items that are not recommended. ``wanted``: the wanted items that the model
    knows. ``total``: how many are wanted, known or not.
    """

    unit: int
    user: int
    given: Places
    ratings: Array
    out: Places
    wanted: Places
    total: int


@dataclass(frozen=True)
class UserRows:
    """A table's rows by user: of k users in the order of their numbers, the n rows in the order of their pairs' hashes.

    Attributes:
        numbers: (k,) the users' numbers, ascending.
        users: (k,) their indices in the model, -1 for a new user.
        starts: (k + 1,) where each user's rows start.
        user: (n,) the user's position in ``numbers``.
        item: (n,) the item's index among the table's distinct items.
        place: (n,) the item's index in the model, -1 for an unknown one.
        rating: (n,)
        given: (n,) whether the row is in the half that a new user is folded in from.
        wanted: (n,) whether the item is wanted, unless the user has rated it before.
    """

    numbers: Indices
    users: Places
    starts: Places
    user: Places
    item: Places
    place: Places
    rating: Array
    given: Mask
    wanted: Mask


def user_rows(scorer: AlsScorer, rows: RatingRows, terms: Terms) -> UserRows:
    """The rows by user, each in one of two halves by a hash of the user's and the item's text.

    Of d distinct items of a user, those of the d // 2 lowest hashes are given, with all their rows.
    """
    numbers = user_numbers(rows.user_ids)
    by_number = np.argsort(numbers, kind="stable")
    position = np.empty_like(by_number)
    position[by_number] = np.arange(len(by_number))
    items = hashes(rows.item_ids, terms.get("seed", 0))
    pairs = mixed(hashes(rows.user_ids)[rows.users] + items[rows.items])
    user = position[rows.users]
    order = np.lexsort((pairs, user))
    user, item = user[order], rows.items[order]
    starts = np.searchsorted(user, np.arange(len(numbers) + 1))
    users = places(rows.user_ids, scorer.users)[by_number]
    place = places(rows.item_ids, scorer.items)[item]
    given = given_half(user, pairs[order], starts)
    wanted = liked(scorer, rows.ratings)[order]
    if terms.get("paired", False):
        wanted &= ~given
    else:
        wanted &= (place >= 0) & (~given | (users[user] >= 0))
    return UserRows(numbers[by_number], users, starts, user, item, place, rows.ratings[order], given, wanted)


def given_half(user: Places, pairs: Hashes, starts: Places) -> Mask:
    """(n,): whether a row is among the lower half of its user's distinct pairs; rows are sorted by user, then pair."""
    if not len(user):
        return np.zeros(0, dtype=bool)
    fresh = np.ones(len(user), dtype=bool)
    fresh[1:] = (user[1:] != user[:-1]) | (pairs[1:] != pairs[:-1])
    number = np.cumsum(fresh)
    first, last = number[starts[:-1]], number[starts[1:] - 1]
    half: Mask = number - first[user] < ((last - first + 1) // 2)[user]
    return half


def liked(scorer: AlsScorer, ratings: Array) -> Mask:
    """(n,): whether a rating is a liking. Implicit: it is above 0. Explicit: it is not below the middle of the scale of
    the model's ratings, or, in files of the first versions, which have no scale, the mean of these ratings."""
    if scorer.settings.implicit:
        return ratings > 0
    if scorer.scale:
        return ratings >= (scorer.scale.minimum + scorer.scale.maximum) / 2
    return ratings >= (ratings.mean() if len(ratings) else 0.0)


def questions(
    scorer: AlsScorer, table: pa.Table, user: str, item: str, rating: str | None, **terms: Unpack[Terms]
) -> list[Question]:
    """What up to ``MOST_USERS`` users of the table are asked, those of the lowest numbers, in ascending order.

    A user whom the model trained is asked for the liked items of the table that they have not rated before. Of a new
    user's items, half are folded in, and they are asked for the liked ones of the other half.
    """
    rows = user_rows(scorer, rating_rows(table, user, item, rating), terms)
    asked: list[Question] = []
    for position in candidates(rows, terms):
        question = question_of(scorer, rows, position, terms)
        if question.total:
            asked.append(question)
        if len(asked) == MOST_USERS:
            break
    return asked


def candidates(rows: UserRows, terms: Terms) -> list[int]:
    """The positions of the users who may be asked, before it is looked at what they have rated before."""
    users = len(rows.numbers)
    trained = rows.users >= 0
    has_wanted = np.bincount(rows.user[rows.wanted], minlength=users) > 0
    has_given = np.bincount(rows.user[rows.given & (rows.place >= 0)], minlength=users) > 0
    chosen = has_wanted & (~trained & has_given | (trained & (not terms.get("only_new", False))))
    positions: list[int] = np.flatnonzero(chosen).tolist()
    return positions


def question_of(scorer: AlsScorer, rows: UserRows, position: int, terms: Terms) -> Question:
    """What the user at this position is asked; of a user who has rated everything before, no item is wanted."""
    own = slice(*rows.starts[position : position + 2])
    user, place, item = int(rows.users[position]), rows.place[own], rows.item[own]
    given = rows.given[own] & (place >= 0)
    wanted = rows.wanted[own]
    out = place[given]
    if user >= 0:
        known = scorer.rated(user)
        known = np.setdiff1d(known, place) if terms.get("held_out", False) else known
        wanted = wanted & ~np.isin(place, known)
        out = np.concatenate([known, out]) if terms.get("paired", False) else known
    _, first = np.unique(item[wanted], return_index=True)
    found = place[wanted][first]
    number = int(rows.numbers[position])
    return Question(number, user, place[given], rows.rating[own][given], out, found[found >= 0], len(found))
