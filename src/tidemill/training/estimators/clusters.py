"""The clustering models: KMeans, BisectingKMeans, GaussianMixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.ml.clustering import (
    BisectingKMeans,
    BisectingKMeansModel,
    GaussianMixture,
    GaussianMixtureModel,
    KMeans,
    KMeansModel,
)
from pyspark.ml.common import _java2py

from tidemill.errors import Fault
from tidemill.scoring.storage import Array
from tidemill.training.clusters import profile_clusters
from tidemill.training.estimators.rules import above, least, one_of
from tidemill.training.export import matrix_values, vector_values
from tidemill.training.fitting import train_row_model
from tidemill.training.registry import (
    EstimatorSpec,
    Exported,
    Outcome,
    SampleFault,
    TrainingInputs,
    TrainingJob,
    no_texts,
)

JavaObject = Any  # an object of the JVM, by its py4j reference

CLUSTER_RULES = {"k": least(2)}
DISTANCE_RULES = CLUSTER_RULES | {"distanceMeasure": one_of("euclidean", "cosine")}


def cosine_faults(path: str, inputs: TrainingInputs, usable: pl.DataFrame) -> Iterator[SampleFault]:
    """Rows whose features are all zero, which have no cosine distance to any other."""
    if inputs.model.params.get("distanceMeasure") != "cosine" or inputs.model.scale != "none":
        return
    if inputs.strings or inputs.texts:
        return
    values = [usable[name].cast(pl.Float64).to_numpy() for name in inputs.numbers]
    zeros: NDArray[np.bool_] = np.all(np.equal(values, 0), axis=0)
    if zeros.any():
        hint = "leave such rows out with missing = [0] in their columns, or set scale"
        rows = f"{zeros.sum():,} rows in which all of them are 0"
        fault = Fault(f"{path}.features", rows, "none: they have no cosine distance", hint)
        yield SampleFault(fault, in_any_part=bool(zeros.all()))


def train_clusters(job: TrainingJob) -> Outcome:
    """Train a clustering. Its clusters keep the numbers of the generation before."""
    return train_row_model(job, profile_clusters)


def export_k_means(model: KMeansModel) -> Exported:
    return {"distance": model.getDistanceMeasure()}, {"centres": np.array(model.clusterCenters(), dtype=np.float64)}


def export_bisecting_k_means(model: BisectingKMeansModel) -> Exported:
    """The centres of the leaves, and the tree that a row goes down. pyspark does not show that tree."""
    nodes: list[Array] = []
    parents: list[int] = []
    grow(tree_of(model._java_obj).root(), -1, nodes, parents)
    return {"distance": model.getDistanceMeasure()}, {
        "centres": np.array(model.clusterCenters(), dtype=np.float64),
        "nodes": np.stack(nodes),
        "parents": np.array(parents, dtype=np.int64),
    }


def tree_of(model: JavaObject) -> JavaObject:
    """The inner model that has the tree. Scala mangles its name, differently from version to version."""
    return getattr(model, next(name for name in dir(model) if name.endswith("parentModel")))()


def grow(node: JavaObject, parent: int, nodes: list[Array], parents: list[int]) -> None:
    """Add a node, then its children from left to right, as Spark numbers the leaves."""
    index = len(nodes)
    nodes.append(vector_values(python_of(node.center().asML())))
    parents.append(parent)
    for child in node.children():
        grow(child, index, nodes, parents)


def export_gaussian_mixture(model: GaussianMixtureModel) -> Exported:
    """Weights and means, and the constants of each ``MultivariateGaussian`` as Spark computed them.

    They are read although they are private: one-hot blocks make a covariance nearly singular, its smallest eigenvalues
    are then nothing but rounding, and another decomposition gives other densities.
    """
    gaussians = list(model._java_obj.gaussians())
    return {}, {
        "weights": np.array(model.weights, dtype=np.float64),
        "centres": np.stack([vector_values(python_of(gaussian.mean())) for gaussian in gaussians]),
        "roots": np.stack([matrix_values(python_of(private(gaussian, "rootSigmaInvMat"))) for gaussian in gaussians]),
        "offsets": np.stack(
            [vector_values(python_of(private(gaussian, "rootSigmaInvMulMu"))) for gaussian in gaussians]
        ),
        "peaks": np.array([private(gaussian, "u") for gaussian in gaussians], dtype=np.float64),
    }


def private(java: JavaObject, name: str) -> JavaObject:
    """The result of a private method without parameters."""
    gateway = context()._gateway
    method = java.getClass().getDeclaredMethod(name, gateway.new_array(gateway.jvm.java.lang.Class, 0))
    method.setAccessible(True)
    return method.invoke(java, gateway.new_array(gateway.jvm.java.lang.Object, 0))


def python_of(java: JavaObject) -> Any:
    """A vector or matrix of Spark, fetched in one call instead of number by number."""
    return _java2py(context(), java)


def context() -> SparkContext:
    active = SparkContext._active_spark_context
    assert active is not None, "a model is exported while its Spark session is open"
    return active


ESTIMATORS = (
    EstimatorSpec(
        KMeans,
        train=train_clusters,
        export=export_k_means,
        rules=DISTANCE_RULES
        | {
            "initMode": one_of("k-means||", "random"),
            "initSteps": least(1),
            "solver": one_of("auto", "row", "block"),
        },
        sample_faults=cosine_faults,
    ),
    EstimatorSpec(
        BisectingKMeans,
        train=train_clusters,
        export=export_bisecting_k_means,
        rules=DISTANCE_RULES | {"maxIter": least(1), "minDivisibleClusterSize": above(0)},
        sample_faults=cosine_faults,
    ),
    EstimatorSpec(
        GaussianMixture,
        train=train_clusters,
        export=export_gaussian_mixture,
        metrics=("silhouette", "mean_log_likelihood"),
        takes_texts=no_texts,
        rules=CLUSTER_RULES,
    ),
)
