"""What scoring the stream into a topic costs, beside the same loop that only reads and writes, on one core.

Writes rows of the smart-home sample to a real Kafka, then reads them on one core and writes them to another topic, in
transactions of the same size: as they are (``plain``), and with the prediction of a logistic regression (``scored``).
The rounds take turns. Kafka has the machine's other cores.

    python -m bench.outputs --rows 500000
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer, TopicPartition

from tidemill.collector.own_marks import KafkaMarks
from tidemill.kafka.client import KafkaConnection, Topic, await_topic, connect_admin, make_topic
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.outputs.champions import Champion
from tidemill.outputs.topics import OutputReader
from tidemill.outputs.writer import COMMIT_ROWS, COMMIT_SECONDS, ROWS_AT_ONCE, OutputWriter
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.scoring import row_scorer
from tidemill.scoring.base import SCORERS
from tidemill.scoring.storage import Stored

FEATURES = ("DeviceType", "UsageHoursPerDay", "EnergyConsumption", "DeviceAgeMonths")
KINDS = ("Lights", "Thermostat", "Smart Speaker", "Camera", "Security System")


def champion() -> Champion:
    """A logistic regression as the sample's pipeline has it, with coefficients made up."""
    nothing = {"minimum": 0.0, "maximum": 100.0, "example": None}
    features: list[dict[str, Any]] = [
        {"name": "DeviceType", "kind": "string", "categories": list(KINDS), **nothing},
    ]
    features += [{"name": name, "kind": "float", "categories": None, **nothing} for name in FEATURES[1:]]
    text: dict[str, Any] = {"model": "efficiency", "estimator": "LogisticRegression", "features": features}
    text |= {"labels": {"0": "no", "1": "yes"}, "classes": [0, 1]}
    coefficients = np.linspace(-1, 1, len(KINDS) + 3).reshape(-1, 1)
    arrays = {"coefficients": coefficients, "intercept": np.zeros(1), "threshold": np.array([0.5])}
    scorer = SCORERS["LogisticRegression"](Stored(text, arrays))
    return Champion(GenerationRef(1), row_scorer(scorer))


def streamed(folder: Path, address: str, rows: int, number: int) -> Run:
    sets = ["stream.pause=0", "stream.topic=rows", "batches={rows=1000000}"]
    sets += [f'outputs=[{{model="efficiency", topic="scored-{number}", columns=["UserID"]}}]']
    run = open_run(load("smart-home", sets, rows=rows), folder)
    if number == 0:
        run_producer(Stage(run, "producer"), address)
    return run


def source_of(run: Run, address: str) -> Topic:
    return await_topic(connect_admin(KafkaConnection(address)), run.pipeline.topic)


def scored(run: Run, address: str) -> float:
    """Seconds to write all rows with their predictions."""
    connection = KafkaConnection(address)
    admin, model = connect_admin(connection), champion()
    with OutputWriter(run, run.pipeline.outputs[0], connection, admin, source_of(run, address)) as writer:
        began = time.perf_counter()
        while not writer.ended:
            writer.step(model)
        return time.perf_counter() - began


def plain(run: Run, address: str) -> float:
    """Seconds to write all rows as they are, in transactions of the same size with the same offsets."""
    connection, topic = KafkaConnection(address), f"plain-{run.pipeline.outputs[0].topic}"
    admin, source = connect_admin(connection), source_of(run, address)
    make_topic(admin, topic, source.partitions)
    await_topic(admin, topic)
    settings = connection.settings(transactional_id=topic, compression_type="lz4", linger_ms=5)
    producer, ended = Producer(settings), False
    producer.init_transactions(10)
    reader, marks = OutputReader(connection, source, run, topic, ROWS_AT_ONCE), KafkaMarks(run.marks(source.id))
    with reader:
        reader.seek({0: 0})
        began = committed_at = time.perf_counter()
        offset, count = 0, 0
        producer.begin_transaction()
        while not ended:
            for message in reader.read():
                if message.value() is not None:
                    producer.produce(topic, message.value(), message.key(), 0, timestamp=message.timestamp()[1])
                    count += 1
                offset = message.offset() + 1
                ended |= marks.end_of(message) is not None
            producer.poll(0)
            if ended or count >= COMMIT_ROWS or time.perf_counter() - committed_at >= COMMIT_SECONDS:
                producer.send_offsets_to_transaction([TopicPartition(source.name, 0, offset)], reader.group, 10)
                producer.commit_transaction(10)
                producer.begin_transaction()
                committed_at, count = time.perf_counter(), 0
        return time.perf_counter() - began


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    kafka = EmbeddedBroker(folder / "broker", folder / "kafka.log", jars=kafka_jars())
    kafka.start()
    try:
        yield kafka.bootstrap
    finally:
        kafka.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways: dict[str, Callable[[Run, str], float]] = {"plain": plain, "scored": scored}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name, broker(Path(name)) as address:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # of all threads that start from here on
        streamed(Path(name) / "run", address, options.rows, 0).close()
        for number in range(options.rounds):
            for way, work in ways.items():
                run = streamed(Path(name) / "run", address, options.rows, number + 1)
                rates[way].append(options.rows / work(run, address))
                print(f"{way:<7} {rates[way][-1]:>10,.0f} rows/s")
                run.close()
    medians = {way: statistics.median(values) for way, values in rates.items()}
    print(f"median  plain {medians['plain']:,.0f}, scored {medians['scored']:,.0f} rows/s: ", end="")
    print(f"scoring takes {medians['plain'] / medians['scored']:.2f} times as long")


if __name__ == "__main__":
    main()
