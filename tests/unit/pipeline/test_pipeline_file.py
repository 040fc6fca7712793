"""The pipeline file: defaults, overrides, and every fault at once with its place and a way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import InputError, PipelineInvalid, PipelineNotFound
from tidemill.pipeline import Cleaning, Column, Pipeline, Raw, load, override, parse, ready_pipelines

BASE: dict[str, Any] = {
    "name": "tiny",
    "source": {"path": "tiny.csv", "columns": {"id": "int", "x": "float", "kind": "string?", "at": "timestamp"}},
    "stream": {"topic": "tiny"},
    "batches": {"rows": 10},
    "models": {"line": {"estimator": "LinearRegression", "features": ["x"], "label": "id"}},
}


def with_changes(*assignments: str) -> dict[str, Any]:
    import copy

    raw = copy.deepcopy(BASE)
    assert override(raw, assignments) == []
    return raw


def faults(*assignments: str) -> list[str]:
    with pytest.raises(PipelineInvalid) as caught:
        parse(Raw("tiny.toml", Path(), with_changes(*assignments)))
    return [str(fault) for fault in caught.value.faults]


def pipeline(*assignments: str) -> Pipeline:
    return parse(Raw("tiny.toml", Path(), with_changes(*assignments))).pipeline


def test_defaults() -> None:
    """What is left out has the documented defaults."""
    tiny = pipeline()
    assert (tiny.generations.scheme, tiny.generations.holdout.share, tiny.generations.holdout.seed) == (
        "windowed",
        0.2,
        42,
    )
    assert (tiny.stream.partitions, tiny.stream.pause, tiny.batches.format) == (1, (0.0, 0.0), "parquet")
    assert (tiny.serve.host, tiny.serve.port) == ("127.0.0.1", 8000)
    assert tiny.source.schema_[2] == Column("kind", "string", True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("1.5h", 5400.0), ("2d", 172800.0)]
)
def test_durations(text: str, seconds: float) -> None:
    """Durations are read in their units, as seconds."""
    assert pipeline(f"batches.every='{text}'").batches.every == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("assignment", "pause"),
    [
        ("stream.pause=0", (0.0, 0.0)),
        ("stream.pause='2ms'", (0.002, 0.002)),
        ("stream.pause=['0ms','2ms']", (0.0, 0.002)),
    ],
)
def test_pauses(assignment: str, pause: tuple[float, float]) -> None:
    """A pause is none, a fixed one, or a range."""
    assert pipeline(assignment).stream.pause == pytest.approx(pause)


@pytest.mark.parametrize(
    ("assignment", "fault"),
    [
        ("colour='red'", 'colour: found an unknown key; expected no such key; known: name, title'),
        ("stream.topc='x'", 'stream.topc: found an unknown key; expected no such key; did you mean "topic"?'),
        ("models.line.scal='none'", 'models.line.scal: found an unknown key; expected no such key; did you mean'),
        ("models.lin.gate.policy='better'", 'models.lin: found a table with nothing but gate; expected the name of a '
         'model, or its estimator too; did you mean "line"?'),
        ("models.gate={}", "models.gate: found a model without an estimator; expected the name of a model; for one "
         "model write [models.NAME.gate], for all of them [gate]"),
        ("models.line.gate.polcy='better'", 'models.line.gate.polcy: found an unknown key; expected no such key; did'),
        ("batches.rows='many'", "batches.rows: found 'many'; expected a whole number"),
        ("batches.rows=0", "batches.rows: found 0; expected above 0"),
        ("batches.every='soon'", "batches.every: found 'soon'; expected a duration such as"),
        ("batches.every='0.9ms'", "batches.every: found '0.9ms'; expected a duration of 1ms or more"),
        ("batches.every='0s'", "batches.every: found '0s'; expected a duration above zero"),
        ("stream.pause=['2ms','1ms']", "stream.pause: found ['2ms', '1ms']; expected the least pause first"),
        ("source.columns.id='integer'", "source.columns.id: found 'integer'; expected one of int, float, string, bool"),
        ("source.columns={}", "source.columns: found no column; expected at least one"),
        ("source.sample='smart-home'", "source: found both sample and path; expected one of them"),
        ("generations.scheme='cumulativ'", "generations.scheme: found 'cumulativ'; expected one of 'windowed', 'cum"),
        ("generations.scheme='sliding'", "generations.window: found nothing; expected how many batches the window has"),
        ("generations.window=2", 'generations.window: found a window; expected none with scheme = "windowed"; did you'),
        ("generations.holdout={share=1.0}", "generations.holdout.share: found 1.0; expected below 1"),
        ("stream.key='idd'", 'stream.key: found "idd"; expected a declared column; did you mean "id"?'),
        ("models.line.label='idd'", 'models.line.label: found "idd"; expected a declared column; did you mean "id"?'),
        ("models.line.label='x'", 'models.line.label: found "x", also a feature; expected a column that is not among'),
        ("models.line.features=['y']", 'models.line.features[0]: found "y"; expected a declared column'),
        ("models.line.features=['x','at']", 'models.line.features[1]: found "at", a timestamp; expected a col'),
        ("models.line.features=['x','x']", 'models.line.features[1]: found "x" again; expected each feature once'),
        ("models.line.features=[]", "models.line.features: found []; expected at least 1 entry"),
        ("batches={}", "batches: found none of rows, every, parts; expected at least one of them"),
        ("models={}", "models: found no model; expected at least one"),
        ("routes=[{path='/go', model='lin'}]", 'routes[0].model: found "lin"; expected a model; did you mean "line"?'),
        ("routes=[{path='go', model='line'}]", "routes[0].path: found 'go'; expected a name of the form"),
        ("models.line.titles='t'", 'models.line.titles: found "t"; expected a table: [tables.NAME]'),
        ("serve.port=70000", "serve.port: found 70000; expected 65535 or less"),
        ("name='no spaces'", "name: found 'no spaces'; expected a name of the form"),
    ],
)  # fmt: skip
def test_a_fault_says_where_what_and_what_else(assignment: str, fault: str) -> None:
    """A single fault is reported once, with its path, what was found, what was expected and a way out."""
    found = faults(assignment)
    assert len(found) == 1, found
    assert found[0].startswith(fault)


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ("{type='float', stripp=['a']}", "stripp: found an unknown key; expected no such key"),
        ("{strip=['a']}", "type: found nothing; expected this key to be given"),
        ("{type='real'}", "type: found 'real'; expected one of int, float, string, bool"),
        ("{type='float', strip='a'}", "strip: found 'a'; expected a list"),
        ("{type='float', strip=['']}", "strip[0]: found ''; expected at least 1 character"),
        ("{type='float', missing=[[0]]}", "missing[0]: found [0]; expected a string, a number, true or false"),
        ("{type='float', default='a'}", "default: found 'a'; expected a value of the type float"),
        ("{type='float', default=nan}", "default: found nan; expected a value of the type float"),
        ("{type='int', default=true}", "default: found True; expected a value of the type int"),
        ("{type='float?', default=1}", 'default: found 1; expected none with type = "float?"; or type = "float"'),
        ("{type='float', format='%Y'}", "format: found '%Y'; expected none: the column is float, not a timestamp"),
        ("{type='timestamp', default='x'}", "default: found 'x'; expected a value of the type timestamp"),
        ("{type='timestamp', format='%Q'}", "format: found '%Q'; expected directives among %Y %y"),
        ("{type='timestamp', format='%Y%'}", "format: found '%Y%'; expected directives among"),
        ("{type='timestamp', format='%Y %Y'}", "format: found '%Y %Y'; expected %Y once"),
        ("{type='timestamp', format='%Y%y'}", "format: found '%Y%y'; expected %Y or %y, not both"),
        ("{type='timestamp', format='%d/%m'}", "format: found '%d/%m'; expected a year, as in"),
        ("{type='timestamp', format='day'}", "format: found 'day'; expected a year, as in"),
        ("{type='timestamp', format='%Y %I'}", "format: found '%Y %I'; expected %I and %p together, or %H"),
        ("{type='timestamp', format='%Y %p'}", "format: found '%Y %p'; expected %I and %p together, or %H"),
    ],
)
def test_a_fault_of_a_columns_table(column: str, fault: str) -> None:
    """What is wrong in a column's table is found before anything runs, a format by which no moment can be told too."""
    (found,) = faults(f"source.columns.at={column}", "models.line.features=['x']")
    assert found.startswith(f"source.columns.at.{fault}")


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("{columns={a='int'}, key='a'}", ": found neither sample nor path; expected one of them"),
        ("{path='t.csv', key='a'}", ".columns: found nothing; expected this key to be given"),
        ("{path='t.csv', columns={a='int'}}", ".key: found nothing; expected this key to be given"),
        ("{path='t.csv', columns={ab='int'}, key='ac'}", '.key: found "ac"; expected a declared column; known: ab'),
        (
            "{path='t.csv', columns={a='int?'}, key='a'}",
            '.key: found "a", which may be missing; expected a column that',
        ),
        ("{path='t.csv', columns={a='int'}, key='a', rows=5}", ".rows: found an unknown key; expected no such key"),
        ("{path='t.csv', columns={a={type='x'}}, key='a'}", ".columns.a.type: found 'x'; expected one of int, float"),
        ("{path='t.csv', columns={}, key='a'}", ".columns: found no column; expected at least one"),
    ],
)
def test_a_fault_of_a_side_table(table: str, fault: str) -> None:
    """A side table has columns, rows to be read, and a key that each of them has."""
    (found,) = faults(f"tables.t={table}")
    assert found.startswith(f"tables.t{fault}")


def test_a_column_and_a_table_in_full() -> None:
    """A column may be a table that says how its values are cleaned; a side table has columns as the source has."""
    cleaning = "{type='float', strip=['a', 'b'], missing=[0, 'n/a'], default=1}"
    tiny = pipeline(
        f"source.columns.x={cleaning}", f"tables.t={{path='t.csv', columns={{k='int', v={cleaning}}}, key='k'}}"
    )
    expected = Cleaning(("a", "b"), (0, "n/a"), None, 1)
    assert tiny.source.schema_[1] == Column("x", "float", False, expected)
    assert tiny.tables["t"].schema_ == (Column("k", "int", False), Column("v", "float", False, expected))
    assert [column.may_lack for column in tiny.source.schema_] == [False, True, True, False]


def test_a_tables_path_that_is_set_is_not_replaced(tmp_path: Path) -> None:
    """With --data, a table of a sample is read from the file beside the data, unless --set says where it is."""
    data = str(tmp_path / "mine.csv")
    table = load("movie-ratings", data=data).pipeline.tables["movies"]
    assert (table.sample, table.path) == (None, str(tmp_path / "movies.csv"))
    table = load("movie-ratings", ["tables.movies.path=/other.csv"], data=data).pipeline.tables["movies"]
    assert (table.sample, table.path) == (None, "/other.csv")


def test_all_faults_at_once() -> None:
    """Faults in different tables are all reported by one look, those between tables too."""
    found = faults("stream.topc='x'", "batches.rows='many'", "models.line.label='ix'", "generations.window=3", "name=7")
    paths = {fault.split(":")[0] for fault in found}
    assert paths == {"stream.topc", "batches.rows", "models.line.label", "generations.window", "name"}


def test_nothing_cuts() -> None:
    """A pipeline whose stream is never cut is refused."""
    raw = with_changes()
    raw["batches"] = {"format": "csv"}
    with pytest.raises(PipelineInvalid, match="none of rows, every, parts"):
        parse(Raw("tiny.toml", Path(), raw))


def test_a_missing_table_is_named() -> None:
    """A table that must be there is asked for by its name."""
    raw = with_changes()
    del raw["stream"]
    with pytest.raises(PipelineInvalid, match=r"stream\.topic: found nothing; expected this key to be given"):
        parse(Raw("tiny.toml", Path(), raw))


def test_a_long_value_is_cut() -> None:
    """An error stays short whatever is in the file."""
    assert len(faults(f"batches.rows='{'x' * 5000}'")[0]) < 300


def test_set_wants_an_assignment() -> None:
    """--set without a value, or through a plain value, is the user's fault and says so."""
    for wrong in ("stream.topic", "=3", "stream..x=1", "name.first=1"):
        with pytest.raises(InputError, match=re.escape(f"--set {wrong!r}: found ")):
            load("smart-home", [wrong])


def test_a_malformed_set_hides_no_other_fault(tmp_path: Path) -> None:
    """All faults are told at once: of each --set that is malformed, of those that are not, and of the file."""
    with pytest.raises(PipelineInvalid) as caught:
        load("smart-home", ["stream.topic", "name.first=1", "batches.parts=0", "stream.topc=x"])
    assert [(fault.path, fault.found) for fault in caught.value.faults] == [
        ("stream.topc", "an unknown key"),
        ("batches.parts", "0"),
        ("--set 'stream.topic'", "no assignment"),
        ("--set 'name.first=1'", "name, which is not a table"),
    ]
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(PipelineInvalid) as caught:
        load(str(broken), ["stream.topic"])
    assert [fault.path for fault in caught.value.faults] == ["broken.toml", "--set 'stream.topic'"]


def test_a_bare_word_is_a_string() -> None:
    """--set name=value needs no quotes for a string."""
    assert pipeline("name=other").name == "other"


def test_data_replaces_the_source(tmp_path: Path) -> None:
    """--data takes the place of sample and of its number of rows; --rows limits it again."""
    source = load("smart-home", data=str(tmp_path / "mine.csv")).pipeline.source
    assert (source.sample, source.rows, source.path) == (None, None, str(tmp_path / "mine.csv"))
    assert load("smart-home", data="mine.csv", rows=7).pipeline.source.rows == 7
    assert load("smart-home", ["source.rows=5"], data="mine.csv").pipeline.source.rows == 5


def test_no_such_pipeline() -> None:
    """A misspelt ready pipeline is answered with the right name."""
    with pytest.raises(PipelineNotFound) as caught:
        load("smart-hom")
    assert 'no pipeline or file "smart-hom"' in caught.value.message
    assert 'did you mean "smart-home"?' in caught.value.hint


def test_no_toml(tmp_path: Path) -> None:
    """A file that is no TOML is a fault that names the line."""
    (tmp_path / "bad.toml").write_text("name = \n")
    with pytest.raises(PipelineInvalid, match="line 1"):
        load(str(tmp_path / "bad.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(PipelineInvalid, match="a TOML file in UTF-8"):
        load(str(tmp_path / "bytes.toml"))


@pytest.mark.parametrize("name", ready_pipelines())
def test_ready_pipelines_are_without_fault(name: str) -> None:
    """Every pipeline that comes with Tidemill passes its own checks and bears its file's name."""
    assert load(name).pipeline.name == name
