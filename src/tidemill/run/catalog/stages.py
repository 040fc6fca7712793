"""The reports of the stages: each one's state, and a typed record of its progress.

The catalog stores a record as one JSON object in the column ``counters``. A record is read from an older run's object
as well: keys that it does not know are ignored, and those that are missing get their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar

StageState = Literal["starting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class StageProgress:
    """The progress of a stage that counts nothing: the API, the console."""

    stage: ClassVar[str] = ""

    def document(self) -> dict[str, Any]:
        """The record as JSON values, as the catalog stores it."""
        return asdict(self)


@dataclass(frozen=True)
class BrokerProgress(StageProgress):
    """How many of ``jars_steps`` steps are done while Kafka is fetched; None while it is not."""

    stage = "broker"
    jars_done: int | None = None
    jars_steps: int | None = None


@dataclass(frozen=True)
class ProducerProgress(StageProgress):
    """Rows: how many the source has, or how many were counted so far (``rows``, None while that is not known), how many
    are in the topic, and how many of the source did not fit."""

    stage = "producer"
    rows: int | None = None
    produced: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class CollectorProgress(StageProgress):
    """How many rows were read, and the open batch.

    Attributes:
        collected: rows of sealed batches and of the open one.
        open_batch: the number of the open batch; None until the collector reads.
        open_rows: its rows so far.
        open_target: at how many rows it is cut; None where no count cuts it.
        open_since: the timestamp of its first row, ISO 8601.
        open_until: the timestamp at which its window ends, ISO 8601.
        counted: rows counted so far in a topic of others that is cut into equal parts; None where none are counted.
        waiting: why nothing can be read though the stream has not ended.
        lag: for each partition of such a topic, how many messages follow those that were read; None for the run's own.
        posted: how many of the collected rows came by HTTP; None where the stream takes none.
    """

    stage = "collector"
    collected: int = 0
    open_batch: int | None = None
    open_rows: int = 0
    open_target: int | None = None
    open_since: str | None = None
    open_until: str | None = None
    counted: int | None = None
    lag: dict[str, int] | None = None
    waiting: str | None = None
    posted: int | None = None


@dataclass(frozen=True)
class TrainerProgress(StageProgress):
    """The last generation that was finished, the one in training with the rows of its batches, and how many are
    published."""

    stage = "trainer"
    generation: int | None = None
    training: int | None = None
    training_rows: int | None = None
    published: int = 0


RECORDS: Mapping[str, type[StageProgress]] = {
    record.stage: record for record in (BrokerProgress, ProducerProgress, CollectorProgress, TrainerProgress)
}

P = TypeVar("P", bound=StageProgress)


def progress_of(stage: str, counters: Mapping[str, Any]) -> StageProgress:
    """The record of a stage from its JSON object in the catalog."""
    record = RECORDS.get(stage, StageProgress)
    known = {field.name for field in fields(record)}
    return record(**{name: value for name, value in counters.items() if name in known})


@dataclass(frozen=True)
class StageStatus:
    """The last report of a stage. ``endpoint`` is where it can be reached."""

    stage: str
    state: StageState
    pid: int
    endpoint: str | None = None
    error: dict[str, Any] | None = None
    progress: StageProgress = field(default_factory=StageProgress)
    updated_at: str = ""


def progress_in(stages: Mapping[str, StageStatus], record: type[P]) -> P:
    """The progress of the stage that ``record`` belongs to; an empty record where that stage has reported nothing."""
    status = stages.get(record.stage)
    return status.progress if status is not None and isinstance(status.progress, record) else record()
