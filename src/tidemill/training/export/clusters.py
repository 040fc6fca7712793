"""The models that cluster."""

from __future__ import annotations

import numpy as np
from pyspark.ml.clustering import KMeansModel

from tidemill.training.export.arrays import Exported


def k_means(model: KMeansModel) -> Exported:
    return {"distance": model.getDistanceMeasure()}, {"centres": np.array(model.clusterCenters(), dtype=np.float64)}
