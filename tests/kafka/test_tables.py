"""Side tables: read once before the stream begins, kept with the run, and refused when they are not what they were."""

from __future__ import annotations

import csv
import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.support import DATA
from tests.support.reading import written
from tidemill.cli.main import app
from tidemill.errors import CatalogError, PipelineInvalid, SourceError
from tidemill.pipeline import Loaded, arrow_schema, load
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import FILE_NAME, SideTableRecord
from tidemill.run.files import sha256
from tidemill.run.folder import Run, existing_run, open_run
from tidemill.run.integrity import side_table
from tidemill.run.stage import Stage
from tidemill.sources.source import open_tables
from tidemill.sources.tables import read_tables

RATINGS, MOVIES = DATA / "movielens" / "ratings.csv", DATA / "movielens" / "movies.csv"


def ratings_pipeline(data: Path = RATINGS, *assignments: str) -> Loaded:
    topic = f"stream.topic=test-{uuid.uuid4().hex}"
    return load("movie-ratings", [topic, "stream.pause=0", *assignments], data=str(data), rows=100)


def beside(folder: Path, movies: str) -> Path:
    """A ratings file with a movies file beside it."""
    written(folder, movies, "movies.csv")
    return written(folder, "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n", "ratings.csv")


def read(run: Run) -> None:
    read_tables(Stage(run, "producer"), open_tables(run.pipeline, run.base))


def test_the_real_movies_are_kept_with_the_run(tmp_path: Path) -> None:
    """The file beside the data is read whole, in its declared types, and the catalog says what was made of it."""
    run = open_run(ratings_pipeline(), tmp_path)
    read(run)
    table = side_table(run, "movies")
    with MOVIES.open(newline="", encoding="utf-8") as file:
        movies = [(int(one["movieId"]), one["title"], one["genres"]) for one in csv.DictReader(file)]
    assert [tuple(row.values()) for row in table.to_pylist()] == movies
    assert table.schema == arrow_schema(run.pipeline.tables["movies"].schema_)
    recorded = run.catalog.side_tables()["movies"]
    assert (recorded.path, recorded.rows, recorded.rejected) == ("tables/movies.parquet", 9_742, 0)
    assert recorded.sha256 == sha256(run.folder / recorded.path)
    assert not list(run.rejects.iterdir())


def test_a_sample_is_a_table_too(tmp_path: Path) -> None:
    """Without other data the table is a built-in sample."""
    run = open_run(load("movie-ratings"), tmp_path)
    read(run)
    assert side_table(run, "movies").column_names == ["movieId", "title", "genres"]
    assert run.catalog.side_tables()["movies"].rows > 100


def test_the_first_row_of_a_key_counts_and_others_go_to_the_rejects(tmp_path: Path) -> None:
    """Of rows with the same key the first is kept, and how many were not is logged; what does not fit is a reject."""
    movies = "title,genres,movieId\nfirst,a,1\nother,b,2\nagain,c,1\nno number,d,x\nlast,e,1\n"
    run = open_run(ratings_pipeline(beside(tmp_path, movies)), tmp_path / "run")
    with capture_logs() as logs:
        read(run)
    assert side_table(run, "movies")["title"].to_pylist() == ["first", "other"]
    (reject,) = (json.loads(line) for line in (run.rejects / "table-movies.jsonl").read_text().splitlines())
    assert (reject["file"], reject["line"], reject["text"]) == ("movies.csv", 5, "no number,d,x")
    assert reject["reason"] == "movieId is 'x', not a whole number of 64 bits"
    (said,) = [one for one in logs if one["event"] == "read a table"]
    assert (said["table"], said["rows"], said["rejected"], said["repeated"]) == ("movies", 2, 1, 2)
    assert run.catalog.side_tables()["movies"].rejected == 1


def test_a_table_is_cleaned_as_a_source_is(tmp_path: Path) -> None:
    """A table's columns have cleanings and defaults too, in any format that a source may have."""
    (tmp_path / "movies.jsonl").write_text('{"movieId": "tt1"}\n{"movieId": 2, "title": "-"}\n')
    columns: dict[str, dict[str, Any]] = {
        "movieId": {"type": "int", "strip": ["tt"]},
        "title": {"type": "string", "missing": ["-"], "default": "?"},
    }
    run = open_run(with_columns(tmp_path / "movies.jsonl", columns), tmp_path / "run")
    read(run)
    assert side_table(run, "movies").to_pylist() == [{"movieId": 1, "title": "?"}, {"movieId": 2, "title": "?"}]


def with_columns(movies: Path, columns: dict[str, dict[str, Any]]) -> Loaded:
    """The ratings with a movies table of these columns."""
    toml = ", ".join(
        f"{name} = {{{', '.join(f'{key} = {json.dumps(value)}' for key, value in column.items())}}}"
        for name, column in columns.items()
    )
    table = f"tables.movies={{path={json.dumps(str(movies))}, key='movieId', columns={{{toml}}}}}"
    return ratings_pipeline(RATINGS, table, "routes=[]")


# --- again, and changed -------------------------------------------------------------------------------------------


def test_a_table_is_read_once(tmp_path: Path) -> None:
    """A producer that starts again keeps the recorded table; a changed file is refused like a changed source."""
    data = beside(tmp_path, "movieId,title,genres\n1,one,a\n")
    run = open_run(ratings_pipeline(data), tmp_path / "run")
    read(run)
    made = (run.tables / "movies.parquet").stat().st_mtime_ns
    read(run)
    assert (run.tables / "movies.parquet").stat().st_mtime_ns == made
    beside(tmp_path, "movieId,title,genres\n1,uno,a\n")
    with pytest.raises(SourceError, match=r"movies\.csv is not the table movies that this run started with") as caught:
        read(run)
    assert "--fresh" in caught.value.hint
    assert side_table(run, "movies")["title"].to_pylist() == ["one"]


def test_a_crash_before_the_record_is_made_good(tmp_path: Path) -> None:
    """What a crash left between the file's writing and its record is written anew, rejects included."""
    run = open_run(ratings_pipeline(beside(tmp_path, "movieId,title,genres\n1,one,a\nx,two,b\n")), tmp_path / "run")
    for name in (".movies.parquet.tmp", "movies.parquet"):
        (run.tables / name).write_bytes(b"half a file")
    (run.rejects / "table-movies.jsonl").write_text('{"half": "a line')
    with pytest.raises(CatalogError, match="has not been read yet"):
        side_table(run, "movies")
    read(run)
    assert side_table(run, "movies").num_rows == 1
    assert [path.name for path in run.tables.iterdir()] == ["movies.parquet"]
    assert len((run.rejects / "table-movies.jsonl").read_text().splitlines()) == 1


def test_a_file_that_is_not_what_the_catalog_says(tmp_path: Path) -> None:
    """A table's file that was changed or is gone is an error that names it."""
    run = open_run(load("movie-ratings"), tmp_path)
    read(run)
    path = run.tables / "movies.parquet"
    whole = path.read_bytes()
    pq.write_table(pa.table({"movieId": [1]}), path)
    with pytest.raises(CatalogError, match=r"tables/movies\.parquet, has sha256 [0-9a-f]{64}, the catalog says"):
        side_table(run, "movies")
    path.unlink()
    with pytest.raises(CatalogError, match=r"tables/movies\.parquet, can't be read: No such file"):
        side_table(run, "movies")
    path.write_bytes(whole)
    assert side_table(run, "movies").num_rows == run.catalog.side_tables()["movies"].rows


def test_a_table_is_recorded_once(tmp_path: Path) -> None:
    """The record of a table is never replaced."""
    run = open_run(load("movie-ratings"), tmp_path)
    table = SideTableRecord("movies", "tables/movies.parquet", 1, 0, "ab" * 32, "print")
    run.catalog.save_side_table(table)
    with pytest.raises(CatalogError, match="recorded already"):
        run.catalog.save_side_table(table)
    assert existing_run(load("movie-ratings"), tmp_path).catalog.side_tables() == {"movies": table}


def test_the_producer_reads_tables_before_it_sends(kafka: str, tmp_path: Path) -> None:
    """Where no row of a table fits nothing is recorded or sent; else the table is there before the first row is."""
    data = beside(tmp_path, "movieId,title,genres\nx,one,a\n")
    loaded = ratings_pipeline(data)
    run = open_run(loaded, tmp_path / "run")
    with pytest.raises(SourceError, match=r"no row of movies\.csv fits .*movieId is 'x'") as caught:
        run_producer(Stage(run, "producer"), kafka)
    assert caught.value.hint == "see [tables.movies.columns]"
    assert (run.catalog.source(), run.catalog.side_tables()) == (None, {})
    beside(tmp_path, "movieId,title,genres\n1,one,a\n")
    run_producer(Stage(run, "producer"), kafka)
    source = run.catalog.source()
    assert source
    assert (source.produced, source.complete) == (1, True)
    assert side_table(run, "movies").num_rows == 1


# --- what is found before anything starts -------------------------------------------------------------------------


def test_no_file_beside_the_data(tmp_path: Path) -> None:
    """Where the table's file is not beside the data, the error says where it is wanted and how to point elsewhere."""
    data = beside(tmp_path, "")
    (tmp_path / "movies.csv").unlink()
    loaded = ratings_pipeline(data)
    with pytest.raises(SourceError) as caught:
        open_tables(loaded.pipeline, loaded.folder)
    assert caught.value.message == f"no file {tmp_path / 'movies.csv'}, which the table movies is read from"
    assert "put movies.csv beside the data" in caught.value.hint
    assert "--set tables.movies.path=" in caught.value.hint
    elsewhere = ratings_pipeline(data, f"tables.movies.path={MOVIES}")
    assert open_tables(elsewhere.pipeline, elsewhere.folder)["movies"].title == "movies.csv"


def test_check_opens_the_tables(tmp_path: Path) -> None:
    """``tidemill check`` says where each table is read from, and fails where one can't be."""
    data = beside(tmp_path, "movieId,title\n1,one\n")
    result = CliRunner().invoke(app, ["check", "movie-ratings", "--data", str(data)])
    assert isinstance(result.exception, SourceError)
    assert "movies.csv has no column genres" in result.exception.message
    result = CliRunner().invoke(app, ["check", "movie-ratings", "--data", str(RATINGS)])
    assert "source: ratings.csv; table movies: movies.csv" in result.output


def test_hints_name_the_tables_own_keys(tmp_path: Path) -> None:
    """What is wrong with a table's file is to be mended under the table's own key."""
    data = beside(tmp_path, "movieId;title;genres\n1;one;a\n")
    loaded = ratings_pipeline(data)
    with pytest.raises(SourceError) as caught:
        open_tables(loaded.pipeline, loaded.folder)
    assert 'set tables.movies.delimiter = ";"' in caught.value.hint
    loaded = ratings_pipeline(data, "tables.movies.delimiter=';'")
    assert open_tables(loaded.pipeline, loaded.folder)["movies"].key == "tables.movies"


def test_neither_file_nor_sample() -> None:
    """A table without rows to read is a fault of the pipeline file."""
    with pytest.raises(PipelineInvalid, match=r"tables\.more: found neither sample nor path"):
        load("movie-ratings", ["tables.more={key='a', columns={a='int'}}"])


# --- the catalog's version ----------------------------------------------------------------------------------------


def test_a_run_of_the_first_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A catalog of version 1, which had no side tables, is refused with a way out, and nothing is added to it."""
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '1')")
    with pytest.raises(CatalogError, match="has schema version 1; this Tidemill knows version 7") as caught:
        open_run(load("smart-home"), tmp_path)
    assert "--fresh" in caught.value.hint
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert tables == [("meta",)]
