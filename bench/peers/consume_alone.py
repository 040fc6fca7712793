"""The limit of collecting: confluent-kafka takes each committed message of a topic and does nothing with it.

python bench/peers/consume_alone.py localhost:9092 TOPIC PARTITIONS
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

KIB = 2**20  # of messages that wait in the client: 1 GiB


def main(servers: str, topic: str, partitions: int) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": KIB,
            "check.crcs": False,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    began, taken, open_partitions = time.perf_counter(), 0, partitions
    while open_partitions:
        for message in consumer.consume(50_000, timeout=0.5):
            error = message.error()
            if error is None:
                taken += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                open_partitions -= 1
            else:
                raise SystemExit(str(error))
    print(f"{time.perf_counter() - began:.3f} {taken}")
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
