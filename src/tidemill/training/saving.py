"""Saves a fitted pipeline as Spark does, on one machine with its stages side by side.

For each stage Spark starts one or two small jobs, which keep one core busy in part, and it saves one stage after the
other. One of them only writes a line of text, the stage's metadata. Where a stage has no data of its own, and for the
pipeline itself, that line is written here, without a job. The content of the files is Spark's own.
"""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.util import JavaMLWritable
from pyspark.sql import SparkSession

from tidemill.run.files import disk_errors
from tidemill.training.driver import is_own_machine, local

log = logging.getLogger(__name__)

STAGES_AT_ONCE = 3
WRITER_OF_METADATA = "org.apache.spark.ml.util.DefaultParamsWriter"  # of a stage that has no data of its own


def save(model: PipelineModel, path: Path) -> None:
    """Save the model in this folder, in place of what is there."""
    spark = SparkSession.active()
    own = is_own_machine(spark.sparkContext.master)
    if not own or not all(isinstance(stage, JavaMLWritable) for stage in model.stages):
        model.write().overwrite().save(local(path))
        return
    try:
        metadata = json.loads(metadata_of(spark, model._to_java()))
    except Py4JError as error:
        log.warning("Spark saves each model by itself, which takes longer: %s", error)
        model.write().overwrite().save(local(path))
        return
    metadata["paramMap"]["stageUids"] = [stage.uid for stage in model.stages]
    if path.exists():
        shutil.rmtree(path)
    write_metadata(json.dumps(metadata), path)
    with ThreadPoolExecutor(STAGES_AT_ONCE, thread_name_prefix="save stage") as pool:
        list(pool.map(partial(save_stage, spark), model.stages, folders(model, path)))


def save_stage(spark: SparkSession, stage: Transformer, folder: Path) -> None:
    assert isinstance(stage, JavaMLWritable)
    java = stage._to_java()
    writer = java.write()
    if writer.getClass().getName() == WRITER_OF_METADATA:
        write_metadata(metadata_of(spark, java), folder)
    else:
        writer.save(local(folder))


def metadata_of(spark: SparkSession, java: Any) -> str:
    """The line of JSON that Spark keeps of an object: its class, id and parameters."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    line: str = jvm.org.apache.spark.ml.util.DefaultParamsWriter.getMetadataToSave(java, spark._jsparkSession)
    return line


def write_metadata(line: str, folder: Path) -> None:
    """Write the metadata as Spark reads it."""
    with disk_errors(f"the model {folder}"):
        metadata = folder / "metadata"
        metadata.mkdir(parents=True)
        (metadata / "part-00000.txt").write_text(line + "\n", encoding="utf-8")


def folders(model: PipelineModel, path: Path) -> list[Path]:
    """The folder of each stage: its place, in as many digits as the number of stages has, and its id."""
    digits = len(str(len(model.stages)))
    return [path / "stages" / f"{place:0{digits}}_{stage.uid}" for place, stage in enumerate(model.stages)]
