"""A CSV file into a topic with kafka-python, row by row, idempotent, lz4, acknowledged by all replicas.

python bench/peers/kafka_python_produce.py localhost:9092 TOPIC FILE KEY
"""

from __future__ import annotations

import csv
import json
import sys

from kafka import KafkaProducer

WHOLE = ("UserID", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths", "SmartHomeEfficiency")
NUMBERS = ("UsageHoursPerDay", "EnergyConsumption")


def main(servers: str, topic: str, path: str, key: str) -> None:
    producer = KafkaProducer(
        bootstrap_servers=servers,
        key_serializer=lambda value: str(value).encode(),
        value_serializer=lambda row: json.dumps(row).encode(),
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=5,
    )
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            typed = row | {name: int(row[name]) for name in WHOLE} | {name: float(row[name]) for name in NUMBERS}
            producer.send(topic, key=typed[key], value=typed)
    producer.flush()
    producer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
