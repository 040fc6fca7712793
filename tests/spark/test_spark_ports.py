"""Spark's own ports: who may speak to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JError, Py4JJavaError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.sql import SparkSession

from tidemill.training.driver import settings


def caller(spark: SparkSession, secret: str | None) -> Any:
    """Another Spark's end of a conversation, which knows this secret, or none."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    conf = jvm.org.apache.spark.SparkConf(False)
    if secret is not None:
        conf.set("spark.authenticate", "true").set("spark.authenticate.secret", secret)
    nothing = getattr(getattr(jvm.scala, "None$"), "MODULE$")
    file_of_secret = getattr(jvm.org.apache.spark.SecurityManager, "$lessinit$greater$default$3")()
    manager = jvm.org.apache.spark.SecurityManager(conf, nothing, file_of_secret)
    return jvm.org.apache.spark.rpc.RpcEnv.create("stranger", "127.0.0.1", 0, conf, manager, True)


def driver_answers(spark: SparkSession, environment: Any) -> bool:
    """Whether the driver tells this caller of one of its endpoints."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    address = jvm.org.apache.spark.rpc.RpcAddress("127.0.0.1", int(spark.conf.get("spark.driver.port") or 0))
    try:
        return "HeartbeatReceiver" in environment.setupEndpointRef(address, "HeartbeatReceiver").toString()
    except Py4JJavaError:
        return False
    finally:
        environment.shutdown()


def test_a_stranger_gets_nothing_from_the_driver(spark: SparkSession) -> None:
    """Spark's driver answers only those that know its secret, which is new in each run, long, and in no setting."""
    assert spark.sparkContext.getConf().get("spark.authenticate") == "true"
    assert spark.sparkContext.getConf().get("spark.authenticate.secret") is None
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    own = jvm.org.apache.spark.SparkEnv.get().securityManager()
    secret = own.getSecretKey()
    assert len(secret) >= 32
    assert not driver_answers(spark, caller(spark, None))
    assert driver_answers(spark, caller(spark, secret))


def test_the_gateway_to_the_jvm_wants_its_token(spark: SparkSession) -> None:
    """Python's own way to the JVM is closed to a caller without the token that pyspark made."""
    from py4j.java_gateway import GatewayParameters, JavaGateway  # type: ignore[import-untyped]

    parameters = spark.sparkContext._gateway.gateway_parameters
    assert len(parameters.auth_token) >= 32
    stranger = JavaGateway(gateway_parameters=GatewayParameters(port=parameters.port, auth_token="guess"))
    with pytest.raises(Py4JError):
        stranger.jvm.java.lang.System.currentTimeMillis()
    stranger.close()


@pytest.mark.parametrize(
    ("master", "asked"), [(None, True), ("local", True), ("local[4]", True), ("spark://x:7077", False), ("yarn", False)]
)
def test_a_cluster_has_its_own_secret(tmp_path: Path, master: str | None, asked: bool) -> None:
    """Spark in one process always wants a secret and keeps to the loopback; of a cluster the user's settings count."""
    found = settings(master, tmp_path, little=False, options=())
    assert ("spark.authenticate" in found) == asked
    assert (found.get("spark.driver.bindAddress") == "127.0.0.1") == asked
