"""What every request goes through first: the key, counting, timing, and a last answer where all else failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.api.answers import Json
from tidemill.api.models.registry import Live
from tidemill.errors import CatalogError, TidemillError, Unauthorized
from tidemill.run.catalog import CollectorProgress, progress_in
from tidemill.web.api_key import CHALLENGES, ApiKey

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
CLIENT_GONE = 499  # nginx's word for a client that hung up before it was answered


class Metrics:
    """The Prometheus metrics of one API process, in a registry of their own."""

    def __init__(self, live: Live) -> None:
        self._registry = CollectorRegistry()
        requests = Counter(
            "tidemill_http_requests", "Requests answered.", ["route", "method", "status"], registry=self._registry
        )
        seconds = Histogram(
            "tidemill_http_request_seconds",
            "Time from request to answer.",
            ["route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        # labels() checks its arguments each time, which costs more than counting
        self._requests = lru_cache(maxsize=4096)(requests.labels)
        self._seconds = lru_cache(maxsize=4096)(seconds.labels)
        self._registry.register(RunCollector(live))

    def saw(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests(route, method if method in METHODS else "other", str(status)).inc()
        self._seconds(route).observe(seconds)

    def refused(self, status: int) -> None:
        """A request was refused before its head was read whole, so neither its route nor its method is known."""
        self._requests("refused", "other", str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)


class RunCollector(Collector):
    """What the run has come to, read when Prometheus asks."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        now = self._live.now
        newest = now.newest.number if now.newest else 0
        yield GaugeMetricFamily("tidemill_generation", "The newest generation that is served; 0: none yet.", newest)
        yield GaugeMetricFamily("tidemill_generations", "Generations that are published.", len(now.published))
        yield self._rows()
        scores = GaugeMetricFamily(
            "tidemill_model_metric", "Metrics of the newest generation's models.", labels=["model", "metric"]
        )
        for name, trained in now.newest.record.models.items() if now.newest else ():
            for metric, value in trained.metrics.items():
                if value is not None:
                    scores.add_metric([name, metric], value)
        yield scores

    def _rows(self) -> GaugeMetricFamily:
        """The counts of rows; none while the catalog can't be read."""
        rows = GaugeMetricFamily("tidemill_rows", "Rows of the stream.", labels=["state"])
        catalog = self._live.run.catalog
        try:
            totals, source = catalog.totals(), catalog.source()
        except CatalogError:
            return rows
        open_rows = progress_in(self._live.now.stages, CollectorProgress).open_rows
        rows.add_metric(["produced"], source.produced if source else 0)
        rows.add_metric(["collected"], totals["rows"] + open_rows)
        rows.add_metric(["sealed"], totals["rows"])
        rows.add_metric(["rejected"], totals["rejected"] + (source.rejected if source else 0))
        return rows


class Front:
    """The outermost middleware. HEAD is answered as GET, whose body the server leaves out."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: Any, key: ApiKey | None = None) -> None:
        self.app = app
        self.key = key
        self.metrics = metrics
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, began, status = scope["method"], time.perf_counter(), 0
        inner = {**scope, "method": "GET"} if method == "HEAD" else scope

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self.key:
                self.key.check(scope["path"], Headers(scope=scope))
            await self.app(inner, receive, watched)
        except Unauthorized as error:
            refusal = Json(error.document(), error.status)
            for challenge in CHALLENGES:  # a line each: of several in one line Chromium sees but the first
                refusal.headers.append("WWW-Authenticate", challenge)
            await refusal(inner, receive, watched)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            self.log.exception("a request failed", method=method, path=scope["path"])
            if not status:
                await internal_error()(inner, receive, watched)
        finally:
            route = getattr(inner.get("route"), "path_format", "other")
            self.metrics.saw(route, method, status, time.perf_counter() - began)


def internal_error() -> Json:
    error = TidemillError("something went wrong inside the API", "the log of the serve stage has the details")
    return Json(error.document(), status_code=500)
