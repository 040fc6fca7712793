"""A run outlives the version that began it: its settings are read as today's version reads them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import RunFolderError
from tidemill.pipeline import Pipeline, load, ready_pipelines
from tidemill.run.catalog import FILE_NAME
from tidemill.run.folder import join_run, open_run


def recorded(folder: Path, document: Any = None, given: Any = None) -> None:
    """Change what the catalog says that the run in ``folder`` was begun with, as another version may have."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as catalog:
        for column, change in (("document", document), ("given", given)):
            if change is not None:
                value = json.loads(catalog.execute(f"SELECT {column} FROM run").fetchone()[0])
                change(value)
                catalog.execute(f"UPDATE run SET {column} = ?", [json.dumps(value)])
        catalog.commit()


def begun(folder: Path, *assignments: str, data: str | None = None) -> Path:
    open_run(load("smart-home", assignments, data), folder).close()
    return folder


@pytest.mark.parametrize("name", ready_pipelines())
def test_a_recorded_pipeline_is_read_again(name: str) -> None:
    """What a catalog records of a pipeline gives the same pipeline."""
    pipeline = load(name).pipeline
    assert Pipeline.recorded(json.loads(json.dumps(pipeline.document()))) == pipeline


def test_every_kind_of_value_is_read_again() -> None:
    """Durations, secrets, constants and parameters come back from the catalog as they were."""
    assignments = [
        'stream.kafka={"sasl.password" = {env = "X"}, "security.protocol" = "SASL_SSL"}',
        "stream.pause=['1.5us', '20ms']",
        "batches.every=1.5ms",
        "batches.idle=1h",
        "serve.time_limit=250ms",
        "source.columns.UserID={type = 'int', missing = [-1, ''], default = 0}",
        'routes=[{path = "/a", model = "efficiency", answer = {x = {value = [1]}, y = "label"}}, '
        '{path = "/b", sql = "select 1 where $n", params = {n = {type = "int", default = 3}}}]',
    ]
    pipeline = load("smart-home", assignments).pipeline
    assert Pipeline.recorded(json.loads(json.dumps(pipeline.document()))) == pipeline


def test_a_setting_that_is_new(tmp_path: Path) -> None:
    """A run that was begun when there was no such setting goes on, with today's default."""
    begun(tmp_path)

    def older(document: Any) -> None:
        del document["batches"]["format"], document["stream"]["partitions"], document["models"]["segment"]["labels"]

    recorded(tmp_path, document=older)
    for attempt in (open_run, join_run):
        assert attempt(load("smart-home"), tmp_path).pipeline == load("smart-home").pipeline


def test_a_default_that_is_another_today(tmp_path: Path) -> None:
    """A setting that nobody gave keeps, for this run, the value it had; given another value it is refused."""
    begun(tmp_path)
    recorded(tmp_path, document=lambda document: document["batches"].update(format="csv"))
    for attempt in (open_run, join_run):
        assert attempt(load("smart-home"), tmp_path).pipeline.batches.format == "csv"
    with pytest.raises(RunFolderError, match=r"batches\.format was 'csv', now 'parquet'"):
        open_run(load("smart-home", ["batches.format=parquet"]), tmp_path)


def test_a_default_is_kept_no_further_than_for_what_nobody_gave(tmp_path: Path) -> None:
    """A setting that was given when the run began is refused where it is left out later, and named."""
    begun(tmp_path, "batches.format=csv", "generations.scheme=windowed")
    with pytest.raises(RunFolderError, match=r"batches\.format was 'csv', now 'parquet'"):
        open_run(load("smart-home", ["generations.scheme=windowed"]), tmp_path)
    begun(tmp_path, "batches.format=csv", "generations.scheme=windowed")


def test_a_default_of_a_run_that_did_not_record_what_was_given(tmp_path: Path) -> None:
    """Such a run of an older version is refused where a default is another; given the old value it goes on."""
    begun(tmp_path)
    recorded(tmp_path, document=lambda document: document["batches"].update(format="csv"))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as catalog:
        catalog.execute("UPDATE run SET given = NULL")
        catalog.commit()
    with pytest.raises(RunFolderError, match=r"batches\.format was 'csv', now 'parquet'") as caught:
        open_run(load("smart-home"), tmp_path)
    assert "--set" in caught.value.hint
    open_run(load("smart-home", ["batches.format=csv"]), tmp_path).close()


@pytest.mark.parametrize("given", [True, False])
def test_a_delimiter_that_older_versions_recorded(tmp_path: Path, given: bool) -> None:
    """A run that recorded the comma that nobody gave goes on where it is left out, and where it is said."""
    begun(tmp_path)
    recorded(tmp_path, document=lambda document: document["source"].update(delimiter=","))
    if not given:
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as catalog:
            catalog.execute("UPDATE run SET given = NULL")
            catalog.commit()
    for assignments in ([], ["source.delimiter=','"]):
        open_run(load("smart-home", assignments), tmp_path).close()
    with pytest.raises(RunFolderError, match=r"source\.delimiter was ',', now ';'"):
        open_run(load("smart-home", ["source.delimiter=';'"]), tmp_path)


def test_a_setting_that_is_no_more(tmp_path: Path) -> None:
    """What the run has and this version has not, or can't read, is named with its key."""
    begun(tmp_path)
    recorded(tmp_path, document=lambda document: document["batches"].update(spill=True, parts="three"))
    with pytest.raises(RunFolderError, match="settings that this Tidemill does not know") as caught:
        open_run(load("smart-home"), tmp_path)
    assert "batches.spill: found an unknown key" in caught.value.message
    assert "batches.parts: found 'three'; expected a whole number" in caught.value.message


def test_what_may_change_may_change_from_version_to_version(tmp_path: Path) -> None:
    """Of what is free to change it matters neither what it was nor whether this version could read it."""
    begun(tmp_path)

    def older(document: Any) -> None:
        document |= {"title": 1, "description": "then", "serve": {"bind": "x"}, "routes": None}
        document["stream"] |= {"pause": "slow", "seed": None, "kafka": {"plugin": {}}}
        document["source"]["columns"]["UserID"] |= {"unit": 3}

    recorded(tmp_path, document=older)
    assert open_run(load("smart-home", ["title=now"]), tmp_path).pipeline.title == "now"


def test_the_datas_path_may_change(tmp_path: Path) -> None:
    """The data may lie elsewhere at a later start, as their digest identifies them; a file in the sample's place is
    other data."""
    begun(tmp_path / "run", data=str(tmp_path / "here.csv"))
    moved = open_run(load("smart-home", data=str(tmp_path / "there.csv")), tmp_path / "run")
    assert moved.pipeline.source.path == str(tmp_path / "there.csv")
    with pytest.raises(RunFolderError, match=r"source\.sample was not set, now 'smart-home'"):
        open_run(load("smart-home", ["source.rows=90"]), tmp_path / "run")
    begun(tmp_path / "sample")
    with pytest.raises(RunFolderError, match=r"source\.sample was 'smart-home', now not set"):
        open_run(load("smart-home", data=str(tmp_path / "here.csv")), tmp_path / "sample")


def test_a_tables_path_may_change(tmp_path: Path) -> None:
    """So may a side table's."""
    for name in ("here", "there"):
        open_run(load("movie-ratings", data=str(tmp_path / name / "ratings.csv")), tmp_path / "run").close()
