"""The catalog's records, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from tidemill.run.catalog.freshness import Freshness
from tidemill.texts import generation_name

GenerationState = Literal["training", "published", "failed"]


class GenerationRef(NamedTuple):
    """Names a generation: ``line`` is "" for the run's own, else the name of the replay that trained it."""

    number: int
    line: str = ""

    def __str__(self) -> str:
        return generation_name(self.number, self.line)


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
class PostingState:
    """What the run knows of its rows by HTTP: the topic of answered requests, None until it is known, whether the run
    created it, and how many rows of requests did not fit.
    """

    topic_id: str | None = None
    topic_created: bool = False
    rejected: int = 0


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
class TopicPartition:
    """A partition of a topic that others write.

    Attributes:
        first_offset: where the run begins to read it.
        end_offset: the offset before which the run's stream ends; None in a run without an end.
        since_batch: the first batch that could have rows of it: 1, or a later one where it was added during the run.
        read_to: every message before this offset is in a sealed batch; None where only the batches say.
    """

    partition: int
    first_offset: int
    end_offset: int | None = None
    since_batch: int = 1
    read_to: int | None = None


@dataclass(frozen=True)
class Gap:
    """Offsets of a partition, both ends included, that retention removed before they were sealed. ``batch``: the batch
    that was open then."""

    partition: int
    first_offset: int
    last_offset: int
    batch: int
    found_at: str = ""

    def __str__(self) -> str:
        return f"offsets {self.first_offset:,} to {self.last_offset:,} of partition {self.partition}"


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
    """A sealed batch. ``gaps``: what retention removed of the topic while it was open. ``removed_at``: when its files
    were removed; None while they are there."""

    batch: int = 0
    cut: str = ""
    sealed_at: str = ""
    removed_at: str | None = None
    partitions: tuple[Span, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class RecordedFiles:
    """Which files the catalog knows: each sealed batch's path, the batch that is cut but not sealed, the published
    generations, and those that were started but not published; and the batches and generations whose files were
    removed, or are being removed."""

    sealed: Mapping[int, str]
    decided: int | None
    published: frozenset[int]
    started: frozenset[int]
    removed_batches: frozenset[int] = frozenset()
    removed_generations: frozenset[int] = frozenset()


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
    """One generation: the batches that it is trained on, their rows, and its models once it is published. ``line``: the
    replay that trained it; "" for one of the run's own. ``removed_at``: when its files were removed.
    ``freshness``: None until it has answered, and where it is not known."""

    generation: int
    state: GenerationState
    batches: tuple[int, ...]
    rows: int
    error: str | None = None
    began_at: str = ""
    published_at: str | None = None
    models: dict[str, TrainedModel] = field(default_factory=dict)
    line: str = ""
    removed_at: str | None = None
    freshness: Freshness | None = None

    @property
    def ref(self) -> GenerationRef:
        return GenerationRef(self.generation, self.line)


class KeptOffsets(NamedTuple):
    """Of one partition, the first offset of the batches whose files are there, and the last that is sealed. Where those
    have nothing of it, ``first`` is that one too."""

    first: int
    last_sealed: int


@dataclass(frozen=True)
class KeptFiles:
    """The batches and published generations whose files are there: by number, when it was sealed or published."""

    batches: Mapping[int, str]
    generations: Mapping[int, str]


Evidence = Literal["provisional", "settled"]
Action = Literal["first", "newest", "promoted", "held", "rolled back", "chosen"]
BY_GATE = "gate"  # signs the decisions that no person made


@dataclass(frozen=True)
class Judging:
    """A batch that was judged: on its held-out rows once its generation is trained (``provisional``), or on all its
    rows, by the generations before it (``settled``).

    Attributes:
        line: "" for the run's own generations, else the name of a replay.
        path, sha256: the file of the rows' losses; None where no row was scored.
        error: why it could not be judged; None where it was.
    """

    line: str
    batch: int
    evidence: Evidence
    seconds: float
    path: str | None = None
    sha256: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Cell:
    """The losses of one generation of a model, or of its trivial model, on the rows of one batch.

    ``sums`` and ``counts``: (blocks,), the sum of the losses and the number of rows in each block of rows, packed as
    float64. ``shown``: further figures of the same rows.
    """

    model: str
    generation: int
    batch: int
    evidence: Evidence
    loss_name: str
    n: int
    mean: float | None
    variance: float | None
    sums: bytes
    counts: bytes
    shown: dict[str, Any]
    trivial: bool = False
    line: str = ""


@dataclass(frozen=True)
class ComparisonRecord:
    """A generation of a model compared with a reference, on the same rows of one batch.

    ``decides``: whether it is by the loss that decides for this kind of model. ``gain`` is the loss of the reference
    minus that of the generation; ``low`` and ``high`` are its interval. Without ``word`` there is no verdict, and
    ``checks`` says what there is.
    """

    model: str
    generation: int
    against: str
    evidence: Evidence
    loss_name: str
    decides: bool
    reference: int | None
    batch: int
    rows: int
    loss: float | None = None
    reference_loss: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    word: str | None = None
    rows_needed: int | None = None
    checks: dict[str, Any] = field(default_factory=dict)
    line: str = ""
    reference_line: str = ""

    @property
    def compared_with(self) -> GenerationRef | None:
        """The reference; None for the trivial model."""
        return None if self.reference is None else GenerationRef(self.reference, self.reference_line)


@dataclass(frozen=True)
class DriftRecord:
    """How far a column of a batch is from the training rows of the generation ``reference``.

    ``before`` and ``after``: what ``details["measure"]`` is of those rows and of the batch; None where it is unknown.
    """

    batch: int
    column: str
    reference: int
    test: str
    effect: float
    p: float
    flagged: bool
    details: dict[str, Any]
    before: float | None = None
    after: float | None = None
    reference_line: str = ""


@dataclass(frozen=True)
class GateDecision:
    """A decision about which generation of a model serves.

    Attributes:
        generation: the one that it is about.
        champion: the one that serves from then on.
        former: the one that served before; None where there was none.
        line, former_line: the replay that trained the champion, and the former one; "" for the run's own generations.
        by: "gate", or the person.
        batch, evidence: the rows that it rests on, where it rests on any.
        figures: the comparison behind it, at the level of the gate.
    """

    model: str
    action: Action
    generation: int
    champion: int
    former: int | None
    by: str
    because: str
    batch: int | None = None
    evidence: Evidence | None = None
    figures: dict[str, Any] | None = None
    number: int = 0
    decided_at: str = ""
    line: str = ""
    former_line: str = ""

    @property
    def about(self) -> GenerationRef:
        """The generation that it is about: a replay's only where a person chose it."""
        return self.serves if self.action == "chosen" else GenerationRef(self.generation)

    @property
    def serves(self) -> GenerationRef:
        """The champion."""
        return GenerationRef(self.champion, self.line)

    @property
    def served(self) -> GenerationRef | None:
        """The former champion."""
        return None if self.former is None else GenerationRef(self.former, self.former_line)


@dataclass(frozen=True, kw_only=True)
class LineModel(TrainedModel):
    """A model of a generation that a replay trained. It has no Spark model."""

    line: str
    generation: int
    batches: tuple[int, ...]


@dataclass(frozen=True)
class PairedBlocks:
    """The losses of a replay's generation and of the run's own, on the rows of a batch that both can answer, where one
    of them can answer others too.

    Attributes:
        own_generation: the run's own that it is compared with, the newest before the batch.
        answerable: the rows that either can answer.
        sums, own_sums, counts: (blocks,), as those of a :class:`Cell`, in the same blocks of the same rows.
    """

    line: str
    model: str
    batch: int
    loss_name: str
    generation: int
    own_generation: int
    answerable: int
    sums: bytes
    own_sums: bytes
    counts: bytes


@dataclass(frozen=True)
class OutputState:
    """How far the rows have been written, each with a prediction, into the topic ``topic``.

    Attributes:
        topic_id, topic_created: Kafka's id of that topic, and whether the run created it.
        partitions: of that topic, when the run began to write to it.
        offsets: for each partition of the stream the offset of the next row; Kafka's own record of it may be ahead.
        rows: how many were written.
        lag: how many messages of the stream are still to come, as Kafka counts them.
        ended: whether all rows of a stream that has ended were written.
        missed: how many offsets of a topic of others retention removed before they were read.
    """

    topic: str
    model: str
    topic_id: str
    topic_created: bool
    partitions: int
    offsets: Mapping[int, int] = field(default_factory=dict)
    rows: int = 0
    lag: int = 0
    ended: bool = False
    missed: int = 0


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
