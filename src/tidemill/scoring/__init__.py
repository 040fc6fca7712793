"""Scorers: fitted Spark models as numpy arrays, without Spark.

A scorer file is one ``.npz`` of float64 arrays and one JSON text; it is read without pickle. :func:`load` returns its
scorer. Each module of this package registers its scorer classes with :func:`tidemill.scoring.base.scorer_of`; all
modules are imported here, so a new module needs no entry in a list.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from tidemill.errors import CatalogError
from tidemill.scoring.base import SCORERS, Kind, Prediction, PredictionColumns, RowScorer, Scorer, row_scorer
from tidemill.scoring.features import Feature
from tidemill.scoring.storage import Stored, read

__all__ = [
    "ROW_KINDS",
    "SCORERS",
    "Feature",
    "Kind",
    "Prediction",
    "PredictionColumns",
    "RowScorer",
    "Scorer",
    "kind_of",
    "load",
    "make_scorer",
    "row_scorer",
]

ROW_KINDS: tuple[Kind, ...] = ("classification", "regression", "clustering")  # kinds that predict for a row

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def kind_of(estimator: str) -> Kind:
    """The kind of a model of this estimator."""
    return SCORERS[estimator].kind


def make_scorer(stored: Stored) -> Scorer:
    """The scorer of a scorer file's content.

    Raises:
        KeyError, ValueError, TypeError, IndexError: the content is not that of a scorer.
    """
    return SCORERS[stored.text["estimator"]](stored)


def load(path: Path, sha256: str | None = None) -> Scorer:
    """The scorer in the file ``path``.

    Raises:
        CatalogError: the file can't be read, is not a scorer file, or its bytes don't have the given sha256.
    """
    stored = read(path, sha256)
    try:
        return make_scorer(stored)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise broken(path, stored, error) from error


def broken(path: Path, stored: Stored, error: Exception) -> CatalogError:
    return CatalogError(
        f"{path} is not a scorer file of this Tidemill (estimator {stored.text.get('estimator')}): {error!r}",
        "remove this generation's folder and start the run again with --fresh",
    )
