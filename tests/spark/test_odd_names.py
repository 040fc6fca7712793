"""A run folder may have any name: what signs mean in a URL, a glob, a shell or SQL, they don't mean in a path."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.serving_run import api_of
from tidemill.collector.collector import run_collector
from tidemill.errors import TrainingFailed
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import FILE_NAME, Catalog, SourceState
from tidemill.run.folder import existing_run, open_run
from tidemill.run.folder_checks import for_removal
from tidemill.run.stage import Stage
from tidemill.training.session import local_pattern
from tidemill.training.trainer import work

NAMES = [
    "a%20b",
    "x?",
    "x?mode=ro&cache=shared",
    "a,b",
    "ü",
    "a b",
    'it\'s "so"',
    "#1",
    "[x]",
    "{y}",
    "a\nb",
    "end.",
    "file:x",
    ":memory:",
    "a\\b",
    "$HOME",
    "~",
    "*",
    "n" * 200,
]
ALL_AT_ONCE = "a%20b x?y=1&z #1 [x] {y},ü 'q' \"d\" *~$HOME;\\t\n."


@pytest.mark.parametrize("name", NAMES)
def test_a_catalog_is_where_its_path_says(tmp_path: Path, name: str) -> None:
    """The catalog of a folder of any name stands in it and is found there again, and nothing is made elsewhere."""
    run = open_run(load("smart-home"), tmp_path / name)
    run.catalog.save_source(SourceState("print"))
    run.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / FILE_NAME).stat().st_size > 4096
    again = existing_run(load("smart-home"), tmp_path / name)
    assert again.id == run.id
    again.close()
    direct = Catalog(tmp_path / name / FILE_NAME)
    assert direct.source() == SourceState("print")
    direct.close()
    with for_removal(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_spark_cannot_read(tmp_path: Path) -> None:
    """A colon beside a sign of globs is beyond Hadoop: the error says so, and what to do."""
    with pytest.raises(TrainingFailed, match="both a colon and one of") as caught:
        local_pattern(tmp_path / "a:b [x]" / "batch-00001.parquet")
    assert "rename the folder" in caught.value.hint
    assert local_pattern(Path("/a:b/x")) == "file:///a:b/x"
    assert local_pattern(Path("/[x]*")) == r"file:///\[x\]\*"


PIPELINE = """
name = "odd"
[source]
path = "rows.csv"
columns = { id = "int", word = "string", x = "float", y = "float" }
[stream]
topic = "TOPIC"
key = "id"
[batches]
parts = 2
format = "FORMAT"
[generations]
scheme = "cumulative"
[models.line]
estimator = "LinearRegression"
features = ["x", "word"]
label = "y"
[[routes]]
path = "/count"
sql = "select count(*) as rows, max(x) as most from rows"
answer = "row"
"""


@pytest.mark.parametrize(
    ("format", "name"),
    [
        pytest.param("parquet", ALL_AT_ONCE, id="every sign"),
        pytest.param("csv", "file:x://a%2Fb #1,'q'", id="a URL", marks=pytest.mark.nightly),
    ],
)
def test_a_whole_run_in_a_folder_with_every_odd_sign(
    kafka: str, spark: SparkSession, tmp_path: Path, format: str, name: str
) -> None:
    """Source, topic, batches, Spark, scorers, SQL routes and looked-up rows all work in such a folder."""
    folder = tmp_path / name
    folder.mkdir(parents=True)
    file = folder / "odd.toml"
    file.write_text(PIPELINE.replace("TOPIC", f"odd-{uuid.uuid4().hex}").replace("FORMAT", format), encoding="utf-8")
    lines = [f"{n},{('odd', 'even')[n % 2]},{n}.5,{2 * n}" for n in range(60)]
    (folder / "rows.csv").write_text("\n".join(["id,word,x,y", *lines, ""]), encoding="utf-8")
    run = open_run(load(str(file)), folder / "run")
    run_producer(Stage(run, "producer"), kafka)
    run_collector(Stage(run, "collector"), kafka)
    work(Stage(run, "trainer"), spark)
    assert [(one.generation, one.state, one.error) for one in run.catalog.generations()] == [
        (1, "published", None),
        (2, "published", None),
    ]
    assert [sum(one.models["line"].rows.values()) for one in run.catalog.generations()] == [30, 60]
    with api_of(run) as client:
        assert client.get("/count").json() == {"rows": 60, "most": 59.5}
        assert client.get("/models/line/rows/7").status_code == 200
        answer = client.post("/models/line/predict", json={"x": 3.5, "word": "odd"})
        assert answer.status_code == 200, json.dumps(answer.json())
        assert client.get("/batches/2/rows").status_code == 200
    run.close()
