"""The quality of a recommender: its scorer compared with Spark's ALS, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml import PipelineModel

from tidemill.errors import ParityFailed
from tidemill.scoring.als import AlsScorer, Places
from tidemill.scoring.parity import REPORT_IT, counted
from tidemill.training import evaluate
from tidemill.training.features import column, spark_name
from tidemill.training.probes import UNSEEN, Probes, spread
from tidemill.training.registry import Metrics, TrainingInputs, TrainingJob, TrainingStats
from tidemill.training.rows import AT_ONCE
from tidemill.training.sampling import PROBE, sample, with_probes

RATING = "__rating"  # the column of ratings, 1 in every row, of a model without ratings

MOST_IDS = 600  # users, and items, that probes are made of
FOLDED_USERS = 50  # trained users whose factor is folded in for comparison
RANKED_USERS = 1_000
RANKED = 10
GAINS = 1.0 / np.log(np.arange(RANKED) + 2.0)  # of a wanted item at each place
SCORE_TOLERANCE = 1e-5  # relative to max(1, |score|): Spark's are of 32 bits
FACTOR_TOLERANCE = 1e-4  # relative to the factor's length

EXPLICIT_METRICS = evaluate.NAMES["regression"]
IMPLICIT_METRICS = (f"ndcg_at_{RANKED}", f"precision_at_{RANKED}")


class Ratings(NamedTuple):
    """All ratings of a generation, sorted by user: the indices of user and item (-1 for one without a factor), the
    rating, and whether its row is held out."""

    users: Places
    items: Places
    values: NDArray[np.float64]
    held: NDArray[np.bool_]

    def take(self, rows: Any) -> Ratings:
        """The ratings of ``rows``: a mask, a slice or indices."""
        return Ratings(self.users[rows], self.items[rows], self.values[rows], self.held[rows])

    def of(self, user: int) -> Ratings:
        """The ratings of one user."""
        return self.take(slice(*np.searchsorted(self.users, (user, user + 1))))


def rating_column(inputs: TrainingInputs) -> str:
    """The name in Spark of the column of ratings."""
    return spark_name(inputs.model.rating) if inputs.model.rating else RATING


# --- parity ----------------------------------------------------------------------------------------------------------


def parity_of(job: TrainingJob, scorer: AlsScorer, fitted: PipelineModel) -> dict[str, Any]:
    """The report on a sample of all pairs, their rows held out or not, and on probes of users and items.

    Raises:
        ParityFailed: Spark's score of a pair and the scorer's differ by more than ``SCORE_TOLERANCE``, relative to
            max(1, |Spark's|).
    """
    inputs = job.inputs
    names = [str(inputs.model.user), str(inputs.model.item)]
    real = sample(job.usable(), [inputs.columns[name] for name in names])
    made, probed = pair_probes(inputs, scorer)
    scored = fitted.transform(job.training.sparkSession.createDataFrame(with_probes(real, made)))
    table = scored.select(*[column(name) for name in names], "prediction", PROBE).toArrow()
    return compare(scorer, table, names) | {"probed": probed}


def pair_probes(inputs: TrainingInputs, scorer: AlsScorer) -> Probes:
    """Pairs of up to ``MOST_IDS`` users and as many items, and pairs with an unknown user, item or both."""
    roles = {str(inputs.model.user): scorer.users, str(inputs.model.item): scorer.items}
    ids = {name: spread(list(known), MOST_IDS) for name, known in roles.items()}
    types = {name: int if inputs.kinds[name] == "int" else str for name in roles}
    unknown = {name: unknown_id(known, inputs.kinds[name]) for name, known in roles.items()}
    most = max(map(len, ids.values()))
    pairs = [{name: values[index % len(values)] for name, values in ids.items()} for index in range(most)]
    pairs += [unknown, *(pairs[0] | {name: value} for name, value in unknown.items())]
    probed = {"ids": [sum(map(len, known.values())) for known in (ids, roles)]}
    return Probes([{name: types[name](value) for name, value in pair.items()} for pair in pairs], probed)


def unknown_id(known: Mapping[str, int], kind: str) -> str:
    """An id, as text, that is not in ``known``."""
    names = (str(number) if kind == "int" else f"{UNSEEN} {number}" for number in count())
    return next(name for name in names if name not in known)


def compare(scorer: AlsScorer, scored: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    """The report, as ``parity.counted``, on pairs that Spark has scored. Ids are looked up as those of a request.

    Raises:
        ParityFailed: a score differs by more than ``SCORE_TOLERANCE``.
    """
    users, items = (
        np.array([known.get(value, -1) for value in scored[name].cast(pa.string()).to_pylist()], dtype=np.intp)
        for name, known in zip(map(spark_name, names), (scorer.users, scorer.items), strict=True)
    )
    spark = scored["prediction"].to_numpy().astype(np.float64)
    ours = scorer.predict(users, items).astype(np.float64)
    differences = np.abs(ours - spark) / np.maximum(1.0, np.abs(spark))
    differences[np.isnan(ours) & np.isnan(spark)] = 0.0
    equal = differences <= SCORE_TOLERANCE  # NaN is not
    if not equal.all():
        first = int(np.argmin(equal))
        part = f"the score of {int((~equal).sum())} of {len(spark)} rows"
        raise parity_failure(scorer.model, part, spark[first], ours[first])
    return counted(equal, largest(differences), scored[PROBE].to_numpy())


def compare_factors(scorer: AlsScorer, ratings: Ratings) -> dict[str, Any]:
    """``{"fold_ins", "max_fold_in_difference"}``: up to ``FOLDED_USERS`` trained users, their factors folded in from
    their training ratings and compared with Spark's: the length of the difference, relative to that of the factor.

    Raises:
        ParityFailed: one differs by more than ``FACTOR_TOLERANCE``.
    """
    training = ratings.take(~ratings.held)
    chosen = spread(range(len(scorer.users)), FOLDED_USERS)
    differences = np.array([factor_difference(scorer, training.of(user), user) for user in chosen])
    report = {"fold_ins": len(chosen), "max_fold_in_difference": largest(differences)}
    if not (differences <= FACTOR_TOLERANCE).all():
        worst = report["max_fold_in_difference"]
        raise parity_failure(scorer.model, f"the factor of a user, by {worst:.3g} of its length", "its own", "another")
    return report


def factor_difference(scorer: AlsScorer, own: Ratings, user: int) -> float:
    """How far the factor folded in from the user's ``own`` ratings is from Spark's, relative to its length."""
    spark = scorer.user_factors[user].astype(np.float64)
    apart = float(np.linalg.norm(scorer.fold_in(own.items, own.values.astype(np.float64)) - spark))
    return apart / max(float(np.linalg.norm(spark)), float(np.finfo(np.float32).tiny)) if apart else 0.0


def largest(differences: NDArray[np.float64]) -> float:
    return float(differences.max()) if len(differences) else 0.0


def parity_failure(model: str, part: str, spark: object, scorer: object) -> ParityFailed:
    """The error for a scorer that differs from Spark in this ``part`` of its answers."""
    return ParityFailed(
        f"the scorer of {model} differs from Spark in {part}: Spark {spark}, scorer {scorer}",
        REPORT_IT,
    )


# --- metrics ------------------------------------------------------------------------------------------------------


def metrics_of(inputs: TrainingInputs, scorer: AlsScorer, ratings: Ratings, stats: TrainingStats) -> Metrics:
    """The metrics on held-out rows whose user and item were trained; ``cold_rows`` counts the other held-out rows.

    Explicit ratings: RMSE, MAE and R² (``RegressionEvaluator``). Implicit ones, whose scores are preferences: how many
    of the first ten items for a user, without those of training, are in the user's held-out rows
    (``RankingEvaluator``). Without a holdout the same on the training rows, each named ``training_...``.
    """
    implicit = scorer.settings.implicit
    names = IMPLICIT_METRICS if implicit else EXPLICIT_METRICS
    on_training = not stats.rows["holdout"]
    if on_training and stats.holds_out:
        return dict.fromkeys([*names, "cold_rows"])
    warm = (ratings.users >= 0) & (ratings.items >= 0) & (ratings.held != on_training)
    cold = stats.rows["train" if on_training else "holdout"] - int(warm.sum())
    if not warm.any():
        metrics: Metrics = dict.fromkeys(names)
    else:
        metrics = (ranking if implicit else errors)(scorer, ratings.take(warm), ratings)
    if on_training:
        return {f"training_{name}": value for name, value in metrics.items()}
    return metrics | {"cold_rows": cold}


def errors(scorer: AlsScorer, wanted: Ratings, ratings: Ratings) -> Metrics:
    """RMSE, MAE and R² of the ``wanted`` ratings."""
    sums = evaluate.ValueSums()
    for start in range(0, len(wanted.users), AT_ONCE):
        part = wanted.take(slice(start, start + AT_ONCE))
        sums.add(part.values, scorer.predict(part.users, part.items).astype(np.float64))
    return sums.metrics()


def ranking(scorer: AlsScorer, wanted: Ratings, ratings: Ratings) -> Metrics:
    """NDCG and precision of the first ten items, over up to ``RANKED_USERS`` users.

    A user's training items are neither recommended nor wanted, unless ``wanted`` are the training rows.
    """
    training = ratings.take((ratings.users >= 0) & ~ratings.held)
    liked = wanted.take(wanted.values > 0)
    gains, precisions = [], []
    for user in spread(np.unique(liked.users).tolist(), RANKED_USERS):
        known = training.of(user).items if wanted.held.any() else np.zeros(0, dtype=np.intp)
        own = np.setdiff1d(liked.of(user).items, known)
        if len(own):
            hits = np.isin(scorer.best(scorer.user_factors[user], known, RANKED)[0], own)
            gains.append(float(GAINS[: len(hits)][hits].sum() / GAINS[: len(own)].sum()))
            precisions.append(int(hits.sum()) / RANKED)
    if not gains:
        return dict.fromkeys(IMPLICIT_METRICS)
    return dict(zip(IMPLICIT_METRICS, (float(np.mean(gains)), float(np.mean(precisions))), strict=True))
