"""Whether a run that never ends stays bounded: disk, catalog and memory after more and more generations.

Seals tiny batches and has the trainer's own code publish, judge and remove, generation after generation; only Spark's
fitting is replaced by the exact least squares of numpy, as it takes most of the time and keeps nothing.

    python -m bench.keep --generations 2000
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import structlog

from tidemill.collector.batch_file import Draft
from tidemill.judging.rows import RowReader
from tidemill.pipeline import Raw, arrow_schema, parse
from tidemill.run import files
from tidemill.run.catalog import Batch, Decision, Span, TrainedModel
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.scoring import storage
from tidemill.training.laps import TrainingClock
from tidemill.training.trainer import Trainer, tidy

ROWS = 400
DOCUMENT: dict[str, Any] = {
    "name": "endless",
    "source": {"path": "rows.csv", "columns": {"id": "int", "x": "float", "y": "float"}},
    "stream": {"topic": "endless", "key": "id"},
    "batches": {"rows": ROWS},
    "generations": {"scheme": "windowed"},
    "models": {
        "line": {"estimator": "LinearRegression", "features": ["x"], "label": "y"},
        "flat": {"estimator": "LinearRegression", "features": ["id"], "label": "y"},
    },
    "keep": {"batches": 20, "generations": 20},
}


class Line(Trainer):
    """The trainer, with least squares in place of Spark."""

    def train(self, batches: list[Batch], final: Path, clock: TrainingClock) -> list[TrainedModel]:
        folder = files.temporary(final)
        for part in ("scorers", "spark"):
            (folder / part).mkdir(parents=True)
        reader = RowReader(self.run)  # not the judge's, which is at work meanwhile
        rows = pa.concat_tables([reader.of(batch.batch).training for batch in batches])
        return [self.fit(name, rows, folder, final) for name in self.run.pipeline.models]

    def fit(self, name: str, rows: pa.Table, folder: Path, final: Path) -> TrainedModel:
        feature = self.run.pipeline.models[name].features[0]
        slope, intercept = np.polyfit(rows[feature].to_numpy(), rows["y"].to_numpy(), 1)
        kind = "float" if feature == "x" else "int"
        about = {"name": feature, "kind": kind, "categories": None, "minimum": 0.0, "maximum": 1.0, "example": 0.5}
        text: dict[str, Any] = {
            "model": name,
            "estimator": "LinearRegression",
            "labels": {},
            "classes": None,
            "features": [about],
        }
        path = folder / "scorers" / f"{name}.npz"
        arrays = {"coefficients": np.array([[slope]]), "intercept": np.array([intercept])}
        storage.write(path, text, arrays)
        (folder / "spark" / name).write_bytes(bytes(5000))  # about as much as Spark's own model
        place = self.run.relative(final)
        return TrainedModel(
            name, "LinearRegression", {"rmse": 1.0}, 0.1, {"rows": len(rows)}, {"train": len(rows)},
            f"{place}/scorers/{name}.npz", sha256(path), f"{place}/spark/{name}",
            profile={"about": "x" * 2000},
        )  # fmt: skip


def seal(run: Run, number: int, chance: np.random.Generator) -> None:
    """Seal a batch as the collector does, with two rejects."""
    x = chance.normal(size=ROWS)
    values = {"id": np.arange(ROWS) + number * ROWS, "x": x, "y": 3 * x + chance.normal(size=ROWS)}
    schema = arrow_schema(run.pipeline.source.schema_)
    draft = Draft(run, number, schema)
    draft.add(pa.table(values).cast(schema))
    for offset in range(2):
        draft.rejects.add(partition=0, offset=offset, reason="not JSON", text="x" * 100)
    draft.close()
    first = number * (ROWS + 2)
    run.catalog.decide(Decision(number, "rows", (Span(0, first, first + ROWS + 1),)))
    run.catalog.seal(number, draft.publish(None, None))


def sizes(run: Run) -> dict[str, float]:
    """What the run takes now: files and bytes of its folders, MB of the catalog and of this process."""
    run.catalog.engine.dispose()
    folders = [run.batches, run.rejects, run.generations, run.judgings]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        "files": len(paths),
        "files_mb": sum(path.stat().st_size for path in paths) / 1e6,
        "catalog_mb": run.catalog.path.stat().st_size / 1e6,
        "memory_mb": psutil.Process().memory_info().rss / 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument("--keep-all", action="store_true", help="for comparison: without [keep]")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    document = {key: value for key, value in DOCUMENT.items() if key != "keep" or not options.keep_all}
    chance = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        run = open_run(parse(Raw("endless.toml", Path(name), document)), Path(name) / "run")
        stage = Stage(run, "trainer")
        trainer = Line(stage, None)  # without Spark
        trainer.take_up()
        shown = {options.generations * share // 8 for share in range(1, 9)}
        began = time.perf_counter()
        for number in range(1, options.generations + 1):
            seal(run, number, chance)
            trainer.look()
            assert trainer.step()
            if number in shown:
                took = time.perf_counter() - began
                figures = {key: round(value, 2) for key, value in sizes(run).items()}
                print(f"{number:>6} generations  {figures}  {1000 * took / number:.0f} ms each", flush=True)
        tidy(stage)


if __name__ == "__main__":
    main()
