"""The shapes of the answers that tell of the run: its stages, its batches and their rows, its rejects."""

from __future__ import annotations

from typing import Literal

from tidemill.serving.shapes import Problem, Shape


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
