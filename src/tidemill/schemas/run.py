"""The bodies about a run: its health, its pipeline, its stages and its progress."""

from __future__ import annotations

from typing import Any, Literal

from tidemill.schemas.base import ErrorBody, Problem, Shape, omitted_if_none
from tidemill.schemas.freshness import FreshnessBody
from tidemill.types import ColumnKind

Kind = Literal["classification", "regression", "clustering", "recommendation", "neighbours", "text"]
Scheme = Literal["windowed", "cumulative", "sliding"]


class Health(Shape):
    """There is a generation to answer from; ``champions`` has the one that answers for each model, ``lines`` the replay
    that trained it, where it is not one of the run's own. ``problems`` lists faults that exist nevertheless."""

    status: Literal["ready"]
    pipeline: str
    generation: int
    generations: int
    models: list[str]
    champions: dict[str, int]
    lines: dict[str, str] | None = omitted_if_none()
    published_at: str | None
    problems: list[str]


class Unready(ErrorBody):
    """There is no generation yet. ``reason`` says what the API waits for, or what failed."""

    status: Literal["waiting", "failed"]
    reason: str
    pipeline: str
    problems: list[str]


class HomeModel(Shape):
    """A model, and the address to which its requests are posted. ``left_out``: columns that are not among its features,
    with the reasons that the pipeline file gives."""

    estimator: str
    kind: Kind
    left_out: dict[str, str] | None = omitted_if_none()
    predict: str | None = omitted_if_none()
    recommend: str | None = omitted_if_none()
    similar: str | None = omitted_if_none()


class HomeRoute(Shape):
    """A route that the pipeline declares; a SQL route has no model."""

    method: str
    path: str
    model: str | None
    description: str


class ColumnBody(Shape):
    """A declared column; the value of an ``optional`` column may be missing. ``settings``: the other keys of its
    table that say how values are read, in TOML; ``note``: why it is declared so, as the pipeline file says."""

    name: str
    kind: ColumnKind
    optional: bool
    unit: str | None
    title: str | None
    settings: str | None = omitted_if_none()
    note: str | None = omitted_if_none()


class CutsBody(Shape):
    """The rules that cut the stream into batches (``every`` and ``idle`` in seconds), and the format of the batch
    files.
    """

    rows: int | None
    every: float | None
    parts: int | None
    idle: float | None
    format: Literal["parquet", "csv"]


class Home(Shape):
    """The pipeline, its models, its own routes, and links to the other endpoints. ``source_note``: what the pipeline
    file says about the source; ``source_settings``: how it says that the data are laid out, in TOML."""

    pipeline: str
    title: str
    generation: int | None
    generations: int
    models: dict[str, HomeModel]
    routes: list[HomeRoute]
    links: dict[str, str]
    source_note: str | None = omitted_if_none()
    source_settings: str | None = omitted_if_none()
    columns: list[ColumnBody]
    key: str | None
    batches: CutsBody
    scheme: Scheme


StageState = Literal["starting", "running", "done", "stopped", "failed"]


class StageBody(Shape):
    """A stage. ``word`` says what it is doing, or why it waits or has failed."""

    state: StageState
    pid: int
    endpoint: str | None = omitted_if_none()
    error: Problem | None = omitted_if_none()
    updated_at: str
    word: str


class RowCounts(Shape):
    """Rows of the source (null until known), and how many of them are produced, collected, sealed and rejected.
    ``posted``: how many of the collected rows came by HTTP, not from the source, in a stream that takes them;
    ``posted_rejected``: how many rows of requests did not fit, as the answers said; they are not in ``rejected``."""

    source: int | None
    produced: int
    posted: int | None = omitted_if_none()
    posted_rejected: int | None = omitted_if_none()
    collected: int
    sealed: int
    rejected: int


class RowRates(Shape):
    """Rows per second, over about the last five seconds; null until known."""

    produced: float | None
    collected: float | None
    sealed: float | None


class OpenBatchBody(Shape):
    """The batch that is not sealed yet: its rows, its maximum of rows, the timestamp of its first row, and the end of
    its time window (both by the rows' own timestamps)."""

    batch: int
    rows: int
    target: int | None
    since: str | None
    until: str | None


class GapBody(Shape):
    """Offsets of a partition, both ends included, that retention removed before they were sealed. ``batch``: the one
    that was open then."""

    partition: int
    first_offset: int
    last_offset: int
    batch: int
    found_at: str


class PartitionBody(Shape):
    """A partition of the stream's topic. The run begins at ``first_offset`` (0 in a topic of its own); ``next_offset``:
    the first one after the sealed rows, null where none are; ``end_offset``: the one before which the run's part of the
    topic ends, null where it does not, or where a marker ends it; ``lag``: how many messages follow those that were
    read, null where that is unknown; ``removed``: how many offsets retention removed before they were sealed."""

    partition: int
    first_offset: int
    next_offset: int | None
    end_offset: int | None
    lag: int | None
    removed: int


class StreamBody(Shape):
    """The topic of the stream. ``of_others``: whether others write it; ``since`` and ``until``: the part of such a
    topic that the run reads, as the pipeline file says; ``ends``: whether the stream, and so the run, ends by
    itself; ``rows``: the address that takes rows, where it does; ``posted``: how many rows this API wrote since it
    started."""

    topic: str
    of_others: bool
    since: str | None
    until: str | None
    ends: bool
    partitions: list[PartitionBody]
    gaps: list[GapBody]
    rows: str | None
    posted: int | None


class GenerationCounts(Shape):
    published: int
    training: int
    failed: int


class TrainingBody(Shape):
    """The generation that is being trained."""

    generation: int
    rows: int
    began_at: str


class OutputBody(Shape):
    """A topic of predictions: how many rows were written to it, and how many messages of the stream are still to come,
    as Kafka counts them (``lag``; null before the first one was read). ``ended``: whether no more will come.
    ``missed``: how many offsets of a topic of others retention removed before they were scored."""

    model: str
    topic: str
    rows: int
    lag: int | None
    ended: bool
    missed: int


class StatusBody(Shape):
    """How far the run is. ``lag``: rows produced and not yet collected, or, of a topic that others write, messages that
    follow those that were read (``partition_lag`` has them by partition); ``gaps``: what retention removed of such a
    topic before it was sealed; ``bytes``: of the sealed batches whose files are kept; ``waiting``: what the run as a
    whole is doing or waits for; ``trained``: whether the stream has ended and every generation is published, or failed
    for good; ``freshness``: that of the newest generation of which it is known."""

    pipeline: str
    title: str
    description: str
    scheme: Scheme
    api: str | None
    console: str | None
    stages: dict[str, StageBody]
    rows: RowCounts
    rates: RowRates
    lag: int
    partition_lag: dict[str, int] | None = omitted_if_none()
    gaps: list[GapBody] | None = omitted_if_none()
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
    freshness: FreshnessBody | None
    outputs: list[OutputBody]


class CommandStage(Shape):
    """A stage, as the command ``status`` prints it. ``error`` has a code, a message, a hint, and perhaps more."""

    state: StageState
    pid: int
    endpoint: str | None = omitted_if_none()
    error: dict[str, Any] | None = omitted_if_none()


class CommandStatus(Shape):
    """The output of ``tidemill status --json``. ``generations``: how many are published. ``champions``: by model, the
    generation that serves; empty before there is one. ``lines``: the replay that trained it, where it is not one of the
    run's own. ``freshness``: that of the newest generation of which it is known. ``lag``: for each
    partition of a topic that others write, how many messages follow those that were read;
    ``gaps``: what retention removed of it before it was sealed."""

    pipeline: str
    run_dir: str
    api: str | None
    console: str | None
    stages: dict[str, CommandStage]
    rows: RowCounts
    batches: int
    generations: int
    champions: dict[str, int]
    lines: dict[str, str] | None = omitted_if_none()
    freshness: FreshnessBody | None
    outputs: list[OutputBody]
    lag: dict[str, int] | None = omitted_if_none()
    gaps: list[GapBody] | None = omitted_if_none()
