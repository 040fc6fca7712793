"""What people call a column and count it in: free to change, and shown wherever the column is."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving_run import DOCUMENT, api_of, new_run, publish, seal
from tidemill.errors import PipelineInvalid, RunFolderError
from tidemill.pipeline import Raw, parse
from tidemill.sources.cleaning import has_cleaning

HOURS = {"type": "float", "unit": "hours a day", "title": "use"}
COUNT = {"type": "int", "unit": "faults"}


def document(**columns: dict[str, Any]) -> dict[str, Any]:
    """The test pipeline with these columns as they are given."""
    found = deepcopy(DOCUMENT)
    found["source"]["columns"] |= columns
    return found


def test_units_and_titles_are_shown(tmp_path: Path) -> None:
    """The pipeline, a model's inputs and the API's document tell each column's title and unit, null where none is."""
    run = new_run(tmp_path, document=document(hours=HOURS, count=COUNT))
    seal(run, 1, [{"id": 1}])
    publish(run, 1, [1])
    with api_of(run) as client:
        columns = {one["name"]: one for one in client.get("/pipeline").json()["columns"]}
        inputs = {one["name"]: one for one in client.get("/models/size").json()["inputs"]}
        schema = client.get("/openapi.json").json()["components"]["schemas"]["size.row"]["properties"]
    run.close()
    assert list(columns) == list(DOCUMENT["source"]["columns"])
    hours = {"name": "hours", "kind": "float", "optional": False, "unit": "hours a day", "title": "use"}
    assert columns["hours"] == hours
    assert columns["note"] == {"name": "note", "kind": "string", "optional": True, "unit": None, "title": None}
    assert (inputs["hours"]["unit"], inputs["hours"]["title"]) == ("hours a day", "use")
    assert (inputs["count"]["unit"], inputs["count"]["title"]) == ("faults", None)
    assert schema["hours"]["description"] == "use, in hours a day. In training: 0 to 24"
    assert schema["count"]["description"] == "in faults. In training: 0 to 9"


def test_they_are_free_to_change(tmp_path: Path) -> None:
    """A run is taken up again with other titles and units; with another type it is not."""
    new_run(tmp_path).close()
    new_run(tmp_path, document=document(hours=HOURS)).close()
    new_run(tmp_path, document=document(hours=HOURS | {"unit": "h"})).close()
    with pytest.raises(RunFolderError, match=r"source\.columns\.hours\.type"):
        new_run(tmp_path, document=document(hours=HOURS | {"type": "int"}))


def test_they_clean_nothing() -> None:
    """A column with only a unit and a title is read as one without a table."""
    hours = parse(Raw("devices.toml", Path(), document(hours=HOURS))).pipeline.source.schema_[2]
    assert (hours.unit, hours.title, has_cleaning(hours)) == ("hours a day", "use", False)


def test_an_empty_one_is_a_fault() -> None:
    """A unit is a text with something in it."""
    with pytest.raises(PipelineInvalid, match=r"source\.columns\.hours\.unit"):
        parse(Raw("devices.toml", Path(), document(hours=HOURS | {"unit": ""})))


def test_the_pipeline_is_told_whole(tmp_path: Path) -> None:
    """Beside its models and routes a pipeline tells the stream's key, what cuts it, and the scheme."""
    run = new_run(tmp_path, "batches.every=1m")
    with api_of(run) as client:
        found = client.get("/pipeline").json()
        assert found == client.get("/").json()
    run.close()
    assert (found["key"], found["scheme"]) == ("id", "windowed")
    assert found["batches"] == {"rows": 3, "every": 60.0, "parts": None, "idle": None, "format": "parquet"}
