"""``tidemill init``, and the pipeline that ``tidemill up`` takes for a data file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.public_like import titanic
from tests.support.reading import written
from tidemill import schemas
from tidemill.cli.main import app
from tidemill.errors import InputError, PipelineInvalid
from tidemill.pipeline import load
from tidemill.process.initiation import initiate, is_data, pipeline_for
from tidemill.run.folder import open_run

ROWS = "".join(f"{number},{number / 3:.2f},{'ab'[number % 2]}\n" for number in range(60))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a data file."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, f"id,size,kind\n{ROWS}", "things.csv")
    return tmp_path


def init(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of ``tidemill init``, with an error's message."""
    done = CliRunner().invoke(app, ["init", *arguments])
    error = getattr(done.exception, "message", "") if done.exception else ""
    return getattr(done.exception, "exit_code", done.exit_code), done.stdout + error


def test_init_writes_a_file_and_tells_what_it_guessed(here: Path) -> None:
    """The file stands in the current folder under the data's name; each column, each model, what is left out and the
    next command are told."""
    code, output = init("things.csv", "--label", "kind")
    assert code == 0
    assert (here / "things.toml").exists()
    assert "column size: float: numbers from 0 to 19.67" in output
    assert "model predict_kind: LogisticRegression of kind from size" in output
    assert "left out: id: an identifier" in output
    assert "next: tidemill up things.toml" in output
    assert CliRunner().invoke(app, ["check", "things.toml"]).exit_code == 0


def test_init_wants_a_file_or_a_topic_of_a_kafka(here: Path) -> None:
    """Neither, both, a topic without an address, and a file with an option of a topic are refused."""
    both = ["things.csv", "--topic", "t", "--bootstrap-servers", "k:1"]
    for arguments in ([], ["--topic", "t"], both, ["things.csv", "--kafka", "client.id=me"]):
        code, message = init(*arguments)
        assert code == 2
        assert "--topic with --bootstrap-servers" in message


def test_a_file_that_is_there_is_not_replaced(here: Path) -> None:
    """The same guess again is no error; another one needs --force, or another name."""
    assert init("things.csv")[0] == 0
    assert init("things.csv")[0] == 0
    code, message = init("things.csv", "--label", "kind")
    assert code == 2
    assert "is there already" in message
    assert "kind" in (here / "things.toml").read_text()
    assert init("things.csv", "--label", "kind", "--force")[0] == 0
    assert init("things.csv", "--name", "other", "--out", "sub.toml")[0] == 0
    assert 'name = "other"' in (here / "sub.toml").read_text()


def test_wrong_input_is_told_with_the_way_out(here: Path) -> None:
    """A name that no pipeline may have, a folder that is not there, a label that is not there: exit code 2."""
    for arguments, message in [
        (["things.csv", "--name", "a b"], "name"),
        (["things.csv", "--out", "no/such/p.toml"], "can't write"),
        (["things.csv", "--label", "knd"], 'no column "knd"'),
        (["nothing.csv"], "no file"),
    ]:
        code, told = init(*arguments)
        assert code == 2, arguments
        assert message in told


def test_init_prints_one_document(here: Path) -> None:
    """``--json`` prints the guesses in the documented form, and nothing else."""
    titanic().write(here)
    done = CliRunner().invoke(app, ["init", "titanic.csv", "--label", "Survived", "--json"])
    body = schemas.InitBody.model_validate(json.loads(done.stdout))
    assert body.rows == body.looked_at == 300
    assert {column.name: column.type for column in body.columns} == titanic().types
    assert body.models[0].settings["features"] == ["Pclass", "tfidf(Name)", "Sex", "Age", "Fare", "Embarked"]
    assert "PassengerId" in body.models[0].left_out


def test_a_column_that_looks_like_a_label_is_named(here: Path) -> None:
    """Without --label the file says how a model of such a column is made."""
    written(here, f"id,size,target\n{ROWS}", "t.csv")
    _, output = init("t.csv")
    assert "note: target looks like something to predict: --label target" in output
    assert "tidemill init t.csv --label target --force" in (here / "t.toml").read_text()


def test_a_model_that_the_check_refuses_is_left_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal with a fault is not written; the file and the output say which model, and the fault."""
    from tidemill.guessing import models

    monkeypatch.setattr(models, "MOST_CLUSTERS", 1)  # Spark refuses a single cluster
    text = "".join(f"{number / 3},some words that say thing {number}\n" for number in range(60))
    written(here, f"size,text\n{text}", "t.csv")
    initiated = initiate("t.csv")
    assert [model.name for model in initiated.proposal.models] == ["similar"]
    assert "params.k" in initiated.proposal.refused["segments"]
    assert "Left out: the model segments" in initiated.text


# --- up FILE ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("d.csv", "a,b\n1,2\n", True),
        ("d.parquet", "PAR1", True),
        ("p.toml", "broken = ", False),
        ("p.conf", 'name = "p"\n[source]\npath = "d.csv"\n', False),
        ("settings.txt", "a = 1\nb = 2\n", True),
    ],
)
def test_data_are_told_from_a_pipeline(name: str, content: str, expected: bool, here: Path) -> None:
    """A TOML file with a source is a pipeline, whatever its ending; any other file is data."""
    written(here, content, name)
    assert is_data(name) is expected


def test_a_name_and_a_glob_are_told_apart(here: Path) -> None:
    """A ready pipeline's name and a file that is not there are no data; a glob is."""
    assert not is_data("smart-home")
    assert not is_data("nothing.csv")
    assert is_data("thin*.csv")


def test_up_takes_the_file_that_it_wrote_before(here: Path) -> None:
    """The first time a pipeline is written; the second time it is used as it stands, changed or not, so that the run
    goes on; one that reads other data is not touched."""
    path, initiated = pipeline_for("things.csv")
    assert initiated is not None
    changed = path.read_text() + "# mine\n"
    path.write_text(changed)
    assert pipeline_for(str(here / "things.csv")) == (path, None)
    assert path.read_text() == changed
    (here / "sub").mkdir()
    written(here / "sub", f"id,size,kind\n{ROWS}", "things.csv")
    with pytest.raises(InputError, match="reads other data") as caught:
        pipeline_for("sub/things.csv")
    assert "--name" in caught.value.hint


def test_notes_may_change_while_a_run_lives(here: Path) -> None:
    """A note and what is left out are for people: changing them is not another pipeline."""
    path, _ = pipeline_for("things.csv")
    open_run(load(str(path)), here / "run")
    document: Any = path.read_text()
    path.write_text(document.replace("numbers from 0 to 19.67", "sizes in cm").replace("an identifier", "a number"))
    assert open_run(load(str(path)), here / "run").pipeline.source.columns["size"].note == "sizes in cm"


def test_what_is_left_out_is_declared_and_not_used(here: Path) -> None:
    """A column that is left out under a wrong name, or that is a feature too, is a fault."""
    path, _ = pipeline_for("things.csv")
    left_out = "models.segments.left_out"
    with pytest.raises(PipelineInvalid) as caught:
        load(str(path), [f'{left_out}={{ size = "a quantity", idd = "b" }}'])
    assert {fault.path for fault in caught.value.faults} == {f"{left_out}.size", f"{left_out}.idd"}
