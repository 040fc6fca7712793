"""The settings of a resumed run: which must not change, and which value holds for those that the user did not give.

A run may be started with one version of Tidemill and resumed with a later one. A setting that was given neither then
nor now keeps its old value, even if its default has changed. A setting that did not exist then gets today's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidemill.errors import MOST_EXAMPLES, RunFolderError, shorten
from tidemill.pipeline import Loaded, Pipeline, table
from tidemill.pipeline.faults import fault_of
from tidemill.run.catalog import RunRecord

# What may change when a run is resumed. Everything else has shaped the data and the models that exist.
FREE_TO_CHANGE = {"title", "description", "serve", "routes"}
FREE_IN_DATA = {"path"}  # the fingerprint of the data says whether they are the same
FREE_IN_COLUMN = {"unit", "title"}
FREE_IN_STREAM = {"pause", "rate", "seed", "bootstrap_servers", "kafka"}


def settled(recorded: RunRecord, loaded: Loaded, folder: Path) -> Loaded:
    """The pipeline with which the run in ``folder`` is resumed: the one given now, with the values that the run keeps.

    Raises:
        RunFolderError: the run is another pipeline's, or this pipeline's with other settings, or has settings that
            this version does not know.
    """
    today = loaded.pipeline
    if recorded.pipeline != today.name:
        raise RunFolderError(
            f"{folder} holds a run of the pipeline {recorded.pipeline}, not of {today.name}",
            "give another folder with --run-dir, or --fresh to throw that run away",
        )
    before = as_recorded(recorded, today, folder).document()
    document = today.document()
    if recorded.given is not None:
        document = kept(before, document, recorded.given, today.given())
    changed = differences(fixed(before), fixed(document))
    if changed:
        raise RunFolderError(
            f"{folder} holds a run of {today.name} with other settings: {', '.join(changed[:MOST_EXAMPLES])}",
            "give the options that the run was started with (--data, --rows, --set), or another --run-dir; "
            "`tidemill up --fresh` throws that run away",
        )
    return loaded if document == today.document() else Loaded(Pipeline.recorded(document), loaded.folder)


def as_recorded(recorded: RunRecord, today: Pipeline, folder: Path) -> Pipeline:
    """The pipeline that the run was started with, read by this version; settings that may change are today's.

    Raises:
        RunFolderError: this version can't read a setting, or no longer has it.
    """
    now = today.document()
    document = dict(recorded.document) | {key: now[key] for key in FREE_TO_CHANGE}
    document["stream"] = {**table(document, "stream"), **{key: now["stream"][key] for key in FREE_IN_STREAM}}
    document["source"] = plain_columns(table(document, "source"))
    tables = table(document, "tables")
    document["tables"] = {name: plain_columns(table(tables, name)) for name in tables}
    try:
        return Pipeline.recorded(document)
    except ValidationError as error:
        faults = [str(fault_of(detail)) for detail in error.errors(include_url=False)]
        raise RunFolderError(
            f"{folder} holds a run of {today.name} with settings that this Tidemill does not know: "
            f"{', '.join(faults[:MOST_EXAMPLES])}",
            "use the Tidemill that started this run, or another --run-dir; `tidemill up --fresh` throws that run away",
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
    """The part of a pipeline that must not change when its run is resumed."""
    tables = {name: fixed_data(data) for name, data in document["tables"].items()}
    stream = without(document["stream"], FREE_IN_STREAM)
    kept = without(document, FREE_TO_CHANGE)
    return kept | {"source": fixed_data(document["source"]), "tables": tables, "stream": stream}


def fixed_data(data: Mapping[str, Any]) -> dict[str, Any]:
    return plain_columns(without(data, FREE_IN_DATA))


def plain_columns(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with its columns, without the columns' titles and units."""
    columns = table(data, "columns")
    return {**data, "columns": {name: without(table(columns, name), FREE_IN_COLUMN) for name in columns}}


def without(document: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """The paths at which two documents differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [
            difference
            for key in keys
            for difference in differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if before == after else [f"{path} was {shown(before)}, now {shown(after)}"]


def shown(value: Any) -> str:
    return "not set" if value is None else shorten(value, 80)
