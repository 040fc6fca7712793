"""What `tidemill up` says while it works where there is no terminal: a line for each thing that happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tidemill.process.supervisor import Supervisor
from tidemill.run.catalog import Batch, BrokerProgress, Generation, TrainedModel, progress_in
from tidemill.run.folder import Run
from tidemill.run.progress.sentences import rows
from tidemill.run.progress.status import status, stream_ended, trained

SHOWN_METRICS = (
    *("accuracy", "f1", "auc", "rmse", "mae", "r2"),
    *("silhouette", "cost", "mean_log_likelihood"),
    *("ndcg_at_10", "precision_at_10", "candidate_share", "known_words"),
)


class Lines:
    """Call :meth:`show` often; it prints what is new since the last time."""

    def __init__(self, run: Run, console: Console, exit_when_trained: bool = False) -> None:
        self._run = run
        self._console = console
        self._exit_when_trained = exit_when_trained
        self._batch = 0
        self._generation = 0
        self._endpoints: set[tuple[str, str]] = set()
        self._failed: set[int] = set()
        self._restarts = 0
        self._told_fetching = self._told_end = self._told_trained = False

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
        for name, key in (("broker", "kafka"), ("api", "api"), ("console", "console")):
            self._endpoint(key, now["stages"].get(name, {}))
        for batch in self._run.catalog.batches(after=self._batch):
            self._batch = batch.batch
            self.say(f"batch {batch.batch}", describe_batch(batch))
        for one in self._run.catalog.generations(after=self._generation):
            if one.state == "training":
                break
            self._generation = one.generation
            self._say_generation(one)
        for number in sorted(self._failed):
            again = self._run.catalog.generation(number)
            if again and again.state == "published":
                self._say_generation(again)
        for restart in supervisor.restarts[self._restarts :]:
            self.say("restart", restart)
        self._restarts = len(supervisor.restarts)
        self._say_milestones(now)

    def end(self) -> None:
        """Nothing is left open."""

    def sum_up(self, stopped: bool) -> None:
        """The last lines of a run that ended well, or that was ``stopped``."""
        sum_up(self._run, self._console, stopped)

    def say(self, what: str, text: str) -> None:
        say(self._console, what, text)

    def _say_generation(self, one: Generation) -> None:
        """Tell of one that is published, or that failed: it may be trained anew."""
        (self._failed.add if one.state == "failed" else self._failed.discard)(one.generation)
        for what, text in describe_generation(one):
            self.say(what, text)

    def _say_milestones(self, now: dict[str, Any]) -> None:
        if not self._told_end and stream_ended(self._run):
            self._told_end = True
            say_rejected(self._run, self._console, now["rows"]["rejected"])
        if self._told_end and not self._told_trained and trained(self._run):
            states = self._run.catalog.generations_by_state()
            if states == {"published": self._generation}:  # and each of them has been told
                self._told_trained = True
                stays = "" if self._exit_when_trained else "; the API answers until Ctrl-C"
                which = "the only generation" if self._generation == 1 else f"all {self._generation:,} generations"
                self.say("trained", f"{which}{stays}")

    def _endpoint(self, key: str, stage: dict[str, Any]) -> None:
        address = stage.get("endpoint")
        if address and (key, address) not in self._endpoints:
            self._endpoints.add((key, address))
            self.say(key, f"{address}{'  (try it: /docs)' if key == 'api' else ''}")

    def _fetching(self) -> bool:
        """Whether the broker is fetching Kafka, which it does once for each user."""
        stages = self._run.catalog.stages()
        fetching = progress_in(stages, BrokerProgress).jars_steps is not None
        return fetching and stages["broker"].state == "starting"


def describe_batch(batch: Batch) -> str:
    return f"{batch.rows:,} rows, {batch.bytes:,} bytes, cut by {batch.cut}, sha256 {batch.sha256[:12]}…"


def describe_generation(one: Generation) -> list[tuple[str, str]]:
    """The lines of a generation, each with what stands before it: one of its own, and one for each model."""
    if one.state == "failed":
        return [(f"generation {one.generation}", f"FAILED: {one.error}")]
    batches = f"batch {one.batches[0]}" if len(one.batches) == 1 else f"batches {one.batches[0]}-{one.batches[-1]}"
    state = ", in training" if one.state == "training" else ""
    first = (f"generation {one.generation}", f"{rows(one.rows)} of {batches}{state}")
    return [first, *(("", f"{name}: {describe_model(model)}") for name, model in one.models.items())]


def describe_model(model: TrainedModel) -> str:
    skipped = model.rows.get("skipped", 0)
    left_out = f"; {rows(skipped)} left out (a value is missing)" if skipped else ""
    return f"{', '.join(metrics_of(model))}; fitted in {model.fit_seconds:.1f} s{left_out}"


def headline(one: Generation) -> str:
    """A generation in one line: each model with the first of its metrics."""
    if one.state == "failed":
        return f"FAILED: {one.error}"
    if one.state == "training":
        return f"{rows(one.rows)}, in training"
    models = (f"{name} {first}" for name, model in one.models.items() if (first := next(metrics_of(model), "")))
    return f"{rows(one.rows)}; {', '.join(models)}"


def metrics_of(model: TrainedModel) -> Iterator[str]:
    return (f"{key} {value:.4g}" for key in SHOWN_METRICS if (value := model.metrics.get(key)) is not None)


def sum_up(run: Run, console: Console, stopped: bool) -> None:
    """The last lines of a run that ended well, or that was ``stopped``."""
    say_rejected(run, console, status(run)["rows"]["rejected"])
    if stopped:
        say(console, "stopped", "the same command goes on")


def say_rejected(run: Run, console: Console, rejected: int) -> None:
    if rejected:
        say(console, "rejected", f"{rows(rejected)}; see {shown_path(run.rejects)}/")


def shown_path(path: Path) -> Path:
    """``path`` as seen from the working folder, where it is below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def say(console: Console, what: str, text: str) -> None:
    console.print(f"[bold]{escape(what):<13}[/bold] {escape(text)}", soft_wrap=True, highlight=False)
