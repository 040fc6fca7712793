"""Questions to a recommender besides recommendations for one user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tidemill.scoring.als import AlsScorer, Settings, fold_in, gram, packed
from tidemill.scoring.als_questions import alike, factor_in_context, in_context
from tidemill.scoring.storage import Stored

ITEMS = np.random.default_rng(7).normal(size=(30, 4)).astype(np.float32)
RATED = np.array([2, 5, 11, 20])


def scorer_of(settings: Settings, ratings: list[float]) -> AlsScorer:
    """A model with one user, whose factor is that of these ratings of ``RATED``."""
    y = gram(ITEMS) if settings.implicit else None
    factor = fold_in(ITEMS[RATED], np.array(ratings), settings, y)
    document = {
        "model": "taste",
        "estimator": "ALS",
        "rating": "r",
        "settings": {name: getattr(settings, name) for name in Settings.__slots__},
    }
    arrays: dict[str, Any] = {
        "user_factors": factor[None],
        "item_factors": ITEMS,
        "users": packed(pa.table({"user": ["ann"]})),
        "items": packed(pa.table({"item": list(range(30))})),
        "rated_offsets": np.array([0, 4]),
        "rated_items": RATED.astype(np.int32),
    }
    return AlsScorer(Stored(document, arrays))


@pytest.mark.parametrize(
    ("settings", "ratings"),
    [
        (Settings(0.1, implicit=False, alpha=1.0, nonnegative=False), [5.0, 1.0, 3.0, 4.0]),
        (Settings(0.1, implicit=True, alpha=2.0, nonnegative=False), [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_a_context_is_as_if_the_user_had_rated_it_too(settings: Settings, ratings: list[float]) -> None:
    """The factor is that of all ratings together: explicit ones, and implicit ones of strength 1."""
    scorer, context = scorer_of(settings, ratings), np.array([7, 8])
    every = np.concatenate([RATED, context])
    expected = fold_in(ITEMS[every], np.array([*ratings, 2.0, 1.0]), settings, scorer.gram)
    found = factor_in_context(scorer, 0, context, np.array([2.0, 1.0]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    best = in_context(scorer, 0, {7: 2.0, 8: 1.0}, 30, known=False).places
    assert set(best.tolist()) == set(range(30)) - {*RATED.tolist(), 7, 8}
    assert in_context(scorer, 0, {}, 30, known=True).places[0] == (ITEMS @ scorer.user_factors[0]).argmax()


def test_items_like_several_are_ranked_by_the_angle_to_their_mean() -> None:
    """Worked out item by item, without those that were asked for."""
    scorer = scorer_of(Settings(0.1, implicit=False, alpha=1.0, nonnegative=False), [5.0, 1.0, 3.0, 4.0])
    mean = ITEMS[[3, 4]].mean(axis=0)
    cosines = [float(item @ mean / np.linalg.norm(item) / np.linalg.norm(mean)) for item in ITEMS]
    expected = sorted(set(range(30)) - {3, 4}, key=lambda item: -cosines[item])[:5]
    ranked = alike(scorer, [3, 4], 5)
    assert ranked.places.tolist() == expected
    np.testing.assert_allclose(ranked.values, [cosines[item] for item in expected], atol=1e-6)
