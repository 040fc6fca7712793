"""The Spark session of a run: pyspark's side of the driver's JVM."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.serializers import UTF8Deserializer, read_int
from pyspark.sql import SparkSession

from tidemill.errors import TrainingFailed
from tidemill.training import driver as drivers
from tidemill.training.driver import Driver, did_not_start, is_own_machine, local
from tidemill.training.local_files import use_local_files
from tidemill.training.task_settings import keep_task_settings

GLOB_SIGNS = "\\*?[]{}"
LOOK_SECONDS = 0.02
RECORDERS = (
    "org.apache.spark.status.AppStatusListener",
    "org.apache.spark.sql.execution.ui.SQLAppStatusListener",
)
PORT, SECRET = "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"

log = logging.getLogger(__name__)


def session(master: str | None, folder: Path, logs: Path, little: bool = False) -> SparkSession:
    """Start Spark: on all cores of this machine, or with ``master`` as the driver of that cluster.

    See :func:`tidemill.training.driver.start` for the arguments.

    Raises:
        JavaMissing: there is no Java to run it on.
        TrainingFailed: Spark did not start.
    """
    return connected(drivers.start(master, folder, logs, little), master, folder, logs, little)


def connected(driver: Driver, master: str | None, folder: Path, logs: Path, little: bool) -> SparkSession:
    """The session on a JVM that was started with the same arguments. A JVM that fails is killed; where it had a
    class-data archive, another starts without.

    Raises:
        TrainingFailed: Spark did not start.
    """
    try:
        spark = connect(driver, folder)
    except (PySparkException, Py4JError, OSError) as error:
        if driver.archive is None:
            raise did_not_start(error, logs) from error
        driver.archive.give_up()
    else:
        if is_own_machine(master):
            use_local_files(spark)
            keep_no_records(spark)
            keep_task_settings(spark)
        return spark
    again = drivers.start(master, folder, logs, little, archived=False)
    return connected(again, master, folder, logs, little)


def connect(driver: Driver, folder: Path) -> SparkSession:
    """The session on a JVM, which is then its own. On an error the JVM is killed."""
    driver.taken = True
    try:
        await_listening(driver)
        with keep_signals(), environment_of(driver):
            conf = SparkConf(loadDefaults=False).setAll(list(driver.settings.items()))
            context = SparkContext(conf=conf, gateway=gateway_to(driver))
            context.setCheckpointDir(local(folder / "checkpoints"))  # without one, 50 iterations of ALS kill the JVM
            ignore_closed_connections(context)
            spark = SparkSession(context)
    except BaseException:
        driver.kill()
        driver.end()
        SparkContext._gateway = SparkContext._jvm = None
        raise
    return spark


def keep_no_records(spark: SparkSession) -> None:
    """Have Spark keep no records of its jobs and plans, about a tenth of its work in a generation. They are for its own
    web pages, which it does not serve; no setting turns them off."""
    try:
        jvm: Any = spark.sparkContext._jvm
        spark._jsparkSession.sharedState()  # adds SQLAppStatusListener
        bus = spark.sparkContext._jsc.sc().listenerBus()
        for name in RECORDERS:
            found = bus.findListenersByClass(jvm.scala.reflect.ClassTag.apply(jvm.java.lang.Class.forName(name)))
            for index in range(found.size()):
                bus.removeListener(found.apply(index))
    except (Py4JError, PySparkException, OSError) as error:
        log.warning("Spark keeps records of its jobs: %s", error)


def await_listening(driver: Driver) -> None:
    """Wait until the JVM listens.

    Raises:
        OSError: it has ended instead.
    """
    while not driver.connection.is_file():
        if driver.process.poll() is not None:
            raise OSError("its JVM has ended before it could be used")
        time.sleep(LOOK_SECONDS)
    if driver.archive is not None:
        driver.archive.check_use(driver.process.pid)


def gateway_to(driver: Driver) -> Any:
    """pyspark's connection to the JVM. pyspark takes the address from the environment, as it does in programs that
    Spark itself has started."""
    with driver.connection.open("rb") as file:
        os.environ[PORT], os.environ[SECRET] = str(read_int(file)), UTF8Deserializer().loads(file)
    gateway: Any = launch_gateway()
    gateway.proc, gateway.driver = driver.process, driver
    return gateway


@contextmanager
def environment_of(driver: Driver) -> Iterator[None]:
    """The environment of the JVM's start for this process too, as pyspark reads it; restored afterwards."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(driver.variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def local_pattern(path: Path) -> str:
    """A path of this machine for Spark to read from. Spark takes paths as glob patterns, so their special characters
    are escaped.

    Raises:
        TrainingFailed: the path has a colon too. Hadoop then takes the pattern's part before the colon as a scheme.
    """
    text = local(path)
    if ":" in str(path) and any(sign in text for sign in GLOB_SIGNS):
        raise TrainingFailed(
            f"Spark can't read from {path}, as that has both a colon and one of {GLOB_SIGNS}",
            "rename the folder, then start the run again",
        )
    return text.translate({ord(sign): f"\\{sign}" for sign in GLOB_SIGNS})


def end(spark: SparkSession, worked: bool = False) -> None:
    """End Spark within about two seconds, even during a job.

    Args:
        worked: it has trained a generation.
    """
    gateway: Any = spark.sparkContext._gateway
    driver: Driver | None = getattr(gateway, "driver", None)
    if driver is None:
        spark.stop()
        return
    gateway._gateway_client.is_connected = False  # so py4j sends nothing when objects are freed
    logging.getLogger().addFilter(is_no_shutdown_noise)
    driver.end(worked)
    SparkContext._active_spark_context = None
    SparkContext._gateway = SparkContext._jvm = None
    SparkSession._instantiatedSession = None


def ignore_closed_connections(context: SparkContext) -> None:
    """Drop pyspark's traceback about its server of accumulators, of which Tidemill has none, once the JVM is gone."""
    server: Any = context._accumulatorServer
    server.handle_error = lambda request, address: None


def is_no_shutdown_noise(record: logging.LogRecord) -> bool:
    """A log filter that drops py4j's shutdown noise: errors about commands that Spark's end interrupted."""
    return not str(record.msg).startswith("Exception while sending command")


def jvm(spark: SparkSession) -> subprocess.Popen[bytes] | None:
    """The JVM's process, where this process started it."""
    process: subprocess.Popen[bytes] | None = spark.sparkContext._gateway.proc
    return process


def is_dead(spark: SparkSession, patience: float = 1.0) -> bool:
    """Whether the JVM has ended, or ends within ``patience`` seconds: its sockets close shortly before it does."""
    process = jvm(spark)
    if process is None:
        return False
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextmanager
def keep_signals() -> Iterator[None]:
    """Keep this process's own handler of Ctrl-C, which a new SparkContext would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
