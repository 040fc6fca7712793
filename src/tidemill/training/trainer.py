"""The trainer stage: trains a generation for each batch, as soon as the batch is sealed, and publishes it once."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from tidemill.errors import SparkDied, TrainingFailed
from tidemill.judging.judge import Judge
from tidemill.judging.low_priority import BackgroundWork, with_low_priority
from tidemill.run import files
from tidemill.run.catalog import Batch, TrainedModel, TrainerProgress
from tidemill.run.catalog.watch import CatalogWatch
from tidemill.run.failpoints import Steps, failpoint
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch
from tidemill.run.inventory import take_inventory
from tidemill.run.progress.status import trained as is_trained
from tidemill.run.stage import Stage
from tidemill.training import session as sparks
from tidemill.training.driver import Driver, is_little, scratch_of, start
from tidemill.training.fitting import GenerationFiles
from tidemill.training.generation import GenerationTrainer
from tidemill.training.keeping import Keeper
from tidemill.training.laps import TrainingClock
from tidemill.training.registry import EarlierScorer
from tidemill.training.schemes import batches_of

POLL_SECONDS = 0.1
STEPS = Steps("generation.synced", "generation.renamed", "generation.placed")


def run_trainer(stage: Stage, master: str | None, driver: Driver | None = None) -> None:
    """Train generation k when batch k is sealed, in order, until the stream has ended and the last one is done.

    Args:
        driver: Spark's JVM, if it was started before.

    Raises:
        CatalogError: a batch file differs from the catalog's record.
        TrainingFailed: Spark did not start, or died.
    """
    if is_trained(stage.run) and not stage.run.catalog.first_failure():
        stage.ready()  # an earlier trainer ended before it had judged: that needs no Spark
        catch_up(stage, Judge(stage.run, stage.log))
        tidy(stage)
        return
    with started(stage, master, driver) as spark:
        work(stage, spark)


def catch_up(stage: Stage, judge: Judge) -> None:
    """Judge what an earlier trainer left unjudged, from here on with the gates of this one."""
    pipeline, catalog = stage.run.pipeline, stage.run.catalog
    catalog.save_gates({name: pipeline.gate_of(name).model_dump() for name in pipeline.models})
    published = catalog.generation_numbers("published")
    with_low_priority(stage, lambda: judge.catch_up(published))


def tidy(stage: Stage) -> None:
    """Remove what an earlier trainer left of files that are no longer kept, and what is no longer kept by now."""
    keeper = Keeper(stage.run, stage.log)
    keeper.finish()
    keeper.tidy()


def work(stage: Stage, spark: SparkSession) -> None:
    """Clean up after an earlier trainer, then train until the last generation is done or the stage is to stop."""
    trainer = Trainer(stage, spark)
    trainer.take_up()
    stage.ready()
    catch_up(stage, trainer.judge)
    tidy(stage)
    watch = CatalogWatch(stage.run.catalog.path)
    while not trainer.is_done() and not stage.stop.is_set():
        if not trainer.step():
            watch.wait(POLL_SECONDS, stage.stop.is_set)


@contextmanager
def started(stage: Stage, master: str | None, driver: Driver | None) -> Iterator[SparkSession]:
    """A Spark session, ended within about two seconds when the context is left."""
    run = stage.run
    with stage.interruptible():
        settings = (master, scratch_of(run), run.logs, master is None and is_little(run))
        spark = sparks.connected(driver or start(*settings), *settings)
    before, worked = run.catalog.generation_numbers("published"), False
    try:
        yield spark
        worked = run.catalog.generation_numbers("published") != before
    finally:
        sparks.end(spark, worked)
        shutil.rmtree(scratch_of(run), ignore_errors=True)


class Trainer:
    """Trains the generations that the catalog's batches call for, one after the other."""

    def __init__(self, stage: Stage, spark: SparkSession) -> None:
        self.stage = stage
        self.run: Run = stage.run
        self.catalog = stage.run.catalog
        self.spark = spark
        self.models = GenerationTrainer(self.run, spark)
        self.judge = Judge(self.run, stage.log)
        self.keeper = Keeper(self.run, stage.log)
        self.batches: dict[int, Batch] = {}
        self.done: set[int] = set()
        self.published = 0
        self.finished: int | None = None

    def take_up(self) -> None:
        """Continue after an earlier trainer: keep the generations that it published, and train again those that it left
        unfinished or failed.

        Raises:
            CatalogError: the run folder and its catalog do not belong together; nothing was removed.
        """
        leftovers = take_inventory(self.run.folder, self.catalog).generation_leftovers
        published = set(self.catalog.generation_numbers("published"))
        self.done, self.published = published, len(published)
        with disk_errors(f"the folder {self.run.generations}"):
            for name in leftovers:
                self.stage.log.info("removed files of unpublished generations", name=name)
                files.remove(self.run.folder / name)

    def is_done(self) -> bool:
        """Whether the stream has ended and each of its batches has its generation."""
        ended = bool(self.catalog.ended())
        self.look()  # after the stream's end, so that no batch comes later
        return ended and self.done >= set(self.batches)

    def look(self) -> None:
        """Load the batches sealed since the last look."""
        last = max(self.batches, default=0)
        self.batches |= {batch.batch: batch for batch in self.catalog.batches(after=last) if not batch.removed_at}

    def step(self) -> bool:
        """Train the next generation that is due, and judge it on held-out rows; False where none is due."""
        due = sorted(set(self.batches) - self.done)
        if not due:
            return False
        if self.generation(due[0]):
            with_low_priority(self.stage, lambda: self.judge.provide(due[0]))
        self.done.add(due[0])
        self.finished = due[0]
        self.tidy()
        gc.collect()  # py4j's objects are in cycles, and as long as they are there, Spark keeps what they stand for
        self.stage.report(TrainerProgress(self.finished, published=self.published))
        return True

    def tidy(self) -> None:
        """Remove the files that are no longer kept, and forget their batches."""
        self.keeper.tidy()
        if not self.run.pipeline.keep.all:
            kept = self.catalog.kept_files().batches
            self.batches = {number: batch for number, batch in self.batches.items() if number in kept}

    def generation(self, number: int) -> bool:
        """Train a generation and publish it. If a model fails, record why, publish none of its models, return False.

        Those before it are judged meanwhile on the rows of its batch. What that decides is in the catalog before the
        generation is.
        """
        clock = TrainingClock()
        settling = BackgroundWork(self.stage, lambda: self.judge.settle(number), nice=False)
        try:
            return self.generation_beside(settling, number, clock)
        except BaseException:
            settling.end()
            raise

    def generation_beside(self, settling: BackgroundWork, number: int, clock: TrainingClock) -> bool:
        """As :meth:`generation`, while that work goes on; it is done when this returns."""
        scheme = self.run.pipeline.generations
        batches = [self.batches[batch] for batch in batches_of(scheme.scheme, number, scheme.window)]
        for batch in batches:
            check_batch(self.run, batch)
        rows = sum(batch.rows for batch in batches)
        self.stage.report(TrainerProgress(self.finished, number, rows, self.published))
        self.catalog.begin_generation(number, [batch.batch for batch in batches], rows)
        final = self.run.generations / f"{number:05d}"
        try:
            trained = self.train(batches, final, clock)
        except TrainingFailed as error:
            settling.wait()
            self.give_up(number, final, error)
            return False
        settling.wait()
        self.publish(number, final, trained, clock)
        return True

    def train(self, batches: list[Batch], final: Path, clock: TrainingClock) -> list[TrainedModel]:
        """Train all models of a generation; their files go into the temporary folder of ``final``."""
        folder = files.temporary(final)
        with disk_errors(f"the generation {final}"):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "scorers").mkdir(parents=True)
        where = GenerationFiles(folder, self.run.relative(final), self.earlier(int(final.name)), clock.laps)
        with self.stage.interruptible():
            trained = self.models.train(batches, where)
        clock.trained()
        return trained

    def earlier(self, number: int) -> dict[str, EarlierScorer]:
        """By model, its scorer in the kept generation of the highest number below ``number``."""
        kept = self.catalog.kept_files().generations
        before = max((other for other in kept if other < number), default=0)
        generation = self.catalog.generation(before) if before else None
        return {
            name: EarlierScorer(before, self.run.folder / model.scorer_path, model.sha256)
            for name, model in (generation.models if generation else {}).items()
        }

    def publish(self, number: int, final: Path, trained: list[TrainedModel], clock: TrainingClock) -> None:
        """Move the files to their final name, then record them in the catalog: its transaction is the commit point."""
        failpoint("generation.written")
        with disk_errors(f"the generation {final}"):
            files.publish(files.temporary(final), final, STEPS)
        self.catalog.publish_generation(number, trained, self.judge.at_publication(number), clock.times())
        self.published += 1
        self.stage.log.info("published", generation=number, models=[model.model for model in trained])

    def give_up(self, number: int, final: Path, error: TrainingFailed) -> None:
        """Remove the files of a generation that failed, and record why.

        Raises:
            SparkDied: it failed because Spark's JVM ended.
        """
        if sparks.is_dead(self.spark):
            raise SparkDied("Spark died", f"see {self.run.logs / 'spark.out'}") from error
        shutil.rmtree(files.temporary(final), ignore_errors=True)
        self.catalog.fail_generation(number, error.message)
        self.stage.log.error("failed", generation=number, code=error.code, reason=error.message)
