"""What the catalog records, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

GenerationState = Literal["training", "published", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """One execution of a pipeline; ``document`` is the whole pipeline as it was begun with, defaults included, and
    ``given`` the part of it that was given (None where that was not recorded)."""

    id: str
    pipeline: str
    document: dict[str, Any]
    began_at: str
    secret: str | None = None
    given: dict[str, Any] | None = None


@dataclass(frozen=True)
class SourceState:
    """What the producer knows: how many ``rows`` fit in all (None until counted), went out, and did not fit."""

    fingerprint: str
    rows: int | None = None
    rejected: int = 0
    produced: int = 0
    complete: bool = False
    topic_id: str | None = None
    topic_created: bool = False


@dataclass(frozen=True)
class SideTableRecord:
    """A side table as it was read into the file ``path``; ``fingerprint`` is that of the data it was read from."""

    name: str
    path: str
    rows: int
    rejected: int
    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Span:
    """The offsets of one partition that a batch holds, both ends included."""

    partition: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True)
class Decision:
    """A cut that was decided: which offsets the batch holds and why it was cut there. ``digest`` is the one over the
    accounts of all partitions up to its last message; None where none are kept."""

    batch: int
    cut: str
    spans: tuple[Span, ...]
    digest: str | None = None


@dataclass(frozen=True)
class Sealed:
    """What is known of a batch once its file has its final name."""

    path: str
    rows: int
    bytes: int
    sha256: str
    rejected: int = 0
    rejects_path: str | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None


@dataclass(frozen=True)
class Batch(Sealed):
    """A sealed batch."""

    batch: int = 0
    cut: str = ""
    sealed_at: str = ""
    partitions: tuple[Span, ...] = ()


@dataclass(frozen=True)
class RecordedFiles:
    """Which files the catalog knows: the path of each sealed batch, the batch whose cut is recorded but which is not
    sealed, the generations that are published and those that were only begun."""

    sealed: Mapping[int, str]
    decided: int | None
    published: frozenset[int]
    begun: frozenset[int]


@dataclass(frozen=True)
class TrainedModel:
    """A model of a generation: how it was trained, how good it is, where its files are.

    ``rows`` counts what it was fitted on, scored on and could not use: ``{"train", "holdout", "skipped"}``.
    """

    model: str
    estimator: str
    metrics: dict[str, float | None]
    fit_seconds: float
    parity: dict[str, Any]
    rows: dict[str, int]
    scorer_path: str
    sha256: str
    spark_path: str
    profile: dict[str, Any] | None = None


@dataclass(frozen=True)
class Generation:
    """The batches it was trained on, counted in ``rows``, and its models once it is published."""

    generation: int
    state: GenerationState
    batches: tuple[int, ...]
    rows: int
    error: str | None = None
    began_at: str = ""
    published_at: str | None = None
    models: dict[str, TrainedModel] = field(default_factory=dict)


@dataclass(frozen=True)
class ClosingAccount:
    """What the end marker says was ``sent`` to a partition, and the rows ``read`` of it up to the last sealed message:
    counts and digests. The marker's are None where the run began before markers said so."""

    sent: int | None
    sent_digest: str | None
    read: int
    read_digest: str


class Ending(Protocol):
    """What an end marker says."""

    @property
    def sent(self) -> int | None: ...
    @property
    def digest(self) -> str | None: ...
