"""The embedded broker: a real Apache Kafka, one node in KRaft mode, reachable from this machine only."""

from __future__ import annotations

import base64
import fcntl
import os
import random
import re
import shutil
import signal
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tidemill.class_archives import CRASHES, ClassArchive, class_path_of
from tidemill.errors import BrokerFailed, PortInUse, TidemillError
from tidemill.java import Java, environment, find_java
from tidemill.kafka.embedded.guarded_process import GuardedProcess
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.run.catalog import BrokerProgress
from tidemill.run.files import disk_errors, publish, temporary
from tidemill.run.stage import Stage
from tidemill.texts import shorten

HOST = "127.0.0.1"
# Below the ports that systems give to outgoing connections: a client that retries its connection can't take the port of
# a broker that is down for a moment.
PORTS = range(20_000, 32_000)
READY_SECONDS = 60.0
FREE_SECONDS = 5.0
STOP_SECONDS = 6.0
LOOK_SECONDS = 0.2
TRIES = 3

# With the compiler's first tier alone Kafka starts half a second sooner, for half the processor time, and is no slower
# than a disk. The heap is bounded, as the log is in the system's page cache.
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
ARCHIVED_FLAGS = JVM[:2]  # those on which a class-data archive depends
LOGGING = Path(__file__).with_name("log4j2.xml")

# A run is resumed from the log of its topic, so nothing in it expires. Kafka's internal topics have one partition and
# one replica, and need no cleaner buffer of 128 MB. A broker that was killed can rejoin only after its former session
# has timed out, by default after 9 s.
CONFIGURATION = """\
process.roles=broker,controller
node.id=1
listeners=CLIENT://{host}:{client},CONTROLLER://{host}:{controller}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
log.dirs=data
log.retention.ms=-1
log.retention.bytes=-1
log.segment.bytes=67108864
log.retention.check.interval.ms=30000
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
offsets.retention.minutes=2147483647
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=4194304
"""


class Cause(NamedTuple):
    """A cause of Kafka's death: the pattern of what it logs, and a message and hint for the user."""

    pattern: str
    message: str
    hint: str


HEALTH = r"^\S+ (?:TRACE|DEBUG|INFO|WARN) "
TROUBLE = r"\bERROR\b|\bFATAL\b|error:|Error|Exception|insufficient memory"
FREE_SPACE = "free some space, then start the run again: it continues where it stopped"
JARS = "remove the folder {jars}: the jars are then fetched again"
STOP_IT = "stop it, or give another --run-dir"
FRESH = "put the folder back as it was, or start over with --fresh"
CAUSES = (
    Cause(r"No space left on device", "the disk is full", FREE_SPACE),
    Cause(
        r"fault occurred in .*unsafe memory access", "the disk is full, or fails", FREE_SPACE
    ),  # while writing to a memory-mapped file
    Cause(r"Disk quota exceeded", "your disk quota is used up", FREE_SPACE),
    Cause(r"Read-only file system|Permission denied", "its data folder can't be written", "give another --run-dir"),
    Cause(r"OutOfMemoryError|insufficient memory", "memory ran out", "end other programs, or use a machine with more"),
    Cause(r"ClassNotFoundException|NoClassDefFoundError|Could not find or load main class", "a jar is missing", JARS),
    Cause(r"ZipException|zip file|ClassFormatError|Invalid or corrupt", "a jar is damaged", JARS),
    Cause(r"Failed to acquire lock on file", "another Kafka uses its data folder", STOP_IT),
    Cause(
        r"meta\.properties|Stored node id|cluster\.?id|directory\.?id|CorruptRecord|is corrupt",
        "its data folder is damaged, or another Kafka's",
        FRESH,
    ),
)


class PortTaken(Exception):
    """Another program took a port between its choice and Kafka's start. Never leaves this module."""


class EmbeddedBroker:
    """A Kafka with its data in ``folder``. Use it in a ``with`` block, or call :meth:`start` and :meth:`stop`.

    It ends with the process that started it, however that process dies. The next start with the same folder has all the
    data, and the same port if that is still free.

    Args:
        log: the file of Kafka's log; its other output goes to the file with the suffix ``.out`` beside it.
        port: the port to listen on; 0 takes a free one.
        jars: the folder of Kafka's jars; by default they are fetched if they are missing.
    """

    def __init__(self, folder: Path, log: Path, port: int = 0, jars: Path | None = None) -> None:
        self.folder = folder
        self.log = log
        self.port = port
        self._wanted = port
        self._jars = jars
        self._child: GuardedProcess | None = None
        self._archive: ClassArchive | None = None
        self._class_path: str | None = None
        self._log_start = 0

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._child, "not started"
        return self._child.pid

    def start(self) -> None:
        """Start Kafka and return once it answers.

        Raises:
            PortInUse: the port that was asked for is taken.
            BrokerFailed: it died, or did not answer in time; the message has the reason.
            JavaMissing, JarsMissing: there is nothing to run it with.
            DiskError: its folder can't be written.
        """
        self._jars = self._jars or kafka_jars()
        java = find_java()
        self._archive = ClassArchive.of("kafka", java, self._jars, ARCHIVED_FLAGS)
        try:
            self._start_or_retry(java)
        except BaseException:
            self.stop()
            raise
        if self._archive:
            self._archive.check_use(self.pid)
            self._class_path = class_path_of(self.pid)

    def stop(self) -> None:
        """Stop Kafka cleanly, or kill it after :data:`STOP_SECONDS`; its next start then repairs the end of its log."""
        if self._child:
            code = self._child.stop(STOP_SECONDS)
            if self._archive:
                self._archive.end(code, self._class_path)
                self._archive = None

    def alive(self) -> bool:
        return self._child is not None and self._child.code() is None

    def failure(self) -> TidemillError:
        """The error that says why Kafka died."""
        code = self._child.code() if self._child else None
        if code == -signal.SIGKILL:
            return BrokerFailed("Kafka was killed", "check whether the system killed it because memory ran out")
        lines = self._complaints()
        for cause in CAUSES:
            if line := next((line for line in lines if re.search(cause.pattern, line)), None):
                hint = cause.hint.format(jars=self._jars)
                return BrokerFailed(f"Kafka stopped: {cause.message} ({shorten(line, 240)})", hint)
        text = shorten(lines[-1], 240) if lines else f"it ended with code {code} and logged no reason"
        return BrokerFailed(f"Kafka stopped: {text}", f"see {self.log}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _format(self, java: Java) -> None:
        """Create the data folder, in which Kafka expects a cluster id. It appears complete or not at all."""
        scratch = temporary(self.folder / "data")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        write_configuration(scratch, client=0, controller=0)
        arguments = ("kafka.tools.StorageTool", "format", f"--cluster-id={random_id()}", "--config=server.properties")
        self._child = self._run(java, arguments, scratch)
        if self._child.wait(READY_SECONDS) != 0:
            self.stop()
            raise self.failure()
        publish(scratch / "data", self.folder / "data")
        shutil.rmtree(scratch)

    def _start_or_retry(self, java: Java) -> None:
        """Start Kafka; where it crashes with a class-data archive, without that."""
        try:
            self._start(java)
        except BrokerFailed:
            code = self._child.code() if self._child else None
            if self._archive is None or code not in CRASHES:
                raise
            self._archive.end(code, None)
            self._archive = None
            self._start(java)

    def _start(self, java: Java) -> None:
        with disk_errors(f"the broker's folder {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            await_free(self.folder / "data")
            if not (self.folder / "data").exists():
                self._format(java)
            for _ in range(TRIES):
                with suppress(PortTaken):
                    self._start_kafka(java)
                    return
        raise self._port_in_use()

    def _start_kafka(self, java: Java) -> None:
        self.port, controller = self._choose_ports()
        write_configuration(self.folder, self.port, controller)
        (self.folder / "port").write_text(str(self.port))
        self._child = self._run(java, ("kafka.Kafka", "server.properties"), self.folder)
        self._await_ready()

    def _run(self, java: Java, arguments: tuple[str, ...], folder: Path) -> GuardedProcess:
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        path = os.path.relpath(
            self.log.resolve(), folder.resolve()
        )  # log4j would read characters of an absolute path as patterns
        logging = (f"-Dlog4j2.configurationFile={LOGGING.as_uri()}", f"-Dtidemill.log={path}")
        command: tuple[str | Path, ...]
        archive = self._archive.options() if self._archive else ()
        command = (java.executable, *JVM, *archive, *logging, "-cp", f"{self._jars}/*", *arguments)
        return GuardedProcess(command, folder, environment(java), self.log.with_suffix(".out"))

    def _choose_ports(self) -> tuple[int, int]:
        """A port for clients, the former one if it is free, and one for Kafka's internal use."""
        if self._wanted and not is_free(self._wanted):
            raise self._port_in_use()
        former = self._wanted or former_port(self.folder / "port")
        client = former if former and is_free(former) else free_port()
        return client, free_port(but=client)

    def _await_ready(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while not self._answers():
            if not self.alive():
                if any("Address already in use" in line for line in self._complaints()):
                    raise PortTaken
                raise self.failure()
            if time.monotonic() > end:
                raise BrokerFailed(f"Kafka did not answer within {READY_SECONDS:g} s", f"see {self.log}")
            time.sleep(0.03)

    def _answers(self) -> bool:
        """Whether this Kafka answers at its port and accepts requests."""
        with suppress(OSError, KafkaException), socket.create_connection((HOST, self.port), 1):
            cluster = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}).list_topics(timeout=2)
            return bool(cluster.brokers) and cluster.cluster_id == cluster_id(self.folder / "data")
        return False

    def _complaints(self) -> list[str]:
        """The error lines that Kafka has logged or printed since its start."""
        text = self.log.with_suffix(".out").read_text(errors="replace")
        if self.log.exists():
            with self.log.open("rb") as file:
                rolled = self.log.stat().st_size < self._log_start
                file.seek(0 if rolled else self._log_start)
                text = file.read().decode(errors="replace") + text
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if re.search(TROUBLE, line) and not re.search(HEALTH, line)]

    def _port_in_use(self) -> PortInUse:
        hint = "stop it, or give another port; 0 takes a free one"
        return PortInUse(f"another program listens on port {self._wanted or self.port}", hint)


def run_broker(stage: Stage) -> None:
    """Run the stage: Kafka runs until the stage is asked to stop.

    While Kafka's jars are fetched, the stage's progress counts the steps done.

    Raises:
        BrokerFailed: Kafka died.
        TidemillError: whatever :meth:`EmbeddedBroker.start` raises.
    """
    with stage.interruptible():
        jars = kafka_jars(lambda done, steps: stage.report(BrokerProgress(done, steps)))
    broker = EmbeddedBroker(stage.run.broker, stage.run.logs / "kafka.log", jars=jars)
    try:
        with stage.interruptible():
            broker.start()
        stage.log.info("Kafka answers", bootstrap=broker.bootstrap, pid=broker.pid)
        stage.ready(endpoint=broker.bootstrap)
        while not stage.stop.wait(LOOK_SECONDS):
            if not broker.alive():
                raise broker.failure()
    finally:
        broker.stop()


def write_configuration(folder: Path, client: int, controller: int) -> None:
    text = CONFIGURATION.format(host=HOST, client=client, controller=controller)
    (folder / "server.properties").write_text(text)


def random_id() -> str:
    """A cluster id in Kafka's notation: 128 random bits in URL-safe base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def cluster_id(data: Path) -> str | None:
    """The cluster id that Kafka has recorded in its data folder."""
    match = re.search(r"^cluster\.id=(.*)$", (data / "meta.properties").read_text(errors="replace"), re.MULTILINE)
    return match[1] if match else None


def await_free(data: Path) -> None:
    """Wait until no Kafka holds the data folder: one whose parent was just killed needs a moment to end.

    Raises:
        BrokerFailed: one still holds it after :data:`FREE_SECONDS`.
    """
    end = time.monotonic() + FREE_SECONDS
    while is_held(data / ".lock"):
        if time.monotonic() > end:
            raise BrokerFailed(f"another Kafka uses the data folder {data}", STOP_IT)
        time.sleep(0.05)


def is_held(lock: Path) -> bool:
    """Whether a Kafka holds this lock file."""
    try:
        with lock.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def former_port(path: Path) -> int | None:
    """The port that this broker had before."""
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdigit() else None


def free_port(but: int = 0) -> int:
    """A port that no program listens on.

    Raises:
        PortInUse: none was found.
    """
    for port in random.sample(PORTS, 100):
        if port != but and is_free(port):
            return port
    raise PortInUse(f"no free port found between {PORTS.start} and {PORTS.stop}", "end some programs that listen there")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Kafka does: a closed connection may still be lingering
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
