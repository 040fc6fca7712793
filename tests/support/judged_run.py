"""A run whose generations are fitted by least squares instead of Spark, so that judging can be tested in milliseconds.

Its batch files, its catalog, its scorer files and its judge are real ones. A row has ``a``, ``b`` and the label
``y = weight_a a + weight_b b + noise``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import structlog

from tidemill.collector.batch_file import Draft
from tidemill.judging.holdout import held_out
from tidemill.judging.judge import Judge
from tidemill.pipeline import Raw, arrow_schema, override, parse
from tidemill.run.batch_tables import read_batch
from tidemill.run.catalog import Decision, GenerationRef, Judging, LineModel, Span, TrainedModel
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run
from tidemill.scoring.storage import Array, write
from tidemill.training.schemes import batches_of

MODEL = "value"
DOCUMENT: dict[str, Any] = {
    "name": "planted",
    "source": {"path": "rows.csv", "columns": {"id": "int", "a": "float", "b": "float", "y": "float"}},
    "stream": {"topic": "planted"},
    "batches": {"rows": 1000},
    "models": {MODEL: {"estimator": "LinearRegression", "features": ["a", "b"], "label": "y"}},
}
PIPELINE_FILE = """
name = "planted"
source = { path = "rows.csv", columns = { id = "int", a = "float", b = "float", y = "float" } }
stream = { topic = "planted" }
batches = { rows = 1000 }
models.value = { estimator = "LinearRegression", features = ["a", "b"], label = "y" }
"""  # as DOCUMENT
FEATURE = {"kind": "float", "categories": None, "minimum": -9.0, "maximum": 9.0, "example": 0.5}


def planted(rows: int, seed: int, weight_a: float = 1.0, weight_b: float = -1.0, noise: float = 1.0) -> pa.Table:
    """Rows of the planted relation."""
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, rows))
    y = weight_a * a + weight_b * b + noise * generator.normal(size=rows)
    return pa.table({"id": np.arange(rows), "a": a, "b": b, "y": y})


class JudgedRun:
    """A run that is fed batch by batch; each batch is judged as the trainer has it judged."""

    def __init__(self, folder: Path, *assignments: str, document: dict[str, Any] = DOCUMENT) -> None:
        raw = deepcopy(document)
        assert override(raw, assignments) == []
        self.run: Run = open_run(parse(Raw("planted.toml", folder, raw)), folder / "run")
        self.judge = self.new_judge()

    def new_judge(self) -> Judge:
        """A judge as a trainer that has just started has it."""
        self.judge = Judge(self.run, structlog.get_logger())
        return self.judge

    def step(self, rows: pa.Table, spoil: float = 0.0) -> int:
        """Seal a batch, judge the generations before it, train and publish its generation, judge that."""
        number = self.seal(rows)
        self.judge.settle(number)
        self.publish(number, spoil)
        self.judge.provide(number)
        return number

    def seal(self, rows: pa.Table) -> int:
        """Seal the next batch; its number."""
        number = len(self.run.catalog.batches()) + 1
        schema = arrow_schema(self.run.pipeline.source.schema_)
        draft = Draft(self.run, number, schema)
        draft.add(rows.select(schema.names).cast(schema))
        draft.close()
        start = 10**7 * number
        self.run.catalog.decide(Decision(number, "rows", (Span(0, start, start + len(rows) - 1),)))
        self.run.catalog.seal(number, draft.publish(None, None))
        return number

    def publish(self, number: int, spoil: float = 0.0) -> None:
        """Train a generation by least squares, and publish it. ``spoil`` is added to each label that it is fitted to,
        times ``a``."""
        scheme = self.run.pipeline.generations
        batches = list(batches_of(scheme.scheme, number, scheme.window))
        rows = self.training(batches)
        self.run.catalog.begin_generation(number, batches, rows=len(rows))
        folder = self.run.generations / f"{number:05}"
        trained = [self.trained(name, folder, rows, spoil) for name in self.run.pipeline.models]
        self.run.catalog.publish_generation(number, trained, self.judge.at_publication(number))

    def replay(self, line: str, number: int, batches: Sequence[int], spoil: float = 0.0) -> GenerationRef:
        """Train a generation of a replay from these batches."""
        rows, folder = self.training(batches), self.run.judgings / line / f"{number:05}"
        of_line: dict[str, Any] = {"line": line, "generation": number, "batches": tuple(batches)}
        trained = [vars(self.trained(name, folder, rows, spoil)) | of_line for name in self.run.pipeline.models]
        self.run.catalog.begin_line(line, line.partition("-")[0], None)
        self.run.catalog.save_line_generation([LineModel(**values) for values in trained])
        return GenerationRef(number, line)

    def trained(self, model: str, folder: Path, rows: pa.Table, spoil: float) -> TrainedModel:
        """A model of a generation, with its scorer file."""
        path = folder / "scorers" / f"{model}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_linear(path, *least_squares(rows, spoil))
        return TrainedModel(
            model=model,
            estimator="LinearRegression",
            metrics={},
            fit_seconds=0.5,
            parity={"rows": 3, "worst": 0.0},
            rows={"train": len(rows), "holdout": 0, "skipped": 0},
            scorer_path=self.run.relative(path),
            sha256=sha256(path),
            spark_path="none",
        )

    def training(self, batches: Sequence[int]) -> pa.Table:
        """The rows of the batches that are not held out."""
        pipeline = self.run.pipeline
        tables = [read_batch(self.run, batch) for batch in self.run.catalog.batches_numbered(batches)]
        rows = pa.concat_tables(tables)
        held = held_out(rows, pipeline.source.schema_, pipeline.generations.holdout)
        return rows.filter(pa.array(~held))

    def champion(self) -> int:
        return self.run.catalog.champions()[MODEL].number

    def words(self, against: str = "previous") -> dict[tuple[int, Any], str]:
        """The word of each generation, by its number and the evidence."""
        return self.run.catalog.words(MODEL, against)


def turned(batch: int, seed: int, rows: int = 2000) -> pa.Table:
    """Rows of a relation that turns round after batch 3."""
    return planted(rows, 100 * seed + batch, weight_b=-1.0 if batch <= 3 else 1.0, noise=0.3)


def fed(folder: Path, *assignments: str, batches: int = 6, seed: int = 0) -> JudgedRun:
    """A judged run of the relation that turns round."""
    run = JudgedRun(folder, *assignments)
    for batch in range(1, batches + 1):
        run.step(turned(batch, seed))
    return run


def actions(run: JudgedRun) -> list[tuple[str, int, int]]:
    """The decisions: the action, the generation that it is about, the champion from then on."""
    return [(decision.action, decision.generation, decision.champion) for decision in run.run.catalog.decisions()]


def least_squares(rows: pa.Table, spoil: float) -> tuple[Array, float]:
    """The weights (2,) and the intercept."""
    a, b, y = (rows[name].to_numpy() for name in ("a", "b", "y"))
    solution = np.linalg.lstsq(np.stack([a, b, np.ones(len(a))], axis=1), y + spoil * a)[0]
    return solution[:2], float(solution[2])


def replayed(run: JudgedRun, line: str, batch: int, factor: float = 0.5) -> None:
    """Record a replay of generation ``batch - 1`` with a file, judged on ``batch`` with ``factor`` times the losses of
    the run's own."""
    catalog = run.run.catalog
    path = run.run.judgings / line / f"{batch - 1:05d}" / "scorers" / f"{MODEL}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    scheme, _, window = line.partition("-")
    catalog.begin_line(line, scheme, int(window) if window else None)
    trained = catalog.trained(GenerationRef(batch - 1)).models[MODEL]
    files = {"scorer_path": run.run.relative(path), "sha256": sha256(path)}
    of_line: dict[str, Any] = {"line": line, "generation": batch - 1, "batches": (batch - 1,)}
    catalog.save_line_generation([LineModel(**vars(trained) | files | of_line)])
    own = catalog.newest_cells(MODEL, "absolute error", "")[batch]
    sums = (factor * np.frombuffer(own.sums)).tobytes()
    catalog.save_judging(Judging(line, batch, "settled", 0.0), [replace(own, line=line, sums=sums)])


def judged_without(folder: Path) -> tuple[JudgedRun, Callable[[], object]]:
    """A run whose looks at batch 4 ended with an error, as a scorer file was gone; and what puts the file back."""
    run = fed(folder, batches=3)
    scorer = run.run.generations / "00001" / "scorers" / f"{MODEL}.npz"
    saved = scorer.read_bytes()
    scorer.unlink()
    run.new_judge()
    run.step(turned(4, 0))
    return run, lambda: scorer.write_bytes(saved)


def write_linear(path: Path, weights: Array, intercept: float) -> None:
    """A scorer file of a linear regression."""
    text: dict[str, Any] = {
        "model": MODEL,
        "estimator": "LinearRegression",
        "labels": {},
        "classes": None,
        "features": [FEATURE | {"name": "a"}, FEATURE | {"name": "b"}],
    }
    write(path, text, {"coefficients": weights[:, None], "intercept": np.array([intercept])})
