"""Replays a run's sealed batches under other schemes: trains further lines of generations, and judges them.

A line's generation k is trained on the batches that its scheme gives it, and judged on batch k + 1, as the run's own
are. Nothing of a line serves unless a person promotes it. A replay that was interrupted continues where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.errors import Gone, InputError, TrainingFailed
from tidemill.judging.look import ModelJudge
from tidemill.judging.loss_file import LossFile, sweep
from tidemill.judging.rows import RowReader
from tidemill.judging.schemes import line_look, unpaired
from tidemill.process.replayed_lines import BUSY, remove_leftovers
from tidemill.run import files
from tidemill.run.catalog import Batch, Cell, Judging, LineModel, PairedBlocks
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch
from tidemill.run.locks import locked
from tidemill.texts import ranges
from tidemill.training import session as sparks
from tidemill.training.fitting import GenerationFiles
from tidemill.training.generation import GenerationTrainer
from tidemill.training.registry import EarlierScorer
from tidemill.training.schemes import Scheme, batches_of

LEAST_BATCHES = 2


class Line(NamedTuple):
    """A scheme to try."""

    scheme: Scheme
    window: int | None = None

    @property
    def name(self) -> str:
        return f"{self.scheme}-{self.window}" if self.window else self.scheme


def replay(run: Run, lines: Sequence[Line], master: str | None, show: Callable[[str], None]) -> None:
    """Train and judge the lines that are not complete yet.

    Args:
        show: called with a sentence after each step.

    Raises:
        InputError: there is nothing to replay, or a line is the run's own scheme.
        Gone: a batch is no longer kept.
        RunBusy: a replay of this run is under way.
        TrainingFailed: a model can't be trained on these batches.
    """
    batches = run.catalog.batches()
    refuse(run, lines, batches)
    show(f"starting Spark, for {' and '.join(line.name for line in lines)}")
    with locked(run.stage_lock("replay"), busy=BUSY):
        remove_leftovers(run)
        scratch = run.judgings / ".spark"
        with disk_errors(f"the folder {run.judgings}"):
            files.make_folder(run.judgings)
            (run.logs / "replay").mkdir(exist_ok=True)
        spark = sparks.session(master, scratch, run.logs / "replay")
        try:
            for line in lines:
                Replay(run, line, GenerationTrainer(run, spark), show).work(batches)
        finally:
            sparks.end(spark)
            shutil.rmtree(scratch, ignore_errors=True)


def refuse(run: Run, lines: Sequence[Line], batches: Sequence[Batch]) -> None:
    """Raise where a replay could not say anything."""
    if len(batches) < LEAST_BATCHES or not run.catalog.newest_generation():
        found = f"{len(batches)} batch{'' if len(batches) == 1 else 'es'}"
        raise InputError(
            f"the run in {run.folder} has {found} and {run.catalog.newest_generation()} generations",
            "a scheme is judged on the batch after the one it was trained on: wait for batch 2 and generation 1",
        )
    if removed := run.catalog.removed_batches():
        raise Gone(
            f"a replay trains on all batches, of which {ranges(removed)} are no longer kept ({run.pipeline.keep})",
            "replay runs without [keep], or a backup of this one that was made before",
        )
    own = run.pipeline.generations
    for line in lines:
        if line.window and line.window >= len(batches) - 1:
            raise InputError(
                f"a window of {line.window} is cumulative, as a replay of {len(batches)} batches trains on the others "
                "than the last",
                "give a smaller --window, or --scheme cumulative",
            )
        if line.scheme == own.scheme and (line.window or None) == own.window:
            raise InputError(f"{line.name} is the run's own scheme", "give another --scheme or --window")


class Replay:
    """One line of generations."""

    def __init__(self, run: Run, line: Line, trainer: GenerationTrainer, show: Callable[[str], None]) -> None:
        self.run = run
        self.line = line
        self.trainer = trainer
        self.show = show
        self.folder = run.judgings / line.name
        self.rows = RowReader(run)
        self.judges = {name: ModelJudge(run, self.rows, name) for name in run.pipeline.models}
        self.trained = run.catalog.line_models(line.name)
        looks = {judging.batch for judging in run.catalog.judgings(line.name) if not judging.error}
        self.judged = looks - unpaired(run, line.name)

    def work(self, batches: Sequence[Batch]) -> None:
        """Train a generation from each batch but the last, and judge it on the next one."""
        self.run.catalog.begin_line(self.line.name, self.line.scheme, self.line.window)
        sweep(self.run, self.line.name)
        by_number = {batch.batch: batch for batch in batches}
        for number in sorted(by_number)[:-1]:
            if number not in self.trained:
                self.train(number, by_number)
            self.judge(number + 1)
        self.show(f"{self.line.name}: {len(self.trained)} generations, each judged on the batch after it")

    def train(self, number: int, by_number: Mapping[int, Batch]) -> None:
        """Train a generation, and record it."""
        started = time.perf_counter()
        batches = [by_number[batch] for batch in batches_of(self.line.scheme, number, self.line.window)]
        for batch in batches:
            check_batch(self.run, batch)
        final = self.folder / f"{number:05d}"
        folder = files.temporary(final)
        with disk_errors(f"the generation {final}"):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)  # left by a crash before it was recorded
            (folder / "scorers").mkdir(parents=True)
        models = self.fit(batches, GenerationFiles(folder, self.run.relative(final), self.earlier(number)), number)
        with disk_errors(f"the generation {final}"):
            shutil.rmtree(folder / "spark", ignore_errors=True)
            files.publish(folder, final)
        self.run.catalog.save_line_generation(models)
        self.trained[number] = {model.model: model for model in models}
        seconds = time.perf_counter() - started
        self.show(f"{self.line.name}: generation {number} trained in {seconds:.1f} s")

    def fit(self, batches: Sequence[Batch], where: GenerationFiles, number: int) -> list[LineModel]:
        """The trained models, whose files are in the temporary folder."""
        try:
            trained = self.trainer.train(batches, where)
        except TrainingFailed as error:
            raise TrainingFailed(f"{self.line.name}, generation {number}: {error.message}", error.hint) from error
        of_line: dict[str, Any] = {
            "line": self.line.name,
            "generation": number,
            "batches": tuple(batch.batch for batch in batches),
            "spark_path": "",  # a line is judged, and served, by its scorers alone
        }
        return [LineModel(**asdict(model) | of_line) for model in trained]

    def earlier(self, number: int) -> dict[str, EarlierScorer]:
        """The scorers of the line's generation before, whose clusters keep their numbers."""
        before = max((other for other in self.trained if other < number), default=None)
        if before is None:
            return {}
        return {
            name: EarlierScorer(before, Path(self.run.folder, model.scorer_path), model.sha256)
            for name, model in self.trained[before].items()
        }

    def judge(self, batch: int) -> None:
        """Score the line's newest generation before a batch on all its rows, and record its losses."""
        if batch in self.judged:
            return
        started = time.perf_counter()
        rows = self.rows.of(batch)
        cells: list[Cell] = []
        paired: list[PairedBlocks] = []
        with LossFile(self.run, batch, "settled", self.line.name) as losses:
            for name, model in self.trained[batch - 1].items():
                look = line_look(self.judges[name], rows, model)
                cells += look.cells
                paired += look.paired
                losses.add(look.tables)
            path, sha256 = losses.publish()
        seconds = round(time.perf_counter() - started, 4)
        judging = Judging(self.line.name, batch, "settled", seconds, path, sha256)
        self.run.catalog.save_judging(judging, cells, paired=paired)
