"""How soon a generation answers that is trained on a row which Kafka has just acknowledged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import httpx
from confluent_kafka import KafkaError, Message, Producer

from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Failed, serving
from bench.support.runs import asked
from bench.support.served_runs import DEVICE, free_port
from bench.support.waiting import wait_for

ASK_SECONDS = 0.01
IN_TIME = 180.0
FIT_SHARE, MOST_REST = 1.3, 0.5  # what is promised: this multiple of the fit and these seconds more
GROUPS: Mapping[str, tuple[str, ...]] = {
    "collecting": ("wait", "cut", "seal"),
    "preparing": ("queue", "prepare"),
    "exporting": ("export", "parity", "measure", "save"),
    "serving": ("publish", "load"),
}
"""The parts of freshness beside the fit, as the run reports them."""
BATCHES = 8  # of different rows; then they begin again
PIPELINE = """
name = "fresh"
[source]
topic = "{topic}"
[source.columns]
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
[generations]
scheme = "windowed"
[models.efficiency]
estimator = "LogisticRegression"
features = [
  "DeviceType", "UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths",
]
label = "SmartHomeEfficiency"
params = {{ regParam = 0.01 }}
scale = "standard"
"""


class Stream:
    """Sends a batch of rows at a time, and waits for its generation."""

    def __init__(self, kafka: str, topic: str, address: str, lines: Iterator[bytes], batch: int) -> None:
        self.generation = 0
        self._producer = Producer({"bootstrap.servers": kafka, "acks": "all", "log_level": 2})
        self._topic, self._lines, self._batch = topic, lines, batch
        self._client = httpx.Client(timeout=30)
        self._address = f"{address}/models/efficiency/predict"
        self._acknowledged = 0.0

    def close(self) -> None:
        self._client.close()

    def send(self) -> float:
        """Send the next batch. Returns the seconds from the acknowledgement of its last row to the first answer of its
        generation."""
        for line in islice(self._lines, self._batch):
            self._producer.produce(self._topic, line, on_delivery=self._note)
            self._producer.poll(0)
        if self._producer.flush(60):
            raise Failed("Kafka did not take the rows")
        self.generation += 1
        wait_for(self._answers, f"generation {self.generation}", IN_TIME, ASK_SECONDS)
        return time.perf_counter() - self._acknowledged

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise Failed(f"Kafka refused a row: {error}")
        self._acknowledged = time.perf_counter()

    def _answers(self) -> bool:
        """Whether the newest generation answers a prediction."""
        try:
            answer = self._client.post(self._address, json=DEVICE)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["generation"] >= self.generation


def fresh(stream: Stream, run: Path, pipeline: Path) -> Mapping[str, float]:
    seconds = stream.send()
    generation = asked("generations", run, pipeline)[-1]
    (model,), said = generation["models"].values(), generation["freshness"]
    fit = model["fit_seconds"]
    figures = {"tidemill": seconds, "reported": said["seconds"], "fit": fit, "wanted": FIT_SHARE * fit + MOST_REST}
    return figures | {group: sum(said["parts"][part] for part in parts) for group, parts in GROUPS.items()}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    batch, warm = bench.size("batch", 20_000, 5_000), bench.size("warm", 8, 2)
    with bench.topic() as topic, bench.scratch() as folder:
        pipeline, run, port = folder / "fresh.toml", folder / "run", free_port()
        pipeline.write_text(PIPELINE.format(topic=topic, kafka=bench.kafka, batch=batch))
        words = ("up", pipeline, "--run-dir", run, "--port", port, "--no-console")
        lines = bench.data(batch * BATCHES, ".jsonl").read_bytes().splitlines()
        with serving([*TIDEMILL, *words], folder / "up.log"):
            stream = Stream(bench.kafka, topic, f"http://127.0.0.1:{port}", cycle(lines), batch)
            try:
                for _ in range(warm):
                    stream.send()
                yield [partial(fresh, stream, run, pipeline)] * 2
            finally:
                stream.close()


FRESHNESS = Line(
    key="freshness",
    title="Freshness",
    how="A client sends batches of {batch} rows to a topic that `tidemill up` follows, and asks for a prediction "
    "every 10 ms: the time from Kafka's acknowledgement of a batch's last row to the first answer of the "
    "generation that was trained on it, one logistic regression. The parts are what the run reports; from a row's "
    "timestamp, so a few milliseconds more than its acknowledgement. Two generations a round, after {warm} that do "
    "not count: Spark's code is compiled by then.",
    figures=(
        Figure("tidemill", "last row acknowledged to the generation's first answer", "ours", "s"),
        Figure("reported", "the same, as the run itself reports it", "part", "s"),
        Figure("collecting", "of that: the row is read, the batch is cut and sealed", "part", "s"),
        Figure("preparing", "of that: the trainer sees the batch and prepares its rows", "part", "s"),
        Figure("fit", "of that: Spark's fit", "part", "s"),
        Figure("exporting", "of that: export, parity, metrics, Spark's own model saved", "part", "s"),
        Figure("serving", "of that: publication, and the API's load", "part", "s"),
        Figure("wanted", f"{FIT_SHARE:g} times the fit, and {MOST_REST:g} s", "limit", "s"),
    ),
    trials=trials,
)
