"""The best and the similar items, against an implementation that looks at every item."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tidemill.scoring.als import AlsScorer, Factors, Item, Places, packed
from tidemill.scoring.base import BLOCK, highest, lowest
from tidemill.scoring.storage import Stored

HUGE = 2.0**127  # twice as much is infinite in 32 bits


def plain_lowest(values: NDArray[Any], top: int) -> Places:
    """The candidates of a partition of all values in 64 bits, in a stable order."""
    wide = values.astype(np.float64)
    candidates: Places = np.arange(len(wide))
    if top < len(wide):
        candidates = np.flatnonzero(wide <= np.partition(wide, top - 1)[top - 1])
    return candidates[np.argsort(wide[candidates], kind="stable")][:top]


def plain_best(scorer: AlsScorer, factor: Factors, without: Places, top: int) -> tuple[Places, Factors]:
    scores = scorer.item_factors @ factor
    allowed = np.ones(len(scores), dtype=bool)
    allowed[without] = False
    indices = np.flatnonzero(allowed)
    chosen = indices[plain_lowest(-scores[indices], top)]
    return chosen, scores[chosen]


def plain_similar(scorer: AlsScorer, index: int, top: int) -> list[Item]:
    norms = np.linalg.norm(scorer.item_factors, axis=1)
    lengths = norms * norms[index]
    usable = np.flatnonzero(lengths > 0)
    usable = usable[usable != index]
    cosines = (scorer.item_factors[usable] @ scorer.item_factors[index]) / lengths[usable]
    best = plain_lowest(-cosines, top)
    return scorer.documents(usable[best], np.clip(cosines[best], -1.0, 1.0), "similarity")


def scorer_of(items: Factors) -> AlsScorer:
    """A model of items with these factors and of one user, who rated none."""
    text = {
        "model": "taste",
        "estimator": "ALS",
        "rating": "rating",
        "settings": {"regularisation": 0.1, "implicit": False, "alpha": 1.0, "nonnegative": False},
    }
    arrays: dict[str, Any] = {
        "user_factors": np.ones((1, items.shape[1]), dtype=np.float32),
        "item_factors": items,
        "users": packed(pa.table({"user": ["ann"]})),
        "items": packed(pa.table({"item": list(range(len(items)))})),
        "rated_offsets": np.array([0, 0]),
        "rated_items": np.zeros(0, dtype=np.int32),
    }
    return AlsScorer(Stored(text, arrays))


@dataclass(frozen=True)
class Question:
    """Items of few different factors, so that many tie; a user's factor, items to leave out, how many are wanted."""

    scorer: AlsScorer
    factor: Factors
    without: Places
    top: int
    index: int


@st.composite
def asked(draw: st.DrawFn) -> Question:
    """The factors are small whole numbers, whose products and sums are exact in any order; the first component may be
    huge, so that a score is infinite or no number."""
    count = draw(st.one_of(st.integers(1, 40), st.integers(2 * BLOCK, 9 * BLOCK)))
    rank = draw(st.sampled_from([1, 2, 3, 10]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    level = draw(st.integers(0, 3))
    factors = random.integers(-level, level + 1, size=(count + 1, rank)).astype(np.float32)
    huge = draw(st.sampled_from([0.0, 0.0, 0.01, 1.0]))
    factors[random.random(count + 1) < huge, 0] = HUGE * draw(st.sampled_from([1.0, -1.0]))
    share = draw(st.sampled_from([0.0, 0.01, 0.5, 1.0]))
    without = np.flatnonzero(random.random(count) < share)
    top = draw(st.one_of(st.integers(1, 12), st.integers(1, count + 5)))
    with np.errstate(over="ignore"):
        return Question(scorer_of(factors[1:]), factors[0], without, top, int(random.integers(count)))


def in_bits(values: NDArray[Any]) -> list[int]:
    bits: list[int] = values.astype(np.float32).view(np.int32).tolist()
    return bits


@given(asked())
def test_the_best_items_are_those_of_a_look_at_every_item(question: Question) -> None:
    """The same items in the same order, and the same scores to the last bit; fewer only where there are fewer."""
    scorer, factor, without, top = question.scorer, question.factor, question.without, question.top
    with np.errstate(all="ignore"):
        places, scores = scorer.best(factor, without, top)
        expected, values = plain_best(scorer, factor, without, top)
    assert places.tolist() == expected.tolist()
    assert in_bits(scores) == in_bits(values)


@given(asked())
def test_similar_items_are_those_of_a_look_at_every_item(question: Question) -> None:
    """The same items in the same order, and the same similarities."""
    with np.errstate(all="ignore"):
        similar = question.scorer.similar(str(question.index), question.top)
        expected = plain_similar(question.scorer, question.index, question.top)
    assert list(map(repr, similar)) == list(map(repr, expected))


@pytest.mark.parametrize("rank", [1, 3, 10, 50])
def test_items_of_any_factors_are_as_exact(rank: int) -> None:
    """Of random factors too: the best items to the last bit; the similar ones as far as a product's last bit, which
    depends on an item's place among those multiplied at a time."""
    items = np.random.default_rng(rank).normal(size=(5_000, rank)).astype(np.float32)
    scorer = scorer_of(items)
    for index, top in ((0, 10), (17, 1), (4_999, 300), (2_500, 6_000)):
        without = np.arange(index, 5_000, 7)
        places, scores = scorer.best(items[index], without, top)
        expected, values = plain_best(scorer, items[index], without, top)
        assert places.tolist() == expected.tolist()
        assert in_bits(scores) == in_bits(values)
        similar = np.array([[row["item"], row["similarity"]] for row in scorer.similar(str(index), top)])
        plain = np.array([[row["item"], row["similarity"]] for row in plain_similar(scorer, index, top)])
        np.testing.assert_allclose(similar[:, 1], plain[:, 1], atol=3e-7)
        moved = similar[:, 0] != plain[:, 0]
        cosines = dict(plain)
        assert all(math.isclose(value, cosines.get(item, value), abs_tol=3e-7) for item, value in similar[moved])


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 6 * BLOCK),
    top=st.integers(1, 20),
    without=st.lists(st.integers(0, 10**6), max_size=30),
)
def test_the_highest_are_the_head_of_a_stable_sort_without_some(
    seed: int, count: int, top: int, without: list[int]
) -> None:
    """An index may be left out twice; no other value is changed, nor is any where the lowest are sought."""
    values = np.random.default_rng(seed).choice([-math.inf, -1.0, -0.0, 0.0, 2.5, math.inf], size=count)
    before, out = values.copy(), [index % count for index in without] if count else []
    assert lowest(values, top).tolist() == sorted(range(count), key=values.__getitem__)[:top]
    assert values.tobytes() == before.tobytes()
    expected = sorted(set(range(count)) - set(out), key=(-values).__getitem__)[:top]
    assert highest(values, top, np.array(out, dtype=np.intp)).tolist() == expected
    assert np.delete(values, out).tobytes() == np.delete(before, out).tobytes()
