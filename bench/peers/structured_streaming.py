"""A topic into Parquet files with Spark's Structured Streaming: all that is there now, then it ends.

Prints the seconds of the query, without Spark's own start.

    python bench/peers/structured_streaming.py localhost:9092 TOPIC FOLDER JARS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json

from bench.peers.bare_pyspark import SCHEMA


def main(servers: str, topic: str, folder: Path, jars: str) -> None:
    spark = SparkSession.builder.master("local[*]").config("spark.jars", jars).getOrCreate()
    began = time.perf_counter()
    messages = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", servers)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    rows = messages.where(col("value").isNotNull()).select(from_json(col("value").cast("string"), SCHEMA).alias("row"))
    query = (
        rows.select("row.*")
        .writeStream.format("parquet")
        .option("path", str(folder / "rows"))
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    seconds = time.perf_counter() - began
    print(f"{seconds:.3f} {spark.read.parquet(str(folder / 'rows')).count()}")
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
