"""How the generations of a model are judged: by which losses, and against which trivial model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar, cast

import pyarrow as pa

from tidemill.judging import recommenders
from tidemill.judging.losses import Losses
from tidemill.judging.questions import Terms
from tidemill.judging.recommenders import RatingSums
from tidemill.judging.row_losses import row_losses
from tidemill.judging.trivial import TrivialSums, trivial_losses, trivial_sums
from tidemill.pipeline import Model
from tidemill.scoring import ROW_KINDS, RowScorer, Scorer, kind_of
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.clusters import ClusterScorer

Sums = TypeVar("Sums")


class Measure(ABC, Generic[Sums]):
    """One loss of a model's generations.

    ``decides``: whether verdicts go by it.
    """

    decides = True

    @abstractmethod
    def losses(self, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        """The losses of a generation on these rows. ``own``: they are held-out rows of a batch it was trained on."""

    @abstractmethod
    def sums(self, scorer: Scorer, training: pa.Table) -> Sums | None:
        """What the trivial model needs of one batch's training rows; additive over batches. None: nothing."""

    @abstractmethod
    def trivial(self, sums: Sums | None, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        """The losses of the trivial model of a generation on the rows that the generation has a loss on."""


class RowMeasure(Measure[TrivialSums]):
    """The loss of a model that predicts for a row. Clusters are measured in the feature space of ``common``."""

    def __init__(self, label: str | None, common: ClusterScorer | None) -> None:
        self.label = label
        self.common = common

    def losses(self, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        return row_losses(cast(RowScorer, scorer), table, self.label, self.common)

    def sums(self, scorer: Scorer, training: pa.Table) -> TrivialSums:
        return trivial_sums(cast(RowScorer, scorer), training, self.label, self.common)

    def trivial(self, sums: TrivialSums | None, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        assert sums is not None
        return trivial_losses(sums, cast(RowScorer, scorer), table, self.label, self.common)


class RatingMeasure(Measure[RatingSums]):
    """The absolute error of a recommender's explicit ratings, on rows whose user and item were trained."""

    def __init__(self, user: str, item: str, rating: str) -> None:
        self.columns = (user, item, rating)

    def losses(self, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        return recommenders.rating_losses(cast(AlsScorer, scorer), table, *self.columns)

    def sums(self, scorer: Scorer, training: pa.Table) -> RatingSums:
        return recommenders.rating_sums(training, self.columns[2])

    def trivial(self, sums: RatingSums | None, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        assert sums is not None
        return recommenders.mean_rating_losses(sums, cast(AlsScorer, scorer), table, *self.columns)


class RankingMeasure(Measure[None]):
    """1 - NDCG@10 per user. Where it does not decide, of users alone who were never trained."""

    def __init__(self, user: str, item: str, rating: str | None, decides: bool) -> None:
        self.columns = (user, item, rating)
        self.decides = decides

    def losses(self, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        return recommenders.ranking_losses(cast(AlsScorer, scorer), table, *self.columns, **self._terms(own))

    def sums(self, scorer: Scorer, training: pa.Table) -> None:
        return None

    def trivial(self, sums: None, scorer: Scorer, table: pa.Table, own: bool = False) -> Losses:
        return recommenders.popularity_losses(cast(AlsScorer, scorer), table, *self.columns, **self._terms(own))

    def _terms(self, own: bool) -> Terms:
        """Everybody is asked for the same half of their items, whichever generations know them."""
        return {"only_new": not self.decides, "held_out": own, "paired": True}


def measures_of(model: Model, first: Scorer) -> list[Measure[Any]]:
    """The measures of a model, the deciding one first; none where there is no truth to judge by.

    Args:
        first: the scorer of one of the model's generations; of clusters, the one in whose feature space they are
            measured.
    """
    kind = kind_of(model.estimator)
    if kind in ROW_KINDS:
        return [RowMeasure(model.label, first if isinstance(first, ClusterScorer) else None)]
    if not isinstance(first, AlsScorer):
        return []
    assert model.user is not None
    assert model.item is not None
    if first.settings.implicit or model.rating is None:
        return [RankingMeasure(model.user, model.item, model.rating, decides=True)]
    return [
        RatingMeasure(model.user, model.item, model.rating),
        RankingMeasure(model.user, model.item, model.rating, decides=False),
    ]
