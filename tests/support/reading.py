"""Pipelines around a source, and everything that they read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import SourceError
from tidemill.pipeline import Pipeline, arrow_schema
from tidemill.sources.source import Reject, SourceReader, open_source

SMART_HOME_COLUMNS = {
    "UserID": "int",
    "DeviceType": "string",
    "UsageHoursPerDay": "float",
    "EnergyConsumption": "float",
    "UserPreferences": "int",
    "MalfunctionIncidents": "int",
    "DeviceAgeMonths": "int",
    "SmartHomeEfficiency": "int",
}
TWO = {"id": "int", "name": "string"}


def pipeline(columns: Mapping[str, Any], **source: Any) -> Pipeline:
    """A pipeline around a source; a column is a type, or a table of it with a cleaning."""
    return Pipeline.model_validate(
        {
            "name": "under-test",
            "source": {"columns": dict(columns), **source},
            "stream": {"topic": "t"},
            "batches": {"rows": 10},
            "models": {"m": {"estimator": "KMeans", "features": [next(iter(columns))]}},
        }
    )


def opened(path: Path | str, columns: Mapping[str, Any], **source: Any) -> SourceReader:
    return open_source(pipeline(columns, path=str(path), **source), Path.cwd())


def read(
    path: Path | str, columns: Mapping[str, Any], size: int = 10_000, **source: Any
) -> tuple[list[Any], list[Reject]]:
    """All rows as tuples, and all rejects."""
    rows: list[Any] = []
    rejects: list[Reject] = []
    for chunk in opened(path, columns, **source).chunks(size):
        assert chunk.rows.schema == arrow_schema(pipeline(columns, path="x").source.schema_)
        assert len(chunk) <= size
        rows += [tuple(row.values()) for row in chunk.rows.to_pylist()]
        rejects += chunk.rejects
    return rows, rejects


def written(folder: Path, data: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refused(path: Path | str, columns: Mapping[str, Any], **source: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(path, columns, **source)
    assert caught.value.hint
    return caught.value


def open_to_all(folder: Path) -> None:
    """Let every user look into a test's folder, so that a refusal is for the file itself."""
    for path in [folder, *(parent for parent in folder.parents if "pytest-of-" in str(parent))]:
        path.chmod(0o755)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Run as an ordinary user, who may not read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
