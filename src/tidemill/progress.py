"""What `tidemill up` says while it works: a line for each thing that happened, and on a terminal a line that moves."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from tidemill.catalog import Batch, Generation
from tidemill.run import Run
from tidemill.status import status
from tidemill.supervisor import Supervisor

SHOWN_METRICS = ("accuracy", "f1", "auc", "rmse", "mae", "r2", "silhouette", "cost")


class Progress:
    """Call :meth:`show` often; it prints what is new since the last time."""

    def __init__(self, run: Run, console: Console) -> None:
        self._run = run
        self._console = console
        self._batch = 0
        self._generation = 0
        self._endpoints: set[tuple[str, str]] = set()
        self._restarts = 0
        self._told_fetching = False
        self._moving: Status | None = console.status("starting") if console.is_terminal else None
        if self._moving:
            self._moving.start()

    def begin(self) -> None:
        pipeline = self._run.pipeline
        models = ", ".join(pipeline.models)
        self.say("run", f"{pipeline.title or pipeline.name}: {pipeline.generations.scheme} generations of {models}")
        self.say("folder", str(self._run.folder))

    def show(self, supervisor: Supervisor) -> None:
        now = status(self._run)
        if not self._told_fetching and self._fetching():
            self._told_fetching = True
            self.say("kafka", "fetching it, once for each user; this takes about a minute")
        for name, key in (("broker", "kafka"), ("api", "api")):
            self._endpoint(key, now["stages"].get(name, {}))
        for batch in self._run.catalog.batches(after=self._batch):
            self._batch = batch.batch
            self.say(f"batch {batch.batch}", describe_batch(batch))
        for one in self._run.catalog.generations(after=self._generation):
            if one.state == "training":
                break
            self._generation = one.generation
            self._say_generation(one)
        for restart in supervisor.restarts[self._restarts :]:
            self.say("restart", restart)
        self._restarts = len(supervisor.restarts)
        if self._moving:
            self._moving.update(escape(self._moving_line(now)))

    def end(self) -> None:
        if self._moving:
            self._moving.stop()

    def say(self, what: str, text: str) -> None:
        self._console.print(f"[bold]{escape(what):<13}[/bold] {escape(text)}", soft_wrap=True, highlight=False)

    def _endpoint(self, key: str, stage: dict[str, Any]) -> None:
        address = stage.get("endpoint")
        if address and (key, address) not in self._endpoints:
            self._endpoints.add((key, address))
            self.say(key, f"{address}{'  (try it: /docs)' if key == 'api' else ''}")

    def _say_generation(self, one: Generation) -> None:
        batches = f"batch {one.batches[0]}" if len(one.batches) == 1 else f"batches {one.batches[0]}-{one.batches[-1]}"
        if one.state == "failed":
            self.say(f"generation {one.generation}", f"FAILED: {one.error}")
            return
        self.say(f"generation {one.generation}", f"{one.rows:,} rows of {batches}")
        for name, model in one.models.items():
            shown = [f"{key} {value:.4g}" for key in SHOWN_METRICS if (value := model.metrics.get(key)) is not None]
            self.say("", f"{name}: {', '.join(shown)}; fitted in {model.fit_seconds:.1f} s")

    def _moving_line(self, now: dict[str, Any]) -> str:
        rows = now["rows"]
        total = f" of {rows['source']:,}" if rows["source"] else ""
        counts = f"produced {rows['produced']:,}{total}, sealed {rows['sealed']:,}, rejected {rows['rejected']:,}"
        return f"{self._fetching() or counts}; Ctrl-C stops"

    def _fetching(self) -> str:
        """How far the broker is with fetching Kafka, which it does once for each user."""
        broker = self._run.catalog.stages().get("broker")
        if broker is None or broker.state != "starting" or "jars_steps" not in broker.counters:
            return ""
        return f"fetching Kafka: {broker.counters['jars_done']} of {broker.counters['jars_steps']} steps"


def describe_batch(batch: Batch) -> str:
    return f"{batch.rows:,} rows, {batch.bytes:,} bytes, cut by {batch.cut}, sha256 {batch.sha256[:12]}…"
