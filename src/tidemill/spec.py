"""The pipeline file: its shape, its defaults, and every fault in it at once.

``load`` is the way in. What needs pyspark to be judged (estimators and their parameters) is checked by
``training.estimators``, which adds its faults to the ones found here.
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tidemill.errors import Fault, InputError, PipelineInvalid, PipelineNotFound, did_you_mean, shorten

ColumnKind = Literal["int", "float", "string", "bool", "timestamp"]
COLUMN_KINDS: tuple[str, ...] = get_args(ColumnKind)

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Column(NamedTuple):
    """A declared column; ``optional`` says that it may be missing (``"int?"``)."""

    name: str
    kind: ColumnKind
    optional: bool


def duration(value: object) -> float:
    """Seconds from ``"5m"``, ``"0ms"`` or a bare 0."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
        return 0.0
    match = DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a duration such as "250ms", "30s", "5m" or "1h"')
    return float(match[1]) * SECONDS[match[2]]


def positive_duration(value: object) -> float:
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("a duration above zero")
    return seconds


def pause_range(value: object) -> tuple[float, float]:
    """``(least, most)`` seconds from one duration or a pair of them."""
    pair = value if isinstance(value, (list, tuple)) else [value, value]
    if len(pair) != 2:
        raise ValueError("one duration, or a pair of them: the least and the most")
    least, most = duration(pair[0]), duration(pair[1])
    if least > most:
        raise ValueError("the least pause first, then the most")
    return least, most


def column_type(value: str) -> str:
    if value.removesuffix("?") not in COLUMN_KINDS:
        raise ValueError(f'one of {", ".join(COLUMN_KINDS)}, with "?" where it may be missing')
    return value


Duration = Annotated[float, BeforeValidator(positive_duration)]
Pause = Annotated[tuple[float, float], BeforeValidator(pause_range)]
ColumnType = Annotated[str, AfterValidator(column_type)]
Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Part(BaseModel):
    """A table of the pipeline file: immutable, and unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(Part):
    """Where the rows come from, in order: a built-in sample, or files (a path or a glob)."""

    columns: dict[str, ColumnType]
    sample: str | None = None
    path: str | None = None
    rows: Count | None = None
    header: bool | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","

    @property
    def schema_(self) -> tuple[Column, ...]:
        """The declared columns, in the file's order."""
        return tuple(
            Column(name, declared.removesuffix("?"), declared.endswith("?"))  # type: ignore[arg-type]  # checked by column_type
            for name, declared in self.columns.items()
        )


class Stream(Part):
    """The Kafka topic and how fast rows go in. Neither ``pause`` nor ``rate``: full speed."""

    topic: TopicName
    key: str | None = None
    pause: Pause = (0.0, 0.0)
    rate: Annotated[float, Field(gt=0)] | None = None
    seed: int = 42
    partitions: Annotated[int, Field(gt=0, le=1000)] = 1
    bootstrap_servers: str | None = None


class Batches(Part):
    """What cuts the stream; whichever of ``rows``, ``every`` and ``parts`` is reached first."""

    rows: Count | None = None
    every: Duration | None = None
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


class Model(Part):
    estimator: str
    features: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    label: str | None = None
    params: dict[str, Any] = {}
    scale: Literal["none", "standard", "minmax"] = "none"
    labels: dict[str, str] = {}


class Serve(Part):
    host: str = "127.0.0.1"
    port: Port = 8000
    console_port: Port = 8501


class Route(Part):
    """An endpoint of the user's own over a model; ``answer`` maps the keys of the reply to parts of a prediction."""

    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_\-./]*$")]
    model: str
    method: Literal["POST"] = "POST"
    answer: dict[str, Literal["prediction", "probability", "probabilities", "label", "generation", "model"]] = {}


class Pipeline(Part):
    name: Name
    title: str = ""
    source: Source
    stream: Stream
    batches: Batches
    generations: Generations = Generations()
    models: dict[Name, Model]
    serve: Serve = Serve()
    routes: Annotated[tuple[Route, ...], Field(strict=False)] = ()

    def document(self) -> dict[str, Any]:
        """The whole pipeline with its defaults, as plain JSON values."""
        return self.model_dump(mode="json")


class Raw(NamedTuple):
    """A pipeline file as plain values, the command line's changes included; ``name`` is for messages."""

    name: str
    folder: Path
    values: dict[str, Any]


class Loaded(NamedTuple):
    """A pipeline and the folder that its relative paths start from."""

    pipeline: Pipeline
    folder: Path


# --- reading ------------------------------------------------------------------------------------------------------


def ready_pipelines() -> dict[str, Path]:
    """The pipelines that come with Tidemill, by name."""
    folder = Path(str(resources.files("tidemill") / "samples"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(name: str) -> Path:
    """The file of a ready pipeline's name or of a path.

    Raises:
        PipelineNotFound: there is neither.
    """
    ready = ready_pipelines()
    if name in ready:
        return ready[name]
    path = Path(name)
    if path.is_file():
        return path.absolute()
    hint = did_you_mean(name, sorted(ready))
    raise PipelineNotFound(f'no pipeline or file "{name}"', f"{hint}; or give the path of a pipeline file (.toml)")


def read(path: Path) -> dict[str, Any]:
    """The file as plain values.

    Raises:
        PipelineInvalid: it is no TOML, or not UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fault = Fault(path.name, shorten(str(error)), "a TOML file in UTF-8")
        raise PipelineInvalid(path.name, [fault]) from error
    except OSError as error:
        raise PipelineNotFound(f'can\'t read "{path}": {error.strerror}', "see that it is a readable file") from error


def override(raw: dict[str, Any], assignments: Sequence[str]) -> None:
    """Set keys in ``raw`` from ``a.b=value`` texts; a value is read as TOML, and as a string where it isn't TOML.

    Raises:
        InputError: an assignment is not of that form, or its path goes through a plain value.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise InputError(f"--set {shorten(assignment)}", "write it as --set table.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        table: Any = raw
        for key in keys[:-1]:
            table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            raise InputError(f"--set {shorten(assignment)}: a part of the path is no table", "see the pipeline file")
        table[keys[-1]] = value


def parse(raw: Raw, more: Sequence[Fault] = ()) -> Loaded:
    """A pipeline from plain values.

    Raises:
        PipelineInvalid: with every fault that can be seen without the data and without pyspark, and ``more`` that were
            found otherwise.
    """
    faults = [*across(raw.values), *more]
    try:
        pipeline = Pipeline.model_validate(raw.values)
    except ValidationError as error:
        faults = [fault_of(one) for one in error.errors(include_url=False)] + faults
        raise PipelineInvalid(raw.name, unique(faults)) from error
    if faults:
        raise PipelineInvalid(raw.name, unique(faults))
    return Loaded(pipeline, raw.folder)


def load(name: str, assignments: Sequence[str] = (), data: str | None = None, rows: int | None = None) -> Loaded:
    """The pipeline of a ready name or a path, without faults of the kind that :func:`parse` finds."""
    return parse(prepare(name, assignments, data, rows))


def prepare(name: str, assignments: Sequence[str] = (), data: str | None = None, rows: int | None = None) -> Raw:
    """The pipeline file of a ready name or a path, with the command line's changes.

    Args:
        assignments: ``a.b=value`` texts, applied last but for ``data`` and ``rows``.
        data: another source file or glob, relative to the working folder; all of its rows unless ``rows`` says less.
        rows: only the first so many rows.
    """
    path = find(name)
    raw = read(path)
    override(raw, assignments)
    source = raw.setdefault("source", {})
    if isinstance(source, dict):
        if data is not None:
            for key in ("sample", "rows"):
                source.pop(key, None)
            source["path"] = str(Path(data).absolute())
        if rows is not None:
            source["rows"] = rows
    return Raw(path.name, path.parent, raw)


# --- faults -------------------------------------------------------------------------------------------------------

EXPECTED = {
    "missing": "this key to be given",
    "extra_forbidden": "no such key",
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "list_type": "a list",
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "below {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "one of {expected}",
    "string_pattern_mismatch": "a name of the form {pattern}",
    "too_short": "at least {min_length} entry",
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} character",
    "value_error": "{error}",
}


def fault_of(error: Any) -> Fault:
    """A pydantic error in the words of the pipeline file."""
    where = tuple(part for part in error["loc"] if part != "[key]")
    path = dotted(where)
    expected = EXPECTED.get(error["type"], error["msg"]).format_map(error.get("ctx", {}))
    found = "nothing" if error["type"] == "missing" else shorten(error["input"])
    hint = ""
    if error["type"] == "extra_forbidden":
        found = "an unknown key"
        hint = did_you_mean(str(where[-1]), known_keys(where[:-1]))
    elif error["type"] == "literal_error" and isinstance(error["input"], str):
        hint = did_you_mean(error["input"], re.findall(r"'([^']*)'", expected))
    return Fault(path, found, expected, hint)


def dotted(where: Sequence[int | str]) -> str:
    path = ""
    for part in where:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path or "the file"


def known_keys(where: Sequence[int | str]) -> list[str]:
    """The keys that the table at ``where`` may have."""
    kind: Any = Pipeline
    for part in where:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
        kind = bare(kind)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def bare(kind: Any) -> Any:
    """A type without ``Annotated`` and ``| None``."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    return kind


def unique(faults: Sequence[Fault]) -> list[Fault]:
    """The faults without a second one at the same path."""
    return list({fault.path: fault for fault in reversed(faults)}.values())[::-1]


def table(raw: object, key: str) -> Mapping[str, Any]:
    """The table at ``key``, or an empty one where there is something else (which is a fault of its own)."""
    value = raw.get(key) if isinstance(raw, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def across(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults between keys. Works on plain values, so that a fault in one table doesn't hide those in others."""
    source, stream, batches = table(raw, "source"), table(raw, "stream"), table(raw, "batches")
    columns = {name: str(kind) for name, kind in table(source, "columns").items()}
    yield from source_faults(source)
    yield from stream_faults(stream, columns)
    if batches and not {"rows", "every", "parts"} & set(batches):
        yield Fault("batches", "none of rows, every, parts", "at least one of them", "for example rows = 5000")
    if batches and batches.get("parts") and not (source.get("sample") or source.get("path")):
        yield Fault("batches.parts", "a source without an end", "a finite source", "cut by rows or every instead")
    yield from generation_faults(table(raw, "generations"))
    models = table(raw, "models")
    if "models" in raw and raw["models"] == {}:
        yield Fault("models", "no model", "at least one [models.NAME] table")
    for name, model in models.items():
        yield from model_faults(f"models.{name}", model, columns)
    routes = raw.get("routes")
    yield from route_faults(routes if isinstance(routes, list) else [], models)


def source_faults(source: Mapping[str, Any]) -> Iterator[Fault]:
    if ("sample" in source) == ("path" in source):
        found = "both sample and path" if "sample" in source else "neither sample nor path"
        yield Fault("source", found, "one of them", 'for example path = "data.csv"')
    if source.get("columns") == {}:
        yield Fault("source.columns", "no column", 'at least one, such as UserID = "int"')


def stream_faults(stream: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Fault]:
    key = stream.get("key")
    if isinstance(key, str) and columns and key not in columns:
        yield unknown_column("stream.key", key, columns)
    if "rate" in stream and stream.get("pause") not in (None, 0):
        yield Fault("stream", "both pause and rate", "one of them")


def generation_faults(generations: Mapping[str, Any]) -> Iterator[Fault]:
    scheme = generations.get("scheme", "windowed")
    if scheme == "sliding" and "window" not in generations:
        yield Fault("generations.window", "nothing", "how many batches the window has", "for example window = 3")
    if scheme in ("windowed", "cumulative") and "window" in generations:
        yield Fault("generations.window", "a window", f'none with scheme = "{scheme}"', 'did you mean "sliding"?')


def model_faults(path: str, model: object, columns: Mapping[str, str]) -> Iterator[Fault]:
    features = model.get("features") if isinstance(model, Mapping) else None
    label = model.get("label") if isinstance(model, Mapping) else None
    features = features if isinstance(features, list) else []
    for place, feature in enumerate(features):
        where = f"{path}.features[{place}]"
        if not isinstance(feature, str) or not columns:
            continue
        if feature not in columns:
            yield unknown_column(where, feature, columns)
        elif columns[feature].startswith("timestamp"):
            yield Fault(where, f'"{feature}", a timestamp', "a column of numbers, strings or booleans")
        elif features.index(feature) != place:
            yield Fault(where, f'"{feature}" again', "each feature once")
    if isinstance(label, str) and columns:
        if label not in columns:
            yield unknown_column(f"{path}.label", label, columns)
        elif label in features:
            yield Fault(f"{path}.label", f'"{label}", also a feature', "a column that is not among the features")


def route_faults(routes: Sequence[object], models: Mapping[str, Any]) -> Iterator[Fault]:
    taken: set[object] = set()
    for place, route in enumerate(routes):
        path, model = (route.get("path"), route.get("model")) if isinstance(route, Mapping) else (None, None)
        if isinstance(model, str) and model not in models:
            yield Fault(f"routes[{place}].model", f'"{model}"', "a model", did_you_mean(model, list(models)))
        if isinstance(path, str) and path.startswith("/models/"):
            yield Fault(f"routes[{place}].path", f'"{path}"', "a path that is not below /models/, which every run has")
        if isinstance(path, str) and path in taken:
            yield Fault(f"routes[{place}].path", f'"{path}" again', "each path once")
        taken.add(path)


def unknown_column(path: str, name: str, columns: Mapping[str, str]) -> Fault:
    return Fault(path, f'"{name}"', "a declared column", did_you_mean(name, list(columns)))
