"""Saves a fitted pipeline as Spark does, on one machine with its stages side by side.

For each stage Spark starts one or two small jobs, which keep one core busy in part, and it saves one stage after the
other. The files are the same here: what Spark writes of a pipeline itself are its stages' ids, in its metadata.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyspark import SparkContext
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.util import JavaMLWritable

from tidemill.training.driver import is_own_machine, local

STAGES_AT_ONCE = 3


def save(model: PipelineModel, path: Path) -> None:
    """Save the model in this folder, in place of what is there."""
    context = SparkContext._active_spark_context
    own = context is not None and is_own_machine(context.master)
    if not own or len(model.stages) == 1 or not all(isinstance(stage, JavaMLWritable) for stage in model.stages):
        model.write().overwrite().save(local(path))
        return
    PipelineModel([]).write().overwrite().save(local(path))
    with ThreadPoolExecutor(STAGES_AT_ONCE, thread_name_prefix="save stage") as pool:
        list(pool.map(save_stage, model.stages, folders(model, path)))
    (metadata,) = (path / "metadata").glob("part-*")
    document = json.loads(metadata.read_text(encoding="utf-8"))
    document["paramMap"]["stageUids"] = [stage.uid for stage in model.stages]
    metadata.write_text(json.dumps(document) + "\n", encoding="utf-8")
    metadata.with_name(f".{metadata.name}.crc").unlink(missing_ok=True)  # Hadoop's, of the text before


def save_stage(stage: Transformer, folder: Path) -> None:
    assert isinstance(stage, JavaMLWritable)
    stage.write().save(local(folder))


def folders(model: PipelineModel, path: Path) -> list[Path]:
    """The folder of each stage: its place, in as many digits as the number of stages has, and its id."""
    digits = len(str(len(model.stages)))
    return [path / "stages" / f"{place:0{digits}}_{stage.uid}" for place, stage in enumerate(model.stages)]
