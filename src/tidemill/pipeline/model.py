"""The tables of the pipeline file, immutable."""

from __future__ import annotations

import re
import types
from datetime import date
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from tidemill.pipeline.columns import Cleaning, Column, DeclaredType, column_table
from tidemill.pipeline.derived import FeatureSource, feature_source
from tidemill.pipeline.part import RECORDED, Part, Plain, is_recorded
from tidemill.pipeline.routes import Route
from tidemill.pipeline.secrets import OptionalSetting, Setting
from tidemill.pipeline.text_settings import (
    DEFAULT_ENCODING,
    DEFAULT_QUOTE,
    KINDS_OF_SETTING,
    Ambiguous,
    Decimal,
    Delimiter,
    Encoding,
    Escape,
    Format,
    Quote,
    Thousands,
    Word,
    Zone,
)
from tidemill.types import ColumnKind, is_moment, iso, utc_moment

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: object, info: ValidationInfo) -> float:
    """Seconds, from ``"5m"``, ``"0ms"`` or a bare 0. In recorded documents durations are seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and (value == 0 or is_recorded(info)):
        return float(value)
    match = DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a duration such as "250ms", "30s", "5m" or "1h"')
    return float(match[1]) * SECONDS[match[2]]


def positive_duration(value: object, info: ValidationInfo) -> float:
    seconds = duration(value, info)
    if seconds <= 0:
        raise ValueError("a duration above zero")
    return seconds


def window(value: object, info: ValidationInfo) -> float:
    """Seconds, at least one millisecond: Kafka's timestamps are no finer."""
    seconds = positive_duration(value, info)
    if seconds < 0.001:
        raise ValueError("a duration of 1ms or more")
    return seconds


def pause_range(value: object, info: ValidationInfo) -> tuple[float, float]:
    """``(least, most)`` in seconds, from one duration or a pair."""
    pair = value if isinstance(value, (list, tuple)) else [value, value]
    if len(pair) != 2:
        raise ValueError("one duration, or a pair of them: the least and the most")
    least, most = duration(pair[0], info), duration(pair[1], info)
    if least > most:
        raise ValueError("the least pause first, then the most")
    return least, most


Duration = Annotated[float, BeforeValidator(positive_duration)]
Window = Annotated[float, BeforeValidator(window)]
Pause = Annotated[tuple[float, float], BeforeValidator(pause_range)]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class TextSettings(Part):
    """How values are written as text, in a source or a column; a column's settings precede the source's."""

    missing: Annotated[tuple[Plain, ...], Field(strict=False)] = ()
    decimal: Decimal | None = None
    thousands: Thousands | None = None
    true: Annotated[tuple[Word, ...], Field(strict=False, min_length=1)] | None = None
    false: Annotated[tuple[Word, ...], Field(strict=False, min_length=1)] | None = None
    timezone: Zone | None = None
    ambiguous: Ambiguous | None = None


class DeclaredColumn(TextSettings):
    """A column's type, its name in the data where that differs (``from``), how its values are cleaned, and for people
    its title, its unit and a note."""

    type: DeclaredType
    from_: Text | None = Field(default=None, alias="from")
    strip: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    format: Text | None = None
    default: Plain = None
    unit: Text | None = None
    title: Text | None = None
    note: Text | None = None


class Data(TextSettings):
    """Data read in order: a built-in sample, or files (a path or a glob), and how these are laid out.

    ``format``: that of files whose ending does not tell it. ``delimiter``: None is a comma, unless the file has a line
    ``sep=`` at its beginning. ``quote``: empty where quotes are part of the values. ``skip``: how many lines precede
    the header or the first row. ``note`` is for people.
    """

    columns: dict[str, Annotated[DeclaredColumn, BeforeValidator(column_table)]]
    sample: str | None = None
    path: str | None = None
    format: Format | None = None
    encoding: Encoding = DEFAULT_ENCODING
    header: bool | None = None
    delimiter: Delimiter | None = None
    quote: Quote = DEFAULT_QUOTE
    escape: Escape | None = None
    trim: bool = False
    skip: Annotated[int, Field(ge=0)] = 0
    comment: Text | None = None
    note: Text | None = None

    @property
    def has_data(self) -> bool:
        """Whether there is a sample or a file; a source that stays open may have neither."""
        return self.sample is not None or self.path is not None

    @property
    def schema_(self) -> tuple[Column, ...]:
        """The declared columns, in the file's order."""
        return tuple(column_of(name, declared, self) for name, declared in self.columns.items())


def column_of(name: str, declared: DeclaredColumn, source: TextSettings) -> Column:
    kind: ColumnKind = declared.type.removesuffix("?")  # type: ignore[assignment]  # checked by column_type
    cleaning = Cleaning(
        declared.strip,
        declared.missing,
        declared.format,
        declared.default,
        source.missing,
        **{
            key: getattr(source, key) if (own := getattr(declared, key)) is None else own
            for key, kinds in KINDS_OF_SETTING.items()
            if kind in kinds
        },
    )
    return Column(
        name, kind, declared.type.endswith("?"), cleaning, declared.unit, declared.title, declared.from_, declared.note
    )


def offset_time(value: object, info: ValidationInfo) -> str | None:
    """A word that the key allows, or a moment as ISO 8601 in UTC; None only for a key that may be left out."""
    words = {"from_": ("earliest", "latest"), "until": ("now", None)}[str(info.field_name)]
    if value is None and None in words:
        return None
    if isinstance(value, date):  # TOML has times of its own
        value = value.isoformat()
    if isinstance(value, str) and value in words:
        return value
    if isinstance(value, str) and is_moment(value):
        return iso(utc_moment(value))
    quoted = " or ".join(f'"{word}"' for word in words if word)
    raise ValueError(f'{quoted}, or a time such as "2026-01-31T00:00:00Z"')


OffsetTime = Annotated[Any, BeforeValidator(offset_time)]


class Registry(Part):
    """A schema registry with Confluent's REST API: its address, and who asks.

    ``username`` with ``password``, or ``token``: secrets only from the environment or from files. ``ca``: a file of
    the certificates that its own is signed by.
    """

    url: Text
    username: OptionalSetting = None
    password: OptionalSetting = None
    token: OptionalSetting = None
    ca: Text | None = None


class Source(Data):
    """Where the stream's rows come from: a sample, files, or a topic that others write.

    ``rows``: how many are read at most of a sample or of files. ``open``: whether the stream stays open after them, or
    without any, and takes rows by HTTP. Of a topic: ``from`` and ``until`` say which part of it is read; ``value`` how
    its messages are encoded, with the ``registry`` that has their schemas, and ``unwrap`` in which envelope;
    ``timestamp`` is the column whose value counts as a row's time, in place of Kafka's; ``key_column`` the column that
    the message's key holds; ``on_gap`` whether the run stops where retention removed messages before they were sealed,
    or records that.
    """

    rows: Count | None = None
    open: bool = False
    topic: TopicName | None = None
    from_: OffsetTime = Field(default="earliest", alias="from")
    until: OffsetTime = None
    value: Literal["json", "avro", "protobuf"] = "json"
    registry: Registry | None = None
    unwrap: Literal["debezium"] | None = None
    timestamp: str | None = None
    key_column: str | None = None
    on_gap: Literal["stop", "record"] = "stop"


class SideTable(Data):
    """A second data set, whose rows are looked up by ``key``. Of rows with the same key the first one counts.

    With ``--data``, a table of a sample is read from the file ``beside`` in the data's folder.
    """

    key: str
    beside: str | None = None


class Stream(Part):
    """The run's own Kafka topic, and how fast rows are sent to it: at full speed without ``pause`` and ``rate``. With
    ``source.topic`` only the settings of the connection apply.

    ``kafka``: settings of the Kafka client by librdkafka's names; secrets only from the environment or from files.
    """

    topic: TopicName | None = None
    key: str | None = None
    pause: Pause = (0.0, 0.0)
    rate: Annotated[float, Field(gt=0)] | None = None
    seed: int = 42
    partitions: Annotated[int, Field(gt=0, le=1000)] = 1
    bootstrap_servers: str | None = None
    kafka: dict[str, Setting] = Field(default_factory=dict)


class Batches(Part):
    """The rules that cut the stream: whichever of ``rows``, ``every`` and ``parts`` is reached first."""

    rows: Count | None = None
    every: Window | None = None
    parts: Count | None = None
    idle: Duration | None = None
    format: Literal["parquet", "csv"] = "parquet"


class Holdout(Part):
    share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    seed: int = 42


class Generations(Part):
    scheme: Literal["windowed", "cumulative", "sliding"] = "windowed"
    window: Count | None = None
    holdout: Holdout = Holdout()


MARGIN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def margin(value: object) -> str | float:
    """A share of the reference's loss, such as ``"1%"``, or an absolute number."""
    match = MARGIN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match and 0 <= float(match[1]) < 100:
        return f"{match[1]}%"
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise ValueError('a share of the reference\'s loss such as "1%", or an absolute number such as 0.05')


Policy = Literal["report", "not-worse", "better", "manual"]
Evidence = Literal["provisional", "settled"]
Margin = Annotated[Any, AfterValidator(margin)]


class Gate(Part):
    """Which generation of a model serves: its champion.

    ``policy``: the newest always (``report``); the newest unless it is worse (``not-worse``); the newest only if it is
    better (``better``); the one that a person chooses (``manual``). ``evidence``: on which rows that is decided.
    ``margin``: the smallest difference that matters. ``min_rows``: no decision on fewer rows. ``rollback``: whether a
    champion that turns out worse than the one before gives way to it.
    """

    policy: Policy = "report"
    evidence: Evidence = "provisional"
    margin: Margin = "1%"
    min_rows: Count = 300
    rollback: bool = True


class ModelGate(Part):
    """The settings of :class:`Gate` that differ for one model."""

    policy: Policy | None = None
    evidence: Evidence | None = None
    margin: Annotated[Any, AfterValidator(lambda value: None if value is None else margin(value))] = None
    min_rows: Count | None = None
    rollback: bool | None = None


class Tfidf(Part):
    """The vocabulary of each ``tfidf(COLUMN)`` of a model: at most ``terms`` terms, those of the most rows, each of at
    least ``min_rows`` rows."""

    terms: Annotated[int, Field(gt=0, le=100_000)] = 2_000
    min_rows: Count = 2


class Model(Part):
    """A Spark estimator. A recommender has the columns ``user``, ``item`` and ``rating`` in place of features, and
    ``titles``: a side table that describes the items. ``newest_of_key``: whether a search finds only the newest row of
    each key of the stream. ``left_out``: columns that it does not use, with the reasons, for people."""

    estimator: str
    features: Annotated[tuple[str, ...], Field(strict=False)] = ()
    label: str | None = None
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    titles: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    scale: Literal["none", "standard", "minmax"] = "none"
    labels: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, Text] = Field(default_factory=dict)
    tfidf: Tfidf = Tfidf()
    newest_of_key: bool = False
    gate: ModelGate = ModelGate()


class Keep(Part):
    """Which files stay: those of the newest ``batches`` and ``generations``, and none older than ``age``. With
    ``models`` = "champion" the files of a generation go that has never served and is not the newest one. What is still
    needed stays in any case.
    """

    batches: Count | None = None
    generations: Count | None = None
    age: Duration | None = None
    models: Literal["all", "champion"] = "all"

    @property
    def all(self) -> bool:
        """Whether every file stays."""
        return self == Keep()

    def __str__(self) -> str:
        """The settings that are given, as the pipeline file has them."""
        parts = [f"{name} = {count}" for name in ("batches", "generations") if (count := getattr(self, name))]
        if self.age is not None:
            parts.append(f"age = {self.age / SECONDS['d']:g} days")
        if self.models != "all":
            parts.append(f'models = "{self.models}"')
        return f"[keep] {', '.join(parts)}" if parts else "[keep], as it was then"


class Output(Part):
    """A topic into which each row of the stream is written with the answer of ``model``, and the row's ``columns``."""

    model: str
    topic: TopicName
    columns: Annotated[tuple[str, ...], Field(strict=False)] = ()


ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://([^*/?#@\s:\[\]]+|\[[0-9a-f:.]+\])(:[0-9]+)?")


def origin(value: str) -> str:
    """An origin as browsers send it, or ``*`` for any."""
    if ORIGIN.fullmatch(value) is None:
        raise ValueError('an origin such as "https://example.org" or "http://localhost:3000", or "*" for any')
    return value


def one_or_more(value: object) -> object:
    """A list, of which a single text is the only element."""
    return [value] if isinstance(value, str) else value


class Serve(Part):
    """Where the API listens. ``row_limit`` and ``time_limit`` apply to every SQL route. ``cors``: the origins
    whose pages may read the answers in a browser. ``oryx``: the models that answer at the paths of Oryx 2 too.
    ``rows``: whether it takes rows for a stream that stays open. ``workers``: how many processes answer."""

    host: str = "127.0.0.1"
    port: Port = 8000
    console_port: Port = 8501
    row_limit: Annotated[int, Field(gt=0, le=100_000)] = 1_000
    time_limit: Duration = 5.0
    cors: Annotated[tuple[Annotated[str, AfterValidator(origin)], ...], Field(strict=False)] = ()
    oryx: Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(strict=False)] = ()
    rows: bool = True
    workers: Annotated[int, Field(gt=0, le=64)] = 1


class Pipeline(Part):
    name: Name
    title: str = ""
    description: str = ""
    source: Source
    tables: dict[Name, SideTable] = Field(default_factory=dict)
    stream: Stream = Stream()
    batches: Batches
    generations: Generations = Generations()
    gate: Gate = Gate()
    models: dict[Name, Model]
    serve: Serve = Serve()
    routes: Annotated[tuple[Route, ...], Field(strict=False)] = ()
    outputs: Annotated[tuple[Output, ...], Field(strict=False)] = ()
    keep: Keep = Keep()

    def features(self, model: str) -> list[FeatureSource]:
        """What the features of a model are made of, in their order."""
        return [feature_source(name, self.source.columns) for name in self.models[model].features]

    def inputs(self, model: str) -> list[Column]:
        """The columns that the features of a model are made of, each once, in the order of the features."""
        columns = {column.name: column for column in self.source.schema_}
        return [columns[name] for name in dict.fromkeys(source.column for source in self.features(model))]

    @property
    def topic(self) -> str:
        """The topic that the batches are cut from: the run's own, or the one that others write."""
        topic = self.source.topic or self.stream.topic
        assert topic is not None  # the file would have a fault
        return topic

    @property
    def key(self) -> str | None:
        """The column that finds rows again: the key of the messages, or, of a topic of others, any that is named."""
        return self.source.key_column or self.stream.key

    def gate_of(self, model: str) -> Gate:
        """The gate of a model: the pipeline's, with the model's own settings."""
        own = self.models[model].gate.model_dump(exclude_none=True)
        return self.gate.model_copy(update=own)

    def document(self) -> dict[str, Any]:
        """The whole pipeline with its defaults, as plain JSON values."""
        return self.model_dump(mode="json")

    def given(self) -> dict[str, Any]:
        """The part of :meth:`document` that the file gives, without defaults."""
        return self.model_dump(mode="json", exclude_unset=True)

    @classmethod
    def recorded(cls, document: dict[str, Any]) -> Pipeline:
        """The pipeline of a :meth:`document`, which an older version may have made. Missing settings get their
        defaults.

        Raises:
            ValidationError: it has settings that no longer exist, or lacks one without a default.
        """
        return cls.model_validate(document, context=RECORDED)


def bare(kind: Any) -> Any:
    """A type without ``Annotated`` and ``| None``."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(member for member in get_args(kind) if member is not type(None))
    return kind
