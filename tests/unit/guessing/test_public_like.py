"""Data files of fifteen kinds, as the public writes them: what is guessed of each, and that it passes the check."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.public_like import KINDS, PublicLike
from tidemill.process.initiation import initiate


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_is_read_as_it_is_meant(kind: Callable[[], PublicLike], tmp_path: Path) -> None:
    """The columns have the types of what they hold, and no row of the file is rejected by what is written."""
    public = kind()
    path = public.write(tmp_path)
    initiated = initiate(str(path), public.label, out=tmp_path / "p.toml")
    source = tomllib.loads(initiated.text)["source"]
    columns = source["columns"]
    assert {name: column["type"] for name, column in columns.items()} == public.types
    settings = {key: value for key, value in source.items() if key not in ("path", "note", "columns")}
    assert settings == public.settings
    tables = {
        name: {key: value for key, value in column.items() if key not in ("type", "note")}
        for name, column in columns.items()
    }
    assert {name: table for name, table in tables.items() if table} == public.columns
    assert tuple(model.estimator for model in initiated.proposal.models) == public.models
    assert not initiated.report.rejected
    assert tuple(note.path for note in initiated.report.notes) == public.noted
