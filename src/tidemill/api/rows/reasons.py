"""The rejects by kind of reason, each kind with its newest example and the settings that would read it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from itertools import islice
from typing import Any, NamedTuple

from tidemill import schemas
from tidemill.api.models.snapshot import Snapshot
from tidemill.api.rows.reject_lines import MAX_COUNTED
from tidemill.api.rows.rejects import SOURCE, TABLE, TAIL, RejectsFile, files_with_rejects, newest_rejects, reject_body
from tidemill.pipeline import Data, key_text, toml
from tidemill.run.folder import Run
from tidemill.sources.chunk import Reject
from tidemill.sources.remedies import Setting, fault_pattern, faults_in, reason_kind, remedies_beside_rows

MAX_KINDS = 50
MAX_EXAMINED = 10  # different reasons of a kind whose settings are looked for
MAX_FILES = 200  # of batches, the newest


class Origin(NamedTuple):
    """Where rejects come from. ``key``: the path of their data in the pipeline file; empty where no setting of it reads
    them, as messages of strangers in the run's own topic. ``has_layout``: whether they are from files."""

    key: str
    data: Data
    has_layout: bool = True


@dataclass
class Kind:
    """The rejects with one kind of fault: how many, the newest, its place, and some with different faults."""

    reason: str
    origin: Origin
    place: str
    newest: dict[str, Any]
    count: int = 0
    examined: dict[str, str] = field(default_factory=dict)


def by_reason(run: Run, snapshot: Snapshot) -> schemas.RejectKinds:
    """The kinds of the newest rejects of the source, of the stream and of the side tables, the most frequent first.

    Of each of these at most ``MAX_COUNTED`` are read, so that the work is bounded.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    kinds: dict[tuple[str, str], Kind] = {}
    counted = 0
    files = list(files_with_rejects(run, snapshot))
    for origin, group in grouped(run, files):
        pattern = fault_pattern(origin.data.schema_)
        for place, reject in islice(rejects_of(group), MAX_COUNTED):
            counted += 1
            for fault in faults_in(str(reject.get("reason")), pattern):
                add(kinds, origin, place, reject, fault)
    return schemas.RejectKinds(
        rejected=snapshot.counts.rejected + sum(file.rejected for file in files if file.name.startswith(TABLE)),
        counted=counted,
        kinds=[kind_body(kind) for kind in nlargest(MAX_KINDS, kinds.values(), key=lambda kind: kind.count)],
        more=max(0, len(kinds) - MAX_KINDS),
    )


def grouped(run: Run, files: Sequence[RejectsFile]) -> Iterator[tuple[Origin, list[RejectsFile]]]:
    """The files of each origin, the newest first."""
    tables = [file for file in files if file.name.startswith(TABLE)]
    yield Origin("source", run.pipeline.source), [file for file in files if file.name == SOURCE]
    of_stream = [file for file in files if file.name != SOURCE and file not in tables]
    of_messages = Origin("source" if run.pipeline.source.topic else "", run.pipeline.source, has_layout=False)
    yield of_messages, newest_first(of_stream)[:MAX_FILES]
    for file in tables:
        name = file.name.removeprefix(TABLE)
        yield Origin(f"tables.{key_text(name)}", run.pipeline.tables[name]), [file]


def newest_first(files: Sequence[RejectsFile]) -> list[RejectsFile]:
    """The tail, then the batches from the newest on, of the tail and the batches in order."""
    return [file for file in files if file.name == TAIL] + [file for file in reversed(files) if file.name != TAIL]


def rejects_of(files: Iterable[RejectsFile]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The newest rejects of each file, each with its place."""
    for file in files:
        for reject in newest_rejects(file):
            yield file.name, reject


def add(kinds: dict[tuple[str, str], Kind], origin: Origin, place: str, reject: dict[str, Any], fault: str) -> None:
    named = reason_kind(fault)
    kind = kinds.get((origin.key, named))
    if kind is None:
        kind = kinds[origin.key, named] = Kind(named, origin, place, reject)
    kind.count += 1
    if len(kind.examined) < MAX_EXAMINED:
        kind.examined.setdefault(fault, str(reject.get("text", "")))


def kind_body(kind: Kind) -> schemas.RejectKind:
    return schemas.RejectKind(
        reason=kind.reason,
        count=kind.count,
        place=kind.place,
        example=reject_body(kind.newest),
        examined=len(kind.examined),
        settings=setting_bodies(kind),
    )


# --- settings -----------------------------------------------------------------------------------------------------


def setting_bodies(kind: Kind) -> list[schemas.RejectSetting]:
    """The settings that would read the examined rejects, with how many of them each one reads; the most first."""
    key, data, has_layout = kind.origin
    if not key:
        return []
    found: dict[tuple[str | None, str], list[Setting]] = {}
    for fault, text in kind.examined.items():
        settings = remedies_beside_rows(Reject("", 0, fault, text), data.schema_)
        for setting in settings if has_layout else [setting for setting in settings if setting.column]:
            found.setdefault((setting.column, group_of(setting)), []).append(setting)
    most_first = sorted(found.values(), key=len, reverse=True)
    return [setting_body(settings, key, data) for settings in most_first]


def setting_body(settings: Sequence[Setting], key: str, data: Data) -> schemas.RejectSetting:
    """One body of settings with one name, whose lists are joined.

    Args:
        key: the path of ``data`` in the pipeline file.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        for name, value in tomllib.loads(f"keys = {{ {setting} }}")["keys"].items():
            values[name] = joined(values.get(name), value)
    return schemas.RejectSetting(
        setting=", ".join(f"{name} = {toml(value)}" for name, value in values.items()),
        toml=toml_of(values, settings[0].column, key, data),
        reads=len(settings),
        becomes=settings[0].becomes or None,
    )


def group_of(setting: Setting) -> str:
    """Settings of one group stand in one line: words of a list are joined, others differ."""
    return setting.name if setting.value.startswith("[") else str(setting)


def toml_of(values: Mapping[str, Any], column: str | None, key: str, data: Data) -> str:
    """The lines of the pipeline file with these values; a column keeps the settings that it has already."""
    if column is None:
        return "\n".join([f"[{key}]", *(f"{name} = {toml(value)}" for name, value in values.items())])
    table = data.columns[column]
    declared = {"type": table.type} | table.model_dump(by_alias=True, exclude_unset=True)
    declared |= {name: joined(declared.get(name), value) for name, value in values.items()}
    if "missing" in values and "default" not in declared:
        declared["type"] = f"{declared['type'].removesuffix('?')}?"  # else the row lacks a value that it needs
    return f"[{key}.columns]\n{key_text(column)} = {toml(declared)}"


def joined(before: Any, value: Any) -> Any:
    """A list with what it had before; another value as it is."""
    return list(dict.fromkeys([*(before or ()), *value])) if isinstance(value, list) else value
