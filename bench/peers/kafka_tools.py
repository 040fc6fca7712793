"""Kafka's own perf tools, in Java: ``ProducerPerformance`` and ``ConsumerPerformance``, by their own figures."""

from __future__ import annotations

import re
from pathlib import Path

from bench.support.jars import tool_jars
from bench.support.processes import Failed, Finished, finish
from tidemill.java import find_java
from tidemill.kafka.embedded.jars import kafka_jars

LOGGING = "-Dlog4j2.level=ERROR"


def run_tool(name: str, *words: str | int | Path) -> Finished:
    jars = f"{tool_jars()}/*:{kafka_jars()}/*"
    return finish([find_java().executable, LOGGING, "-cp", jars, f"org.apache.kafka.tools.{name}", *words])


def produce(servers: str, topic: str, records: int, payload: Path, settings: dict[str, str | int]) -> float:
    """Records a second, from the first one to the last acknowledgement; each record is a random line of ``payload``.
    They go out in transactions, as the tool ends one each second."""
    done = run_tool(
        "ProducerPerformance",
        *("--topic", topic, "--num-records", records, "--throughput", -1, "--payload-file", payload),
        *("--transactional-id", f"perf-{topic}", "--transaction-duration-ms", 1000),
        *("--command-property", f"bootstrap.servers={servers}"),
        *[f"{name}={value}" for name, value in settings.items()],
    )
    rates = re.findall(rf"^{records} records sent, ([\d.]+) records/sec", done.out, re.MULTILINE)
    if not rates:
        raise Failed(f"ProducerPerformance said: {done.out[-500:]} {done.error[-500:]}")
    return float(rates[-1])


def consume(servers: str, topic: str, records: int) -> float:
    """Records a second, from the assignment of the partitions to the last record."""
    done = run_tool(
        "ConsumerPerformance",
        *("--bootstrap-server", servers, "--topic", topic, "--num-records", records, "--hide-header"),
        *("--command-property", "isolation.level=read_committed"),
    )
    lines = [line.split(", ") for line in done.out.splitlines() if line.count(",") >= 9]
    if not lines:
        raise Failed(f"ConsumerPerformance said: {done.out[-500:]} {done.error[-500:]}")
    return float(lines[-1][9])
