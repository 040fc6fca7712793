"""What a run looks like from outside, read from its catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.run.catalog import CollectorProgress, ProducerProgress, StageStatus, progress_in
from tidemill.run.folder import Run
from tidemill.run.stage import state_of

ORDER = ("broker", "producer", "collector", "trainer", "api", "console")  # the data's
DISPENSABLE = frozenset({"console"})  # a run goes on without these stages


@dataclass(frozen=True)
class Counts:
    """How many rows the source has (None until known), and how many came how far; what is sealed of them.

    ``source_rejected``: those of ``rejected`` that never went into the stream.

    ``ended``: every row of the stream is in a sealed batch.
    """

    source: int | None
    produced: int
    collected: int
    sealed: int
    rejected: int
    source_rejected: int
    batches: int
    bytes: int
    ended: bool

    def rows(self) -> dict[str, int | None]:
        """As ``tidemill status --json`` shows them."""
        shown = ("source", "produced", "collected", "sealed", "rejected")
        return {name: getattr(self, name) for name in shown}


def status(run: Run) -> dict[str, Any]:
    """As ``tidemill status --json`` shows it: ``api`` and ``console`` are base URLs, or None while there is none."""
    words = run.catalog.stages()
    found = counts(run, words)
    return {
        "pipeline": run.pipeline.name,
        "run_dir": str(run.folder),
        "api": endpoint(run, words.get("api")),
        "console": endpoint(run, words.get("console")),
        "stages": {name: stage_document(run, word) for name, word in words.items()},
        "rows": found.rows(),
        "batches": found.batches,
        "generations": run.catalog.generations_by_state().get("published", 0),
    }


def endpoint(run: Run, word: StageStatus | None) -> str | None:
    return word.endpoint if word and run.at_work(word) else None


def stage_document(run: Run, word: StageStatus) -> dict[str, Any]:
    document: dict[str, Any] = {"state": state_of(run, word), "pid": word.pid}
    if word.endpoint and run.at_work(word):
        document["endpoint"] = word.endpoint
    if word.error:
        document["error"] = word.error
    return document


def counts(run: Run, words: Mapping[str, StageStatus]) -> Counts:
    """How far the rows came, by the catalog and by what the stages said last."""
    source, totals = run.catalog.source(), run.catalog.totals()
    producer, collector = progress_in(words, ProducerProgress), progress_in(words, CollectorProgress)
    complete = source is not None and source.complete
    rejected = source.rejected if source and complete else producer.rejected
    return Counts(
        source=source.rows if source else None,
        produced=source.produced if source and complete else producer.produced,
        collected=max(collector.collected, totals["rows"]),
        sealed=totals["rows"],
        rejected=rejected + totals["rejected"],
        source_rejected=rejected,
        batches=totals["batches"],
        bytes=totals["bytes"],
        ended=stream_ended(run),
    )


def in_order(words: Mapping[str, StageStatus]) -> dict[str, StageStatus]:
    """The stages in the data's order."""
    known = {name: words[name] for name in ORDER if name in words}
    return known | dict(words)


def stream_ended(run: Run) -> bool:
    """Whether every row of the stream is in a sealed batch."""
    return len(run.catalog.ended()) == run.pipeline.stream.partitions


def trained(run: Run) -> bool:
    """Whether the stream has ended and each of its generations is published, or failed for good."""
    states = run.catalog.generations_by_state()
    return stream_ended(run) and states.get("published", 0) + states.get("failed", 0) == run.catalog.totals()["batches"]
