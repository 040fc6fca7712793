"""The catalog's tables."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Integer, LargeBinary, String, Table

SCHEMA_VERSION = 3

metadata = sa.MetaData()

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

run = Table(
    "run",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("id", String, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("document", JSON, nullable=False),
    Column("began_at", String, nullable=False),
    Column("secret", String),  # NULL in a run that started before marks were signed
    Column("given", JSON),  # NULL in a run that started before it was recorded
)

source = Table(
    "source",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("rows", BigInteger),
    Column("rejected", BigInteger, nullable=False),
    Column("produced", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("topic_id", String),
    Column("topic_created", Boolean, nullable=False),
)

side_tables = Table(
    "side_tables",
    metadata,
    Column("name", String, primary_key=True),
    Column("path", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("fingerprint", String, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("cut", String, nullable=False),
    Column("decided_at", String, nullable=False),
    Column("digest", String),
    Column("path", String),
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("sha256", String),
    Column("rejected", BigInteger, nullable=False, default=0),
    Column("rejects_path", String),
    Column("first_timestamp", String),
    Column("last_timestamp", String),
    Column("sealed_at", String),
)

batch_partitions = Table(
    "batch_partitions",
    metadata,
    Column("batch", Integer, ForeignKey("batches.batch"), primary_key=True, autoincrement=False),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
)

ended = Table(
    "ended",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("rows", BigInteger),
    Column("digest", String),
)

accounts = Table(
    "accounts",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("rows", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("pending", LargeBinary, nullable=False),
    Column("newest", BigInteger),
)

generations = Table(
    "generations",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
    Column("batches", JSON, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("error", String),
    Column("began_at", String, nullable=False),
    Column("published_at", String),
)

models = Table(
    "models",
    metadata,
    Column("generation", Integer, ForeignKey("generations.generation"), primary_key=True, autoincrement=False),
    Column("model", String, primary_key=True),
    Column("estimator", String, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("fit_seconds", Float, nullable=False),
    Column("parity", JSON, nullable=False),
    Column("rows", JSON, nullable=False),
    Column("scorer_path", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("spark_path", String, nullable=False),
    Column("profile", JSON),
)

stages = Table(
    "stages",
    metadata,
    Column("stage", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("endpoint", String),
    Column("error", JSON),
    Column("counters", JSON, nullable=False),
    Column("updated_at", String, nullable=False),
)
