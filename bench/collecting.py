"""How many rows a second ``tidemill collect`` takes from Kafka into sealed batches, and its memory at the most.

From a run's own topic, and from one that a plain client wrote, with 1 and with 8 partitions; beside consuming the same
messages and doing nothing with them, and beside Spark's Structured Streaming of them to Parquet, whose figure leaves
out Spark's start. The rounds take turns. The client writes the partitions of its topic in turn (``mixed``), or one
after the other (``sorted``), which is the worst case of merging them by time.

    python -m bench.collecting --rows 500000 --spark-jars FOLDER
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tidemill.kafka.client import KafkaConnection, connect_admin, make_topic
from tidemill.kafka.codec import encode
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.folder import open_run
from tidemill.run.stage import Stage
from tidemill.samples import write_sample

BATCHES = 4
LOOK_SECONDS = 0.02
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
STREAMING = """
import sys, time
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json
servers, topic, folder, jars = sys.argv[1:]
schema = ("UserID bigint, DeviceType string, UsageHoursPerDay double, EnergyConsumption double, "
          "UserPreferences bigint, MalfunctionIncidents bigint, DeviceAgeMonths bigint, SmartHomeEfficiency bigint")
spark = SparkSession.builder.master("local[*]").config("spark.jars", jars).getOrCreate()
began = time.perf_counter()
messages = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers).option("subscribe", topic)
            .option("kafka.isolation.level", "read_committed").option("startingOffsets", "earliest").load())
rows = messages.where(col("value").isNotNull()).select(from_json(col("value").cast("string"), schema).alias("row"))
query = (rows.select("row.*").writeStream.format("parquet").option("path", folder + "/rows")
         .option("checkpointLocation", folder + "/checkpoint").trigger(availableNow=True).start())
query.awaitTermination()
print(time.perf_counter() - began)
"""


class Filled(NamedTuple):
    """A topic with all its rows, and the words of the command line that collect it, but for the run's folder."""

    title: str
    topic: str
    partitions: int
    words: tuple[str, ...]
    run: Path | None


class Figures(NamedTuple):
    """Of one process: rows a second from its start to its end, its processor time in seconds, its peak RSS in MiB."""

    rate: float
    processor: float
    peak: float


def fill_own(folder: Path, kafka: str, data: Path, rows: int, partitions: int) -> Filled:
    """A run's own topic, which the real producer filled."""
    topic = f"own-{partitions}"
    sets = ["stream.pause=0", f"stream.topic={topic}", f"stream.partitions={partitions}"]
    run = open_run(load("smart-home", [*sets, f"batches={{rows={rows // BATCHES}}}"], data=str(data)), folder / topic)
    run_producer(Stage(run, "producer"), kafka)
    run.close()
    words = ("smart-home", "--bootstrap-servers", kafka)
    return Filled(f"own, {partitions}", topic, partitions, words, folder / topic)


def fill_others(folder: Path, kafka: str, data: Path, rows: int, partitions: int, order: str = "mixed") -> Filled:
    """A topic that a plain client filled."""
    topic = f"others-{partitions}-{order}"
    make_topic(connect_admin(KafkaConnection(kafka)), topic, partitions)
    producer = Producer({"bootstrap.servers": kafka, "compression.type": "lz4", "linger.ms": 5})
    for number, value in enumerate(encode(pq.read_table(data))):
        partition = number % partitions if order == "mixed" else number * partitions // rows
        while True:
            try:
                producer.produce(topic, value, partition=partition)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    file = folder / f"{topic}.toml"
    file.write_text(PIPELINE.format(topic=topic, kafka=kafka, batch=rows // BATCHES))
    return Filled(f"others, {partitions}, {order}", topic, partitions, (str(file),), None)


def collected(folder: Path, filled: Filled, rows: int) -> Figures:
    """`tidemill collect`, until the stream's end is recorded."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        run = Path(name) / "run"
        if filled.run:
            shutil.copytree(filled.run, run)
        figures = measured([sys.executable, "-m", "tidemill", "collect", *filled.words, "--run-dir", str(run)], rows)
        sealed = sum(pq.read_metadata(path).num_rows for path in (run / "batches").glob("*.parquet"))
        assert sealed == rows, f"{sealed} of {rows} rows are sealed"
        return figures


def measured(line: list[str], rows: int) -> Figures:
    """A process that does its work and ends well."""
    with tempfile.TemporaryFile() as errors:
        began, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=errors)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, peak_of(process.pid))
            time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode:
            errors.seek(0)
            raise SystemExit(errors.read().decode()[-2000:])
    return Figures(rows / seconds, ended[2].ru_utime + ended[2].ru_stime, peak)


def peak_of(process: int) -> float:
    """The peak RSS of a process, in MiB. What ``wait4`` says of it would count the memory of this process too."""
    with suppress(OSError, StopIteration), open(f"/proc/{process}/status") as lines:
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return 0.0


def consumed(kafka: str, filled: Filled, rows: int) -> float:
    """Rows a second of a client that takes the messages and does nothing with them."""
    settings = {"bootstrap.servers": kafka, "group.id": "bench", "enable.auto.commit": False}
    settings |= {"isolation.level": "read_committed", "enable.partition.eof": True}
    settings |= {"queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 2**20}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(filled.topic, partition, 0) for partition in range(filled.partitions)])
    began, taken, ended = time.perf_counter(), 0, 0
    while ended < filled.partitions:
        for message in consumer.consume(10_000, timeout=0.5):
            error = message.error()
            if error is None:
                taken += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
    seconds = time.perf_counter() - began
    consumer.close()
    assert taken >= rows
    return rows / seconds


def streamed(folder: Path, kafka: str, filled: Filled, rows: int, jars: Path) -> float:
    """Rows a second of Structured Streaming to Parquet, without Spark's start."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        line = [sys.executable, "-c", STREAMING, kafka, filled.topic, name, ",".join(map(str, jars.glob("*.jar")))]
        return rows / float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    kafka = EmbeddedBroker(folder / "broker", folder / "kafka.log", jars=kafka_jars())
    kafka.start()
    try:
        yield kafka.bootstrap
    finally:
        kafka.stop()


def topics(folder: Path, kafka: str, rows: int, wanted: list[str]) -> Iterator[Filled]:
    """The wanted topics, each filled."""
    data = folder / "rows.parquet"
    write_sample("smart-home", rows, data)
    fills: dict[str, Callable[[], Filled]] = {
        "own-1": lambda: fill_own(folder, kafka, data, rows, 1),
        "own-8": lambda: fill_own(folder, kafka, data, rows, 8),
        "others-1": lambda: fill_others(folder, kafka, data, rows, 1),
        "others-8": lambda: fill_others(folder, kafka, data, rows, 8),
        "sorted-8": lambda: fill_others(folder, kafka, data, rows, 8, "sorted"),
    }
    for name, fill in fills.items():
        if name in wanted:
            yield fill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--topics", nargs="+", default=["own-1", "own-8", "others-1", "others-8", "sorted-8"])
    parser.add_argument("--spark-jars", type=Path, help="a folder of the jars with which Spark reads Kafka")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, broker(Path(name)) as kafka:
        folder, rows = Path(name), options.rows
        for filled in topics(folder, kafka, rows, options.topics):
            ours, alone, spark = [], [], []
            for _ in range(options.rounds):
                ours.append(collected(folder, filled, rows))
                alone.append(consumed(kafka, filled, rows))
                if options.spark_jars:
                    spark.append(streamed(folder, kafka, filled, rows, options.spark_jars))
            rate = statistics.median(figures.rate for figures in ours)
            limit = statistics.median(alone)
            print(
                f"{filled.title:20} {rate:10,.0f} rows/s   {rate / limit:5.2f} of consuming alone ({limit:,.0f})",
                end="",
            )
            peak, processor = max(one.peak for one in ours), min(one.processor for one in ours)
            print(f"   {peak:6.0f} MiB   {processor * 1e6 / rows:5.2f} us of processor time a row", end="")
            if spark:
                print(f"   {rate / statistics.median(spark):5.2f} x Structured Streaming", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
