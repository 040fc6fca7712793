"""The settings of a run: which ones must not change, and which value applies where the user gives none.

A run knows the options that it was started with, so no later command need repeat them. It may be started with one
version of Tidemill and continue with a later one: a setting that was given neither then nor now keeps its value, even
if the default is another today; a setting that did not exist then has today's default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tidemill.errors import RunFolderError
from tidemill.pipeline import DEFAULT_DELIMITER, Loaded, Options, Pipeline, table
from tidemill.pipeline.faults import fault_of
from tidemill.run.catalog import RunRecord
from tidemill.texts import MOST_EXAMPLES, shorten

# The settings that may differ between one start of a run and the next. All other settings shaped the data and the
# models.
FREE_TO_CHANGE = {"title", "description", "gate", "serve", "routes", "outputs", "keep"}
FREE_IN_DATA = {"path", "note"}  # of the path: the digest of the data says whether they are the same
FREE_IN_SOURCE = {"on_gap", "registry"}
FREE_IN_COLUMN = {"unit", "title", "note"}
FREE_IN_MODEL = {"gate", "left_out", "newest_of_key"}
FREE_IN_STREAM = {"pause", "rate", "seed", "bootstrap_servers", "kafka"}

OPTIONS = "options"  # key of the start options in the given settings of the catalog


class Difference(NamedTuple):
    """A setting whose value differs from that at the start of the run."""

    path: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.path} was {shown(self.before)}, now {shown(self.now)}"


def given_settings(loaded: Loaded) -> dict[str, Any]:
    """The given settings, as the catalog records them: the pipeline without its defaults, and the options of the
    command line.
    """
    return loaded.pipeline.given() | {OPTIONS: loaded.options._asdict()}


def start_options(given: Mapping[str, Any] | None) -> Options:
    """The options of a run's start, from :func:`given_settings`; none where an older version recorded none."""
    recorded = table(given or {}, OPTIONS)
    return Options(
        tuple(recorded.get("assignments", ())), recorded.get("data"), recorded.get("rows"), recorded.get("bootstrap")
    )


def merge_options(start: Options, now: Options) -> Options:
    """The options of a run's start, with those of ``now`` taking precedence."""
    keys = {assignment.partition("=")[0].strip() for assignment in now.assignments}
    sets_data = keys & {"source", "source.path", "source.sample"}
    sets_rows = keys & {"source", "source.rows"}
    sets_address = keys & {"stream", "stream.bootstrap_servers"}
    return Options(
        assignments=(*start.assignments, *now.assignments),
        data=now.data if now.data is not None or sets_data else start.data,
        rows=now.rows if now.rows is not None or sets_rows else start.rows,
        bootstrap=now.bootstrap if now.bootstrap is not None or sets_address else start.bootstrap,
    )


def settled(recorded: RunRecord, loaded: Loaded, folder: Path) -> Loaded:
    """The pipeline with which the run in ``folder`` continues: as it is given now, with the settings that the run
    keeps.

    Raises:
        RunFolderError: the run is another pipeline's, or this pipeline's with other settings, or has settings that
            this version does not know.
    """
    today = loaded.pipeline
    if recorded.pipeline != today.name:
        raise RunFolderError(
            f"{folder} holds a run of the pipeline {recorded.pipeline}, not of {today.name}",
            "give another folder with --run-dir, or --fresh to discard that run",
        )
    before = as_recorded(recorded, today, folder).document()
    document = today.document()
    if recorded.given is not None:
        document = kept(before, document, recorded.given, today.given())
    refuse(differences(fixed(before), fixed(document)), today.name, folder)
    return loaded if document == today.document() else loaded._replace(pipeline=Pipeline.recorded(document))


def as_seen(recorded: RunRecord, loaded: Loaded, folder: Path) -> Loaded:
    """The pipeline of the run in ``folder`` for a look at it: the settings that must not change are the run's, whatever
    the pipeline file says now. A run whose settings this version can't read is seen as the file says.

    Raises:
        RunFolderError: an option of the command line contradicts the run's settings.
    """
    try:
        pipeline = as_recorded(recorded, loaded.pipeline, folder)
    except RunFolderError:
        return loaded
    changed = differences(fixed(pipeline.document()), fixed(loaded.pipeline.document()))
    contradicting = [difference for difference in changed if is_option(difference.path, loaded.options)]
    refuse(contradicting, loaded.pipeline.name, folder)
    return loaded._replace(pipeline=pipeline)


def is_option(path: str, options: Options) -> bool:
    """Whether an option of the command line gives the setting at ``path``, or a part of it."""
    keys = [assignment.partition("=")[0].strip() for assignment in options.assignments]
    keys += ["source.sample"] if options.data is not None else []
    keys += ["source.rows"] if options.rows is not None else []
    return any(f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.") for key in keys)


def refuse(changed: list[Difference], name: str, folder: Path) -> None:
    """Raise where there is a difference."""
    if changed:
        raise RunFolderError(
            f"{folder} holds a run of {name} with other settings: {', '.join(map(str, changed[:MOST_EXAMPLES]))}",
            "use the pipeline file and the options (--data, --rows, --set) that the run was started with, or another "
            "--run-dir; `tidemill up --fresh` discards that run",
        )


def as_recorded(recorded: RunRecord, today: Pipeline, folder: Path) -> Pipeline:
    """The pipeline with which the run was started, as this version reads it; the settings that may change have today's
    values.

    Raises:
        RunFolderError: this version can't read a setting, or no longer has it.
    """
    now = today.document()
    document = dict(recorded.document) | {key: now[key] for key in FREE_TO_CHANGE}
    document["stream"] = {**table(document, "stream"), **{key: now["stream"][key] for key in FREE_IN_STREAM}}
    models = table(document, "models")
    document["models"] = {
        name: {**table(models, name), **only(table(now["models"], name), FREE_IN_MODEL)} for name in models
    }
    free = {key: now["source"][key] for key in FREE_IN_SOURCE}
    document["source"] = {**plain_columns(table(document, "source")), **free}
    tables = table(document, "tables")
    document["tables"] = {name: plain_columns(table(tables, name)) for name in tables}
    try:
        return Pipeline.recorded(document)
    except ValidationError as error:
        faults = [str(fault_of(detail, document)) for detail in error.errors(include_url=False)]
        raise RunFolderError(
            f"{folder} holds a run of {today.name} with settings that this Tidemill does not know: "
            f"{', '.join(faults[:MOST_EXAMPLES])}",
            "use the Tidemill that started this run, or another --run-dir; `tidemill up --fresh` discards that run",
        ) from error


def kept(before: Mapping[str, Any], now: Mapping[str, Any], then: Any, given: Any) -> dict[str, Any]:
    """The settings ``now``, with the value from ``before`` wherever a setting was given neither ``then`` nor now."""
    return {key: kept_value(key, before, value, then, given) for key, value in now.items()}


def kept_value(key: str, before: Mapping[str, Any], value: Any, then: Any, given: Any) -> Any:
    if key not in before:
        return value
    if key not in then and key not in given:
        return before[key]
    if isinstance(value, dict) and isinstance(before[key], dict):
        return kept(before[key], value, table(then, key), table(given, key))
    return value


def fixed(document: dict[str, Any]) -> dict[str, Any]:
    """The part of a pipeline that must stay the same while a run lives."""
    tables = {name: fixed_data(data) for name, data in document["tables"].items()}
    stream = without(document["stream"], FREE_IN_STREAM)
    models = {name: without(model, FREE_IN_MODEL) for name, model in document["models"].items()}
    kept = without(document, FREE_TO_CHANGE)
    return kept | {
        "source": fixed_data(without(document["source"], FREE_IN_SOURCE)),
        "tables": tables,
        "stream": stream,
        "models": models,
    }


def fixed_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a source or table that must stay the same; older versions recorded a delimiter that was not given."""
    return plain_columns(without(data, FREE_IN_DATA)) | {"delimiter": data.get("delimiter") or DEFAULT_DELIMITER}


def plain_columns(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with how its columns are read, but without their titles and units."""
    columns = table(data, "columns")
    return {**data, "columns": {name: without(table(columns, name), FREE_IN_COLUMN) for name in columns}}


def without(document: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def only(document: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key in keys}


def differences(before: Any, now: Any) -> list[Difference]:
    """Every setting in which two documents differ."""
    return list(_differences(before, now, ""))


def _differences(before: Any, now: Any, path: str) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield Difference(path, before, now)


def shown(value: Any) -> str:
    return "not set" if value is None else shorten(value, 80)
