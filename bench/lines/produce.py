"""A file to acknowledged messages in Kafka."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from bench.peers import kafka_tools
from bench.support.bench import Bench, Ending
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Words, finish
from bench.support.runs import rows_of, seconds_at_work

FORMATS: tuple[Ending, ...] = (".csv", ".jsonl", ".parquet")
SETTINGS: dict[str, str | int] = {"compression.type": "lz4", "linger.ms": 100, "batch.size": 1_000_000, "acks": "all"}
MORE = 8  # partitions
PAYLOADS = 10_000  # different rows that Kafka's tool sends


def tidemill(bench: Bench, rows: int, ending: Ending, partitions: int = 1) -> Mapping[str, float]:
    with bench.topic(made=False) as topic, bench.scratch() as folder:
        sets: Words = ("--set", "stream.pause=0", "--set", f"stream.topic={topic}")
        sets = (*sets, "--set", f"stream.partitions={partitions}")
        words = ("smart-home", "--data", bench.data(rows, ending), *sets, "--run-dir", folder / "run")
        done = finish([*TIDEMILL, "produce", *words, "--bootstrap-servers", bench.kafka])
        assert rows_of(folder / "run")["produced"] == rows
        sending = rows / seconds_at_work(folder / "run", "producer")
    name = ending[1:] if partitions == 1 else f"{ending[1:]}-{partitions}"
    return {name: rows / done.seconds, f"{name}-sending": sending, f"{name}-memory": done.largest}


def kafka_python(bench: Bench, rows: int) -> Mapping[str, float]:
    script = Path(__file__).parents[1] / "peers" / "kafka_python_produce.py"
    with bench.topic() as topic:
        done = finish([sys.executable, script, bench.kafka, topic, bench.data(rows), "UserID"])
    return {"kafka-python": rows / done.seconds}


def perf_tool(bench: Bench, rows: int, payload: Path) -> Mapping[str, float]:
    with bench.topic() as topic:
        return {"perf-tool": kafka_tools.produce(bench.kafka, topic, rows, payload, SETTINGS)}


def limit(bench: Bench, rows: int) -> Mapping[str, float]:
    script = Path(__file__).parents[1] / "peers" / "read_encode.py"
    seconds, count = finish([sys.executable, script, bench.data(rows)]).out.split()
    assert int(count) == rows
    return {"read-encode": rows / float(seconds)}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    rows, few = bench.size("rows", 2_000_000, 200_000), bench.size("peer_rows", 200_000, 20_000)
    for ending in FORMATS:
        bench.data(rows, ending)
    bench.data(few)
    payload = bench.folder / "payload.jsonl"
    with bench.data(rows, ".jsonl").open() as lines:
        payload.write_text("".join(islice(lines, PAYLOADS)))
    ours = [partial(tidemill, bench, rows, ending) for ending in FORMATS]
    peer = partial(perf_tool, bench, rows, payload)
    peer()  # Kafka's own code is compiled then, for whoever comes first
    yield [
        ours[0],
        peer,
        *ours[1:],
        partial(tidemill, bench, rows, ".csv", MORE),
        partial(kafka_python, bench, few),
        partial(limit, bench, rows),
    ]


def our_figures() -> Iterator[Figure]:
    for ending, name in zip(FORMATS, ("CSV", "JSON Lines", "Parquet"), strict=True):
        yield Figure(ending[1:], f"`tidemill produce`, {name}", "ours", "rows/s")
        yield Figure(f"{ending[1:]}-sending", f"`tidemill produce`, {name}, from ready to done", "ours", "rows/s")
    yield Figure(f"csv-{MORE}", f"`tidemill produce`, CSV, {MORE} partitions", "ours", "rows/s")
    yield Figure(
        f"csv-{MORE}-sending", f"`tidemill produce`, CSV, {MORE} partitions, from ready to done", "ours", "rows/s"
    )


PRODUCE = Line(
    key="produce",
    title="A file to acknowledged messages in Kafka",
    how="`tidemill produce smart-home` sends {rows} rows of the sample in its eight columns, with a key, in "
    "transactions, to one partition of the embedded Kafka, and to eight: from the start of the process to its end, and "
    "by its log from when it is ready to when it is done. Before it is ready it counts the rows, as `batches.parts` "
    "needs. kafka-python sends {peer_rows} of the rows with a key, row by row, idempotent, with lz4, without "
    "transactions. Kafka's own ProducerPerformance sends {rows} lines of a file of such rows in JSON, in transactions, "
    "with lz4 and Tidemill's sizes of batches, without a key; by its own figure, without the start of its Java. It "
    "does so once before all others, which does not count. The limit is pyarrow's reading with polars' encoding in one "
    "process, without any Kafka.",
    figures=(
        *our_figures(),
        Figure("kafka-python", "kafka-python, row by row, CSV", "peer", "rows/s"),
        Figure("perf-tool", "Kafka's ProducerPerformance", "peer", "rows/s"),
        Figure("read-encode", "reading and encoding alone, CSV", "limit", "rows/s"),
        Figure("csv-memory", "memory of the producer, CSV", "part", "MiB"),
        Figure("jsonl-memory", "memory of the producer, JSON Lines", "part", "MiB"),
        Figure("parquet-memory", "memory of the producer, Parquet", "part", "MiB"),
        Figure(f"csv-{MORE}-memory", f"memory of the producer, CSV, {MORE} partitions", "part", "MiB"),
    ),
    trials=trials,
    needs=("kafka-python",),
)
