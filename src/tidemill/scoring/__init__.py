"""Scorers: fitted Spark models as numpy arrays, without Spark.

A scorer file is one ``.npz`` of float64 arrays and one JSON text; it is read without pickle. ``load`` makes the scorer.
"""

from __future__ import annotations

from pathlib import Path

from tidemill.errors import CatalogError
from tidemill.scoring.base import Kind, Prediction, RowScorer, Scorer, row_scorer
from tidemill.scoring.features import Feature
from tidemill.scoring.kmeans import KMeansScorer
from tidemill.scoring.linear import LinearScorer, LogisticScorer
from tidemill.scoring.storage import Stored, read

__all__ = ["SCORERS", "Feature", "Kind", "Prediction", "RowScorer", "Scorer", "load", "row_scorer"]

SCORERS: dict[str, type[Scorer]] = {
    "LogisticRegression": LogisticScorer,
    "LinearRegression": LinearScorer,
    "KMeans": KMeansScorer,
}


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
