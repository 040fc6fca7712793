"""The shapes of the answers that tell of the run: its pipeline, stages, batches and their rows, rejects."""

from __future__ import annotations

from typing import Any, Literal

from tidemill.schemas.models import Problem, Shape
from tidemill.scoring import Kind
from tidemill.types import ColumnKind


class HomeModel(Shape):
    """A model, and where it is asked by POST."""

    estimator: str
    kind: Kind
    predict: str | None = None
    recommend: str | None = None
    similar: str | None = None


class HomeRoute(Shape):
    """A route of the pipeline's own; one of SQL has no model."""

    method: str
    path: str
    model: str | None
    description: str


class ColumnBody(Shape):
    """A declared column; ``optional``: it may be missing."""

    name: str
    kind: ColumnKind
    optional: bool
    unit: str | None
    title: str | None


class CutsBody(Shape):
    """What cuts the stream, ``every`` and ``idle`` in seconds, and the format of a batch's file."""

    rows: int | None
    every: float | None
    parts: int | None
    idle: float | None
    format: Literal["parquet", "csv"]


class Home(Shape):
    pipeline: str
    title: str
    generation: int | None
    generations: int
    models: dict[str, HomeModel]
    routes: list[HomeRoute]
    links: dict[str, str]
    columns: list[ColumnBody]
    key: str | None
    batches: CutsBody
    scheme: Literal["windowed", "cumulative", "sliding"]


class StageBody(Shape):
    """A stage. ``word`` says what it is doing, or why it waits or has failed."""

    state: Literal["starting", "running", "done", "stopped", "failed"]
    pid: int
    endpoint: str | None = None
    error: Problem | None = None
    updated_at: str
    word: str


class RowCounts(Shape):
    """Rows of the source (null until known), and how many of them came how far."""

    source: int | None
    produced: int
    collected: int
    sealed: int
    rejected: int


class RowRates(Shape):
    """Rows a second, over about the last five seconds; null until known."""

    produced: float | None
    collected: float | None
    sealed: float | None


class OpenBatchBody(Shape):
    """The batch that is not sealed yet: its rows, how many it will have at the most, when its first row came, and when
    its window ends (both by the rows' own timestamps)."""

    batch: int
    rows: int
    target: int | None
    since: str | None
    until: str | None


class GenerationCounts(Shape):
    published: int
    training: int
    failed: int


class TrainingBody(Shape):
    """The generation that the trainer is at."""

    generation: int
    rows: int
    began_at: str


class StatusBody(Shape):
    """How far the run is. ``lag``: rows produced and not yet collected; ``bytes``: of all sealed batches; ``waiting``:
    what the run as a whole is doing or waits for; ``trained``: whether the stream has ended and every generation is
    published, or failed for good."""

    pipeline: str
    title: str
    description: str
    scheme: Literal["windowed", "cumulative", "sliding"]
    api: str | None
    console: str | None
    stages: dict[str, StageBody]
    rows: RowCounts
    rates: RowRates
    lag: int
    open_batch: OpenBatchBody | None
    batches: int
    bytes: int
    generations: GenerationCounts
    newest: int | None
    training: TrainingBody | None
    waiting: str
    problems: list[str]
    stream_ended: bool
    trained: bool


class SpanBody(Shape):
    """The offsets of one partition that a batch holds, both ends included."""

    partition: int
    first_offset: int
    last_offset: int


class BatchBody(Shape):
    """A sealed batch. ``cut``: why it was cut; the paths are relative to the run folder."""

    batch: int
    path: str
    rows: int
    bytes: int
    sha256: str
    cut: Literal["rows", "every", "parts", "idle", "end"]
    rejected: int
    rejects_path: str | None
    first_timestamp: str | None
    last_timestamp: str | None
    sealed_at: str
    partitions: list[SpanBody]


class BatchRows(Shape):
    """Some of the ``rows`` of a batch, from number ``offset`` on, counted from 0."""

    batch: int
    rows: int
    offset: int
    columns: list[ColumnBody]
    items: list[dict[str, Any]]


class RejectPlace(Shape):
    place: str
    rejected: int


class RejectPlaces(Shape):
    """Where rows did not fit: the source, a side table, a batch, or the stream's tail after its last batch."""

    rejected: int
    places: list[RejectPlace]


class RejectBody(Shape):
    """What did not fit: of a file its line, of the stream its partition and offset. ``text`` is its beginning."""

    reason: str
    file: str | None = None
    line: int | None = None
    partition: int | None = None
    offset: int | None = None
    text: str


class ReasonCount(Shape):
    reason: str
    count: int


class RejectsBody(Shape):
    """Some of what did not fit in one place. ``reasons``: the most frequent ones among the first ``counted``."""

    place: str
    rejected: int
    offset: int
    items: list[RejectBody]
    reasons: list[ReasonCount]
    counted: int
