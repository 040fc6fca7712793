"""The catalog's records, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

GenerationState = Literal["training", "published", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """One execution of a pipeline.

    Attributes:
        document: the whole pipeline that the run was started with, defaults included.
        given: the settings of it that the user gave; None in a run that started before they were recorded.
        secret: signs the run's marks in its topic; None in a run that started before marks were signed.
    """

    id: str
    pipeline: str
    document: dict[str, Any]
    began_at: str
    secret: str | None = None
    given: dict[str, Any] | None = None


@dataclass(frozen=True)
class SourceState:
    """The producer's knowledge of the source: how many rows fit (None until counted), how many did not, and how many it
    sent; and which topic it sends them to.
    """

    fingerprint: str
    rows: int | None = None
    rejected: int = 0
    produced: int = 0
    complete: bool = False
    topic_id: str | None = None
    topic_created: bool = False


@dataclass(frozen=True)
class SideTableRecord:
    """A side table, stored in the file ``path``; ``fingerprint`` identifies the data that it was read from."""

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
    """A cut that was decided: which offsets the batch holds and why it was cut there.

    ``digest`` covers the accounts of all partitions up to the batch's last message; None where no accounts are kept.
    """

    batch: int
    cut: str
    spans: tuple[Span, ...]
    digest: str | None = None


@dataclass(frozen=True)
class Sealed:
    """The properties of a batch once its file has its final name."""

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
    """Which files the catalog knows: each sealed batch's path, the batch that is cut but not sealed, the published
    generations, and those that were started but not published."""

    sealed: Mapping[int, str]
    decided: int | None
    published: frozenset[int]
    started: frozenset[int]


@dataclass(frozen=True)
class TrainedModel:
    """A model of a generation: how it was trained, how good it is, where its files are.

    ``rows`` counts the rows that it was fitted on, scored on, and could not use: ``{"train", "holdout", "skipped"}``.
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
    """One generation: the batches that it is trained on, their rows, and its models once it is published."""

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
    """The rows sent to a partition, by its end marker, and the rows read from it up to the last sealed message.

    Both are counts and digests. The marker's are None in a run that started before markers had them.
    """

    sent: int | None
    sent_digest: str | None
    read: int
    read_digest: str


class Ending(Protocol):
    """The content of an end marker."""

    @property
    def sent(self) -> int | None: ...
    @property
    def digest(self) -> str | None: ...
