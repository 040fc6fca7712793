"""A topic of others whose values are Avro or Protobuf, with their schemas in a registry.

By day the registry is a fake that speaks the documented protocol; in the night it is a real one, Apicurio.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tests.support import wait_for
from tests.support.apicurio import apicurio
from tests.support.registry import LittleRegistry, avro, framed, record
from tests.support.stage_run import collect_to_end, collecting
from tests.support.topic_run import (
    OthersTopic,
    await_batches,
    rejects_of,
    sealed_ns,
    sealed_rows,
    topic_run,
    write_pipeline,
)
from tidemill.collector import topic_feed
from tidemill.errors import RegistryError
from tidemill.guessing.topic_notation import TopicAccess
from tidemill.process.initiation import initiate_topic
from tidemill.process.preflight import check
from tidemill.run.catalog import CollectorProgress
from tidemill.sources.topic.protobuf import compiled
from tidemill.sources.topic.registry import RegisteredSchema

ROW = record(("n", "int"))


@pytest.fixture
def registry() -> Iterator[LittleRegistry]:
    with LittleRegistry() as little:
        yield little


def test_a_registry_that_is_away(
    kafka: str, tmp_path: Path, registry: LittleRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the registry does not answer for a new schema, the run waits and says so; nothing is rejected for that, and
    what came before is kept."""
    monkeypatch.setattr(topic_feed, "REGISTRY_SECONDS", 0.05)
    topic = OthersTopic(kafka)
    first, second = registry.add(ROW), registry.add(record(("n", "long")))
    for n in range(100):
        topic.put(avro(first, ROW, {"n": n}))
    topic.flush()
    run = topic_run(tmp_path / "run", topic, value="avro", registry={"url": registry.url})
    with collecting(run) as stage:
        await_batches(run, 1)
        registry.failing = 503
        topic.put(avro(second, record(("n", "long")), {"n": 100}))
        topic.put(b'{"n": 1}')
        for n in range(101, 200):
            topic.put(avro(first, ROW, {"n": n}))
        topic.flush()
        wait_for(lambda: "answers 503" in (waiting_of(stage.progress) or ""), "the word that it waits")
        registry.failing = None
        await_batches(run, 2)
    assert sealed_ns(run) == list(range(200))
    assert [(offset, reason) for _, offset, reason in rejects_of(run)] == [
        (101, 'no schema id: this looks like JSON (value = "json" reads it)')
    ]


def waiting_of(progress: object) -> str | None:
    return progress.waiting if isinstance(progress, CollectorProgress) else None


def test_a_registry_that_refuses_ends_the_run(kafka: str, tmp_path: Path, registry: LittleRegistry) -> None:
    """A refusal is no outage: the run ends with it, and seals nothing."""
    topic = OthersTopic(kafka)
    topic.put(avro(registry.add(ROW), ROW, {"n": 1}))
    topic.flush()
    registry.failing = 401
    run = topic_run(tmp_path / "run", topic, value="avro", registry={"url": registry.url}, until="now")
    with pytest.raises(RegistryError, match="refuses the request"):
        collect_to_end(run)
    assert run.catalog.batches() == []


def test_check_reads_the_first_messages(kafka: str, tmp_path: Path, registry: LittleRegistry) -> None:
    """A check reads the topic by the registry: what fits, what does not and why; a registry that refuses is a fault,
    one that is away a note."""
    topic = OthersTopic(kafka)
    id = registry.add(ROW)
    topic.put(avro(id, ROW, {"n": 1}))
    topic.put(framed(id, b""))
    topic.flush()
    table = f'registry = {{ url = "{registry.url}" }}'
    file = write_pipeline(tmp_path / "others.toml", topic, 'value = "avro"', table)
    report = check(str(file))
    assert not report.faults
    assert not report.notes
    tried = report.document()["tried"]
    assert (tried["rows"], tried["rejected"]) == (2, 1)
    assert tried["examples"][0]["reason"].startswith("not a value of its Avro schema")
    registry.failing = 403
    assert [fault.path for fault in check(str(file)).faults] == ["source.value"]
    registry.failing = 500
    report = check(str(file))
    assert not report.faults
    assert f"the schema registry {registry.url} answers 500" in report.notes[0].found


PROTO = """
syntax = "proto3";
package shop;
import "shop/common.proto";
import "google/protobuf/timestamp.proto";
message Other { string s = 1; }
message Order { int32 n = 1; Common common = 2; google.protobuf.Timestamp at = 3; }
"""
COMMON = 'syntax = "proto3"; package shop; message Common { string city = 1; }'


@pytest.mark.nightly
def test_a_real_registry(kafka: str, tmp_path: Path) -> None:
    """With a real registry, Avro and Protobuf are read exactly once into batches: logical types, schemas that change
    and that refer to others; what it does not know is rejected."""
    with apicurio(tmp_path) as real:
        avro_is_read(kafka, tmp_path / "avro", real)
        protobuf_is_read(kafka, tmp_path / "protobuf", real)


def avro_is_read(kafka: str, folder: Path, real: Any) -> None:
    price = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
    inner = record(("city", "string"), name="shop.Address")
    address = {"name": "shop.Address", "subject": "address", "version": 1}
    real.add("address", json.dumps(inner))
    first = record(("n", "int"), ("price", price))
    second = record(("n", "long"), ("price", price), ("to", ["null", "shop.Address"]))
    ids = [real.add("first", json.dumps(first)), real.add("second", json.dumps(second), "AVRO", address)]
    whole = record(("n", "long"), ("price", price), ("to", ["null", inner]))
    topic = OthersTopic(kafka)
    for n in range(100):
        topic.put(avro(ids[0], first, {"n": n, "price": Decimal(n) / 4}))
    for n in range(100, 200):
        topic.put(
            avro(ids[1], whole, {"n": n, "price": Decimal(n) / 4, "to": {"city": f"city {n}"} if n % 2 else None})
        )
    topic.put(framed(999_999, b"\x02"))
    topic.flush()
    columns = {"price": "float", "city": {"type": "string?", "from": "to.city"}}
    settings = {"value": "avro", "registry": {"url": real.url}, "until": "now", "columns": columns}
    run = topic_run(folder, topic, **settings)
    collect_to_end(run)
    assert sealed_rows(run) == [
        {"n": n, "price": n / 4, "city": f"city {n}" if n >= 100 and n % 2 else None} for n in range(200)
    ]
    assert rejects_of(run) == [(0, 200, "the registry has no schema 999999")]
    initiated = initiate_topic(TopicAccess(topic.name, kafka, registry={"url": real.url}), out=folder / "orders.toml")
    assert {column.name: column.type for column in initiated.proposal.columns} == {
        "n": "int",
        "price": "float",
        "to.city": "string?",
    }


def protobuf_is_read(kafka: str, folder: Path, real: Any) -> None:
    common = {"name": "shop/common.proto", "subject": "common", "version": 1}
    real.add("common", COMMON, "PROTOBUF")
    id = real.add("order", PROTO, "PROTOBUF", common)
    pool = DescriptorPool()
    for file in compiled(RegisteredSchema("PROTOBUF", PROTO, {"shop/common.proto": COMMON})).file:
        pool.Add(file)
    order = GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    topic = OthersTopic(kafka)
    for n in range(100):
        topic.put(framed(id, b"\x02\x02" + order(n=n, common={"city": f"city {n}"}).SerializeToString()))
    topic.flush()
    columns = {"city": {"type": "string", "from": "common.city"}, "at": "timestamp?"}
    run = topic_run(folder, topic, value="protobuf", registry={"url": real.url}, until="now", columns=columns)
    collect_to_end(run)
    assert sealed_rows(run) == [{"n": n, "city": f"city {n}", "at": None} for n in range(100)]
    assert rejects_of(run) == []
