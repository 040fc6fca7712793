"""Messages in Kafka to sealed batches."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from bench.peers import kafka_tools
from bench.support.bench import Bench
from bench.support.jars import spark_jars
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Words, finish
from bench.support.runs import rows_of, seconds_at_work

PEERS = Path(__file__).parents[1] / "peers"
PIPELINE = """
name = "others"
[source]
topic = "{topic}"
until = "now"
[source.columns]
UserID = "int"
DeviceType = "string"
UsageHoursPerDay = "float"
EnergyConsumption = "float"
UserPreferences = "int"
MalfunctionIncidents = "int"
DeviceAgeMonths = "int"
SmartHomeEfficiency = "int"
[stream]
bootstrap_servers = "{kafka}"
[batches]
rows = {batch}
[models.segment]
estimator = "KMeans"
features = ["UsageHoursPerDay", "EnergyConsumption", "DeviceAgeMonths"]
"""


class Sent(NamedTuple):
    """Rows that are in a topic, and the run whose rows they are: its folder, or for a topic of others its file."""

    topic: str
    rows: int
    partitions: int
    run: Path
    key: str


@contextmanager
def own_topic(bench: Bench, rows: int, partitions: int) -> Iterator[Sent]:
    """Rows that `tidemill produce` sent."""
    with bench.topic(made=False) as topic, bench.scratch() as folder:
        sets = [f"stream.topic={topic}", "stream.pause=0", f"stream.partitions={partitions}"]
        options = [word for text in [*sets, f"batches={{rows={rows // 4}}}"] for word in ("--set", text)]
        words: Words = ["smart-home", "--data", bench.data(rows), *options, "--run-dir", folder / "run"]
        finish([*TIDEMILL, "produce", *words, "--bootstrap-servers", bench.kafka])
        yield Sent(topic, rows, partitions, folder / "run", f"own-{partitions}")


@contextmanager
def others_topic(bench: Bench, rows: int, partitions: int) -> Iterator[Sent]:
    """Rows that a plain client sent, in JSON."""
    with bench.topic(partitions) as topic, bench.scratch() as folder:
        producer = Producer({"bootstrap.servers": bench.kafka, "compression.type": "lz4", "linger.ms": 5})
        with bench.data(rows, ".jsonl").open("rb") as lines:
            for number, line in enumerate(lines):
                while True:
                    try:
                        producer.produce(topic, line.rstrip(b"\n"), partition=number % partitions)
                        break
                    except BufferError:
                        producer.poll(0.1)
        producer.flush()
        file = folder / "others.toml"
        file.write_text(PIPELINE.format(topic=topic, kafka=bench.kafka, batch=rows // 4))
        yield Sent(topic, rows, partitions, file, f"others-{partitions}")


def collect_own(bench: Bench, sent: Sent) -> Mapping[str, float]:
    with bench.scratch() as folder:
        shutil.copytree(sent.run, folder / "run")
        words = ("smart-home", "--run-dir", folder / "run", "--bootstrap-servers", bench.kafka)
        return timed(sent, folder / "run", "smart-home", *words)


def collect_others(bench: Bench, sent: Sent) -> Mapping[str, float]:
    with bench.scratch() as folder:
        return timed(sent, folder / "run", sent.run, sent.run, "--run-dir", folder / "run")


def timed(sent: Sent, folder: Path, pipeline: str | Path, *words: Any) -> Mapping[str, float]:
    done = finish([*TIDEMILL, "collect", *words])
    assert rows_of(folder, pipeline)["sealed"] == sent.rows
    working = sent.rows / seconds_at_work(folder, "collector")
    return {sent.key: sent.rows / done.seconds, f"{sent.key}-working": working, f"{sent.key}-memory": done.largest}


def kafka_python(bench: Bench, sent: Sent, form: str) -> Mapping[str, float]:
    with bench.scratch() as folder:
        words = (bench.kafka, sent.topic, sent.rows, sent.rows // 4, folder, form)
        done = finish([sys.executable, PEERS / "kafka_python_pandas.py", *words])
        assert len(list(folder.iterdir())) == 4
    return {f"kafka-python-{form}": sent.rows / done.seconds, f"kafka-python-{form}-memory": done.largest}


def structured_streaming(bench: Bench, sent: Sent) -> Mapping[str, float]:
    jars = ",".join(map(str, spark_jars()))
    with bench.scratch() as folder:
        words = (bench.kafka, sent.topic, folder, jars)
        done = finish([sys.executable, PEERS / "structured_streaming.py", *words])
        seconds, count = done.out.split()
        assert int(count) == sent.rows
    return {"streaming": sent.rows / float(seconds), "streaming-memory": done.peak}


def perf_tool(bench: Bench, sent: Sent) -> Mapping[str, float]:
    return {"perf-tool": kafka_tools.consume(bench.kafka, sent.topic, sent.rows)}


def alone(bench: Bench, sent: Sent) -> Mapping[str, float]:
    words = (bench.kafka, sent.topic, sent.partitions)
    seconds, count = finish([sys.executable, PEERS / "consume_alone.py", *words]).out.split()
    assert int(count) >= sent.rows
    return {"alone": sent.rows / float(seconds)}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    rows, few = bench.size("rows", 2_000_000, 200_000), bench.size("peer_rows", 200_000, 40_000)
    with ExitStack() as stack:
        own = stack.enter_context(own_topic(bench, rows, 1))
        work: list[Trial] = [
            partial(collect_own, bench, own),
            partial(structured_streaming, bench, own),
            partial(alone, bench, own),
            partial(perf_tool, bench, own),
        ]
        work += [partial(kafka_python, bench, own._replace(rows=few), form) for form in ("csv", "parquet")]
        work.append(partial(collect_own, bench, stack.enter_context(own_topic(bench, rows, 8))))
        work += [
            partial(collect_others, bench, stack.enter_context(others_topic(bench, rows, partitions)))
            for partitions in (1, 8)
        ]
        yield work


def our_figures(kind: str, title: str) -> Iterator[Figure]:
    for partitions in (1, 8):
        many = "1 partition" if partitions == 1 else f"{partitions} partitions"
        yield Figure(f"{kind}-{partitions}", f"`tidemill collect`, {title}, {many}", "ours", "rows/s")
        yield Figure(
            f"{kind}-{partitions}-working", f"`tidemill collect`, {title}, {many}, from ready to done", "ours", "rows/s"
        )


COLLECT = Line(
    key="collect",
    title="Messages in Kafka to sealed batches",
    how="`tidemill collect` reads {rows} rows that are in the topic already, and seals four batches in Parquet, "
    "each synced and committed with its sha256: from a run's own topic, sent by `tidemill produce`, and from one "
    "that a plain client wrote: from the start of the process to its end, and by its log from when it is ready to "
    "when it is done. The peers read the committed messages of "
    "the run's own topic with one partition. kafka-python with pandas takes {peer_rows} of them one by one into a "
    "list, and each quarter into a file; from the start of its process too. Structured Streaming writes Parquet with "
    "a trigger of all that is there; its figure leaves out Spark's start. Kafka's own ConsumerPerformance and "
    "confluent-kafka alone only take the messages; the start of a process is in neither.",
    figures=(
        *our_figures("own", "its own topic"),
        *our_figures("others", "a topic of others"),
        Figure("kafka-python-csv", "kafka-python and pandas, CSV", "peer", "rows/s"),
        Figure("kafka-python-parquet", "kafka-python and pandas, Parquet", "peer", "rows/s"),
        Figure("streaming", "Spark Structured Streaming, Parquet", "peer", "rows/s"),
        Figure("perf-tool", "Kafka's ConsumerPerformance", "limit", "rows/s"),
        Figure("alone", "consuming alone, confluent-kafka", "limit", "rows/s"),
        Figure("own-1-memory", "memory of the collector, its own topic, 1 partition", "part", "MiB"),
        Figure("own-8-memory", "memory of the collector, its own topic, 8 partitions", "part", "MiB"),
        Figure("others-1-memory", "memory of the collector, a topic of others, 1 partition", "part", "MiB"),
        Figure("others-8-memory", "memory of the collector, a topic of others, 8 partitions", "part", "MiB"),
        Figure("kafka-python-csv-memory", "memory of kafka-python and pandas, CSV", "part", "MiB"),
        Figure("kafka-python-parquet-memory", "memory of kafka-python and pandas, Parquet", "part", "MiB"),
        Figure("streaming-memory", "memory of Structured Streaming, both processes", "part", "MiB"),
    ),
    trials=trials,
    needs=("kafka-python",),
)
