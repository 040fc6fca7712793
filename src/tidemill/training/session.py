"""The Spark session of a run: quiet, on the loopback only, and ended with this process."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyspark
from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from tidemill.class_archives import ClassArchive, archives_folder, class_path_of
from tidemill.errors import TidemillError, TrainingFailed
from tidemill.java import Java, environment, find_java
from tidemill.run.files import ROLLED_BYTES, ROLLED_KEPT, roll
from tidemill.texts import shorten

LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {file}
appender.file.filePattern = {rolled}.%i
appender.file.append = true
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = {most}
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = {kept}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{yyyy-MM-dd'T'HH:mm:ss.SSS}}{{UTC}}Z %p %c{{1}}: %m%n%ex
logger.spark.name = org.apache.spark
logger.spark.level = warn
"""

JVM_OPTIONS = ("-XX:+UseSerialGC", "-Xss4m", "-Djava.net.preferIPv4Stack=true")
# On little data Spark spends most of its time loading classes and compiling. There the JIT stays at its quick level,
# and Spark interprets its plans instead of generating Java classes. On much data full compilation pays: it halved the
# time for 500,000 rows. The quick level alone has 48 MiB for compiled code, which many generations fill: the JVM then
# spends a quarter of its processor time on making room. This is the size that full compilation has.
QUICK_JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=240m")
QUICK = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}

HEAP = "1g"
# The options on which a class-data archive depends.
ARCHIVED_FLAGS = ("-XX:+UseSerialGC", f"-Xmx{HEAP}")

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": HEAP,
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",  # a batch may have the columns Id and id
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.artifact.isolation.enabled": "false",
    "spark.sql.files.minPartitionNum": "1",
    "spark.sql.files.maxPartitionBytes": "16m",
    "spark.sql.files.openCostInBytes": "64k",
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}
# For Spark on this machine alone. Nothing is reachable from outside, and data that never leaves memory needs no
# compression. Other users of the machine can reach loopback ports, so Spark asks each connection for a secret, which it
# generates and keeps in memory: the secret is in no file, environment variable or command line.
OWN_MACHINE = {
    "spark.authenticate": "true",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.broadcast.compress": "false",
    "spark.shuffle.compress": "false",
    "spark.shuffle.checksum.enabled": "false",
}
# Variables of the user's shell that would start another Spark than the installed one, or give it other settings.
FOREIGN = ("SPARK_HOME", "PYSPARK_SUBMIT_ARGS", "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "PYSPARK_PIN_THREAD")
SECONDS_TO_END = 2.0
GLOB_SIGNS = "\\*?[]{}"


def session(master: str | None, folder: Path, logs: Path, little: bool = False) -> SparkSession:
    """Start Spark: on all cores of this machine, or with ``master`` as the driver of that cluster.

    Args:
        folder: for Spark's scratch files; it is emptied first.
        logs: Spark's log goes to its ``spark.log``, which rotates, and the JVM's output to its ``spark.out``.
        little: there is little data, so settings favour a quick start over throughput.

    The JVM ends when this process ends, however it ends. It never receives the terminal's Ctrl-C.

    Raises:
        JavaMissing: there is no Java to run it on.
        TrainingFailed: Spark did not start.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    java = find_java()
    archive = None if master else archive_of(java)
    where = f"see {logs / 'spark.out'} and {logs / 'spark.log'}"
    try:
        roll(logs / "spark.out")
        try:
            return launched(java, master, folder, logs, little, archive)
        except (PySparkException, Py4JError):
            if archive is None:
                raise
            archive.give_up()
            SparkContext._gateway = SparkContext._jvm = None
            return launched(java, master, folder, logs, little, None)
    except (PySparkException, Py4JError, OSError) as error:
        raise TrainingFailed(f"Spark did not start: {shorten(str(error))}", where) from error


def launched(
    java: Java, master: str | None, folder: Path, logs: Path, little: bool, archive: ClassArchive | None
) -> SparkSession:
    """A session on a new JVM, which uses the class-data archive or lists the classes for it."""
    conf = SparkConf(loadDefaults=False).setAll(list(settings(master, folder, logs, little, archive).items()))
    with (
        launch_environment(environment(java), None if master else conf_folder(folder, archive)),
        keep_signals(),
        kill_children_on_error(),
        (logs / "spark.out").open("ab") as out,
    ):
        quiet = {"stdout": out, "stderr": subprocess.STDOUT, "start_new_session": True}
        gateway = launch_gateway(conf, quiet)
        gateway.archive = archive
        if archive is not None:
            archive.check_use(gateway.proc.pid)
        context = SparkContext(conf=conf, gateway=gateway)
        context.setCheckpointDir(local(folder / "checkpoints"))  # without one, 50 iterations of ALS kill the JVM
        ignore_closed_connections(context)
        return SparkSession(context)


def archive_of(java: Java) -> ClassArchive | None:
    """The class-data archive of Spark's jars for this Java."""
    return ClassArchive.of("spark", java, Path(pyspark.__file__).parent / "jars", ARCHIVED_FLAGS)


def conf_folder(folder: Path, archive: ClassArchive | None) -> Path:
    """Spark's configuration folder, which has no file of Spark's. It is the first of the class path, so with an archive
    it is always the same, and empty."""
    if archive is not None:
        with suppress(OSError, TidemillError):
            empty = archives_folder() / "no-conf"
            empty.mkdir(exist_ok=True)
            return empty
    return folder


def settings(
    master: str | None, folder: Path, logs: Path, little: bool, archive: ClassArchive | None = None
) -> dict[str, str]:
    """Spark's settings. Writes its log's configuration into ``folder``.

    Settings that a cluster asks its driver for, such as a secret, come from the user's own Spark configuration.
    """
    log4j = folder / "log4j2.properties"
    log4j.write_text(logging_to(logs / "spark.log"), encoding="utf-8")
    jvm = (*JVM_OPTIONS, *QUICK_JVM_OPTIONS) if little else JVM_OPTIONS
    archived = [f'"{option}"' for option in archive.options()] if archive else []
    options = [*jvm, *archived, f'-Dlog4j2.configurationFile="{log4j.as_uri()}"', f'-Djava.io.tmpdir="{folder}"']
    return {
        **SETTINGS,
        **(OWN_MACHINE if is_own_machine(master) else {}),
        **(QUICK if little else {}),
        "spark.app.name": "tidemill",
        "spark.master": master or "local[*]",
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": local(folder / "warehouse"),
    }


def logging_to(file: Path) -> str:
    """The configuration of a log in ``file``, which rotates before it grows over :data:`ROLLED_BYTES`."""
    path = escaped(str(file))
    pattern = no_lookups(path).replace("%", "%%")  # log4j resolves lookups in a pattern twice
    return LOG4J.format(file=path, rolled=pattern, most=ROLLED_BYTES, kept=ROLLED_KEPT)


def no_lookups(text: str) -> str:
    """The text with log4j's lookups escaped."""
    return text.replace("${", "$${")


def escaped(text: str) -> str:
    """A text as a value of a Java properties file, without lookups for log4j."""
    plain = no_lookups(text).replace("\\", "\\\\").replace("\n", "\\n")
    units = plain.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[start : start + 2], "big") for start in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def is_own_machine(master: str | None) -> bool:
    """Whether Spark runs in its driver alone, so that no other machine needs its ports."""
    return master is None or master == "local" or master.startswith("local[")


def local(path: Path) -> str:
    """A path of this machine for Spark to write to, whatever the cluster's default file system. Not URL-encoded."""
    return f"file://{path}"


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
    """End Spark within about two seconds, even during a job, by closing the pipe whose end stops its JVM.

    Args:
        worked: it has trained a generation, so that the classes that it has loaded are worth an archive.
    """
    process = jvm(spark)
    if process is None:
        spark.stop()
        return
    archive: ClassArchive | None = getattr(spark.sparkContext._gateway, "archive", None)
    class_path = class_path_of(process.pid) if worked else None
    spark.sparkContext._gateway._gateway_client.is_connected = False  # so py4j sends nothing when objects are freed
    logging.getLogger().addFilter(is_no_shutdown_noise)
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if archive is not None:
        archive.end(process.returncode, class_path)
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
def launch_environment(java: Mapping[str, str], conf: Path | None) -> Iterator[None]:
    """Set the environment variables for Spark's launcher, and restore them afterwards.

    Without ``conf`` Spark reads the user's own configuration folder, and runs the Python of PYSPARK_PYTHON in its
    workers, as a cluster may need it. By default workers run the Python of this process.
    """
    before = dict(os.environ)
    os.environ.update(java)
    for name in FOREIGN:
        os.environ.pop(name, None)
    if conf is not None:
        os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_CONF_DIR": str(conf), "SPARK_LOCAL_IP": "127.0.0.1"}
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["SPARK_LAUNCHER_OPTS"] = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def kill_children_on_error() -> Iterator[None]:
    """On an error kill the processes started inside: a JVM whose gateway never connected waits for ever."""
    process = psutil.Process()
    before = {child.pid for child in process.children(recursive=True)}
    try:
        yield
    except BaseException:
        for child in process.children(recursive=True):
            if child.pid not in before:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        raise


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
