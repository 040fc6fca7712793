"""Looking before running: every fault of the pipeline, its data and its tables in one go, and the first rows tried."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow.csv import read_csv
from typer.testing import CliRunner

from tests.support import PUBLIC_FILES
from tests.support.reading import written
from tests.support.training_run import seal_table, table_of
from tidemill.cli.main import app
from tidemill.errors import InputError, PipelineInvalid, SourceError
from tidemill.pipeline import load, ready_pipelines
from tidemill.process.preflight import CheckReport, check
from tidemill.run.catalog import SourceState
from tidemill.run.folder import open_run
from tidemill.sources import preview

MODELS = """
[models.kind]
estimator = "LogisticRegression"
features = ["size"]
label = "good"
"""


def pipeline(folder: Path, data: str, more: str = MODELS, name: str = "data.csv") -> Path:
    """A pipeline file of three columns, and its data beside it."""
    written(folder, data, name)
    columns = 'id = "int"\nsize = "float"\ngood = "int"\n'
    head = f'name = "p"\n[source]\npath = "{name}"\n[source.columns]\n{columns}[stream]\ntopic = "t"\n'
    return written(folder, f"{head}[batches]\nrows = 10\n{more}", "p.toml")


def rows(count: int, **bad: str) -> str:
    """``count`` rows, with these texts for sizes in rows of these numbers (``row3="x"``)."""
    sizes = [bad.get(f"row{number}", f"{number}.5") for number in range(count)]
    return "\n".join(["id,size,good", *(f"{number},{size},{number % 2}" for number, size in enumerate(sizes))]) + "\n"


def look(path: Path, *assignments: str) -> CheckReport:
    return check(str(path), assignments)


def asked(*arguments: str) -> tuple[int, Any]:
    """The exit code and the document of `check --json`."""
    done = CliRunner().invoke(app, ["check", *arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize("name", ready_pipelines())
def test_the_ready_pipelines_fit(name: str) -> None:
    """No ready pipeline has a fault or a note, on its sample and on the real file; only Denver's places are lacking."""
    for report in (check(name), check(name, data=str(PUBLIC_FILES[name]))):
        assert (report.faults, report.notes) == ((), ())
        assert len(report.tried["source"]) == (978 if "amazon_sales.csv" in report.tried["source"].title else 1_000)
        rejects = report.tried["source"].rejects
        assert all("GEO_L" in reject.reason for reject in rejects)
        assert len(rejects) < 20
    assert set(report.tables) == ({"movies"} if name == "movie-ratings" else set())


def test_rejected_rows_are_told_with_examples(tmp_path: Path) -> None:
    """How many of the first rows fit, and of at most five that don't the line and the reason, values shortened."""
    bad = {f"row{number}": "x" * 500 for number in range(10, 17)}
    report = look(pipeline(tmp_path, rows(2_000, **bad)))
    [told] = report.remarks()
    value = f"'{'x' * 37}…'"
    assert told.startswith(
        f"source: first 1,000 rows: 993 fit, 7 rejected: line 12: size is {value}, not a finite number; line 13"
    )
    assert told.endswith("; and 2 more")
    assert report.faults == ()
    code, document = asked(str(tmp_path / "p.toml"))
    assert (code, document["ok"]) == (0, True)
    examples = document["tried"].pop("examples")
    assert document["tried"] == {"rows": 1_000, "fit": 993, "rejected": 7}
    assert [example["line"] for example in examples] == [12, 13, 14, 15, 16]
    assert examples[0] == {"file": "data.csv", "line": 12, "reason": f"size is {value}, not a finite number"}


def test_a_short_source_is_tried_whole(tmp_path: Path) -> None:
    """What is said of all rows is said so; of the files of a glob each example names its own."""
    assert look(pipeline(tmp_path, rows(5, row3="?"))).remarks() == [
        "source: all 5 rows: 4 fit, 1 rejected: line 5: size is '?', not a finite number",
        "note: source.columns.size: line 5 rejected: size is '?', not a finite number; "
        'missing = ["?"] in source.columns.size would read it',
    ]
    written(tmp_path, rows(3, row0="!"), "later.csv")
    told, _ = look(tmp_path / "p.toml", "source.path=*.csv").remarks()
    assert told == (
        "source: all 8 rows: 6 fit, 2 rejected: data.csv, line 5: size is '?', not a finite number; "
        "later.csv, line 2: size is '!', not a finite number"
    )
    assert look(tmp_path / "p.toml", "source.rows=3").tried["source"].sentence() == "all 3 rows: all fit"


def test_long_records_are_not_all_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying ends after so many bytes, and then not all rows were tried."""
    monkeypatch.setattr(preview, "PREVIEW_ROWS", 5)
    monkeypatch.setattr(preview, "PREVIEW_BYTES", 10)
    for part in (1, 2):
        written(tmp_path, rows(3), f"data-{part}.csv")
    tried = look(pipeline(tmp_path, rows(3)), "source.path=data-*.csv").tried["source"]
    assert tried.sentence() == "first 3 rows: all fit"


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("data.csv", "about 1,500 more were not tried"),
        ("data.csv.gz", "any later rows were not tried"),
        ("data.parquet", "1,501 more were not tried"),
    ],
)
def test_check_says_how_many_rows_it_did_not_try(tmp_path: Path, name: str, rest: str) -> None:
    """The rows after the first thousand are counted where that is quick: exactly in Parquet, by lines in plain text."""
    path = pipeline(tmp_path, rows(2_501))
    if name.endswith("gz"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "data.csv").read_bytes()))
    if name.endswith("parquet"):
        pq.write_table(read_csv(tmp_path / "data.csv"), tmp_path / name)
    done = CliRunner().invoke(app, ["check", str(path), "--set", f"source.path={name}"])
    assert f"source: first 1,000 rows: all fit; {rest}\n" in done.stdout
    limited = CliRunner().invoke(app, ["check", str(path), "--set", f"source.path={name}", "--rows", "900"])
    assert "source: all 900 rows: all fit\n" in limited.stdout


def test_untried_rows_at_the_edge(tmp_path: Path) -> None:
    """A file of just as many rows as are tried is not said to have more; those of a sample are counted exactly."""
    path = pipeline(tmp_path, rows(1_000))
    assert str(look(path).tried["source"].untried) == "any later rows were not tried"
    assert look(path, "source.path=data.csv").tried["source"].untried == (None, False)
    assert check("smart-home").tried["source"].untried == (4_403, True)
    assert check("smart-home", rows=1_500).tried["source"].untried == (500, True)


def test_where_no_row_fits_nothing_is_started(tmp_path: Path) -> None:
    """None of all rows fits: exit code 2, the commonest reason and a way out, from `check` and from `up`."""
    bad = {f"row{number}": "n/a" for number in range(900)} | {"row0": "", "row1": "other"}
    path = pipeline(tmp_path, rows(900, **bad))
    with pytest.raises(SourceError) as caught:
        look(path).faultless()
    assert caught.value.message == (
        "none of the 900 rows of data.csv fits the declared columns, "
        "899 of them as line 3: size is 'other', not a finite number"
    )
    assert "[source.columns]" in caught.value.hint
    for command in (["check"], ["up", "--run-dir", str(tmp_path / "run")]):
        done = CliRunner().invoke(app, [command[0], str(path), *command[1:]])
        assert isinstance(done.exception, SourceError)
        assert done.exception.exit_code == 2
    assert not (tmp_path / "run").exists()
    code, document = asked(str(path))
    assert (code, document["ok"]) == (2, False)
    assert len(document["tried"].pop("examples")) == 5
    assert document["tried"] == {"rows": 900, "fit": 0, "rejected": 900}
    assert [fault["path"] for fault in document["faults"]] == ["source"]


def test_later_rows_may_fit(tmp_path: Path) -> None:
    """That none of the first rows fits, of the source or of a table, is said but no fault while there are others."""
    bad = {f"row{number}": "n/a" for number in range(1_000)}
    written(tmp_path, "film\n" + "x\n" * 1_000 + "1\n", "films.csv")
    films = '[tables.films]\npath = "films.csv"\nkey = "film"\ncolumns = { film = "int" }\n'
    path = pipeline(tmp_path, rows(1_001, **bad), f"{films}{MODELS}")
    report = look(path)
    assert report.faultless().pipeline.name == "p"
    assert [note.path for note in report.notes] == ["source", "tables.films"]
    assert report.notes[0].found == (
        "none of the first 1,000 rows of data.csv fits the declared columns, "
        "all as line 2: size is 'n/a', not a finite number"
    )
    assert report.remarks()[0].startswith("source: first 1,000 rows: 0 fit, 1,000 rejected: line 2: ")
    assert report.remarks()[2].startswith("note: source: none of the first 1,000 rows")


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ((), []),
        (("generations.holdout.share=0",), []),
        (("generations.holdout.share=0", "batches.rows=20"), ["models.kind.label"]),
        (("generations.holdout.share=0", "batches.rows=20", "batches.every=1h"), []),
        (("generations.holdout.share=0", "batches={ parts = 1 }"), ["models.kind.label"]),
        (("generations.holdout.share=0", "batches={ parts = 2 }"), []),
        (("generations.holdout.share=0", "batches={ parts = 1, idle = '1s' }"), []),
        (("generations.holdout.share=0.1", "batches.rows=20"), []),
    ],
)
def test_one_bad_row_spoils_only_its_generations(tmp_path: Path, changes: tuple[str, ...], faults: list[str]) -> None:
    """It is a fault where the only generation must be trained on it; else it is a note: it may be held out, or be in
    another batch."""
    report = look(pipeline(tmp_path, rows(20).replace("3,3.5,1\n", "3,3.5,-3\n", 1)), *changes)
    told = [fault.path for fault in report.faults if fault.path.startswith("models")]
    assert (told, [note.path for note in report.notes]) == (faults, [] if faults else ["models.kind.label"])


def test_a_run_that_goes_on_is_not_judged_by_its_data(tmp_path: Path) -> None:
    """With a sealed batch, or all of its source, a run is taken up again, whatever `check` says of the rows; not so
    with --fresh, or with a fault in the pipeline file."""
    path = pipeline(tmp_path, rows(20).replace(",1\n", ",-1\n").replace(",0\n", ",-1\n"))
    beyond_judging = ["--host", "0.0.0.0"]  # which needs a key
    for name in ("begun", "sealed", "sent"):
        run = open_run(load(str(path)), tmp_path / name)
        if name == "sealed":
            seal_table(run, 1, table_of(run, [{"id": 1, "size": 1.0, "good": 1}]))
        run.catalog.save_source(SourceState("", complete=name == "sent"))
        run.close()
    for name, more, refusal in (
        ("begun", [], "models.kind.label"),
        ("none", [], "models.kind.label"),
        ("sealed", [], "key"),
        ("sent", [], "key"),
        ("sent", ["--fresh"], "models.kind.label"),
        ("sent", ["--set", "stream.topc=x"], "stream.topc"),
    ):
        done = CliRunner().invoke(app, ["up", str(path), "--run-dir", str(tmp_path / name), *beyond_judging, *more])
        assert isinstance(done.exception, InputError)
        assert refusal in done.exception.message
        assert "note" not in done.stdout
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_dir()) == ["begun", "sealed", "sent"]


def test_faults_of_file_data_and_tables_come_together(tmp_path: Path) -> None:
    """A fault of the pipeline file hides none of the source, of a table or of what training would refuse."""
    table = '[tables.films]\npath = "films.csv"\nkey = "film"\ncolumns = { film = "int" }\n'
    negative = rows(20).replace(",1\n", ",-1\n").replace(",0\n", ",-1\n")
    path = pipeline(tmp_path, negative, f"{table}{MODELS}")
    changes = ("stream.topc=x", "models.size={ estimator = 'KMean', features = ['size'] }")
    report = look(path, *changes)
    assert [fault.path for fault in report.faults] == [
        "stream.topc",
        "models.size.estimator",
        "tables.films",
        "models.kind.label",
    ]
    with pytest.raises(PipelineInvalid, match=r"p\.toml has 4 faults") as caught:
        report.faultless()
    assert f"\n  tables.films: no file {tmp_path / 'films.csv'}; known: data.csv, p.toml" in caught.value.message
    report = look(path, *changes, "source.columns.Colour=string", "batches.rows=0")
    assert [fault.path for fault in report.faults][-2:] == ["source", "tables.films"]
    assert "data.csv has no column Colour" in report.faults[-2].found
    with pytest.raises(PipelineInvalid, match="has no column Colour"):
        report.faultless()
    done = CliRunner().invoke(app, ["check", str(path), "--set", "source.path=none.csv", "--set", "stream.topc=x"])
    assert "no file" in str(done.exception)
    assert "stream.topc" in str(done.exception)


def test_what_hides_the_data_hides_nothing_else(tmp_path: Path) -> None:
    """Data whose own table has a fault can't be read; the other faults are found all the same."""
    path = pipeline(tmp_path, rows(20))
    assert [fault.path for fault in look(path, "source.columns.size=flaot", "stream.topc=1").faults] == [
        "source.columns.size",
        "stream.topc",
    ]
    assert [fault.path for fault in look(path, "source.path=none.csv").faults] == ["source"]
    for raw in ("source=1", "models=1", "tables=1", "tables.x=1", "models.kind=1"):
        assert [fault.path for fault in look(path, raw).faults] == [raw.partition("=")[0]]


def test_a_damaged_table_is_no_source(tmp_path: Path) -> None:
    """The rows of each side table are tried as well; where none fits, the table is named."""
    written(tmp_path, "film,year\nx,1999\ny,2000\n", "films.csv")
    films = '[tables.films]\npath = "films.csv"\nkey = "film"\ncolumns = { film = "string", year = "int" }\n'
    path = pipeline(tmp_path, rows(20), f"{films}{MODELS}")
    assert look(path).tables["films"].sentence() == "all 2 rows: all fit"
    code, document = asked(str(path), "--set", "tables.films.columns.film=int")
    assert (code, document["tried"]["fit"], document["tables"]["films"]["fit"]) == (2, 20, 0)
    assert document["faults"][0]["found"].startswith("none of the 2 rows of films.csv fits")
    assert "[tables.films.columns]" in document["faults"][0]["hint"]


def test_notes_are_told(tmp_path: Path) -> None:
    """What is no fault is said by `check`, as text and as JSON, and by `up` before it starts anything."""
    path = pipeline(tmp_path, rows(20, row3="?").replace(",1\n", ",0\n"))
    note = 'note: models.kind.label: found "good", which is 0 in every row'
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == 0
    assert done.stdout.startswith(
        "p: the pipeline has no fault, but rows were rejected (1 of 20 tried); source: data.csv\n"
        "source: all 20 rows: 19 fit, 1 rejected: line 5: "
    )
    assert "no fault found" not in done.stdout
    assert note in done.stdout
    code, document = asked(str(path))
    assert (code, [one["path"] for one in document["notes"]]) == (0, ["source.columns.size", "models.kind.label"])
    assert document["pipeline"]["name"] == "p"
    refused = ["up", str(path), "--run-dir", str(tmp_path / "run"), "--host", "0.0.0.0"]  # which needs a key
    for json_too, told in (([], "stdout"), (["--json"], "stderr")):
        done = CliRunner().invoke(app, [*refused, *json_too])
        assert isinstance(done.exception, InputError)
        lines = getattr(done, told).splitlines()
        assert lines[0].startswith("source: all 20 rows: 19 fit, 1 rejected")
        assert lines[1].startswith("note: source.columns.size")
        assert lines[2].startswith(note)
    assert not (tmp_path / "run").exists()


GATED = ("gate.policy=better", "batches={ rows = 1000 }")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("gate.min_rows=200",), ""),
        (("gate.min_rows=201",), "about 200 held-out rows (20 % of at most 1,000)"),
        (("gate.min_rows=201", "gate.evidence=settled"), ""),
        (("gate.min_rows=201", "gate.policy=report"), ""),
        (("gate.min_rows=201", "gate.policy=manual"), ""),
        (("gate.min_rows=201", "batches={ every = '1h' }"), ""),  # 2,500 rows may be one batch
        (("gate.min_rows=501", "batches={ every = '1h' }"), "about 500 held-out rows (20 % of at most 2,5"),
        (("gate.min_rows=201", "batches={ parts = 5 }"), "about 100 held-out rows (20 % of at most 50"),
        (("gate.min_rows=101", "batches={ parts = 5, rows = 400 }"), "about 80 held-out rows (20 % of at most 400)"),
        (("generations.holdout.share=0",), "no held-out row"),
        (("models.kind.gate.policy=not-worse", "gate.policy=report"), "about 200 held-out rows"),
    ],
)
def test_a_gate_that_waits_for_too_many_held_out_rows(tmp_path: Path, changes: tuple[str, ...], told: str) -> None:
    """A gate that waits for provisional evidence on more rows than a batch holds out is a note, with the ways out: only
    settled evidence lets it decide."""
    notes = look(pipeline(tmp_path, rows(2_501)), *GATED, *changes).notes
    assert [note.path for note in notes] == (["gate.min_rows"] if told else [])
    if told:
        assert told in notes[0].found
        assert "so that the gate decides one batch later" in notes[0].found
        assert "for kind" in notes[0].found
        assert 'evidence = "settled"' in notes[0].hint


@pytest.mark.parametrize("evidence", ["provisional", "settled"])
@pytest.mark.parametrize("min_rows", [1_000, 1_001])
def test_a_gate_that_would_never_decide(tmp_path: Path, evidence: str, min_rows: int) -> None:
    """A gate that asks for more rows than any batch has is a note, whatever evidence it waits for."""
    changes = (*GATED, f"gate.min_rows={min_rows}", f"gate.evidence={evidence}")
    notes = look(pipeline(tmp_path, rows(2_501)), *changes).notes
    assert [note.found for note in notes if "never decides" in note.found] == (
        ["1,001 for kind, while a batch has at most 1,000 rows, so that the gate never decides"]
        if min_rows > 1_000
        else []
    )


def test_the_gate_of_one_model(tmp_path: Path) -> None:
    """Where a model has its own min_rows, the note is about that key; rows that nobody counted give none."""
    changes = ("models.kind.gate={ policy = 'better', min_rows = 900 }",)
    path = pipeline(tmp_path, rows(2_501))
    assert [note.path for note in look(path, *changes).notes] == ["models.kind.gate.min_rows"]
    assert check(str(path), [*changes, "batches={ parts = 1 }"], count_untried=False).notes == ()


def test_a_gate_of_a_model_without_truth(tmp_path: Path) -> None:
    """A gate that needs a verdict is a note for a model that none is given about."""
    near = '[models.near]\nestimator = "BucketedRandomProjectionLSH"\nfeatures = ["size"]\nparams.bucketLength = 1.0\n'
    path = pipeline(tmp_path, rows(20), f"{near}[models.near.gate]\npolicy = 'better'\n")
    (note,) = look(path).notes
    assert (note.path, "no truth" in note.found) == ("models.near.gate.policy", True)
