"""A cluster of three real Kafka brokers on this machine, each of which may be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from confluent_kafka import KafkaException, TopicCollection, TopicPartitionInfo
from confluent_kafka.admin import AdminClient

from tests.support import wait_for
from tidemill.java import Java, environment, find_java
from tidemill.kafka.embedded.broker import HOST, JVM, LOGGING, free_port, random_id
from tidemill.kafka.embedded.guarded_process import GuardedProcess

NODES = (1, 2, 3)
SMALL = tuple(option if not option.startswith("-Xmx") else "-Xmx256m" for option in JVM)
TRANSACTIONS = "__transaction_state"
ANSWER_SECONDS = 10

# Each node is a broker and one of the three controllers; what is written counts once two of three have it.
CONFIGURATION = """\
process.roles=broker,controller
node.id={node}
listeners=CLIENT://{host}:{client},CONTROLLER://{host}:{controller}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs=data
default.replication.factor=3
min.insync.replicas=2
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
replica.lag.time.max.ms=3000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
log.cleaner.dedupe.buffer.size=4194304
"""


class Node:
    """One of the brokers, in a folder of its own."""

    def __init__(self, number: int, folder: Path, jars: Path, java: Java) -> None:
        self.number = number
        self.folder = folder
        self.client = free_port()
        self.controller = free_port(but=self.client)
        self._jars = jars
        self._java = java
        self._child: GuardedProcess | None = None

    @property
    def process(self) -> psutil.Process:
        assert self._child
        return psutil.Process(self._child.pid)

    def format(self, voters: str, cluster: str) -> GuardedProcess:
        """Start formatting the data folder."""
        self.folder.mkdir(parents=True)
        text = CONFIGURATION.format(
            node=self.number, host=HOST, client=self.client, controller=self.controller, voters=voters
        )
        (self.folder / "server.properties").write_text(text)
        return self._run("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config=server.properties")

    def start(self) -> None:
        self._child = self._run("kafka.Kafka", "server.properties")

    def kill(self) -> None:
        """End it as a power cut does, and see it gone."""
        assert self._child
        os.kill(self._child.pid, signal.SIGKILL)
        assert self._child.wait(10) == -signal.SIGKILL

    def answers(self) -> bool:
        """Whether it is neither dead nor stopped."""
        with suppress(psutil.NoSuchProcess):
            return self.process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        return False

    def stop(self) -> None:
        if self._child:
            self._child.stop(0.1)

    def _run(self, *arguments: str) -> GuardedProcess:
        logging = (f"-Dlog4j2.configurationFile={LOGGING.as_uri()}", f"-Dtidemill.log={self.folder / 'kafka.log'}")
        command: Sequence[str | Path] = (self._java.executable, *SMALL, *logging, "-cp", f"{self._jars}/*", *arguments)
        return GuardedProcess(command, self.folder, environment(self._java), self.folder / "kafka.out")


class ThreeBrokers:
    """Use it by :func:`three_brokers`."""

    def __init__(self, folder: Path, jars: Path) -> None:
        java = find_java()
        self.nodes = {number: Node(number, folder / f"node-{number}", jars, java) for number in NODES}
        self.bootstrap = ",".join(f"{HOST}:{node.client}" for node in self.nodes.values())

    def start(self) -> None:
        voters = ",".join(f"{node.number}@{HOST}:{node.controller}" for node in self.nodes.values())
        cluster = random_id()
        for making in [node.format(voters, cluster) for node in self.nodes.values()]:
            assert making.wait(60) == 0
        for node in self.nodes.values():
            node.start()
        wait_for(lambda: self.alive() == set(NODES), "three brokers")

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()

    def alive(self) -> set[int]:
        """The brokers that the others know to be there."""
        try:
            return set(self._client().list_topics(timeout=ANSWER_SECONDS).brokers)
        except KafkaException:
            return set()

    def leader(self, topic: str) -> int | None:
        """The leader of partition 0 of the topic; None while there is none or no broker answers."""
        partition = self._partition(topic)
        leader = partition.leader if partition else None
        return leader.id if leader is not None and leader.id in NODES else None

    def in_sync(self, topic: str) -> set[int]:
        """The replicas in sync of partition 0 of the topic."""
        partition = self._partition(topic)
        return {replica.id for replica in partition.isr} if partition else set()

    def _partition(self, topic: str) -> TopicPartitionInfo | None:
        """What is said of partition 0 of the topic; None where nobody answers."""
        client = self._client()  # until its answer is there
        try:
            answer = client.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_SECONDS)
            return answer[topic].result().partitions[0]
        except KafkaException:
            return None

    def _client(self) -> AdminClient:
        """A new client, which knows no broker that is dead or stands still: one that had asked it would go on to."""
        able = [f"{HOST}:{node.client}" for node in self.nodes.values() if node.answers()]
        return AdminClient({"bootstrap.servers": ",".join(able), "log_level": 0})

    def kill_leader(self, topic: str) -> Node:
        node = self.nodes[self._leading(topic)]
        node.kill()
        return node

    def stop_leader(self, topic: str) -> Node:
        """Let the leader stand still until another leads."""
        node = self.nodes[self._leading(topic)]
        node.process.suspend()
        try:
            wait_for(lambda: self.leader(topic) not in (None, node.number), "another leader")
        finally:
            node.process.resume()
        return node

    def _leading(self, topic: str) -> int:
        leader = wait_for(lambda: self.leader(topic), f"a leader of {topic}")
        assert leader
        return leader


@contextmanager
def three_brokers(folder: Path, jars: Path) -> Iterator[ThreeBrokers]:
    """Three running brokers, ended on exit."""
    cluster = ThreeBrokers(folder, jars)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
