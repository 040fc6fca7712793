"""The models that cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import SparkContext
from pyspark.ml.clustering import BisectingKMeansModel, GaussianMixtureModel, KMeansModel
from pyspark.ml.common import _java2py

from tidemill.scoring.storage import Array
from tidemill.training.export.arrays import Exported, matrix, values

JavaObject = Any  # an object of the JVM, as py4j hands it out


def k_means(model: KMeansModel) -> Exported:
    return {"distance": model.getDistanceMeasure()}, {"centres": np.array(model.clusterCenters(), dtype=np.float64)}


def bisecting_k_means(model: BisectingKMeansModel) -> Exported:
    """The centres of the leaves, and the whole tree, which pyspark does not show: a row goes down it step by step."""
    nodes: list[Array] = []
    parents: list[int] = []
    grow(tree_of(model._java_obj).root(), -1, nodes, parents)
    return {"distance": model.getDistanceMeasure()}, {
        "centres": np.array(model.clusterCenters(), dtype=np.float64),
        "nodes": np.stack(nodes),
        "parents": np.array(parents, dtype=np.int64),
    }


def tree_of(model: JavaObject) -> JavaObject:
    """The inner model that has the tree. Scala mangles its name, in another way from version to version."""
    return getattr(model, next(name for name in dir(model) if name.endswith("parentModel")))()


def grow(node: JavaObject, parent: int, nodes: list[Array], parents: list[int]) -> None:
    """Add a node, then its children from left to right, as Spark numbers the leaves."""
    place = len(nodes)
    nodes.append(values(python_of(node.center().asML())))
    parents.append(parent)
    for child in node.children():
        grow(child, place, nodes, parents)


def gaussian_mixture(model: GaussianMixtureModel) -> Exported:
    """Weights and means, and the constants of each ``MultivariateGaussian`` as Spark computed them.

    These are private to it, and are taken all the same: where a covariance is all but singular, as one-hot blocks make
    it, its least eigenvalues are nothing but rounding, and another decomposition of it gives other densities.
    """
    gaussians = list(model._java_obj.gaussians())
    return {}, {
        "weights": np.array(model.weights, dtype=np.float64),
        "centres": np.stack([values(python_of(one.mean())) for one in gaussians]),
        "roots": np.stack([matrix(python_of(private(one, "rootSigmaInvMat"))) for one in gaussians]),
        "offsets": np.stack([values(python_of(private(one, "rootSigmaInvMulMu"))) for one in gaussians]),
        "peaks": np.array([private(one, "u") for one in gaussians], dtype=np.float64),
    }


def private(java: JavaObject, name: str) -> JavaObject:
    """What a private method without parameters gives."""
    gateway = context()._gateway
    method = java.getClass().getDeclaredMethod(name, gateway.new_array(gateway.jvm.java.lang.Class, 0))
    method.setAccessible(True)
    return method.invoke(java, gateway.new_array(gateway.jvm.java.lang.Object, 0))


def python_of(java: JavaObject) -> Any:
    """A vector or matrix of Spark's, sent over whole rather than number by number."""
    return _java2py(context(), java)


def context() -> SparkContext:
    found = SparkContext._active_spark_context
    assert found is not None, "a model is exported while its Spark is there"
    return found
