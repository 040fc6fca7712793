"""Reading a pipeline file, with the command line's changes."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tidemill.errors import Fault, PipelineInvalid, PipelineNotFound
from tidemill.pipeline.faults import across, fault_of, unique
from tidemill.pipeline.model import Pipeline
from tidemill.texts import did_you_mean, shorten


class Options(NamedTuple):
    """The command line's changes to a pipeline file, ``--set``, ``--data`` and ``--rows``, and the address of its
    Kafka, ``--bootstrap-servers``."""

    assignments: tuple[str, ...] = ()
    data: str | None = None
    rows: int | None = None
    bootstrap: str | None = None


class Raw(NamedTuple):
    """A pipeline file as plain values, the command line's changes included.

    ``name`` is for messages; ``faults`` are those of changes that could not be made; ``options`` the changes.
    """

    name: str
    folder: Path
    values: dict[str, Any]
    faults: tuple[Fault, ...] = ()
    options: Options = Options()


class Loaded(NamedTuple):
    """A pipeline, the folder that its relative paths start from, and the options that changed the file."""

    pipeline: Pipeline
    folder: Path
    options: Options = Options()


def ready_pipelines() -> dict[str, Path]:
    """The pipelines in the package, by name."""
    folder = Path(str(resources.files("tidemill") / "pipelines"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(name: str) -> Path:
    """The file of a ready pipeline, or of a path.

    Raises:
        PipelineNotFound: there is no such pipeline or file.
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
        PipelineInvalid: it is not TOML in UTF-8.
        PipelineNotFound: it can't be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fault = Fault(path.name, shorten(str(error)), "a TOML file in UTF-8")
        raise PipelineInvalid(path.name, [fault]) from error
    except OSError as error:
        raise PipelineNotFound(f'can\'t read "{path}": {error.strerror}', "check that it is a readable file") from error


def override(raw: dict[str, Any], assignments: Sequence[str]) -> list[Fault]:
    """Set keys in ``raw`` from ``a.b=value`` texts; a value is read as TOML, and as a string where it isn't TOML.

    Returns:
        A fault for each assignment that is not of that form, or whose path leads through a plain value. The others are
        made.
    """
    faults = (assignment_fault(raw, assignment) for assignment in assignments)
    return [fault for fault in faults if fault is not None]


def assignment_fault(raw: dict[str, Any], assignment: str) -> Fault | None:
    """Make one assignment, or return its fault."""
    path, equals, text = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        return Fault(f"--set {shorten(assignment)}", "no assignment", "table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table: Any = raw
    for depth, key in enumerate(keys[:-1], start=1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            found = f"{'.'.join(keys[:depth])}, which is not a table"
            return Fault(f"--set {shorten(assignment)}", found, "a path through tables")
    table[keys[-1]] = value
    return None


def parse(raw: Raw, more: Sequence[Fault] = ()) -> Loaded:
    """A pipeline from plain values.

    Raises:
        PipelineInvalid: with every fault that can be seen without the data and without pyspark, those of the command
            line's changes included, and ``more`` that other checks found.
    """
    faults = [*across(raw.values), *more, *raw.faults]
    try:
        pipeline = Pipeline.model_validate(raw.values)
    except ValidationError as error:
        faults = [fault_of(detail, raw.values) for detail in error.errors(include_url=False)] + faults
        raise PipelineInvalid(raw.name, unique(faults)) from error
    if faults:
        raise PipelineInvalid(raw.name, unique(faults))
    return Loaded(pipeline, raw.folder, raw.options)


def load(
    name: str,
    assignments: Sequence[str] = (),
    data: str | None = None,
    rows: int | None = None,
    bootstrap: str | None = None,
) -> Loaded:
    """The pipeline of a ready name or a path.

    Raises:
        PipelineNotFound: there is no such pipeline.
        PipelineInvalid: as for :func:`parse`.
    """
    return parse(prepare(name, assignments, data, rows, bootstrap))


def prepare(
    name: str,
    assignments: Sequence[str] = (),
    data: str | None = None,
    rows: int | None = None,
    bootstrap: str | None = None,
) -> Raw:
    """The pipeline file of a ready name or a path, with the command line's changes.

    Args:
        assignments: ``a.b=value`` texts, applied last but for ``data`` and ``rows``.
        data: another source file or glob, relative to the working folder; all of its rows unless ``rows`` or a
            set ``source.rows`` says less.
        rows: how many rows are read at most.
        bootstrap: the address of the Kafka; it changes nothing in the file, and is kept with the other options.

    Raises:
        PipelineNotFound: there is no such pipeline.
        PipelineInvalid: the file is not TOML; the faults of malformed assignments are among its faults.
    """
    path = find(name)
    try:
        raw = read(path)
    except PipelineInvalid as error:
        raise PipelineInvalid(path.name, [*error.faults, *override({}, assignments)]) from error
    if data is not None:
        data = str(Path(data).absolute())
    if data is not None and isinstance(raw.get("source"), dict):
        raw["source"].pop("rows", None)  # the file's limit for its own source; one set with --set stays
    faults = override(raw, assignments)
    source = raw.setdefault("source", {})
    if isinstance(source, dict):
        if data is not None:
            source.pop("sample", None)
            source["path"] = data
            use_tables_beside(raw, Path(data).parent)
        if rows is not None:
            source["rows"] = rows
    return Raw(path.name, path.parent, raw, tuple(faults), Options(tuple(assignments), data, rows, bootstrap))


def use_tables_beside(raw: dict[str, Any], folder: Path) -> None:
    """With a user's own source, read the tables of samples from the files beside it, or from paths that were set."""
    tables = raw.get("tables")
    for table in tables.values() if isinstance(tables, dict) else ():
        if isinstance(table, dict) and isinstance(table.get("beside"), str) and "sample" in table:
            del table["sample"]
            table.setdefault("path", str(folder / table["beside"]))
