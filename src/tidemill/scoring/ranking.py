"""The best of many, in an order that never depends on chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidemill.scoring.storage import Array


def lowest(values: Array, top: int) -> NDArray[np.intp]:
    """The places of the ``top`` lowest of ``values`` (n,), the lowest first, equal ones in their own order."""
    if top < len(values):
        places = np.flatnonzero(values <= np.partition(values, top - 1)[top - 1])
    else:
        places = np.arange(len(values))
    ranked: NDArray[np.intp] = places[np.argsort(values[places], kind="stable")][:top]
    return ranked
