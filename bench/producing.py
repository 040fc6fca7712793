"""How many rows a second ``tidemill produce`` brings from a source into Kafka, acknowledged and committed.

Beside Kafka's own ProducerPerformance, which sends the same values in transactions too, with the same settings of the
topic, acks=all and the idempotent producer; it takes the values at random, without a key. It has its own sizes of
batches, and then Tidemill's. And beside kafka-python row by row, where that is installed, which is neither idempotent
nor in transactions. The rounds take turns. A process's start does not count: Tidemill's figure is from ``ready`` to
``done`` in its log, the tool's own is as it prints it.

    python -m bench.producing --rows 1000000 --kafka-tools FOLDER
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from tidemill.java import environment, find_java
from tidemill.kafka.client import KafkaConnection, await_topic, connect_admin, end_offsets, make_topic
from tidemill.kafka.codec import encode
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.samples import write_sample

PAYLOADS = 100_000
ROW_BY_ROW = 50_000
OWN_SIZES = ("batch.size=1000000", "linger.ms=100")  # Tidemill's


class Case(NamedTuple):
    """How the rows are sent. ``key``: a column's name, or empty."""

    partitions: int
    key: str

    @property
    def title(self) -> str:
        keyed = f"keyed by {self.key}" if self.key else "no key"
        return f"{self.partitions} partition{'s' * (self.partitions > 1)}, {keyed}"


CASES = (Case(1, "UserID"), Case(8, "UserID"), Case(8, ""), Case(8, "DeviceType"))


def new_topic(kafka: str, partitions: int) -> str:
    """A topic with the settings that Tidemill gives to its own."""
    name, admin = f"bench-{uuid.uuid4().hex}", connect_admin(KafkaConnection(kafka))
    make_topic(admin, name, partitions)
    await_topic(admin, name)
    return name


def tidemill(kafka: str, data: Path, case: Case) -> float:
    """Rows a second of the real stage as a process: every row of ``data`` read, encoded, acknowledged, committed."""
    topic = f"bench-{uuid.uuid4().hex}"
    keyed = f', key="{case.key}"' if case.key else ""
    sets = [f'stream={{topic="{topic}", partitions={case.partitions}{keyed}}}', "batches={rows=1000000000}"]
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        line = [sys.executable, "-m", "tidemill", "produce", "smart-home", "--data", str(data), "--run-dir", folder]
        line += ["--bootstrap-servers", kafka, *(word for one in sets for word in ("--set", one))]
        subprocess.run(line, check=True, stderr=subprocess.DEVNULL)
        log = [json.loads(entry) for entry in (Path(folder) / "logs" / "producer.log").read_text().splitlines()]
    moments = {entry["event"]: datetime.fromisoformat(entry["timestamp"]) for entry in log}
    rows = pq.read_metadata(data).num_rows
    admin = connect_admin(KafkaConnection(kafka))
    assert sum(end_offsets(admin, await_topic(admin, topic)).values()) > rows
    return float(rows / (moments["done"] - moments["ready"]).total_seconds())


def perf_tool(kafka: str, payloads: Path, tools: Path, case: Case, rows: int, sizes: tuple[str, ...] = ()) -> float:
    """Records a second of ProducerPerformance, in transactions as long as Tidemill's.

    Args:
        payloads: a file with a value a line.
        tools: the folder of the jar kafka-tools.
        sizes: further properties of its producer.
    """
    java = find_java()
    line = [str(java.executable), "-cp", f"{kafka_jars()}/*:{tools}/*", "org.apache.kafka.tools.ProducerPerformance"]
    line += ["--topic", new_topic(kafka, case.partitions), "--num-records", str(rows), "--throughput", "-1"]
    line += ["--payload-file", str(payloads), "--transaction-duration-ms", "250", "--command-property"]
    line += [f"bootstrap.servers={kafka}", "acks=all", "enable.idempotence=true", "compression.type=lz4", *sizes]
    done = subprocess.run(line, env=environment(java), check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1].split(" records/sec")[0].split()[-1])


def row_by_row(kafka: str, data: Path, case: Case) -> float:
    """Rows a second of kafka-python: each row of the file a dict, which is written as JSON and sent."""
    topic = new_topic(kafka, case.partitions)
    rows = pq.read_table(data).slice(0, ROW_BY_ROW).to_pylist()
    producer = importlib.import_module("kafka").KafkaProducer(bootstrap_servers=kafka, acks="all")
    began = time.perf_counter()
    for row in rows:
        producer.send(topic, value=json.dumps(row).encode(), key=str(row[case.key]).encode() if case.key else None)
    producer.flush()
    seconds = time.perf_counter() - began
    producer.close()
    return len(rows) / seconds


def ways(kafka: str, data: Path, payloads: Path, tools: Path | None, case: Case) -> dict[str, Callable[[], float]]:
    """What is measured, by its title, Tidemill first. What can't be measured here is left out, with a word about it."""
    rows = pq.read_metadata(data).num_rows
    chosen: dict[str, Callable[[], float]] = {"tidemill produce": lambda: tidemill(kafka, data, case)}
    if tools:
        chosen["ProducerPerformance"] = lambda: perf_tool(kafka, payloads, tools, case, rows)
        chosen["ProducerPerformance, large batches"] = lambda: perf_tool(kafka, payloads, tools, case, rows, OWN_SIZES)
    else:
        print("ProducerPerformance is left out: give the folder of Kafka's jar kafka-tools with --kafka-tools")
    if importlib.util.find_spec("kafka"):
        chosen["kafka-python, row by row"] = lambda: row_by_row(kafka, data, case)
    else:
        print("kafka-python is left out: it is not installed")
    return chosen


def measure(chosen: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each figure of each round, in turn; one more round before them warms Kafka up."""
    rates: dict[str, list[float]] = {title: [] for title in chosen}
    for number in range(rounds + 1):
        for title, work in islice(chosen.items(), None if number else 2):
            rate = work()
            if number:
                rates[title].append(rate)
    return rates


def write_payloads(data: Path, path: Path) -> None:
    path.write_bytes(b"\n".join(encode(pq.read_table(data).slice(0, PAYLOADS))) + b"\n")


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
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kafka-tools", type=Path, help="the folder of the jar kafka-tools")
    parser.add_argument("--cases", type=int, default=len(CASES), help="only the first ones")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, {given.rows:,} rows")
    with tempfile.TemporaryDirectory() as name, broker(Path(name)) as kafka:
        data, payloads = Path(name) / "rows.parquet", Path(name) / "payloads"
        write_sample("smart-home", given.rows, data)
        write_payloads(data, payloads)
        for case in CASES[: given.cases]:
            rates = measure(ways(kafka, data, payloads, given.kafka_tools, case), given.rounds)
            own = statistics.median(rates["tidemill produce"])
            for title, figures in rates.items():
                median = statistics.median(figures)
                ratio = f"tidemill {own / median:5.2f} of it, {min(figures):,.0f} to {max(figures):,.0f}"
                print(f"{case.title:30} {title:36} {median:>9,.0f} rows/s   {ratio}")


if __name__ == "__main__":
    main()
