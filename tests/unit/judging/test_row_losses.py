"""The losses of models that score rows: by hand, on the rows that have one."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.integrate import quad  # type: ignore[import-untyped]  # scipy has no types
from scipy.stats import multivariate_normal  # type: ignore[import-untyped]  # scipy has no types

from tests.support.row_scorers import k_means, line, logistic, mixture, row_model
from tidemill.judging.losses import (
    CLASS_FIGURES,
    VALUE_FIGURES,
    binomial_deviances,
    brier_score,
    calibration_error,
    class_figures,
    power_deviances,
    roc_area,
    weighted_f1,
)
from tidemill.judging.row_losses import row_losses
from tidemill.scoring import RowScorer
from tidemill.scoring.linear import GeneralizedLinearScorer

DICE = np.random.default_rng(1)
UNKNOWN = -math.log(1e-6)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def bayes() -> RowScorer:
    """A classifier that refuses negative numbers."""
    arrays = {"prior": np.log([0.5, 0.5]), "theta": np.log([[0.3, 0.7]])}
    return row_model("NaiveBayes", {"x": None}, arrays, [0, 1], model_type="multinomial")


def vector() -> RowScorer:
    """A classifier without probabilities: class 1 where x > 0."""
    arrays = {"coefficients": [[1.0]], "intercept": [0.0], "threshold": [0.0]}
    return row_model("LinearSVC", {"x": None}, arrays, [0, 1])


# --- classification -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "kind", "other"),
    [
        ([0, 1], pa.int64(), 7),
        ([0.0, 1.0], pa.float64(), 0.5),
        ([False, True], pa.bool_(), None),
        (["no", "yes"], pa.string(), "else"),
    ],
)
def test_a_classifier_loses_minus_the_log_of_the_true_class(classes: list[Any], kind: pa.DataType, other: Any) -> None:
    """Labels of every type are matched with their classes; a row without a feature or label has no loss, and a class
    that the model does not know has probability 0, clipped to 1e-6."""
    no, yes = classes
    table = pa.table(
        {"x": [2.0, None, -1.0, 3.0, 0.5], "label": pa.array([yes, yes, yes, None, other], kind), "more": ["a"] * 5}
    )
    losses = row_losses(logistic([no, yes]), table, "label")
    expected = [-math.log(sigmoid(2)), -math.log(sigmoid(-1))] + ([UNKNOWN] if other is not None else [])
    assert losses.name == "log loss"
    assert losses.units.tolist() == [0, 2, 4][: len(expected)]
    assert losses.values == pytest.approx(expected)
    assert losses.wrong is not None
    assert losses.wrong.tolist() == [False, True, True][: len(expected)]
    assert losses.shown["accuracy"] == pytest.approx(1 / len(expected))


def test_one_class_in_training_has_two_probabilities() -> None:
    """Where LogisticRegression saw a single class, that class is certain, and any other costs the most."""
    arrays = {"coefficients": [[0.0]], "intercept": [-np.inf], "threshold": [0.5]}
    scorer = row_model("LogisticRegression", {"x": None}, arrays, ["only"])
    losses = row_losses(scorer, pa.table({"x": [1.0, 2.0], "label": ["only", "other"]}), "label")
    assert losses.values == pytest.approx([0.0, UNKNOWN])
    assert losses.shown == {"accuracy": 0.5, "f1": 0.5 * 2 / 3, "auc": None, "brier": 0.5, "calibration": 0.5}


def test_without_probabilities_the_loss_is_the_0_1_error() -> None:
    """A LinearSVC loses 1 for a wrong class; its rows still rank by their margin."""
    table = pa.table({"x": [1.0, -1.0, 2.0, -2.0], "label": [1, 1, 1, 0]})
    losses = row_losses(vector(), table, "label")
    assert losses.name == "0/1 error"
    assert losses.values.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert losses.shown == {
        "accuracy": 0.75,
        "f1": pytest.approx(0.75 * 0.8 + 0.25 * 2 / 3),
        "auc": 1.0,
    } | dict.fromkeys(["brier", "calibration"])


def test_rows_that_a_model_refuses_are_left_out() -> None:
    """A NaiveBayes takes no negative number: such a row has no loss, and the others keep theirs."""
    table = pa.table({"x": [1.0, -1.0, 2.0, -5.0, 0.0], "label": [1, 1, 0, 0, 1]})
    losses = row_losses(bayes(), table, "label")
    alone = row_losses(bayes(), table.take([0, 2, 4]), "label")
    assert losses.units.tolist() == [0, 2, 4]
    assert losses.values.tolist() == alone.values.tolist()
    assert losses.shown == alone.shown


def test_the_figures_of_classes_are_their_definitions() -> None:
    """F1, AUC, Brier score and calibration on random rows with ties are those of plain loops over rows and pairs."""
    codes, guessed = DICE.integers(-1, 3, 300), DICE.integers(0, 3, 300)
    f1 = 0.0
    for one in range(3):
        hits = sum((codes == one) & (guessed == one))
        f1 += sum(codes == one) * 2 * hits / (sum(codes == one) + sum(guessed == one)) / 300
    assert weighted_f1(codes, guessed, 3) == pytest.approx(f1)
    two, scores = codes % 2, DICE.integers(0, 20, 300) / 20
    pairs = [(up > low) + (up == low) / 2 for up, low in product(scores[two == 1], scores[two == 0])]
    assert roc_area(two, scores) == pytest.approx(np.mean(pairs))
    assert roc_area(codes, scores) is None  # not all rows are of the two classes
    assert roc_area(np.ones(3, np.int64), scores[:3]) is None
    probability = DICE.dirichlet([1, 1, 1], 300)
    brier = np.mean(
        [
            sum((row[c] - (c == code)) ** 2 for c in range(3)) + (code == -1)
            for row, code in zip(probability, codes, strict=True)
        ]
    )
    assert brier_score(codes, probability) == pytest.approx(brier)
    right = DICE.random(300) < 0.7
    gaps = [abs(sum(right[(part := (scores * 10).astype(int).clip(0, 9) == b)]) - sum(scores[part])) for b in range(10)]
    assert calibration_error(right, scores) == pytest.approx(sum(gaps) / 300)
    assert set(class_figures(codes, guessed, 3, None, probability)) == set(CLASS_FIGURES)


def test_two_classes_have_the_usual_brier_score() -> None:
    """With two classes the Brier score is the mean of (p - y)**2, from 0 to 1."""
    losses = row_losses(logistic(), pa.table({"x": [2.0, -1.0], "label": [1, 1]}), "label")
    assert losses.shown["brier"] == pytest.approx(((1 - sigmoid(2)) ** 2 + (1 - sigmoid(-1)) ** 2) / 2)


# --- regression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.float64(), pa.int64()])
def test_a_regression_loses_the_absolute_error(kind: pa.DataType) -> None:
    """The loss is |label - prediction|; a row without a finite prediction has none."""
    table = pa.table({"x": [0.0, 1.0, None, 2.0, 1.7e308], "label": pa.array([3, 3, 3, 2, 1], kind)})
    losses = row_losses(line(), table, "label")
    assert losses.name == "absolute error"
    assert losses.units.tolist() == [0, 1, 3]
    assert losses.values.tolist() == [2.0, 0.0, 3.0]
    labels = np.array([3.0, 3.0, 2.0])
    assert losses.shown == pytest.approx(
        {"rmse": math.sqrt(13 / 3), "mae": 5 / 3, "bias": 1 / 3, "r2": 1 - 13 / ((labels - labels.mean()) ** 2).sum()}
    )


def test_r2_is_none_where_all_labels_are_the_same() -> None:
    """There is no variance to explain then."""
    shown = row_losses(line(), pa.table({"x": [0.0, 1.0], "label": [2.0, 2.0]}), "label").shown
    assert (shown["r2"], shown["rmse"], shown["bias"]) == (None, 1.0, 0.0)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.3, 1.7, 2.0, 3.0])
def test_a_deviance_is_the_integral_that_defines_it(power: float) -> None:
    """The unit deviance is 2 times the integral of (y - t) / t**p from the mean to the label."""
    for label, mean in [(3.0, 1.5), (0.4, 2.0), (0.05, 0.1), (2.0, 2.0)]:
        expected = 2 * quad(lambda t: (label - t) / t**power, mean, label)[0]  # noqa: B023  # used within the loop
        assert power_deviances(np.array([label]), np.array([mean]), power) == pytest.approx([expected], abs=1e-12)


def test_a_binomial_deviance_is_twice_the_log_loss() -> None:
    """Of a label 0 or 1; a label between has less, and none where the mean is the label."""
    means = np.array([0.3, 0.3, 0.3, 0.3, 0.3])
    deviances = binomial_deviances(np.array([1.0, 0.0, 0.3, 1.2, -1.0]), means)
    assert deviances[:3] == pytest.approx([-2 * math.log(0.3), -2 * math.log(0.7), 0.0], abs=1e-12)
    assert np.isnan(deviances[3:]).all()


@pytest.mark.parametrize(
    ("family", "labels", "units"),
    [
        ("gaussian", [-1.0, 0.0, 2.0], [0, 1, 2]),
        ("poisson", [-1.0, 0.0, 2.0], [1, 2]),
        ("tweedie", [-1.0, 0.0, 2.0], [1, 2]),
        ("gamma", [-1.0, 0.0, 2.0], [2]),
        ("binomial", [-1.0, 0.0, 2.0], [1]),
    ],
)
def test_a_label_outside_the_family_has_no_deviance(family: str, labels: list[float], units: list[int]) -> None:
    """A generalized linear model loses its family's deviance, on the labels that the family allows."""
    link = {"link": "logit", "power": None} if family == "binomial" else {"link": "power", "power": 0.0}
    scorer = line("GeneralizedLinearRegression", family=family, **link, variance_power=1.4)
    losses = row_losses(scorer, pa.table({"x": [0.1, 0.2, 0.3], "label": labels}), "label")
    assert losses.name == f"{family} deviance"
    assert losses.units.tolist() == units
    assert (losses.values > 0).all()


@pytest.mark.parametrize(
    ("text", "power"),
    [
        ({"family": "poisson", "power": 0.0}, 1.0),
        ({"family": "tweedie", "power": 0.0, "variance_power": 1.7}, 1.7),
        ({"family": "tweedie", "power": 1 - 1.2}, 1.2),
        ({"family": "tweedie", "power": 0.5}, 1.5),
    ],
)
def test_scorer_files_without_the_power_of_the_variance_stay_readable(text: dict[str, Any], power: float) -> None:
    """It follows from the family, or of a Tweedie family from the link's power where that is the default one."""
    scorer = line("GeneralizedLinearRegression", link="power", **text)
    assert isinstance(scorer, GeneralizedLinearScorer)
    assert scorer.variance_power == pytest.approx(power)


# --- clustering ---------------------------------------------------------------------------------------------------

SCALING = [[10.0, 20.0], [0.5, 0.1], [0.0, 0.0]]  # (x - 10) / 2, (y - 20) / 10


def test_distances_of_all_generations_are_in_one_scaling() -> None:
    """A later generation's rows go to its own clusters, and their distances are measured in the first one's space."""
    first = k_means([[0.0, 0.0], [2.0, 2.0]], scaling=np.array(SCALING))
    later = k_means([[1.0, 1.0], [10.0, 30.0]], numbers=[5, 3])  # unscaled
    table = pa.table({"x": [10.0, None, 1.0], "y": [30.0, 1.0, 2.0]})
    losses = row_losses(later, table, None, first)
    assert losses.name == "squared distance"
    assert losses.units.tolist() == [0, 2]
    assert losses.answers is not None
    assert losses.answers.tolist() == [3, 5]
    assert losses.values == pytest.approx([0.0, 0.1**2])
    assert row_losses(later, table, None).values == pytest.approx([0.0, 1.0])


def test_a_category_that_only_a_later_generation_knows_is_a_block_of_zeros() -> None:
    """In the common space the centre's share of that category is dropped, and the row has no category."""
    first = k_means([[0.0, 1.0]], {"x": None, "sort": ["old"]})
    later = k_means([[4.0, 0.25, 0.75], [9.0, 1.0, 0.0]], {"x": None, "sort": ["old", "new"]})
    losses = row_losses(later, pa.table({"x": [4.0, 4.0], "sort": ["new", "old"]}), None, first)
    assert losses.values == pytest.approx([0.25**2, 0.75**2])


def test_cosine_distances_are_of_angles() -> None:
    """A clustering by the cosine loses 1 - cos; a row of zeros has no direction, so no loss, in either space."""
    scorer = k_means([[1.0, 0.0], [0.0, 3.0]], distance="cosine")
    table = pa.table({"x": [2.0, 0.0, 1.0, 10.0], "y": [2.0, 0.0, 9.0, 20.0]})
    losses = row_losses(scorer, table, None)
    assert losses.name == "cosine distance"
    assert losses.units.tolist() == [0, 2, 3]
    assert losses.values == pytest.approx([1 - math.sqrt(0.5), 1 - 9 / math.sqrt(82), 1 - 2 / math.sqrt(5)])
    shifted = k_means([[1.0, 0.0]], distance="cosine", scaling=np.array(SCALING))
    assert row_losses(scorer, table, None, shifted).units.tolist() == [0, 2]  # the last is all 0 when scaled


def test_every_row_is_at_a_right_angle_to_a_centre_without_direction() -> None:
    """A centre that is all 0 in the common space has the cosine distance 1 to any row, as in the clusters' profile."""
    common = k_means([[1.0, 0.0]], distance="cosine", scaling=np.array(SCALING))
    scorer = k_means([[10.0, 20.0]], distance="cosine")
    losses = row_losses(scorer, pa.table({"x": [3.0, -4.0], "y": [5.0, 1.0]}), None, common)
    assert losses.values.tolist() == [1.0, 1.0]


def test_a_mixture_loses_minus_the_log_density_in_original_units() -> None:
    """Mixtures in other scalings compare: each loses what scipy says of the same distributions without scaling."""
    shift, factor, _ = np.array(SCALING)
    means, covariance = np.array([[0.0, 0.5], [3.0, 1.0]]), np.array([[1.0, 0.3], [0.3, 0.5]])
    scaled = mixture([0.3, 0.7], means, [covariance, np.eye(2)], SCALING)
    values = np.array([[10.0, 25.0], [15.0, 31.0], [11.0, 20.0]])
    back = [np.diag(1 / factor) @ one @ np.diag(1 / factor) for one in (covariance, np.eye(2))]
    density = sum(
        weight * multivariate_normal.pdf(values, mean / factor + shift, spread)
        for weight, mean, spread in zip([0.3, 0.7], means, back, strict=True)
    )
    table = pa.table({"x": values[:, 0], "y": values[:, 1]})
    losses = row_losses(scaled, table, None)
    assert losses.name == "minus log density"
    assert losses.values == pytest.approx(-np.log(density), rel=1e-12)
    unscaled = mixture([0.3, 0.7], means / factor + shift, back)
    assert row_losses(unscaled, table, None).values == pytest.approx(losses.values, rel=1e-12)


# --- all kinds ----------------------------------------------------------------------------------------------------

KINDS: list[tuple[RowScorer, tuple[str, ...]]] = [
    (logistic(), CLASS_FIGURES),
    (vector(), CLASS_FIGURES),
    (bayes(), CLASS_FIGURES),
    (line(), VALUE_FIGURES),
    (line("GeneralizedLinearRegression", family="gamma", link="power", power=0.0), VALUE_FIGURES),
    (k_means([[1.0], [2.0]], {"x": None}), ()),
    (k_means([[1.0], [2.0]], {"x": None}, distance="cosine"), ()),
    (mixture([1.0], [[0.0]], [np.eye(1)], [[0.0], [0.0], [1.0]]), ()),
]


@pytest.mark.parametrize(("scorer", "figures"), KINDS, ids=lambda part: getattr(part, "estimator", ""))
def test_no_rows_have_no_losses(scorer: RowScorer, figures: tuple[str, ...]) -> None:
    """A table without rows, or with none that has its values, gives no losses, and None for each figure."""
    schema = pa.schema({"x": pa.float64(), "label": pa.int64()})
    for table in (schema.empty_table(), pa.table({"x": [None, 1.0 if figures else None], "label": [1, None]}, schema)):
        losses = row_losses(scorer, table, "label")
        assert (len(losses.units), len(losses.values)) == (0, 0)
        assert losses.shown == dict.fromkeys(figures)


@pytest.mark.parametrize(("scorer", "figures"), KINDS, ids=lambda part: getattr(part, "estimator", ""))
def test_losses_are_finite_on_any_rows(scorer: RowScorer, figures: tuple[str, ...]) -> None:
    """Far values give a finite loss or none, without a warning."""
    xs = [0.0, 1e-300, -1e-300, 1e9, -1e9, 1e200, -1e200, 1.7e308, -1.7e308]
    losses = row_losses(scorer, pa.table({"x": xs, "label": [0, 1, 1] * 3}), "label")
    assert np.isfinite(losses.values).all()
    assert len(losses.units) == len(losses.values) > 0


@pytest.mark.parametrize("scorer", [logistic(), line()])
def test_a_model_that_learns_needs_its_label(scorer: RowScorer) -> None:
    """The error names the model."""
    with pytest.raises(ValueError, match="tried, a L"):
        row_losses(scorer, pa.table({"x": [1.0]}), None)
