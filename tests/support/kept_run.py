"""A small run of each version of the catalog's schema, kept in ``tests/fixtures`` and opened by every later version.

``python -m tests.support.kept_run`` (``make fixture``) makes the one of this version: the ready pipeline smart-home
on 90 rows of its sample, run to its end. With a run folder as argument it keeps that run, whichever version made it.
Only what is sealed and published is kept: no broker, logs, locks nor Spark's own models.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from tests.support import ROOT
from tests.support.commands import COMMAND
from tests.support.serving_run import api_of, json_of
from tidemill.pipeline import load
from tidemill.run.catalog import FILE_NAME
from tidemill.run.folder import Run, existing_run

FIXTURES = ROOT / "tests" / "fixtures"
OPTIONS = ["--rows", "90", "--set", "stream.pause=0", "--no-console", "--port", "0", "--exit-when-trained"]
ASKED: dict[str, list[dict[str, Any]]] = {
    "efficiency": [{"DeviceType": "Lights", "UsageHoursPerDay": 5.0, "EnergyConsumption": 2.5, "UserPreferences": 1}],
    "malfunction": [{"DeviceType": "Thermostat", "UsageHoursPerDay": 12.5, "EnergyConsumption": 7.0}],
    "segment": [{"UsageHoursPerDay": 20.0, "EnergyConsumption": 1.25, "DeviceAgeMonths": 40}],
}
OTHERS = {"UserPreferences": 0, "MalfunctionIncidents": 3, "DeviceAgeMonths": 12}


def versions() -> list[int]:
    """The schema versions of the kept runs."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in FIXTURES.glob("run-schema-*.json"))


def copy_of(version: int, folder: Path) -> Path:
    """Copy the kept run of a version to a folder that a test may change."""
    return Path(shutil.copytree(FIXTURES / f"run-schema-{version}", folder))


def expected(version: int) -> dict[str, Any]:
    predictions: dict[str, Any] = orjson.loads((FIXTURES / f"run-schema-{version}.json").read_bytes())
    return predictions


def predictions_of(run: Run) -> dict[str, Any]:
    """What each generation of each model predicts for the rows that are asked."""
    predictions = {}
    with api_of(run) as client:
        for model, rows in ASKED.items():
            for generation in (1, 2, 3):
                path = f"/models/{model}/generations/{generation}/predict"
                document = {"rows": [fitting(run, model, row) for row in rows]}
                predictions[f"{model} {generation}"] = json_of(client.post(path, json=document))
    return predictions


def fitting(run: Run, model: str, row: dict[str, Any]) -> dict[str, Any]:
    return {name: (OTHERS | row)[name] for name in run.pipeline.models[model].features}


def keep(run_folder: Path) -> Path:
    """Keep what is sealed and published of a run that is done, with what it answers, and say where."""
    with closing(sqlite3.connect(run_folder / FILE_NAME)) as catalog:
        version = int(catalog.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0])
        kept = FIXTURES / f"run-schema-{version}"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        with closing(sqlite3.connect(kept / FILE_NAME)) as copy:
            catalog.backup(copy)
            copy.execute("DELETE FROM stages")
            copy.commit()
            copy.execute("VACUUM")
            copy.execute("PRAGMA journal_mode=DELETE")
    shutil.copytree(run_folder / "batches", kept / "batches")
    for generation in sorted((run_folder / "generations").glob("[0-9]*")):
        shutil.copytree(generation / "scorers", kept / "generations" / generation.name / "scorers")
    if (run_folder / "judgings").exists():
        shutil.copytree(run_folder / "judgings", kept / "judgings")
    with tempfile.TemporaryDirectory() as folder:
        run = existing_run(load("smart-home"), copy_of(version, Path(folder) / "run"))
        text = orjson.dumps(predictions_of(run), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        run.close()
    (FIXTURES / f"run-schema-{version}.json").write_bytes(text)
    return kept


def main() -> None:
    if sys.argv[1:]:
        keep(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        line = [*COMMAND, "up", "smart-home", *OPTIONS, "--run-dir", f"{folder}/run"]
        subprocess.run(line, check=True)
        keep(Path(folder) / "run")


if __name__ == "__main__":
    main()
