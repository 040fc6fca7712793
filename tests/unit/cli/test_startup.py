"""What a command loads: what it needs, and no more, as loading takes most of the time of a short command."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer.main

from tests.support.console_run import write_pipeline
from tests.support.serving_run import DOCUMENT, publish_three
from tidemill.cli.main import MODULES, app
from tidemill.pipeline import load
from tidemill.run.folder import open_run

HEAVY = {
    *("pyspark", "pyarrow", "polars", "numpy", "scipy", "duckdb", "confluent_kafka"),
    *("fastapi", "streamlit", "uvicorn", "httpx", "structlog"),
}
OF_A_RUN = {"sqlalchemy", "psutil"}
LOADED = """
import json, sys
from tidemill.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline file whose run, in the folder ``run`` beside it, has three generations."""
    folder = tmp_path_factory.mktemp("startup")
    path = Path(write_pipeline(DOCUMENT, folder / "devices.toml"))
    run = open_run(load(str(path)), folder / "run")
    publish_three(run)
    run.close()
    return path


def loaded_by(*arguments: str | Path) -> set[str]:
    """The packages that are loaded once a command has ended well."""
    line = [sys.executable, "-c", LOADED, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["status", "--help"]])
def test_help_loads_only_the_command_line(arguments: list[str]) -> None:
    """Neither the catalog's database nor what draws tables, nor what stages work with. Typer loads pydantic where a
    command has arguments."""
    assert not loaded_by(*arguments) & (HEAVY | OF_A_RUN | {"rich"} | ({"pydantic"} if len(arguments) == 1 else set()))


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("command", ["status", "batches", "generations"])
def test_looking_at_a_run_loads_nothing_that_stages_work_with(pipeline: Path, command: str, options: list[str]) -> None:
    """The catalog is read without Arrow, numpy, a Kafka client or a web server; with ``--json`` nothing is drawn."""
    loaded = loaded_by(command, pipeline, "--run-dir", pipeline.parent / "run", *options)
    assert not loaded & (HEAVY | ({"rich"} if options else set()))


def test_the_ready_pipelines_are_listed_without_a_database() -> None:
    """``pipelines`` reads files."""
    assert not loaded_by("pipelines", "--json") & (HEAVY | {"sqlalchemy", "psutil", "rich"})


def test_every_command_is_listed() -> None:
    """Those of each module, and no others; each is made under its name."""
    of_modules = {
        (name, module) for module in set(MODULES.values()) for name in import_module(f"tidemill.cli.{module}").COMMANDS
    }
    assert of_modules == set(MODULES.items())
    group = typer.main.get_command(app)
    assert {name: group.commands[name].name for name in MODULES} == {name: name for name in MODULES}  # type: ignore[attr-defined]  # a group, since the app has several commands
