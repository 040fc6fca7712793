"""The Prometheus metrics of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import CatalogError
from tidemill.judging.verdict import newest_comparisons
from tidemill.kafka.intake import RowIntake
from tidemill.run.catalog import CollectorProgress, progress_in

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of the API, in a Prometheus registry of their own."""

    def __init__(self, registry: ModelRegistry, intake: RowIntake | None = None, shared: Path | None = None) -> None:
        """``shared``: the folder in which this process counts beside others (:mod:`tidemill.api.workers.counts`); if
        there is none, it counts in its memory."""
        self._collectors = CollectorRegistry()
        counting = self._collectors
        if shared is not None:
            # The counts of all processes, also of those that died.
            MultiProcessCollector(self._collectors, path=str(shared))  # type: ignore[no-untyped-call]  # as above
            counting = CollectorRegistry()
        requests = Counter(
            "tidemill_http_requests", "Requests answered.", ["route", "method", "status"], registry=counting
        )
        seconds = Histogram(
            "tidemill_http_request_seconds",
            "Time from request to answer.",
            ["route"],
            buckets=BUCKETS,
            registry=counting,
        )
        # labels() checks its arguments each time, which costs more than counting
        self._requests = lru_cache(maxsize=4096)(requests.labels)
        self._seconds = lru_cache(maxsize=4096)(seconds.labels)
        self._collectors.register(RunCollector(registry))
        if intake is not None:
            self._collectors.register(IntakeCollector(intake))

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered after so many seconds."""
        self._requests(route, method if method in METHODS else "other", str(status)).inc()
        self._seconds(route).observe(seconds)

    def count_refused(self, status: int) -> None:
        """Count a request that was refused before its head was read, so its route and method are not known."""
        self._requests("refused", "other", str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self._collectors)


class IntakeCollector(Collector):
    """How many rows this API wrote into the stream, and how many did not fit."""

    def __init__(self, intake: RowIntake) -> None:
        self._intake = intake

    def collect(self) -> Iterator[Metric]:
        rows, transactions, waiting, rejected = self._intake.counts
        yield CounterMetricFamily("tidemill_posted_rows", "Rows written into the stream by this API.", rows)
        yield CounterMetricFamily("tidemill_posted_transactions", "Transactions that they were in.", transactions)
        yield CounterMetricFamily("tidemill_posted_rejected", "Rows of requests that did not fit.", rejected)
        yield GaugeMetricFamily("tidemill_posted_waiting", "Requests with rows that wait to be written.", waiting)


class RunCollector(Collector):
    """Gauges of the run, read when Prometheus asks."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        snapshot = self._registry.snapshot
        newest = snapshot.newest.number if snapshot.newest else 0
        published = len(snapshot.published)
        yield GaugeMetricFamily("tidemill_generation", "The newest generation that is served; 0: none yet.", newest)
        yield GaugeMetricFamily("tidemill_generations", "Generations that are published.", published)
        champions = GaugeMetricFamily(
            "tidemill_champion", "The generation that answers for each model.", labels=["model"]
        )
        for model, (number, line) in snapshot.champions.items():
            labels = {"model": model} | ({"line": line} if line else {})
            champions.add_sample("tidemill_champion", labels, number)
        yield champions
        yield self._rows()
        yield self._freshness()
        yield from self._outputs()
        yield from self._verdicts()
        scores = GaugeMetricFamily(
            "tidemill_model_metric", "Metrics of the newest generation's models.", labels=["model", "metric"]
        )
        for name, trained in snapshot.newest.record.models.items() if snapshot.newest else ():
            for metric, value in trained.metrics.items():
                if value is not None:
                    scores.add_metric([name, metric], value)
        yield scores

    def _rows(self) -> GaugeMetricFamily:
        """The counts of rows; empty while the catalog can't be read."""
        rows = GaugeMetricFamily("tidemill_rows", "Rows of the stream.", labels=["state"])
        catalog = self._registry.run.catalog
        try:
            totals, source = catalog.totals(), catalog.source()
        except CatalogError:
            return rows
        open_rows = progress_in(self._registry.snapshot.stages, CollectorProgress).open_rows
        if not self._registry.run.pipeline.source.topic:  # others produce it
            rows.add_metric(["produced"], source.produced if source else 0)
        rows.add_metric(["collected"], totals["rows"] + open_rows)
        rows.add_metric(["sealed"], totals["rows"])
        rows.add_metric(["rejected"], totals["rejected"] + (source.rejected if source else 0))
        return rows

    def _freshness(self) -> GaugeMetricFamily:
        """The parts of the newest generation's freshness; empty until that is known."""
        seconds = GaugeMetricFamily(
            "tidemill_freshness_seconds",
            "Parts of the time from the acknowledgement of a batch's last row to the first answer of its generation.",
            labels=["part"],
        )
        freshness = self._registry.snapshot.freshness
        for part, value in freshness.parts.items() if freshness else ():
            seconds.add_metric([part], value)
        return seconds

    def _outputs(self) -> Iterator[GaugeMetricFamily]:
        """How far each output is."""
        written = GaugeMetricFamily(
            "tidemill_output_rows", "Rows written with their predictions.", labels=["model", "topic"]
        )
        lag = GaugeMetricFamily(
            "tidemill_output_lag", "Messages of the stream that are still to come.", labels=["model", "topic"]
        )
        for output in self._registry.snapshot.counts.outputs:
            written.add_metric([output.model, output.topic], output.rows)
            if output.lag is not None:
                lag.add_metric([output.model, output.topic], output.lag)
        yield written
        yield lag

    def _verdicts(self) -> Iterator[GaugeMetricFamily]:
        """How the newest judged generations compare; empty while the catalog can't be read."""
        gains = GaugeMetricFamily(
            "tidemill_gain",
            "How much less loss the newest judged generation of a model has than what it is compared with.",
            labels=["model", "against"],
        )
        words = GaugeMetricFamily(
            "tidemill_verdict", "The word of that comparison.", labels=["model", "against", "word"]
        )
        run = self._registry.run
        with suppress(CatalogError):
            for record in newest_comparisons(run.catalog, run.pipeline.models):
                if record.gain is not None and record.word is not None:
                    gains.add_metric([record.model, record.against], record.gain)
                    words.add_metric([record.model, record.against, record.word], 1)
        yield gains
        yield words
