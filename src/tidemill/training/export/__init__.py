"""Fitted Spark models to scorer files: one function an estimator, beside the feature stages that all share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.ml.base import Transformer
from pyspark.ml.feature import MinMaxScalerModel, SQLTransformer, StandardScalerModel, StringIndexerModel

from tidemill.scoring import storage
from tidemill.scoring.storage import Array
from tidemill.training.export import bayes, clusters, linear, projections, trees
from tidemill.training.export.arrays import Exported, values
from tidemill.training.features import FILLED, LABEL, Inputs

T = TypeVar("T", bound=Transformer)


def export(path: Path, inputs: Inputs, fitted: PipelineModel, seen: Mapping[str, Any]) -> None:
    """Write the scorer file of a fitted model.

    Args:
        seen: minimum, maximum and example of each feature in the training rows: ``{feature: {"minimum": ...}}``.
    """
    text, arrays = EXPORTS[inputs.model.estimator](fitted.stages[-1])
    scaling = scaling_of(fitted)
    document = {
        "model": inputs.name,
        "estimator": inputs.model.estimator,
        "features": features_of(inputs, fitted, seen),
        "classes": classes_of(inputs, fitted),
        "labels": inputs.model.labels,
        **text,
    }
    storage.write(path, document, {**({} if scaling is None else {"scaling": scaling}), **arrays})


def features_of(inputs: Inputs, fitted: PipelineModel, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    indexer = next((one for one in stages_of(fitted, StringIndexerModel) if not makes_label(one)), None)
    filled = any(stages_of(fitted, SQLTransformer))
    labels = [[str(one).removeprefix(FILLED if filled else "") for one in found] for found in labels_of(indexer)]
    categories = dict(zip(inputs.strings, labels, strict=True))
    return [
        {"name": name, "kind": inputs.kinds[name], "categories": categories.get(name), **seen[name]}
        for name in inputs.model.features
    ]


def labels_of(indexer: StringIndexerModel | None) -> list[list[str]]:
    return [] if indexer is None else [list(labels) for labels in indexer.labelsArray]


def classes_of(inputs: Inputs, fitted: PipelineModel) -> list[Any] | None:
    """The classes in the label column's own type, each at the place of Spark's number for it."""
    if inputs.estimator_kind != "classification":
        return None
    indexer = label_indexer(fitted)
    if indexer is not None:
        return [str(one) for one in indexer.labels]
    kind = {"bool": bool, "float": float}.get(str(inputs.label_kind), int)
    return [kind(place) for place in range(fitted.stages[-1].numClasses)]


def scaling_of(fitted: PipelineModel) -> Array | None:
    """Rows shift, factor and offset of (x - shift) * factor + offset, as Spark's scalers compute it."""
    for scaler in stages_of(fitted, StandardScalerModel):
        factor = reciprocal(values(scaler.std))
        return np.stack([values(scaler.mean), factor, np.zeros_like(factor)])
    for scaler in stages_of(fitted, MinMaxScalerModel):
        low, high = values(scaler.originalMin), values(scaler.originalMax)
        factor = reciprocal(high - low)
        return np.stack([low, factor, np.where(factor == 0, 0.5, 0.0)])
    return None


def reciprocal(spread: Array) -> Array:
    """1 / spread, and 0 for a constant column, which Spark's scalers map to one value."""
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread != 0)


EXPORTS: dict[str, Callable[..., Exported]] = {
    "LogisticRegression": linear.logistic_regression,
    "LinearSVC": linear.linear_svc,
    "NaiveBayes": bayes.naive_bayes,
    "DecisionTreeClassifier": trees.tree_classifier,
    "RandomForestClassifier": trees.tree_classifier,
    "GBTClassifier": trees.boosted_classifier,
    "LinearRegression": linear.linear_regression,
    "GeneralizedLinearRegression": linear.generalized_linear_regression,
    "DecisionTreeRegressor": trees.tree_regressor,
    "RandomForestRegressor": trees.tree_regressor,
    "GBTRegressor": trees.boosted_regressor,
    "KMeans": clusters.k_means,
    "BisectingKMeans": clusters.bisecting_k_means,
    "GaussianMixture": clusters.gaussian_mixture,
    "BucketedRandomProjectionLSH": projections.random_projections,
}


def stages_of(fitted: PipelineModel, kind: type[T]) -> list[T]:
    return [stage for stage in fitted.stages if isinstance(stage, kind)]


def label_indexer(fitted: PipelineModel) -> StringIndexerModel | None:
    return next((one for one in stages_of(fitted, StringIndexerModel) if makes_label(one)), None)


def makes_label(indexer: StringIndexerModel) -> bool:
    return bool(indexer.isSet("outputCol") and indexer.getOutputCol() == LABEL)
