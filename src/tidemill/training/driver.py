"""The JVM of Spark's driver, and its settings. It starts before pyspark is imported, which takes as long as its start.

The JVM runs Spark's gateway for pyspark: it writes its port and secret into a file, and ends once its standard input
does.

Spark's launcher starts it: a script that runs one JVM to build the command line of another. With a class-data archive
that line is known, and the JVM is started directly.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tidemill.class_archives import ClassArchive, archives_folder
from tidemill.errors import TidemillError, TrainingFailed
from tidemill.java import Java, environment, find_java
from tidemill.pipeline import Pipeline
from tidemill.run.files import ROLLED_BYTES, ROLLED_KEPT, roll
from tidemill.run.folder import Run
from tidemill.run.progress.status import trained
from tidemill.run.stage import Stage
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
# In a few generations of little data Spark spends most of its time loading classes and compiling. There the JIT stays
# at its quick level, and Spark interprets its plans instead of generating Java classes. Full compilation pays from
# about 30,000 rows a generation on, or else from the sixth generation. The quick level alone has 48 MiB for compiled
# code, which generations fill: the JVM then spends a quarter of its processor time on making room. This is the size
# that full compilation has.
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
    "spark.sql.types.framework.enabled": "false",  # its default, which Spark else computes for each value of a vector
    "spark.sql.codegen.cache.maxEntries": "1000",  # three models have 70 generated classes; of 100 some are dropped
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
# Variables by which the user changes how Spark's launcher starts the JVM. With any of them it is the launcher that
# does, and no archive is made or used.
OF_THE_LAUNCHER = (
    "SPARK_SUBMIT_OPTS",
    "SPARK_DIST_CLASSPATH",
    "HADOOP_CONF_DIR",
    "YARN_CONF_DIR",
    "SPARK_PREPEND_CLASSES",
)
SECONDS_TO_END = 2.0
MAIN = "org.apache.spark.deploy.SparkSubmit"
# A class that is sought and not found, as Scala's reflection does by the thousand, is sought in each jar. So jars that
# Spark needs on a cluster alone, or for Hive, are left out where it runs in its driver, and its own come first.
LEFT_OUT = re.compile(
    "kubernetes-|volcano-|vertx-|zjsonpatch-|zookeeper-|curator-|hive-(?!storage)|datanucleus-|derby|jdo-|javax.jdo-|"
    "HikariCP-|commons-dbcp-|commons-pool-|jta-|transaction-api-|libthrift-|libfb303-|ST4-|antlr-|jline-|jpam-|super-csv-|"
    "opencsv-|spark-(hive|kubernetes|yarn|connect|repl|pipelines)"
)
FIRST = ("slf4j-api-", "spark-", "scala-library", "scala-reflect", "hadoop-client-")
LITTLE_ROWS = 100_000
FEW_GENERATIONS = 5
ROW_BYTES = 84


@dataclass
class Driver:
    """A JVM that starts, or has started.

    Attributes:
        settings: those of its Spark.
        options: those of the JVM that do not come from Spark.
        variables: its environment.
        connection: the file with its port and secret, once it listens, in a folder that only this user can read.
        class_path: of a JVM that is started with an archive.
        taken: a session has taken it over, which ends it.
    """

    process: subprocess.Popen[bytes]
    settings: Mapping[str, str]
    options: Sequence[str]
    variables: Mapping[str, str]
    connection: Path
    class_path: str
    archive: ClassArchive | None
    taken: bool = False

    def end(self, worked: bool = False) -> None:
        """End it within about two seconds, even during a job, by closing the pipe whose end stops it.

        Args:
            worked: it has trained a generation, so that the classes that it has loaded are worth an archive.
        """
        from_spark = sparks_options(self.process.pid, self.options) if worked else None
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self.connection.parent, ignore_errors=True)
        if self.archive is not None:
            class_path = None if from_spark is None else self.class_path
            self.archive.end(self.process.returncode, class_path, from_spark or ())

    def kill(self) -> None:
        """Kill it, and what it has started: until it listens it may be a shell and another JVM."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()


@contextmanager
def driver_of(stage: Stage, master: str | None) -> Iterator[Driver | None]:
    """The JVM for a trainer, which starts while the trainer loads its modules; None where nothing is to be trained.

    Raises:
        JavaMissing: there is no Java to run it on.
        TrainingFailed: it can't be started.
    """
    run = stage.run
    if trained(run) and not run.catalog.first_failure():
        yield None
        return
    with stage.interruptible():
        driver = start(master, scratch_of(run), run.logs, master is None and is_little(run))
    try:
        yield driver
    finally:
        if not driver.taken:
            driver.kill()
            driver.end()


def scratch_of(run: Run) -> Path:
    """The folder of Spark's scratch files."""
    return run.generations / ".spark"


def is_little(run: Run) -> bool:
    """Whether there is so little to train that starting Spark takes longer; False if that is unknown.

    What counts are the generations, and the rows of all of them together: a cumulative one trains on the rows of all
    before it again.
    """
    rows = source_rows(run)
    if rows is None:
        return False
    generations = batch_count(run.pipeline, rows)
    if generations is None:
        return False
    return generations <= FEW_GENERATIONS and rows * times_trained(run.pipeline, generations) <= LITTLE_ROWS


def source_rows(run: Run) -> int | None:
    """About how many rows the source has; None if that is unknown. Rows in files are taken to have ``ROW_BYTES``."""
    source = run.pipeline.source
    if source.topic is not None:
        return None
    if source.path is None:
        return LITTLE_ROWS if source.rows is None else source.rows
    size = sum(Path(path).stat().st_size for path in glob.glob(str(run.base / source.path)))
    rows = -(-size // ROW_BYTES)
    return min(rows, source.rows or rows) or None


def batch_count(pipeline: Pipeline, rows: int) -> int | None:
    """How many batches so many rows are cut into; None if that is not known beforehand."""
    batches = pipeline.batches
    if pipeline.source.open or not (batches.parts or batches.rows):
        return None
    return max(batches.parts or 1, -(-rows // batches.rows) if batches.rows else 1)


def times_trained(pipeline: Pipeline, generations: int) -> float:
    """How many of the generations a row is trained in, on average."""
    scheme, window = pipeline.generations.scheme, pipeline.generations.window
    if scheme == "windowed":
        return 1
    if scheme == "sliding":
        return min(window or generations, generations)
    return (generations + 1) / 2


def start(master: str | None, folder: Path, logs: Path, little: bool = False, archived: bool = True) -> Driver:
    """Start the JVM. It ends when this process ends, however it ends. It never receives the terminal's Ctrl-C.

    Args:
        folder: for Spark's scratch files; it is emptied first.
        logs: Spark's log goes to its ``spark.log``, which rotates, and the JVM's output to its ``spark.out``.
        little: there is little data, so settings favour a quick start over throughput.
        archived: use a class-data archive, or list the classes for one.

    Raises:
        JavaMissing: there is no Java to run it on.
        TrainingFailed: it can't be started.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    java = find_java()
    as_usual = not any(os.environ.get(name) for name in OF_THE_LAUNCHER)
    archive = archive_of(java) if archived and master is None and as_usual else None
    options = [*jvm_options(folder, logs, little), *(archive.options() if archive else ())]
    values = settings(master, folder, little, options)
    home, conf = spark_home(), conf_folder(folder, archive)
    path = class_path(home / "jars", conf)
    assignments = [text for name, value in values.items() for text in ("--conf", f"{name}={value}")]
    submit = (*assignments, "pyspark-shell")
    from_spark = archive.others_options() if archive else None
    command: list[str | Path] = [home / "bin" / "spark-submit", *submit]
    if from_spark is not None:
        command = [java.executable, "-cp", path, *options, *from_spark, MAIN, *submit]
    connection = Path(tempfile.mkdtemp()) / "connection"
    try:
        roll(logs / "spark.out")
        variables = launch_environment(environment(java), None if master else conf)
        variables |= {"SPARK_HOME": str(home), "SPARK_CONNECT_MODE": "0"}
        variables |= {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(connection)}
        with (logs / "spark.out").open("ab") as out:
            process = subprocess.Popen(
                command, env=variables, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        shutil.rmtree(connection.parent, ignore_errors=True)
        raise did_not_start(error, logs) from error
    return Driver(process, values, options, variables, connection, path, archive)


def did_not_start(error: Exception, logs: Path) -> TrainingFailed:
    where = f"see {logs / 'spark.out'} and {logs / 'spark.log'}"
    return TrainingFailed(f"Spark did not start: {shorten(str(error))}", where)


def spark_home() -> Path:
    """The installed Spark's folder, found without importing pyspark.

    Raises:
        TrainingFailed: pyspark is not installed.
    """
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise TrainingFailed("Spark did not start: pyspark is not installed", "reinstall tidemill with pip")
    return Path(spec.submodule_search_locations[0])


def archive_of(java: Java) -> ClassArchive | None:
    """The class-data archive of Spark's jars for this Java."""
    jars = spark_home() / "jars"
    return ClassArchive.of("spark", java, jars, ARCHIVED_FLAGS, order=names_in_order(jars))


def class_path(jars: Path, conf: Path) -> str:
    """The class path of a Spark that runs in its driver: its jars but for :data:`LEFT_OUT`."""
    return os.pathsep.join([f"{conf}/", *(str(jars / name) for name in names_in_order(jars))])


def names_in_order(jars: Path) -> list[str]:
    names = sorted(path.name for path in jars.glob("*.jar") if not LEFT_OUT.match(path.name))
    return sorted(names, key=lambda name: not name.startswith(FIRST))


def sparks_options(pid: int, own: Sequence[str]) -> list[str] | None:
    """The options that a running driver's JVM has from Spark; None where they can't be told from its ``own``."""
    with suppress(psutil.Error):
        words: list[str] = psutil.Process(pid).cmdline()
        if "-cp" in words and MAIN in words:
            options = words[words.index("-cp") + 2 : words.index(MAIN)]
            if all(option in options for option in own):
                return [option for option in options if option not in own]
    return None


def conf_folder(folder: Path, archive: ClassArchive | None) -> Path:
    """Spark's configuration folder, which has no file of Spark's. It is the first of the class path, so with an archive
    it is always the same, and empty."""
    if archive is not None:
        with suppress(OSError, TidemillError):
            empty = archives_folder() / "no-conf"
            empty.mkdir(exist_ok=True)
            return empty
    return folder


def jvm_options(folder: Path, logs: Path, little: bool) -> list[str]:
    """The driver's options. Writes the configuration of its log into ``folder``."""
    log4j = folder / "log4j2.properties"
    log4j.write_text(logging_to(logs / "spark.log"), encoding="utf-8")
    jvm = (*JVM_OPTIONS, *QUICK_JVM_OPTIONS) if little else JVM_OPTIONS
    return [*jvm, f"-Dlog4j2.configurationFile={log4j.as_uri()}", f"-Djava.io.tmpdir={folder}"]


def settings(master: str | None, folder: Path, little: bool, options: Sequence[str]) -> dict[str, str]:
    """Spark's settings.

    Settings that a cluster asks its driver for, such as a secret, come from the user's own Spark configuration.

    Args:
        options: the driver's.
    """
    return {
        **SETTINGS,
        **(OWN_MACHINE if is_own_machine(master) else {}),
        **(QUICK if little else {}),
        "spark.app.name": "tidemill",
        "spark.master": master or "local[*]",
        "spark.driver.extraJavaOptions": " ".join(map(quoted, options)),
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": local(folder / "warehouse"),
    }


def quoted(option: str) -> str:
    """One of the JVM's options as Spark's launcher reads it among others."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


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


def launch_environment(java: Mapping[str, str], conf: Path | None) -> dict[str, str]:
    """The environment variables for Spark's launcher.

    Without ``conf`` Spark reads the user's own configuration folder, and runs the Python of PYSPARK_PYTHON in its
    workers, as a cluster may need it. By default workers run the Python of this process.
    """
    variables = {name: value for name, value in java.items() if name not in FOREIGN}
    if conf is not None:
        variables |= {"PYSPARK_PYTHON": sys.executable, "SPARK_CONF_DIR": str(conf), "SPARK_LOCAL_IP": "127.0.0.1"}
    variables.setdefault("PYSPARK_PYTHON", sys.executable)
    variables["PYTHONHASHSEED"] = "0"  # as Spark's script sets it, so that all Pythons agree
    return variables | {"SPARK_LAUNCHER_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"}
