"""Scorers: fitted Spark models as numpy arrays, without Spark.

A scorer file is one ``.npz`` of float64 arrays and one JSON text; it is read without pickle. ``load`` makes the scorer.
"""

from __future__ import annotations

from pathlib import Path

from tidemill.errors import CatalogError
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.base import Kind, Prediction, RowScorer, Scorer, row_scorer
from tidemill.scoring.bayes import NaiveBayesScorer
from tidemill.scoring.clusters import BisectingScorer, KMeansScorer
from tidemill.scoring.features import Feature
from tidemill.scoring.linear import GeneralizedLinearScorer, LinearScorer, LogisticScorer, VectorScorer
from tidemill.scoring.mixture import MixtureScorer
from tidemill.scoring.neighbours import NeighboursScorer
from tidemill.scoring.storage import Stored, read
from tidemill.scoring.text import TextScorer
from tidemill.scoring.trees import BoostedClassScorer, TreeClassScorer, TreeValueScorer

__all__ = [
    "ROW_KINDS",
    "SCORERS",
    "Feature",
    "Kind",
    "Prediction",
    "RowScorer",
    "Scorer",
    "kind_of",
    "load",
    "row_scorer",
]

SCORERS: dict[str, type[Scorer]] = {
    "LogisticRegression": LogisticScorer,
    "LinearSVC": VectorScorer,
    "NaiveBayes": NaiveBayesScorer,
    "DecisionTreeClassifier": TreeClassScorer,
    "RandomForestClassifier": TreeClassScorer,
    "GBTClassifier": BoostedClassScorer,
    "LinearRegression": LinearScorer,
    "GeneralizedLinearRegression": GeneralizedLinearScorer,
    "DecisionTreeRegressor": TreeValueScorer,
    "RandomForestRegressor": TreeValueScorer,
    "GBTRegressor": TreeValueScorer,
    "KMeans": KMeansScorer,
    "BisectingKMeans": BisectingScorer,
    "GaussianMixture": MixtureScorer,
    "ALS": AlsScorer,
    "BucketedRandomProjectionLSH": NeighboursScorer,
    "IDF": TextScorer,
}


ROW_KINDS: tuple[Kind, ...] = ("classification", "regression", "clustering")  # of the scorers that predict for a row


def kind_of(estimator: str) -> Kind:
    """What a model of this estimator does."""
    return SCORERS[estimator].kind


def load(path: Path, sha256: str | None = None) -> Scorer:
    """The scorer in the file ``path``.

    Raises:
        CatalogError: it can't be read, is none, or its bytes don't have the sha256 given.
    """
    stored = read(path, sha256)
    try:
        return SCORERS[stored.text["estimator"]](stored)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise broken(path, stored, error) from error


def broken(path: Path, stored: Stored, error: Exception) -> CatalogError:
    return CatalogError(
        f"{path} is no scorer file of this Tidemill (estimator {stored.text.get('estimator')}): {error!r}",
        "remove this generation's folder and start the run again with --fresh",
    )
