"""The scorer of GaussianMixture: each cluster is a normal distribution."""

from __future__ import annotations

import numpy as np

from tidemill.scoring.base import RowScores, first_highest, scorer_of
from tidemill.scoring.clusters import ClusterScorer
from tidemill.scoring.features import Encoded, product
from tidemill.scoring.storage import Array, Stored

EPSILON = float(np.finfo(np.float64).eps)  # Spark's Utils.EPSILON, which it adds to every density


@scorer_of("GaussianMixture")
class MixtureScorer(ClusterScorer):
    """The most likely distribution, the first of equally likely ones. Its mean is the cluster's centre.

    As Spark's ``GaussianMixtureModel.predictProbability`` and ``MultivariateGaussian``. The arrays are the latter's
    constants: for a covariance U D U' the root D^(-1/2) U', its product with the mean, and the log of the density at
    the mean.

    Arrays: ``weights`` (k,); ``centres`` (k, positions), the means; ``roots`` (k, positions, positions); ``offsets``
    (k, positions); ``peaks`` (k,).
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.weights = stored.arrays["weights"]
        self.peaks = stored.arrays["peaks"]
        self.offsets = stored.arrays["offsets"]
        self.root_matrices = stored.arrays["roots"]
        count, places = self.offsets.shape
        self.roots = self.encoder.split(self.root_matrices.reshape(count * places, places).T)

    def score(self, encoded: Encoded) -> RowScores:
        densities = self.densities(encoded)
        probability = densities / densities.sum(axis=1, keepdims=True)
        return RowScores(first_highest(probability), probability=probability, margin=probability)

    def densities(self, encoded: Encoded) -> Array:
        """(n, k): each distribution's weight times its density, plus ``EPSILON``."""
        rotated = product(encoded, self.roots).reshape(-1, *self.offsets.shape)
        gaps = self.offsets - rotated
        with np.errstate(over="ignore"):
            density = np.exp(self.peaks - 0.5 * np.einsum("nkp,nkp->nk", gaps, gaps))
        densities: Array = EPSILON + self.weights * density
        return densities
