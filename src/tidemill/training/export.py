"""Fitted Spark models as the content of scorer files: the shared feature stages, and the estimator's own part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from pyspark.ml import Model, PipelineModel
from pyspark.ml.base import Transformer
from pyspark.ml.feature import (
    CountVectorizerModel,
    IDFModel,
    MinMaxScalerModel,
    SQLTransformer,
    StandardScalerModel,
    StringIndexerModel,
)
from pyspark.ml.linalg import Matrix, Vector

from tidemill.pipeline import FeatureSource
from tidemill.scoring.storage import Array, Stored
from tidemill.scoring.terms import TOKENS, packed
from tidemill.training.features import FILLED, LABEL
from tidemill.training.registry import TrainingInputs

T = TypeVar("T", bound=Transformer)


def scorer_content(inputs: TrainingInputs, fitted: PipelineModel, seen: Mapping[str, Any]) -> Stored:
    """The content of a fitted model's scorer file.

    Args:
        seen: the ``seen`` of :class:`~tidemill.training.registry.TrainingStats`.
    """
    assert inputs.spec.export is not None, f"{inputs.spec.name} has an export"
    text, arrays = inputs.spec.export(fitted.stages[-1])
    scaling = scaling_of(fitted)
    document = {
        "model": inputs.name,
        "estimator": inputs.model.estimator,
        "features": features_of(inputs, fitted, seen),
        "classes": classes_of(inputs, fitted),
        "labels": inputs.model.labels,
        **({"tokens": TOKENS} if inputs.texts else {}),
        **text,
    }
    return Stored(document, {**({} if scaling is None else {"scaling": scaling}), **vocabularies(fitted), **arrays})


def vocabularies(fitted: PipelineModel) -> dict[str, Array]:
    """The arrays of each text feature's vocabulary, see :class:`tidemill.scoring.features.Encoder`."""
    arrays: dict[str, Any] = {}
    counters, weights = stages_of(fitted, CountVectorizerModel), stages_of(fitted, IDFModel)
    for index, (counter, idf) in enumerate(zip(counters, weights, strict=True)):
        arrays[f"terms_{index}"], arrays[f"term_ends_{index}"] = packed(counter.vocabulary)
        arrays[f"idf_{index}"] = vector_values(idf.idf)
    return arrays


def features_of(inputs: TrainingInputs, fitted: PipelineModel, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The document of each feature, see :class:`tidemill.scoring.Feature`."""
    indexers = [indexer for indexer in stages_of(fitted, StringIndexerModel) if not makes_label(indexer)]
    prefix = FILLED if stages_of(fitted, SQLTransformer) else ""
    categories = {
        name: [str(category).removeprefix(prefix) for category in labels]
        for indexer in indexers
        for name, labels in zip(inputs.strings, indexer.labelsArray, strict=True)
    }
    return [
        {"name": source.name, "kind": source.kind(inputs.kinds), "categories": categories.get(source.name)}
        | seen[source.name]
        | (made_of(source, inputs) if source.function else {})
        for source in inputs.features
    ]


def made_of(source: FeatureSource, inputs: TrainingInputs) -> dict[str, str]:
    return {"function": str(source.function), "of": source.column, "zone": inputs.columns[source.column].zone}


def classes_of(inputs: TrainingInputs, fitted: PipelineModel) -> list[Any] | None:
    """The classes in the label column's own type, in the order of Spark's numbers for them; None without classes."""
    if inputs.spec.kind != "classification":
        return None
    indexer = label_indexer(fitted)
    if indexer is not None:
        return [str(label) for label in indexer.labels]
    kind = {"bool": bool, "float": float}.get(str(inputs.label_kind), int)
    return [kind(number) for number in range(fitted.stages[-1].numClasses)]


def scaling_of(fitted: PipelineModel) -> Array | None:
    """(3, numbers): shift, factor and offset of (x - shift) * factor + offset, as Spark's scalers compute it."""
    for scaler in stages_of(fitted, StandardScalerModel):
        factor = reciprocal(vector_values(scaler.std))
        return np.stack([vector_values(scaler.mean), factor, np.zeros_like(factor)])
    for scaler in stages_of(fitted, MinMaxScalerModel):
        low, high = vector_values(scaler.originalMin), vector_values(scaler.originalMax)
        factor = reciprocal(high - low)
        return np.stack([low, factor, np.where(factor == 0, 0.5, 0.0)])
    return None


def reciprocal(spread: Array) -> Array:
    """1 / spread, and 0 for a constant column, which Spark's scalers map to one value."""
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread != 0)


def stages_of(fitted: PipelineModel, kind: type[T]) -> list[T]:
    return [stage for stage in fitted.stages if isinstance(stage, kind)]


def label_indexer(fitted: PipelineModel) -> StringIndexerModel | None:
    """The stage that numbers a string label; None where the label is not a string."""
    return next((indexer for indexer in stages_of(fitted, StringIndexerModel) if makes_label(indexer)), None)


def makes_label(indexer: StringIndexerModel) -> bool:
    return bool(indexer.isSet("outputCol") and indexer.getOutputCol() == LABEL)


# --- Spark's vectors and matrices as numpy arrays -----------------------------------------------------------------


def vector_values(vector: Vector) -> Array:
    return np.asarray(vector.toArray(), dtype=np.float64)


def matrix_values(matrix: Matrix) -> Array:
    return np.asarray(matrix.toArray(), dtype=np.float64)


def thresholds(model: Model) -> dict[str, Array]:
    """The thresholds of a classifier, where they are set."""
    return {"thresholds": np.array(model.getThresholds(), dtype=np.float64)} if model.isSet("thresholds") else {}
