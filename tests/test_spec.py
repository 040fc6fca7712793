"""The pipeline file: defaults, overrides, and every fault at once with its place and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import InputError, PipelineInvalid, PipelineNotFound
from tidemill.spec import Column, Pipeline, Raw, load, override, parse, ready_pipelines

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
    override(raw, assignments)
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
        ("batches.rows='many'", "batches.rows: found 'many'; expected a whole number"),
        ("batches.rows=0", "batches.rows: found 0; expected above 0"),
        ("batches.every='soon'", "batches.every: found 'soon'; expected a duration such as"),
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
        ("models={}", "models: found no model; expected at least one"),
        ("routes=[{path='/go', model='lin'}]", 'routes[0].model: found "lin"; expected a model; did you mean "line"?'),
        ("routes=[{path='go', model='line'}]", "routes[0].path: found 'go'; expected a name of the form"),
        ("serve.port=70000", "serve.port: found 70000; expected 65535 or less"),
        ("name='no spaces'", "name: found 'no spaces'; expected a name of the form"),
    ],
)  # fmt: skip
def test_a_fault_says_where_what_and_what_else(assignment: str, fault: str) -> None:
    """A single fault is reported once, with its path, what was found, what was expected and a way out."""
    found = faults(assignment)
    assert len(found) == 1, found
    assert found[0].startswith(fault)


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
    with pytest.raises(PipelineInvalid, match="stream: found nothing; expected this key to be given"):
        parse(Raw("tiny.toml", Path(), raw))


def test_a_long_value_is_cut() -> None:
    """An error stays short whatever is in the file."""
    assert len(faults(f"batches.rows='{'x' * 5000}'")[0]) < 300


def test_set_wants_an_assignment() -> None:
    """--set without a value, or through a plain value, is the user's fault and says so."""
    for wrong in ("stream.topic", "=3", "stream..x=1", "name.first=1"):
        with pytest.raises(InputError, match="--set"):
            with_changes(wrong)


def test_a_bare_word_is_a_string() -> None:
    """--set name=value needs no quotes for a string."""
    assert pipeline("name=other").name == "other"


def test_data_replaces_the_source(tmp_path: Path) -> None:
    """--data takes the place of sample and of its number of rows; --rows limits it again."""
    source = load("smart-home", data=str(tmp_path / "mine.csv")).pipeline.source
    assert (source.sample, source.rows, source.path) == (None, None, str(tmp_path / "mine.csv"))
    assert load("smart-home", data="mine.csv", rows=7).pipeline.source.rows == 7


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
