"""The status of a run, read from its catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.pipeline import Output
from tidemill.run.catalog import (
    CollectorProgress,
    Freshness,
    Gap,
    GenerationRef,
    OutputState,
    ProducerProgress,
    StageState,
    StageStatus,
    progress_in,
)
from tidemill.run.catalog.account import posted_rows
from tidemill.run.folder import Run
from tidemill.run.stage import state_of

ORDER = (
    "broker",
    "producer",
    "collector",
    "trainer",
    "outputs",
    "api",
    "console",
)  # the order in which the data passes them
MOST_CAUGHT_UP = 50  # generations that a trainer judges afterwards, of a run that began before they were judged
DISPENSABLE = frozenset({"outputs", "console"})  # a run continues without these stages


@dataclass(frozen=True)
class OutputCounts:
    """How far an output is: how many rows were written to ``topic``, and how many messages of the stream are to come,
    as Kafka counts them; None before the first one was read. ``ended``: whether no more will come. ``missed``: how many
    offsets of a topic of others retention removed before they were scored."""

    model: str
    topic: str
    rows: int = 0
    lag: int | None = None
    ended: bool = False
    missed: int = 0


@dataclass(frozen=True)
class Counts:
    """How far the rows of a run have come.

    Attributes:
        source: how many rows the source has; None until that is known.
        posted: how many of the collected rows came by HTTP, not from the source; None where the stream takes none.
        posted_rejected: how many rows of requests did not fit, as their answers said; they are not in the stream, nor
            among ``rejected``. None where the stream takes none.
        rejected: all rejected rows and messages.
        source_rejected: those of ``rejected`` that the producer did not send.
        batches, bytes: the number of sealed batches, and the size of those whose files are kept.
        ended: whether every row of the stream is in a sealed batch.
        outputs: how far each output is.
        of_others: whether others write the topic, so that nothing is produced.
        lag: for each partition of a topic that others write, how many messages follow those that were read; empty until
            that is known; None for the run's own topic.
        gaps: what retention removed of such a topic before it was sealed.
    """

    source: int | None = None
    produced: int = 0
    collected: int = 0
    sealed: int = 0
    rejected: int = 0
    source_rejected: int = 0
    batches: int = 0
    bytes: int = 0
    ended: bool = False
    of_others: bool = False
    lag: Mapping[str, int] | None = None
    gaps: tuple[Gap, ...] = ()
    outputs: tuple[OutputCounts, ...] = ()
    posted: int | None = None
    posted_rejected: int | None = None


@dataclass(frozen=True)
class StageSummary:
    """A stage's state now. ``endpoint``: where it can be reached; None while it is not running."""

    state: StageState
    pid: int
    endpoint: str | None
    error: dict[str, Any] | None


@dataclass(frozen=True)
class RunSummary:
    """The progress of a run. ``api`` and ``console`` are base URLs; None while they are not served. ``generations``:
    how many are published. ``champions``: by model, the generation that serves; ``lines``: the replay that trained it,
    where it is not one of the run's own. ``freshness``: that of the newest generation of which it is known.
    ``lag`` and ``gaps`` as in :class:`Counts`; None where there are none.
    """

    pipeline: str
    run_dir: str
    api: str | None
    console: str | None
    stages: Mapping[str, StageSummary]
    rows: Counts
    batches: int
    generations: int
    champions: Mapping[str, int]
    lines: Mapping[str, str] | None
    freshness: Freshness | None
    outputs: tuple[OutputCounts, ...]
    lag: Mapping[str, int] | None = None
    gaps: tuple[Gap, ...] | None = None


def status(run: Run) -> RunSummary:
    """The progress of a run, by its catalog."""
    stages = run.catalog.stages()
    reached, serving = counts(run, stages), champions(run)
    return RunSummary(
        pipeline=run.pipeline.name,
        run_dir=str(run.folder),
        api=endpoint(run, stages.get("api")),
        console=endpoint(run, stages.get("console")),
        stages={
            name: StageSummary(state_of(run, stage), stage.pid, endpoint(run, stage), stage.error)
            for name, stage in stages.items()
        },
        rows=reached,
        batches=reached.batches,
        generations=run.catalog.generations_by_state().get("published", 0),
        champions={model: ref.number for model, ref in serving.items()},
        lines={model: ref.line for model, ref in serving.items() if ref.line} or None,
        freshness=run.catalog.newest_freshness(),
        outputs=reached.outputs,
        lag=reached.lag,
        gaps=reached.gaps or None,
    )


def champions(run: Run) -> dict[str, GenerationRef]:
    """The generation of each model that serves: its champion, or the newest where nothing was decided; empty before
    there is a generation."""
    newest, chosen = GenerationRef(run.catalog.newest_generation()), run.catalog.champions()
    return {model: chosen.get(model, newest) for model in run.pipeline.models} if newest.number else {}


def endpoint(run: Run, status: StageStatus | None) -> str | None:
    return status.endpoint if status and run.at_work(status) else None


def counts(run: Run, stages: Mapping[str, StageStatus]) -> Counts:
    """How far the rows have come, by the catalog and by the stages' last reports."""
    source, totals = run.catalog.source(), run.catalog.totals()
    producer, collector = progress_in(stages, ProducerProgress), progress_in(stages, CollectorProgress)
    complete = source is not None and source.complete
    rejected = source.rejected if source and complete else producer.rejected
    collected = max(collector.collected, totals["rows"])
    produced = source.produced if source and complete else producer.produced
    of_others = run.pipeline.source.topic is not None
    return Counts(
        source=source.rows if source else None,
        produced=collected if of_others else produced,
        collected=collected,
        sealed=totals["rows"],
        rejected=rejected + totals["rejected"],
        source_rejected=rejected,
        batches=totals["batches"],
        bytes=totals["bytes"],
        ended=stream_ended(run),
        of_others=of_others,
        lag=(collector.lag or {}) if of_others else None,
        gaps=tuple(run.catalog.gaps()) if of_others else (),
        outputs=output_counts(run),
        posted=posted(run, collector),
        posted_rejected=run.catalog.posting().rejected if run.pipeline.source.open else None,
    )


def posted(run: Run, collector: CollectorProgress) -> int | None:
    """How many rows by HTTP were collected; None where the stream takes none."""
    return max(collector.posted or 0, posted_rows(run.catalog.accounts())) if run.pipeline.source.open else None


def open_outputs(run: Run) -> list[Output]:
    """The outputs of the pipeline to which rows are still to be written."""
    written = run.catalog.outputs()
    return [output for output in run.pipeline.outputs if output.topic not in written or not written[output.topic].ended]


def output_counts(run: Run) -> tuple[OutputCounts, ...]:
    """How far each output of the pipeline is."""
    written = run.catalog.outputs()
    return tuple(output_count(output, written.get(output.topic)) for output in run.pipeline.outputs)


def output_count(output: Output, state: OutputState | None) -> OutputCounts:
    """How far an output is. Its lag is not known before any of the stream is read for it."""
    if state is None:
        return OutputCounts(output.model, output.topic)
    lag = state.lag if state.offsets or state.ended else None
    return OutputCounts(output.model, output.topic, state.rows, lag, state.ended, state.missed)


def in_order(stages: Mapping[str, StageStatus]) -> dict[str, StageStatus]:
    """The stages in the order in which the data passes them."""
    known = {name: stages[name] for name in ORDER if name in stages}
    return known | dict(stages)


def stream_ended(run: Run) -> bool:
    """Whether every row of the stream is in a sealed batch."""
    return bool(run.catalog.ended())


def source_sealed(run: Run) -> bool:
    """Whether sealed batches hold all rows of the source, in a stream that stays open."""
    source = run.catalog.source()
    if not run.pipeline.source.open or source is None or not source.complete:
        return False
    return sum(account.rows for account in (run.catalog.accounts() or {}).values()) == source.produced


def judged(run: Run) -> bool:
    """Whether each of the ``MOST_CAUGHT_UP`` newest published generations was judged, without an error: a look that
    ended with one is repeated by the next trainer. A generation that failed and was trained again may be older than
    others that were judged."""
    newest = run.catalog.newest_generation()
    return run.catalog.all_judged(after=newest - MOST_CAUGHT_UP)


def trained(run: Run) -> bool:
    """Whether the stream has ended and each of its generations is published, or failed for good."""
    states = run.catalog.generations_by_state()
    return stream_ended(run) and states.get("published", 0) + states.get("failed", 0) == run.catalog.totals()["batches"]
