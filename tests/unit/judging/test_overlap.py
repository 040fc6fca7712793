"""How much two models of similar rows or texts answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.serving_run import COUNT, HOURS, KIND, NOTE, SEARCHING
from tidemill.judging import overlap
from tidemill.judging.overlap import Overlap, overlap_at_10, share_of
from tidemill.run.batch_tables import evenly
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.base import Scorer
from tidemill.scoring.neighbours import NeighboursScorer
from tidemill.scoring.storage import Stored
from tidemill.scoring.text import TextScorer

WORDS = ["lamp", "green", "red", "old", "new", "tall"]


def near(hours: float = 1.0, count: float = 1.0, bucket_length: float = 1e6) -> NeighboursScorer:
    """Rows compared by two numbers, each multiplied by a factor, and by a category."""
    text = {"model": "near", "estimator": "BucketedRandomProjectionLSH", "features": [HOURS, COUNT, KIND]}
    scaling = np.array([[0.0, 0.0], [hours, count], [0.0, 0.0]])
    vectors = np.array([[0.6, 0.8, 0.0, 0.0]])
    return NeighboursScorer(Stored(text | {"bucket_length": bucket_length}, {"scaling": scaling, "vectors": vectors}))


def words(idf: Sequence[float]) -> TextScorer:
    text = {"model": "words", "estimator": "IDF", "features": [NOTE], "vocabulary": WORDS[: len(idf)]}
    return TextScorer(Stored(text, {"idf": np.array(idf)}))


def rows_of(count: int) -> pa.Table:
    """Random rows; each tenth lacks a feature and a text."""
    random = np.random.default_rng(3)
    missing = np.arange(count) % 10 == 9
    notes = [" ".join(random.choice(WORDS, 3)) for _ in range(count)]
    return pa.table(
        {
            "hours": random.uniform(0, 24, count),
            "count": pa.array(random.integers(0, 1_000, count), mask=missing),
            "kind": random.choice(["lamp", "fan", "other"], count),
            "note": pa.array(notes, pa.string(), mask=missing),
        }
    )


@pytest.mark.parametrize("scorer", [near(), near(bucket_length=0.5), words([1.0, 2.0, 0.5, 1.0, 1.5, 0.7])])
def test_a_model_and_itself(scorer: Scorer) -> None:
    """A model finds all the rows that it finds."""
    assert overlap_at_10(scorer, scorer, rows_of(300)) == Overlap(1.0, 100)
    assert overlap_at_10(scorer, scorer, rows_of(40)) == Overlap(1.0, 36)


def test_the_share_by_hand() -> None:
    """Where one model looks at one number and the other at another, the rows in common are those that are near in both:
    the share is that of a plain computation."""
    table = rows_of(200)
    complete = table.drop_null()
    hours, count = complete["hours"].to_numpy(), complete["count"].to_numpy()
    kinds = np.array(complete["kind"].to_pylist())
    pairs = kinds[:, None] != kinds
    weight = 1.0 + (kinds[:, None] != "other") * (kinds != "other")
    shares = []
    for row in evenly(100, len(complete)).tolist():
        lists = []
        for values in (hours, count):
            squares = (values - values[row]) ** 2 + (pairs * weight)[row]
            lists.append([other for other in np.argsort(squares, kind="stable") if other != row][:10])
        shares.append(len(set(lists[0]) & set(lists[1])) / 10)
    answer = overlap_at_10(near(1.0, 0.0), near(0.0, 1.0), table)
    assert answer.share == pytest.approx(np.mean(shares))
    assert answer.queries == 100
    assert 0.05 < np.mean(shares) < 0.5


def test_words_that_weigh_nothing() -> None:
    """A row is asked where either model finds a similar one; a row without a known word is not."""
    table = pa.table({"note": ["lamp", "lamp", "green", "green", "zebra", None]})
    assert overlap_at_10(words([1.0]), words([0.0, 1.0]), table) == Overlap(0.0, 4)
    assert overlap_at_10(words([1.0]), words([1.0, 1.0]), table) == Overlap(0.5, 4)


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_to_ask(rows: int) -> None:
    """Without another row there is no overlap."""
    for scorer in (near(), words([1.0])):
        assert overlap_at_10(scorer, scorer, rows_of(1).slice(0, rows)) == Overlap(None, 0)


def test_enormous_numbers() -> None:
    """Rows too far to say how far are not found, and nothing is printed or raised."""
    table = pa.table({"hours": [1e300, -1e300, 0.0], "count": [1, 2, 3], "kind": ["fan"] * 3})
    assert overlap_at_10(near(1e200), near(1e200), table) == Overlap(None, 0)


def test_not_more_than(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows searched and the rows asked are spread evenly, and no more than a bound."""
    monkeypatch.setattr(overlap, "MOST_ROWS", 50)
    assert overlap_at_10(near(), near(), rows_of(500)).queries in range(1, 51)


def test_lists_of_different_length() -> None:
    """The share is of the longer list."""
    assert share_of(np.array([1, 2]), np.array([2, 3, 4, 5])) == 0.25
    assert share_of(np.array([1, 2]), np.array([], dtype=np.intp)) == 0.0


def test_models_that_search_no_rows() -> None:
    """A recommender has no similar rows."""
    text, arrays = SEARCHING["taste"]
    made: dict[str, Any] = {"model": "taste"}
    scorer = AlsScorer(Stored(made | text, arrays))
    with pytest.raises(TypeError, match="taste, a ALS, does not search for similar rows"):
        overlap_at_10(scorer, scorer, pa.table({"hours": [1.0]}))
