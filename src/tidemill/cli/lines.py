"""The progress of `tidemill up` where there is no terminal: a line for each event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tidemill.cli.verdict_lines import BY_ITSELF, VerdictLines, describe_decision, who
from tidemill.process.supervisor import Supervisor
from tidemill.run.catalog import Batch, BrokerProgress, Gap, Generation, StageStatus, TrainedModel, progress_in
from tidemill.run.folder import Run
from tidemill.run.progress.sentences import describe_gap, rows
from tidemill.run.progress.status import counts, endpoint, output_counts, status, stream_ended, trained

SHOWN_METRICS = (
    *("accuracy", "f1", "auc", "rmse", "mae", "r2"),
    *("silhouette", "cost", "mean_log_likelihood"),
    *("ndcg_at_10", "precision_at_10", "candidate_share", "known_words"),
)


class ProgressLines:
    """Prints the new events at each call of :meth:`show`."""

    def __init__(self, run: Run, console: Console, exit_when_trained: bool = False) -> None:
        self._run = run
        self._console = console
        self._exit_when_trained = exit_when_trained
        self._batch = 0
        self._generation = 0
        self._decision = 0
        self._gaps: set[Gap] = set()
        self._endpoints: set[tuple[str, str]] = set()
        self._failed: set[int] = set()
        self._restarts = 0
        self._verdicts = VerdictLines(run)
        self._said_download = self._said_end = self._said_trained = False
        self._said_outputs: set[str] = set()

    def begin(self) -> None:
        pipeline = self._run.pipeline
        models = ", ".join(pipeline.models)
        self.say("run", f"{pipeline.title or pipeline.name}: {pipeline.generations.scheme} generations of {models}")
        self.say("folder", str(self._run.folder))

    def show(self, supervisor: Supervisor) -> None:
        stages = self._run.catalog.stages()
        if not self._said_download and is_downloading(stages):
            self._said_download = True
            self.say("kafka", "downloading it, once for each user; this takes about a minute")
        for name, key in (("broker", "kafka"), ("api", "api"), ("console", "console")):
            self._endpoint(key, endpoint(self._run, stages.get(name)))
        for gap in self._run.catalog.gaps():
            if gap not in self._gaps:
                self._gaps.add(gap)
                self.say("gap", describe_gap(gap))
        for batch in self._run.catalog.batches(after=self._batch):
            self._batch = batch.batch
            self.say(f"batch {batch.batch}", describe_batch(batch))
        for generation in self._run.catalog.generations(after=self._generation):
            if generation.state == "training":
                break
            self._generation = generation.generation
            self._say_generation(generation)
        for number in sorted(self._failed):
            retrained = self._run.catalog.generation(number)
            if retrained and retrained.state == "published":
                self._say_generation(retrained)
        for decision in self._run.catalog.decisions(from_number=self._decision + 1):
            self._decision = decision.number
            if decision.action not in BY_ITSELF:
                self.say(who(decision), describe_decision(decision))
        for verdict in self._verdicts.new():
            self.say("verdict", verdict)
        for restart in supervisor.restarts[self._restarts :]:
            self.say("restart", restart)
        self._restarts = len(supervisor.restarts)
        self._say_milestones(stages)

    def end(self) -> None:
        """Do nothing: lines need no cleaning up."""

    def sum_up(self, stopped: bool) -> None:
        """Print the last lines of a run that ended well or was ``stopped``."""
        sum_up(self._run, self._console, stopped, rejects=not self._said_end)

    def say(self, label: str, text: str) -> None:
        say(self._console, label, text)

    def _say_generation(self, generation: Generation) -> None:
        """Print a generation that is published or failed; a failed one may be trained again later."""
        (self._failed.add if generation.state == "failed" else self._failed.discard)(generation.generation)
        for label, text in describe_generation(generation):
            self.say(label, text)

    def _say_milestones(self, stages: Mapping[str, StageStatus]) -> None:
        for output in output_counts(self._run):
            if output.ended and output.topic not in self._said_outputs:
                self._said_outputs.add(output.topic)
                self.say("output", f"{rows(output.rows)} with their predictions of {output.model} in {output.topic}")
        if not self._said_end and stream_ended(self._run):
            self._said_end = True
            say_rejected(self._run, self._console, counts(self._run, stages).rejected)
        if self._said_end and not self._said_trained and trained(self._run):
            states = self._run.catalog.generations_by_state()
            if states == {"published": self._generation}:  # and each of them was printed
                self._said_trained = True
                stays = "" if self._exit_when_trained else "; the API answers until Ctrl-C"
                which = "the only generation" if self._generation == 1 else f"all {self._generation:,} generations"
                self.say("trained", f"{which}{stays}")

    def _endpoint(self, key: str, address: str | None) -> None:
        if address and (key, address) not in self._endpoints:
            self._endpoints.add((key, address))
            self.say(key, f"{address}{'  (try it: /docs)' if key == 'api' else ''}")


def is_downloading(stages: Mapping[str, StageStatus]) -> bool:
    """Whether the broker is downloading Kafka, which it does once for each user."""
    downloading = progress_in(stages, BrokerProgress).jars_steps is not None
    return downloading and stages["broker"].state == "starting"


def describe_batch(batch: Batch) -> str:
    return f"{batch.rows:,} rows, {batch.bytes:,} bytes, cut by {batch.cut}, sha256 {batch.sha256[:12]}…"


def describe_generation(generation: Generation, serves: str = "") -> list[tuple[str, str]]:
    """The lines of a generation, each with its label: one for the generation, which says what it ``serves``, and one
    for each model."""
    label = f"generation {generation.generation}"
    if generation.state == "failed":
        return [(label, f"FAILED: {generation.error}")]
    first, last = generation.batches[0], generation.batches[-1]
    batches = f"batch {first}" if len(generation.batches) == 1 else f"batches {first}-{last}"
    state = ", in training" if generation.state == "training" else ""
    models = (("", f"{name}: {describe_model(model)}") for name, model in generation.models.items())
    return [(label, f"{rows(generation.rows)} of {batches}{state}{serves}"), *models]


def describe_model(model: TrainedModel) -> str:
    skipped = model.rows.get("skipped", 0)
    left_out = f"; {rows(skipped)} left out (a value is missing)" if skipped else ""
    metrics = ", ".join(metrics_of(model)) or "no held-out row to score"
    return f"{metrics}; fitted in {model.fit_seconds:.1f} s{left_out}"


def headline(generation: Generation) -> str:
    """A generation in one line: each model with the first of its metrics."""
    if generation.state == "failed":
        return f"FAILED: {generation.error}"
    if generation.state == "training":
        return f"{rows(generation.rows)}, in training"
    first_metrics = ((name, next(metrics_of(model), "")) for name, model in generation.models.items())
    models = ", ".join(f"{name} {metric}" for name, metric in first_metrics if metric)
    return f"{rows(generation.rows)}{f'; {models}' if models else ''}"


def metrics_of(model: TrainedModel) -> Iterator[str]:
    return (f"{key} {value:.4g}" for key in SHOWN_METRICS if (value := model.metrics.get(key)) is not None)


def sum_up(run: Run, console: Console, stopped: bool, rejects: bool = True) -> None:
    """Print the last lines of a run that ended well or was ``stopped``. ``rejects``: with the number of rejects."""
    if rejects:
        say_rejected(run, console, status(run).rows.rejected)
    if run.catalog.newest_batch_judged():
        say_verdicts(run, console)
    if stopped:
        say(console, "stopped", "the same command, without --fresh, resumes the run")


def say_verdicts(run: Run, console: Console) -> None:
    """Print the verdict on each model, in a sentence."""
    from tidemill.judging.verdict import VerdictReader  # here: it loads scipy, which takes longer than the rest

    for model, verdict in VerdictReader(run).summary().models.items():
        text = f"[bold]{'verdict':<13}[/bold] {escape(f'{model}: {verdict.sentence}')}"
        console.print(text, soft_wrap=not console.is_terminal, highlight=False)  # a terminal breaks lines within words


def say_rejected(run: Run, console: Console, rejected: int) -> None:
    if rejected:
        say(console, "rejected", f"{rows(rejected)}; see {shown_path(run.rejects)}/")


def shown_path(path: Path) -> Path:
    """``path``, relative to the working folder if it is below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def say(console: Console, label: str, text: str) -> None:
    console.print(f"[bold]{escape(label):<13}[/bold] {escape(text)}", soft_wrap=True, highlight=False)
