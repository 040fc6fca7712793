"""Trains all models of one generation on Spark."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from tidemill.run.catalog import Batch, TrainedModel
from tidemill.run.folder import Run
from tidemill.run.integrity import side_table
from tidemill.run.stage import Stopped
from tidemill.training.features import column, held_out, read
from tidemill.training.fitting import SPARK_ERRORS, GenerationFiles, spark_errors, train
from tidemill.training.registry import TrainingInputs, TrainingStats, inputs_of
from tidemill.training.rows import RowReader, Rows
from tidemill.training.stats import collect_stats

MODELS_AT_ONCE = 3


class GenerationTrainer:
    """Trains the models of a run's pipeline on any of its batches."""

    def __init__(self, run: Run, spark: SparkSession) -> None:
        self.run = run
        self.spark = spark
        self.models = inputs_of(run.pipeline)
        used = {name for inputs in self.models for name in inputs.used}
        self.columns = [column.name for column in run.pipeline.source.schema_ if column.name in used]
        self.reader = RowReader(run, self.columns)

    def train(self, batches: Sequence[Batch], where: GenerationFiles) -> list[TrainedModel]:
        """Train the models on these batches.

        Raises:
            TrainingFailed: a model can't be trained on them, or its scorer does not give Spark's predictions.
            CatalogError: a file differs from the catalog's record.
        """
        rows = self.reader.rows(batches)
        stats = collect_stats(rows, self.models, holds_out=self.run.pipeline.generations.holdout.share > 0)
        with self.cached(batches) as training:
            return self.fit(training, rows, stats, where)

    def fit(
        self, training: DataFrame, rows: Rows, stats: Mapping[str, TrainingStats], where: GenerationFiles
    ) -> list[TrainedModel]:
        """Train the models concurrently: while Spark plans a step of one, it computes another's."""
        pool = ThreadPoolExecutor(MODELS_AT_ONCE, thread_name_prefix="model")
        try:
            jobs = [
                pool.submit(train, inputs, training, rows, stats[inputs.name], where, self.titles(inputs))
                for inputs in self.models
            ]
            wait(jobs)
            return [job.result() for job in jobs]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def cached(self, batches: Sequence[Batch]) -> Iterator[DataFrame]:
        """The training rows of the batches in Spark, which keeps them in memory until the context is left."""
        with spark_errors("reading the batches"):
            rows = self.training(batches).cache()
        try:
            yield rows
        finally:
            if not isinstance(sys.exception(), Stopped):  # a stage that stops ends its Spark
                with suppress(*SPARK_ERRORS):  # a Spark that has ended holds no rows
                    rows.unpersist()

    def training(self, batches: Sequence[Batch]) -> DataFrame:
        """The rows of the batches that are not held out, in Spark."""
        pipeline = self.run.pipeline
        columns = pipeline.source.schema_
        paths = [self.run.folder / batch.path for batch in batches]
        rows = read(self.spark, paths, pipeline.batches.format, columns)
        if pipeline.generations.holdout.share:
            rows = rows.filter(~held_out(columns, pipeline.generations.holdout))
        return rows.select(*[column(name) for name in self.columns])

    def titles(self, inputs: TrainingInputs) -> pa.Table | None:
        """The side table that describes a recommender's items, its key first; None if the model has none.

        Raises:
            CatalogError: its file differs from the catalog's record.
        """
        name = inputs.model.titles
        if name is None:
            return None
        table, key = side_table(self.run, name), self.run.pipeline.tables[name].key
        return table.select([key, *(other for other in table.column_names if other != key)])
