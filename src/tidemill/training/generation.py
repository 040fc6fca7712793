"""Trains all models of one generation on Spark."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from tidemill.run.catalog import Batch, TrainedModel
from tidemill.run.folder import Run
from tidemill.run.integrity import side_table
from tidemill.training.features import held_out, read
from tidemill.training.fitting import GenerationFiles, spark_errors, train
from tidemill.training.registry import HELD, TrainingInputs, inputs_of
from tidemill.training.stats import collect_stats

MODELS_AT_ONCE = 3


class GenerationTrainer:
    """Trains the models of a run's pipeline on any of its batches."""

    def __init__(self, run: Run, spark: SparkSession) -> None:
        self.run = run
        self.spark = spark
        self.models = inputs_of(run.pipeline)

    def rows(self, batches: Sequence[Batch]) -> DataFrame:
        """The rows of the batches, with ``HELD``."""
        pipeline = self.run.pipeline
        columns = pipeline.source.schema_
        paths = [self.run.folder / batch.path for batch in batches]
        rows = read(self.spark, paths, pipeline.batches.format, columns)
        return rows.withColumn(HELD, held_out(columns, pipeline.generations.holdout))

    def train(self, rows: DataFrame, where: GenerationFiles) -> list[TrainedModel]:
        """Train the models concurrently: while Spark plans a step of one, it computes another's."""
        with spark_errors("reading the batches"):
            stats = collect_stats(rows, self.models, holds_out=self.run.pipeline.generations.holdout.share > 0)
        pool = ThreadPoolExecutor(MODELS_AT_ONCE, thread_name_prefix="model")
        try:
            jobs = [
                pool.submit(train, inputs, rows, stats[inputs.name], where, self.titles(inputs))
                for inputs in self.models
            ]
            wait(jobs)
            return [job.result() for job in jobs]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

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
