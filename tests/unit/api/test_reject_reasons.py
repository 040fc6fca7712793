"""The rejects by reason: counted by kind, with an example and the settings that would read them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.reading import read, written
from tests.support.serving_run import DOCUMENT, api_of, json_of, new_run
from tidemill.api.rows.reject_lines import MAX_COUNTED, NEWEST_BYTES, newest
from tidemill.pipeline import Pipeline
from tidemill.run.catalog import SideTableRecord, SourceState
from tidemill.run.folder import Run
from tidemill.run.rejects import Rejects

COLUMNS: dict[str, Any] = {
    "id": "int",
    "CO(GT)": {"type": "float", "missing": [-200], "unit": "mg"},
    "a.b": "timestamp",
    'say "x"': "int",
}
TEXT = """id,CO(GT),a.b,"say ""x\"""
1,"2,6",31/12/2025,1
x,1.5,2025-12-31,NA
3,"3,25",03/04/2025,-
4,-200,2025-12-31,1
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    document = deepcopy(DOCUMENT)
    document["source"]["columns"] |= COLUMNS
    table = {"path": "names.csv", "key": "kind", "columns": {"kind": "string", "watts": "float"}}
    document["tables"] = {"names": table}
    run = new_run(tmp_path / "run", document=document)
    yield run
    run.close()


def keep(run: Run, path: Path, columns: dict[str, Any], place: str, times: int = 1) -> int:
    """Write the rejects of a CSV file as those of a place; returns how many they are."""
    _, rejects = read(path, columns, header=True)
    kept = Rejects(run.rejects / f"{place}.jsonl", live=True)
    kept.extend([reject.document() for reject in rejects] * times)
    kept.publish()
    return kept.count


def of_source(run: Run, folder: Path, times: int = 1) -> None:
    count = keep(run, written(folder, TEXT), COLUMNS, "source", times)
    run.catalog.save_source(SourceState("print", rows=9, rejected=count, produced=9, complete=True))


def answer(run: Run) -> Any:
    with api_of(run) as client:
        return json_of(client.get("/rejects/reasons"))


def test_rejects_by_reason(run: Run, tmp_path: Path) -> None:
    """Each kind of fault has the number of its rows, the newest one, and the settings as lines of the pipeline file,
    which keep what the column has already; a setting that reads some of them says how many."""
    of_source(run, tmp_path)
    body = answer(run)
    assert (body["rejected"], body["counted"], body["more"]) == (4, 4, 0)
    kinds = {kind["reason"]: kind for kind in body["kinds"]}
    assert {reason: kind["count"] for reason, kind in kinds.items()} == {
        "CO(GT) is missing (-200 counts as missing)": 1,
        "CO(GT) is …, not a finite number": 2,
        "a.b is …, not a timestamp (ISO 8601)": 2,
        'say "x" is …, not a whole number of 64 bits': 2,
        "id is …, not a whole number of 64 bits": 1,
    }
    assert [kind["count"] for kind in body["kinds"]] == [2, 2, 2, 1, 1]
    number = kinds["CO(GT) is …, not a finite number"]
    assert (number["place"], number["example"]["line"]) == ("source", 4)
    assert number["settings"] == [
        {
            "setting": 'decimal = ","',
            "toml": '[source.columns]\n"CO(GT)" = { type = "float", missing = [-200], unit = "mg", decimal = "," }',
            "reads": 2,
            "becomes": "3.25",
        }
    ]
    dates = kinds["a.b is …, not a timestamp (ISO 8601)"]
    assert (dates["examined"], [setting["reads"] for setting in dates["settings"]]) == (2, [2, 1])
    assert '"a.b" = { type = "timestamp", format = "%d/%m/%Y" }' in dates["settings"][0]["toml"]
    (words,) = kinds['say "x" is …, not a whole number of 64 bits']["settings"]
    assert (words["setting"], words["reads"]) == ('missing = ["-", "NA"]', 2)
    assert words["toml"].endswith(r'"say \"x\"" = { type = "int?", missing = ["-", "NA"] }')
    assert kinds["id is …, not a whole number of 64 bits"]["settings"] == []


def test_every_setting_is_a_part_of_a_pipeline(run: Run, tmp_path: Path) -> None:
    """The lines are TOML that the pipeline file may have, and with them the rows fit."""
    of_source(run, tmp_path)
    columns: dict[str, Any] = dict(COLUMNS)
    for kind in answer(run)["kinds"]:
        for setting in kind["settings"][:1]:
            for name, declared in tomllib.loads(setting["toml"])["source"]["columns"].items():
                before = columns[name] if isinstance(columns[name], dict) else {}
                columns[name] = before | declared | {"type": declared["type"].removesuffix("?") + "?"}
    document = deepcopy(DOCUMENT)
    document["source"]["columns"] |= columns
    Pipeline.model_validate(document)
    text = TEXT.replace("2025-12-31", "31/12/2025").replace("x,1.5", '2,"1,5"')
    rows, rejects = read(written(tmp_path, text, "fitting.csv"), columns, header=True)
    assert (len(rows), rejects) == (4, [])


def test_rejects_of_side_tables_and_of_the_stream(run: Run, tmp_path: Path) -> None:
    """The settings of a side table are in its own part of the file; a message of a stranger has none."""
    path = written(tmp_path, 'kind,watts\nlamp,"1,5"\n', "names.csv")
    count = keep(run, path, {"kind": "string", "watts": "float"}, "table-names")
    run.catalog.save_side_table(SideTableRecord("names", "tables/names.parquet", 1, count, "0" * 64, "print"))
    tail = Rejects(run.rejects / "tail.jsonl")
    tail.add(partition=0, offset=7, reason="CO(GT) is '2,6', not a finite number", text="# {")
    tail.publish()
    run.catalog.end_stream({0: 8}, {0: 1})
    stream, table = answer(run)["kinds"]
    assert (stream["place"], stream["settings"], stream["example"]["offset"]) == ("tail", [], 7)
    assert table["settings"][0]["toml"] == '[tables.names.columns]\nwatts = { type = "float", decimal = "," }'


def test_only_the_newest_are_read(run: Run, tmp_path: Path) -> None:
    """Of very many rejects only the newest are counted, and the answer says of how many."""
    of_source(run, tmp_path, times=MAX_COUNTED)
    body = answer(run)
    assert (body["rejected"], body["counted"]) == (4 * MAX_COUNTED, MAX_COUNTED)


def test_the_end_of_a_large_file(tmp_path: Path) -> None:
    """The last lines of a file are read whole, the last first, without one that is still being written."""
    path = tmp_path / "large.jsonl"
    line = b'{"line": %d, "text": "' + b"x" * 4000 + b'"}\n'
    path.write_bytes(b"".join(line % number for number in range(NEWEST_BYTES // 4000 + 50)) + b'{"li')
    with path.open("rb") as file:
        numbers = [reject["line"] for reject in newest(file)]
    assert numbers == list(range(numbers[0], numbers[-1] - 1, -1))
    assert numbers[0] == NEWEST_BYTES // 4000 + 49
    assert numbers[-1] > 0


def test_a_damaged_file_is_an_error(run: Run, tmp_path: Path) -> None:
    """Rejects that can't be read are not left out silently."""
    of_source(run, tmp_path)
    (run.rejects / "source.jsonl").write_bytes(b"{\n")
    with api_of(run) as client:
        response: httpx.Response = client.get("/rejects/reasons")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "catalog")
