"""A topic into files of so many rows with kafka-python and pandas, the way projects do it that collect a stream into
batches: one message after the other into a list, and the list into a data frame.

    python bench/peers/kafka_python_pandas.py localhost:9092 TOPIC MESSAGES ROWS FOLDER csv
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # its stubs are another package

from kafka import KafkaConsumer


def main(servers: str, topic: str, messages: int, rows: int, folder: Path, form: str) -> None:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        value_deserializer=lambda value: None if value is None else json.loads(value),
    )
    batch: list[dict[str, Any]] = []
    number = taken = 0
    for message in consumer:
        if message.value is None:
            continue
        batch.append(message.value)
        taken += 1
        if len(batch) == rows or taken == messages:
            number += 1
            save(pd.DataFrame(batch), folder / f"batch-{number}", form)
            batch = []
        if taken == messages:
            break
    consumer.close()


def save(frame: pd.DataFrame, path: Path, form: str) -> None:
    if form == "csv":
        frame.to_csv(path.with_suffix(".csv"), index=False)
    else:
        frame.to_parquet(path.with_suffix(".parquet"), index=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]), sys.argv[6])
