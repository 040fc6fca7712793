"""The losses of recommenders, on factors made by hand and on random ones that a second, plain implementation checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.serving_run import SEARCHING, SETTINGS
from tidemill.judging import questions, recommenders
from tidemill.judging.losses import Losses
from tidemill.judging.questions import Terms, user_numbers
from tidemill.judging.recommenders import (
    RatingSums,
    mean_rating_losses,
    popularity_losses,
    ranking_losses,
    rating_losses,
    rating_sums,
)
from tidemill.scoring.als import AlsScorer, packed
from tidemill.scoring.storage import Stored

COLUMNS = ("user", "item", "rating")
Triple = tuple[Any, Any, float | None]


def scorer_of(
    users: Mapping[Any, Sequence[float]],
    items: Mapping[Any, Sequence[float]],
    rated: Sequence[Sequence[int]],
    *,
    implicit: bool = True,
    scale: tuple[float, float] | None = None,
) -> AlsScorer:
    """A recommender of these factors by id, whose users have rated these items, by their indices."""
    text, _ = SEARCHING["taste"]
    arrays: dict[str, Any] = {
        "user_factors": np.array(list(users.values()), dtype=np.float32),
        "item_factors": np.array(list(items.values()), dtype=np.float32),
        "users": packed(pa.table({"user": list(users)})),
        "items": packed(pa.table({"item": list(items)})),
        "rated_offsets": np.cumsum([0, *map(len, rated)]),
        "rated_items": np.array([item for own in rated for item in own], dtype=np.int32),
    }
    settings = SETTINGS | {"implicit": implicit}
    return AlsScorer(Stored(text | {"model": "taste", "settings": settings, "scale": scale}, arrays))


def table_of(rows: Sequence[Triple]) -> pa.Table:
    return pa.table({name: [row[index] for row in rows] for index, name in enumerate(COLUMNS)})


def random_scorer(seed: int, *, implicit: bool, integers: bool = False) -> AlsScorer:
    """40 users and 60 items with random factors; of integers, so that many scores are equal."""
    random = np.random.default_rng(seed)
    factors = random.integers(-1, 2, (100, 3)) if integers else random.normal(size=(100, 3))
    users = {f"u{index:02}": factors[index] for index in range(40)}
    items = {index: factors[40 + index] for index in range(60)}
    rated = [sorted(random.choice(60, random.integers(0, 30), replace=False).tolist()) for _ in users]
    return scorer_of(users, items, rated, implicit=implicit, scale=None if implicit else (1.0, 5.0))


def random_table(seed: int, rows: int = 900) -> pa.Table:
    """Ratings by 60 users, of whom the models know 40, of 80 items, of which they know 60; some more than once."""
    random = np.random.default_rng(seed)
    users = [f"u{index:02}" for index in random.integers(0, 60, rows)]
    return pa.table(
        {"user": users, "item": random.integers(0, 80, rows), "rating": random.integers(0, 6, rows).astype(np.float64)}
    )


def asked_items(scorer: AlsScorer, table: pa.Table, terms: Terms) -> dict[int, tuple[Any, set[int], set[int], int]]:
    """Of each user's number the factor, the items left out, the wanted ones that are known, and how many are wanted: by
    the definition, user by user and row by row."""
    asked = {}
    middle = 0.5 if scorer.settings.implicit else 3.0  # ratings are whole numbers
    for user in sorted(set(table["user"].to_pylist())):
        rows = [(str(row["item"]), row["rating"]) for row in table.to_pylist() if row["user"] == user]
        halves = halves_of(user, [item for item, _ in rows], terms.get("seed", 0))
        given = [(scorer.items[item], rating) for item, rating in rows if item in halves[0] and item in scorer.items]
        trained = user in scorer.users
        known = {int(item) for item in scorer.rated(scorer.users[user])} if trained else set()
        if terms.get("held_out"):
            known -= {scorer.items[item] for item, _ in rows if item in scorer.items}
        paired = terms.get("paired", False)
        pool = halves[1] if paired or not trained else halves[0] | halves[1]
        liked = {item for item, rating in rows if rating >= middle and item in pool}
        wanted = {item for item in liked if scorer.items.get(item, -1) not in known}
        found = {scorer.items[item] for item in wanted if item in scorer.items}
        total = len(wanted) if paired else len(found)
        if not total or (trained and terms.get("only_new")) or not (trained or given):
            continue
        places = np.array([place for place, _ in given], dtype=np.intp)
        ratings = np.array([rating for _, rating in given])
        factor = scorer.user_factors[scorer.users[user]] if trained else scorer.fold_in(places, ratings)
        out = known | (set(places.tolist()) if paired or not trained else set())
        asked[int(user_numbers([user])[0])] = (factor, out, found, total)
    return asked


def halves_of(user: str, items: Sequence[str], seed: int) -> tuple[set[str], set[str]]:
    """The given and the other items of a user."""
    distinct = sorted(set(items))
    own = questions.hashes([user])
    order = np.argsort(questions.mixed(own + questions.hashes(distinct, seed)))
    half = len(distinct) // 2
    ordered = [distinct[index] for index in order]
    return set(ordered[:half]), set(ordered[half:])


def naive(scorer: AlsScorer, table: pa.Table, terms: Terms, popular: bool) -> dict[str, Any]:
    """Units, losses and figures by the definitions of the metrics, in plain Python."""
    asked = asked_items(scorer, table, terms)
    rows = {(row["user"], str(row["item"])) for row in table.to_pylist()} if terms.get("held_out") else set()
    counts = [0] * len(scorer.items)
    for user, number in scorer.users.items():
        for item, place in scorer.items.items():
            counts[place] += place in scorer.rated(number) and (user, item) not in rows
    losses, precision, recall, average, shown = [], [], [], [], set()
    for _, (factor, out, wanted, total) in sorted(asked.items()):
        scores = counts if popular else scorer.item_factors @ factor
        ranked = sorted((place for place in range(len(scores)) if place not in out), key=lambda place: -scores[place])
        top = ranked[:10]
        shown |= set(top)
        hits = [place in wanted for place in top]
        gain = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
        losses.append(1 - gain / sum(1 / math.log2(rank + 2) for rank in range(min(10, total))))
        precision.append(sum(hits) / 10)
        recall.append(sum(hits) / total)
        so_far = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
        average.append(sum(so_far) / min(10, total))
    figures = {"precision": precision, "recall": recall, "map": average}
    return {
        "units": sorted(asked),
        "losses": losses,
        "ndcg": 1 - np.mean(losses),
        "coverage": len(shown) / len(scorer.items),
    } | {name: np.mean(values) for name, values in figures.items()}


TERMS: list[Terms] = [
    {},
    {"only_new": True},
    {"held_out": True},
    {"paired": True},
    {"paired": True, "held_out": True, "seed": 5},
    {"seed": -3},
]


@pytest.mark.parametrize("terms", TERMS, ids=str)
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("integers", [True, False])
def test_ranking_by_the_definition(
    terms: Terms, implicit: bool, integers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and figures of the model and of popularity are those of a plain implementation, whatever the size of the
    blocks, and however many scores are equal."""
    monkeypatch.setattr(recommenders, "MOST_SCORES", 60 * 7)
    scorer, table = random_scorer(1, implicit=implicit, integers=integers), random_table(2)
    for popular, losses_of in ((False, ranking_losses), (True, popularity_losses)):
        if integers and not popular and not terms.get("only_new"):
            scorer.fold_in = lambda *_: np.zeros(3, dtype=np.float32)  # type: ignore[method-assign]  # so that all scores are equal
        losses = losses_of(scorer, table, *COLUMNS, **terms)
        expected = naive(scorer, table, terms, popular)
        assert losses.units.tolist() == expected["units"]
        np.testing.assert_allclose(losses.values, expected["losses"], atol=1e-12)
        for name in ("ndcg", "coverage", "precision", "recall", "map"):
            assert losses.shown[name] == pytest.approx(expected[name], abs=1e-12), name


def planted(**changes: Any) -> AlsScorer:
    """Ann likes items in the order a, b, c, d; she has rated a. Bob has rated everything."""
    items = {"a": (4.0, 0.0), "b": (3.0, 0.0), "c": (2.0, 1.0), "d": (1.0, 5.0)}
    return scorer_of({"ann": (1.0, 0.0), "bob": (1.0, 0.0)}, items, [[0], [0, 1, 2, 3]], **changes)


def ranked(scorer: AlsScorer, rows: Sequence[Triple], **terms: Any) -> Losses:
    return ranking_losses(scorer, table_of(rows), *COLUMNS, **terms)


def test_a_trained_user() -> None:
    """Items rated before are neither recommended nor wanted, and an unknown item is not wanted; of two wanted items at
    the ranks 1 and 3 the NDCG is (1 + 1/2) / (1 + 1 / log2(3))."""
    losses = ranked(planted(), [("ann", "a", 1.0), ("ann", "b", 1.0), ("ann", "d", 2.0), ("ann", "zebra", 1.0)])
    ndcg = 1.5 / (1 + 1 / math.log2(3))
    assert losses.name == "1 - NDCG@10"
    assert losses.values.tolist() == pytest.approx([1 - ndcg])
    figures = {"ndcg": ndcg, "precision": 0.2, "recall": 1, "map": (1 + 2 / 3) / 2, "coverage": 3 / 4}
    assert losses.shown == pytest.approx(figures | {"users": 1, "new_users": 0})


def test_no_question() -> None:
    """A user who has rated everything, one whose items are all unknown, one who likes nothing and a new one with a
    single rating are asked nothing."""
    rows = [("bob", "a", 1.0), ("ann", "zebra", 1.0), ("new", "a", 1.0), ("ann", "b", 0.0), ("ann", "c", -1.0)]
    losses = ranked(planted(), rows)
    assert (losses.units.tolist(), losses.values.tolist()) == ([], [])
    figures = ["ndcg", "precision", "recall", "map", "coverage"]
    assert losses.shown == dict.fromkeys(figures) | {"users": 0, "new_users": 0}


def test_missing_values() -> None:
    """A row without a user, an item or a rating that Spark can hold says nothing."""
    rows: list[Triple] = [(None, "b", 1.0), ("ann", None, 1.0), ("ann", "c", None), ("ann", "c", math.nan)]
    rows += [("ann", "c", math.inf), ("ann", "c", 1e300)]
    assert not len(ranked(planted(), rows).units)
    assert ranked(planted(), [*rows, ("ann", "b", 1.0)]).values.tolist() == [0.0]


def test_held_out_rows() -> None:
    """The model's own generation counts its held-out rows among those rated; they can be asked for all the same."""
    assert not len(ranked(planted(), [("bob", "b", 1.0)]).units)
    held = ranked(planted(), [("bob", "b", 1.0)], held_out=True)
    assert (held.values.tolist(), held.shown["coverage"]) == ([0.0], 1 / 4)


def test_popularity_does_not_count_held_out_rows() -> None:
    """The trivial model of held-out rows knows as little of them as the model: their ratings make no item popular."""
    users = {f"u{index:02}": (1.0, 0.0) for index in range(15)}
    items = {f"i{index:02}": (1.0, 0.0) for index in range(12)}
    scorer = scorer_of(users, items, [[11], *[[index % 11] for index in range(1, 15)]])
    table = table_of([("u00", "i11", 1.0)])
    assert popularity_losses(scorer, table, *COLUMNS, held_out=True).values.tolist() == [1.0]  # of 12 items the last


def test_a_new_user_is_folded_in() -> None:
    """The factor follows from the ratings of the given half, which are not recommended; of the other half the liked
    items are wanted: those at or above the middle of the scale."""
    ratings = {"a": 5.0, "b": 3.0, "c": 2.5, "d": 4.0}
    table = table_of([("new", item, rating) for item, rating in ratings.items()])
    scorer = planted(implicit=False, scale=(1.0, 5.0))
    halves = set()
    for seed in range(8):
        given, others = halves_of("new", "abcd", seed)
        (question,) = questions.questions(scorer, table, *COLUMNS, seed=seed)
        assert {"abcd"[place] for place in question.given} == {"abcd"[place] for place in question.out} == given
        assert question.ratings.tolist() == [ratings["abcd"[place]] for place in question.given]
        assert {"abcd"[place] for place in question.wanted} == others - {"c"}
        assert ranking_losses(scorer, table, *COLUMNS, seed=seed).shown["coverage"] == 0.5
        halves.add(frozenset(given))
    assert len(halves) > 1


def test_fold_in_by_taste() -> None:
    """Of two kinds of items, a new user who likes one kind is recommended the other items of that kind, which the most
    rated items are not."""
    items = {f"x{index}": (1.0, 0.0) for index in range(20)} | {f"y{index}": (0.0, 1.0) for index in range(20)}
    scorer = scorer_of({"old": (1.0, 0.0)}, dict(sorted(items.items())), [list(range(20))])
    table = table_of([("new", f"y{index}", None) for index in range(20)]).drop_columns("rating")
    assert ranking_losses(scorer, table, "user", "item", None, only_new=True).values.tolist() == [0.0]
    assert popularity_losses(scorer, table, "user", "item", None, only_new=True).values.tolist() == [1.0]


def test_paired_models_are_asked_the_same() -> None:
    """A model that has trained the user is asked for the same number of items as one that has not and knows fewer;
    otherwise each is asked for what it knows."""
    table = table_of([("ann", item, 1.0) for item in ("b", "c", "d", "zebra")])
    other = scorer_of({"zoe": (1.0, 0.0)}, {"b": (1.0, 0.0), "c": (1.0, 0.0)}, [[0]])
    folded_in = 0
    for seed in range(8):
        ours, theirs = (questions.questions(one, table, *COLUMNS, paired=True, seed=seed) for one in (planted(), other))
        assert [question.total for question in ours] == [2]
        assert {question.total for question in theirs} <= {2}  # without a known item that is given there is no fold-in
        folded_in += len(theirs)
    assert folded_in
    assert [question.total for question in questions.questions(planted(), table, *COLUMNS)] == [3]


def test_enormous_ratings_get_no_recommendation() -> None:
    """Where ratings lead to scores that are not finite nothing is recommended, so the loss is 1."""
    items = dict.fromkeys("abcd", (0.01, 0.0)) | {"e": (1e3, 0.0)}
    scorer = scorer_of({"ann": (1.0, 0.0)}, items, [[0]], implicit=False, scale=(1.0, 5.0))
    for rating, recommended in ((5.0, True), (3e38, False)):
        losses = ranked(scorer, [("new", item, rating) for item in "abc"])
        assert losses.shown["coverage"] == (0.8 if recommended else 0.0)
        assert (losses.values[0] == 1.0) is not recommended


def test_most_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more users than ``MOST_USERS`` those with the lowest numbers are asked, so that models share most of them."""
    every = ranking_losses(random_scorer(1, implicit=True), random_table(2), *COLUMNS)
    monkeypatch.setattr(questions, "MOST_USERS", 7)
    some = ranking_losses(random_scorer(1, implicit=True), random_table(2), *COLUMNS)
    assert some.units.tolist() == every.units.tolist()[:7]
    np.testing.assert_array_equal(some.values, every.values[:7])


def test_order_of_rows_and_type_of_ids() -> None:
    """Neither the order of the rows nor whether ids are numbers or texts changes anything."""
    scorer, table = random_scorer(3, implicit=False), random_table(4)
    expected = ranking_losses(scorer, table, *COLUMNS)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    shuffled = shuffled.set_column(1, "item", shuffled["item"].cast(pa.string()))
    chunked = pa.concat_tables([table.slice(0, 9), table.slice(9)])
    for other in (shuffled, chunked):
        losses = ranking_losses(scorer, other, *COLUMNS)
        np.testing.assert_array_equal(losses.units, expected.units)
        np.testing.assert_allclose(losses.values, expected.values)


def test_empty_tables() -> None:
    """A table without rows has no losses, and its figures are None."""
    empty = pa.schema([("user", pa.string()), ("item", pa.int64()), ("rating", pa.float64())]).empty_table()
    for losses in (ranking_losses(planted(), empty, *COLUMNS), popularity_losses(planted(), empty, *COLUMNS)):
        assert (len(losses.units), len(losses.values), losses.shown["ndcg"]) == (0, 0, None)
    for losses in (
        rating_losses(planted(), empty, *COLUMNS),
        mean_rating_losses(RatingSums(1, 3.0), planted(), empty, *COLUMNS),
    ):
        assert len(losses.units) == 0
        assert losses.shown == dict.fromkeys(["rmse", "cold_users", "cold_items"]) | {"cold_rows": 0}


def test_a_users_number_stays() -> None:
    """It depends on the id's text alone, today and in any later process."""
    assert user_numbers(["ann", "1", "ünï"]).tolist() == [5088345978781694418, 8898586205396736955, 3184281902198843083]
    assert user_numbers([]).tolist() == []


def test_halves_stay() -> None:
    """Which half an item is in depends on the user, the item and the seed alone."""
    assert ["".join(sorted(halves_of("ann", "abcdefgh", seed)[0])) for seed in (0, 1)] == ["bdeg", "abde"]
    table = table_of([("ann", item, 1.0) for item in "abcdefgh"])
    items = dict.fromkeys("abcdefgh", (1.0,))
    for seed, given in ((0, [1, 3, 4, 6]), (1, [0, 1, 3, 4])):
        question = questions.questions(scorer_of({"zoe": (1.0,)}, items, [[]]), table, *COLUMNS, seed=seed)[0]
        assert sorted(question.given.tolist()) == given


def test_rating_errors() -> None:
    """The absolute error of the rows whose user and item are known, grouped by user; the other rows are counted."""
    rows: list[Triple] = [
        ("ann", "a", 3.5),
        ("eve", "a", 3.0),
        ("ann", "d", 3.0),
        ("bob", "zebra", 1.0),
        ("bob", "c", None),
        ("bob", "b", 1.0),
        ("eve", "zebra", 3.0),
    ]
    losses = rating_losses(planted(implicit=False), table_of(rows), *COLUMNS)
    assert losses.units.tolist() == [0, 2, 5]
    assert losses.values.tolist() == [0.5, 2.0, 2.0]
    assert losses.groups is not None
    assert losses.groups.tolist() == user_numbers(["ann", "ann", "bob"]).tolist()
    assert losses.shown == pytest.approx(
        {"rmse": math.sqrt(8.25 / 3), "cold_users": 1 / 3, "cold_items": 1 / 4, "cold_rows": 3}
    )


def test_the_mean_rating() -> None:
    """Its sums add up over tables, and its losses are on the rows of the model."""
    sums = rating_sums(table_of([("x", "y", 2.0), ("x", "y", None)]), "rating") + rating_sums(
        table_of([("x", "y", 3.0), ("x", "y", math.nan)]), "rating"
    )
    assert sums == RatingSums(2, 5.0)
    scorer, table = random_scorer(5, implicit=False), random_table(6)
    model, trivial = rating_losses(scorer, table, *COLUMNS), mean_rating_losses(sums, scorer, table, *COLUMNS)
    assert model.units.tolist() == trivial.units.tolist()
    assert model.groups is not None
    assert trivial.groups is not None
    assert model.groups.tolist() == trivial.groups.tolist()
    np.testing.assert_allclose(trivial.values, np.abs(table["rating"].to_numpy()[trivial.units] - 2.5))
    assert not len(mean_rating_losses(RatingSums(), scorer, table, *COLUMNS).units)


def test_liking_without_a_scale() -> None:
    """In files of the first versions, which have no scale, a rating not below the table's mean is a liking."""
    rows = [("ann", "b", 4.0), ("ann", "c", 1.0)]
    assert ranked(planted(implicit=False), rows).shown["precision"] == 0.1
    assert ranked(planted(implicit=False, scale=(0.0, 2.0)), rows).shown["precision"] == 0.2
