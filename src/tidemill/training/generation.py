"""Trains all models of one generation on Spark."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from tidemill.pipeline import Column, arrow_schema
from tidemill.run.catalog import Batch, TrainedModel
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.integrity import side_table
from tidemill.run.stage import Stopped
from tidemill.training.features import read, spark_name
from tidemill.training.fitting import SPARK_ERRORS, GenerationFiles, spark_errors, train
from tidemill.training.registry import TrainingInputs, TrainingStats, inputs_of
from tidemill.training.rows import AT_ONCE, RowReader, Rows
from tidemill.training.stats import collect_stats

MODELS_AT_ONCE = 3


class GenerationTrainer:
    """Trains the models of a run's pipeline on any of its batches."""

    def __init__(self, run: Run, spark: SparkSession) -> None:
        self.run = run
        self.spark = spark
        self.models = inputs_of(run.pipeline)
        used = {name for inputs in self.models for name in inputs.used}
        self.columns = [column for column in run.pipeline.source.schema_ if column.name in used]
        self.reader = RowReader(run, [column.name for column in self.columns])

    def train(self, batches: Sequence[Batch], where: GenerationFiles) -> list[TrainedModel]:
        """Train the models on these batches.

        Raises:
            TrainingFailed: a model can't be trained on them, or its scorer does not give Spark's predictions.
            CatalogError: a file differs from the catalog's record.
        """
        rows = self.reader.rows(batches)
        stats = collect_stats(rows, self.models, holds_out=self.run.pipeline.generations.holdout.share > 0)
        with self.in_spark(rows) as training:
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
    def in_spark(self, rows: Rows) -> Iterator[DataFrame]:
        """The training rows in Spark, which keeps them in memory until the context is left.

        Spark reads them from one file. Its partitions, on which the last digits of a fit depend and the samples that
        some estimators draw, are so those of the rows alone: not of which rows this process kept, nor of the format of
        batches.
        """
        with spark_errors("reading the batches"):
            scratch = Path(self.spark.sparkContext.getConf().get("spark.local.dir"))
        path = scratch / f"rows-{uuid4().hex}.parquet"  # another name each time: Spark may have cached one of this name
        try:
            with disk_errors(f"the rows for Spark, {path},"):
                write_training(rows, self.columns, path)
            with spark_errors("reading the batches"):
                training = read(self.spark, path, self.columns).cache()
            try:
                yield training
            finally:
                if not isinstance(sys.exception(), Stopped):  # a stage that stops ends its Spark, even during a job
                    with suppress(*SPARK_ERRORS):  # a Spark that has ended holds no rows
                        training.unpersist()
        finally:
            path.unlink(missing_ok=True)

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


def write_training(rows: Rows, columns: Sequence[Column], path: Path) -> None:
    """Write the rows that are not held out to a Parquet file for Spark: its columns have their ``spark_name``, and its
    row groups about ``AT_ONCE`` rows, however small the batches are."""
    schema = arrow_schema(columns)
    renamed = pa.schema([field.with_name(spark_name(field.name)) for field in schema])
    waiting: list[pa.Table] = []
    with path.open("wb") as sink, pq.ParquetWriter(sink, renamed, compression="none") as file:

        def flush() -> None:
            file.write_table(pa.concat_tables(waiting).cast(schema).rename_columns(renamed.names))
            waiting.clear()

        for part in rows:
            waiting.append(part.training)
            if sum(map(len, waiting)) >= AT_ONCE:
                flush()
        if waiting:
            flush()
