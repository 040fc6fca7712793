"""NaiveBayes."""

from __future__ import annotations

from pyspark.ml.classification import NaiveBayesModel

from tidemill.training.export.arrays import Exported, matrix, thresholds, values


def naive_bayes(model: NaiveBayesModel) -> Exported:
    kind = model.getModelType()
    arrays = {"prior": values(model.pi), **thresholds(model)}
    if kind == "gaussian":
        return {"model_type": kind}, arrays | {"mean": matrix(model.theta).T, "variance": matrix(model.sigma).T}
    return {"model_type": kind}, arrays | {"theta": matrix(model.theta).T}
