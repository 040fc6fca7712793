"""Trivial models: their sums add up, and their losses are those of guessing, on the same rows as the model's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import multivariate_normal  # type: ignore[import-untyped]  # scipy has no types

from tests.support.row_scorers import k_means, line, logistic, mixture, row_model
from tidemill.judging.losses import Losses
from tidemill.judging.row_losses import row_losses
from tidemill.judging.trivial import TrivialSums, trivial_losses, trivial_sums
from tidemill.scoring import RowScorer
from tidemill.scoring.clusters import EPSILON, MixtureScorer, cluster_scorer

DICE = np.random.default_rng(2)
COUNT = 400
ROWS = pa.table(
    {
        "x": DICE.normal(1e6, 2.0, COUNT),
        "y": DICE.normal(-3.0, 0.1, COUNT),
        "sort": DICE.choice(["a", "b", "c"], COUNT),
        "two": DICE.integers(0, 2, COUNT),
        "word": DICE.choice(["no", "yes"], COUNT, p=[0.3, 0.7]),
        "on": DICE.random(COUNT) < 0.4,
        "value": DICE.gamma(2.0, 3.0, COUNT),
    }
)
SCALING = np.array([[1e6, -3.0], [0.5, 10.0], [0.0, 0.0]])


def vector() -> RowScorer:
    arrays = {"coefficients": [[1.0]], "intercept": [0.0], "threshold": [0.0]}
    return row_model("LinearSVC", {"x": None}, arrays, [0, 1])


def sorted_mixture(categories: Sequence[str]) -> MixtureScorer:
    """A mixture of x and a sort; what it answers is of no matter here."""
    width = 1 + len(categories)
    arrays = {
        "weights": np.ones(1),
        "centres": np.zeros((1, width)),
        "roots": np.eye(width)[None],
        "offsets": np.zeros((1, width)),
        "peaks": np.zeros(1),
        "scaling": SCALING[:, :1],
    }
    made = row_model("GaussianMixture", {"x": None, "sort": categories}, arrays)
    assert isinstance(made, MixtureScorer)
    return made


COMMON = k_means([[0.0, 0.0]], scaling=SCALING)
MODELS: dict[str, tuple[RowScorer, str | None]] = {
    "ints": (logistic([0, 1]), "two"),
    "words": (logistic(["no", "yes"]), "word"),
    "bools": (logistic([False, True]), "on"),
    "margin": (vector(), "two"),
    "value": (line(), "value"),
    "deviance": (line("GeneralizedLinearRegression", family="gamma", link="power", power=0.0), "value"),
    "clusters": (k_means([[1e6, -3.0], [0.0, 0.0]]), None),
    "angles": (k_means([[1.0, 0.0], [0.0, 1.0]], distance="cosine"), None),
    "mixture": (mixture([1.0], [[0.0, 0.0]], [np.eye(2)], SCALING), None),
    "sorts": (sorted_mixture(["b", "a"]), None),
}


def judged(name: str, training: pa.Table = ROWS, table: pa.Table = ROWS) -> Losses:
    scorer, label = MODELS[name]
    return trivial_losses(trivial_sums(scorer, training, label, COMMON), scorer, table, label, COMMON)


# --- sums ---------------------------------------------------------------------------------------------------------


def with_gaps(table: pa.Table) -> pa.Table:
    """Every fifth row lacks its x, and every seventh its labels."""
    fifth, seventh = (pa.array(np.arange(len(table)) % every == 0) for every in (5, 7))
    for name, mask in [("x", fifth), *((label, seventh) for label in ("two", "word", "on", "value"))]:
        masked = pa.array(table[name].to_pylist(), table[name].type, mask=mask.to_numpy(zero_copy_only=False))
        table = table.set_column(table.schema.get_field_index(name), name, masked)
    return table


@pytest.mark.parametrize("name", MODELS)
def test_sums_over_batches_are_those_of_one_reading(name: str) -> None:
    """Whatever the batches, one without rows and one with rare categories among them, the losses are the same."""
    scorer, label = MODELS[name]
    rows = with_gaps(ROWS).sort_by("sort")
    batches = [rows.slice(0, 3), rows.slice(3, 0), rows.slice(3, 150), rows.slice(153)]
    total = reduce(add, (trivial_sums(scorer, batch, label, COMMON) for batch in batches))
    whole = trivial_sums(scorer, rows, label, COMMON)
    assert total.count == whole.count < len(rows)
    losses = [trivial_losses(sums, scorer, rows, label, COMMON) for sums in (total, whole)]
    assert losses[0].values == pytest.approx(losses[1].values, rel=1e-9)
    assert losses[0].units.tolist() == losses[1].units.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_a_trivial_model_is_judged_on_the_rows_of_its_scorer(name: str) -> None:
    """The same rows, the same loss and the same figures as the model's, so that the two pair up."""
    scorer, label = MODELS[name]
    table = with_gaps(ROWS)
    own, trivial = row_losses(scorer, table, label, COMMON), judged(name, ROWS, table)
    assert 0 < len(own.units) < len(table)
    assert trivial.units.tolist() == own.units.tolist()
    assert (trivial.name, list(trivial.shown)) == (own.name, list(own.shown))
    assert (trivial.wrong is None, trivial.answers is None) == (own.wrong is None, own.answers is None)


@pytest.mark.parametrize("name", MODELS)
def test_without_rows_there_is_nothing_to_guess(name: str) -> None:
    """No training rows, or none to judge, give no losses, and None for each figure."""
    for losses in (judged(name, ROWS.slice(0, 0)), judged(name, ROWS, ROWS.slice(0, 0))):
        assert len(losses.units) == len(losses.values) == 0
        assert set(losses.shown.values()) <= {None}


# --- losses -------------------------------------------------------------------------------------------------------


def test_the_classes_shares_are_guessed() -> None:
    """The mean log loss on the training rows is the entropy of the shares; the curve is that of chance."""
    losses = judged("words")
    share = np.mean(np.array(ROWS["word"]) == "yes")
    assert losses.values.mean() == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share))
    assert losses.shown["auc"] == 0.5
    assert losses.shown["accuracy"] == pytest.approx(share)
    assert losses.shown["calibration"] == pytest.approx(0.0, abs=1e-12)


def test_a_class_without_training_rows_costs_the_most() -> None:
    """Its share is 0, clipped to 1e-6."""
    training, table = pa.table({"x": [1.0], "label": ["no"]}), pa.table({"x": [1.0, 1.0], "label": ["yes", "no"]})
    scorer = logistic(["no", "yes"])
    losses = trivial_losses(trivial_sums(scorer, training, "label"), scorer, table, "label")
    assert losses.values == pytest.approx([-math.log(1e-6), 0.0])


@pytest.mark.parametrize(("labels", "majority"), [([0, 1, 1], 1), ([0, 0, 1], 0), ([1, 0], 0)])
def test_without_probabilities_the_most_frequent_class_is_guessed(labels: list[int], majority: int) -> None:
    """Of equally frequent ones the first, also where they are summed up one by one."""
    scorer = vector()
    rows = pa.table({"x": [1.0] * len(labels), "label": labels})
    sums = reduce(add, (trivial_sums(scorer, rows.slice(row, 1), "label") for row in range(len(rows))))
    losses = trivial_losses(sums, scorer, rows, "label")
    assert losses.values.tolist() == [float(label != majority) for label in labels]


def test_the_mean_label_is_guessed() -> None:
    """A regression's trivial model has R² 0 on its training rows; that of a family has the deviance at the mean."""
    labels = ROWS["value"].to_numpy()
    losses = judged("value")
    assert losses.values == pytest.approx(np.abs(labels - labels.mean()))
    assert losses.shown["r2"] == pytest.approx(0.0, abs=1e-12)
    ratio = labels / labels.mean()
    assert judged("deviance").values == pytest.approx(2 * (ratio - 1 - np.log(ratio)))


def test_the_mean_is_within_the_range_of_the_family() -> None:
    """Where all training labels are 0, a 1 costs much, but not infinitely much."""
    scorer = line("GeneralizedLinearRegression", family="binomial", link="logit", power=None)
    rows = pa.table({"x": [1.0, 2.0], "label": [0, 0]})
    table = pa.table({"x": [1.0, 2.0], "label": [0, 1]})
    losses = trivial_losses(trivial_sums(scorer, rows, "label"), scorer, table, "label")
    assert losses.values == pytest.approx([0.0, -2 * math.log(1e-16)], abs=1e-12)


def test_a_single_centre_is_the_mean_of_the_rows() -> None:
    """In the common space; the mean squared distance to it is the sum of the variances there."""
    losses = judged("clusters")
    values = (np.stack([ROWS["x"].to_numpy(), ROWS["y"].to_numpy()], axis=1) - SCALING[0]) * SCALING[1]
    assert losses.values.mean() == pytest.approx(values.var(axis=0).sum())
    assert losses.answers is not None
    assert set(losses.answers.tolist()) == {0}


def test_a_single_direction_is_the_best_of_all() -> None:
    """No direction near that of the trivial model has a lower mean cosine distance."""
    losses, scorer = judged("angles"), cluster_scorer(MODELS["angles"][0])
    angles = np.linspace(0, 2 * np.pi, 721)
    others = [
        trivial_losses(TrivialSums(1, (0, 1), np.array([np.cos(one), np.sin(one)])), scorer, ROWS, None, COMMON)
        for one in angles
    ]
    assert losses.values.mean() <= min(other.values.mean() for other in others) + 1e-12


def test_a_single_gaussian_has_the_rows_mean_and_covariance() -> None:
    """In original units, whatever the scaling of the mixture, also far from 0."""
    values = np.stack([ROWS["x"].to_numpy(), ROWS["y"].to_numpy()], axis=1)
    normal = multivariate_normal(values.mean(axis=0), np.cov(values.T, bias=True))
    assert judged("mixture").values == pytest.approx(-normal.logpdf(values), rel=1e-9)
    unscaled = mixture([1.0], [[0.0, 0.0]], [np.eye(2)])
    losses = trivial_losses(trivial_sums(unscaled, ROWS, None), unscaled, ROWS, None)
    assert losses.values == pytest.approx(-normal.logpdf(values), rel=1e-9)


def spread_of(*columns: Any) -> float:
    """The mean loss on its own rows of the single Gaussian of these numbers."""
    scorer = mixture([1.0], np.zeros((1, len(columns))), [np.eye(len(columns))])
    table = pa.table(dict(zip("xyz", columns, strict=False)))
    return float(trivial_losses(trivial_sums(scorer, table, None), scorer, table, None).values.mean())


def test_a_degenerate_covariance_leaves_out_what_does_not_vary() -> None:
    """A constant or a copied number adds only its part of the constant, as in Spark; constants alone do no harm."""
    x = DICE.normal(0.0, 1.0, 200)
    part = math.log(2 * math.pi) / 2
    assert spread_of(x, np.full(200, 7.0)) == pytest.approx(spread_of(x) + part, rel=1e-9)
    assert spread_of(x, x) == pytest.approx(spread_of(x) + part + math.log(math.sqrt(2)), rel=1e-9)
    assert spread_of(np.ones(5)) == pytest.approx(part)


def test_categories_are_one_hot_positions_of_the_single_gaussian() -> None:
    """Those that the scorer knows, in its order; the blocks' covariance is singular where it knows all."""
    one_hot = np.stack([np.array(ROWS["sort"]) == sort for sort in ("b", "a")], axis=1)
    values = np.column_stack([(ROWS["x"].to_numpy() - 1e6) * 0.5, one_hot])
    normal = multivariate_normal(values.mean(axis=0), np.cov(values.T, bias=True))
    expected = -np.log(normal.pdf(values) + EPSILON) - math.log(0.5)
    assert judged("sorts").values == pytest.approx(expected, rel=1e-9)
    every = sorted_mixture(["c", "a", "b"])
    losses = trivial_losses(trivial_sums(every, ROWS, None), every, ROWS, None)
    assert np.isfinite(losses.values).all()
