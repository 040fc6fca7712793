"""The losses of one model on the rows of one batch: what two models are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.scoring.storage import Array

Indices = NDArray[np.int64]
Shown = dict[str, float | None]


@dataclass(frozen=True)
class Losses:
    """The losses of a model on n units: rows of a table, or users.

    Attributes:
        name: the loss, in words: "log loss", "absolute error".
        units: (n,) ascending. Of rows their index in the table, of users a number that depends on the user's id alone.
            A row on which the model has no loss, for a missing value, is left out.
        values: (n,) finite; lower is better.
        groups: (n,) units that depend on each other have the same number; None where only neighbours may depend on
            each other.
        wrong: (n,) of a classifier, whether its class is not the row's.
        answers: (n,) of a clustering, the number of the row's cluster.
        shown: further figures of the same rows, none of which decides: accuracy, RMSE and the like.
    """

    name: str
    units: Indices
    values: Array
    groups: Indices | None = None
    wrong: NDArray[np.bool_] | None = None
    answers: Indices | None = None
    shown: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def of_users(self) -> bool:
        """Whether the units are users instead of rows."""
        return self.name.endswith("NDCG@10")
