"""The catalog's tables."""

from __future__ import annotations

import zlib

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Integer, LargeBinary, String, Table, text

from tidemill.run.catalog.account import EMPTY_CHAIN

SCHEMA_VERSION = 7


class Compressed(sa.TypeDecorator[bytes]):
    """Bytes that are stored compressed, for values that repeat themselves."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: sa.Dialect) -> bytes | None:
        return None if value is None else zlib.compress(value)

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> bytes | None:
        return None if value is None else zlib.decompress(value)


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

posting = Table(
    "posting",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("topic_id", String),
    Column("topic_created", Boolean, nullable=False),
    Column("rejected", BigInteger, nullable=False),
)

topic_partitions = Table(
    "topic_partitions",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger),
    Column("read_to", BigInteger),
    Column("since_batch", Integer, nullable=False),
)

gaps = Table(
    "gaps",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("found_at", String, nullable=False),
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
    Column("removed_at", String),  # by the trainer; the files are removed after that
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
    Column("posted_rows", BigInteger, nullable=False, server_default="0"),
    Column("posted_chain", LargeBinary, nullable=False, server_default=text(f"X'{EMPTY_CHAIN.hex()}'")),
    Column("posted_pending", LargeBinary, nullable=False, server_default=text("X''")),
    Column("sent", BigInteger),
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
    Column("removed_at", String),
)

freshness = Table(  # see tidemill.run.catalog.freshness; times in seconds, moments in seconds since 1970
    "freshness",
    metadata,
    Column("batch", Integer, ForeignKey("batches.batch"), primary_key=True, autoincrement=False),
    Column("acknowledged_at", Float, nullable=False),
    Column("wait", Float, nullable=False),
    Column("cut", Float, nullable=False),
    Column("seal", Float, nullable=False),
    Column("sealed_at", Float, nullable=False),
    *(Column(part, Float) for part in ("queue", "prepare", "fit", "export", "parity", "measure", "save", "publish")),
    Column("published_at", Float),
    Column("load", Float),
    Column("answered_at", Float),
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

lines = Table(
    "lines",
    metadata,
    Column("line", String, primary_key=True),
    Column("scheme", String, nullable=False),
    Column("window", Integer),
    Column("began_at", String, nullable=False),
)

line_models = Table(
    "line_models",
    metadata,
    Column("line", String, ForeignKey("lines.line"), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("model", String, primary_key=True),
    Column("batches", JSON, nullable=False),
    Column("fit_seconds", Float, nullable=False),
    Column("scorer_path", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("estimator", String, nullable=False, server_default=""),  # these five: of older replays they are not known
    Column("metrics", JSON, nullable=False, server_default="{}"),
    Column("parity", JSON, nullable=False, server_default="{}"),
    Column("rows", JSON, nullable=False, server_default="{}"),
    Column("profile", JSON),
)

judgings = Table(
    "judgings",
    metadata,
    Column("line", String, primary_key=True),  # "" is the run's own generations; others are replays
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("evidence", String, primary_key=True),
    Column("path", String),
    Column("sha256", String),
    Column("seconds", Float, nullable=False),
    Column("error", String),
    Column("judged_at", String, nullable=False),
)

cells = Table(
    "cells",
    metadata,
    Column("line", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("evidence", String, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("loss_name", String, primary_key=True),
    Column("trivial", Boolean, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("mean", Float),
    Column("variance", Float),
    Column("sums", LargeBinary, nullable=False),
    Column("counts", Compressed, nullable=False),  # of blocks that are nearly of one size
    Column("shown", JSON, nullable=False),
)
sa.Index(  # all that the schedule in hindsight asks, without reading the cells
    "cells_means",
    *(cells.c.line, cells.c.model, cells.c.evidence, cells.c.trivial, cells.c.loss_name),
    *(cells.c.batch, cells.c.generation, cells.c.n, cells.c.mean),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("line", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("against", String, primary_key=True),
    Column("evidence", String, primary_key=True),
    Column("loss_name", String, primary_key=True),
    Column("decides", Boolean, nullable=False),
    Column("reference", Integer),
    Column("batch", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("loss", Float),
    Column("reference_loss", Float),
    Column("gain", Float),
    Column("low", Float),
    Column("high", Float),
    Column("margin", Float),
    Column("word", String),
    Column("rows_needed", BigInteger),
    Column("checks", JSON, nullable=False),
    Column("reference_line", String, nullable=False, server_default=""),
)

paired_blocks = Table(
    "paired_blocks",
    metadata,
    Column("line", String, ForeignKey("lines.line"), primary_key=True),
    Column("model", String, primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("loss_name", String, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("own_generation", Integer, nullable=False),
    Column("answerable", BigInteger, nullable=False),
    Column("sums", LargeBinary, nullable=False),
    Column("own_sums", LargeBinary, nullable=False),
    Column("counts", Compressed, nullable=False),
)

drifts = Table(
    "drifts",
    metadata,
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("column", String, primary_key=True),
    Column("reference", Integer, nullable=False),
    Column("test", String, nullable=False),
    Column("effect", Float, nullable=False),
    Column("p", Float, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("details", JSON, nullable=False),
    Column("before", Float),  # NULL in a look of an older version
    Column("after", Float),
    Column("reference_line", String, nullable=False, server_default=""),
)

decisions = Table(
    "decisions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("model", String, nullable=False),
    Column("action", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("former", Integer),
    Column("by", String, nullable=False),
    Column("because", String, nullable=False),
    Column("batch", Integer),
    Column("evidence", String),
    Column("figures", JSON),
    Column("decided_at", String, nullable=False),
    Column("line", String, nullable=False, server_default=""),  # of the champion
    Column("former_line", String, nullable=False, server_default=""),
)
sa.Index("decisions_of_model", decisions.c.model, decisions.c.number)
sa.Index("decisions_of_generation", decisions.c.model, decisions.c.generation)

outputs = Table(
    "outputs",
    metadata,
    Column("topic", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("topic_id", String, nullable=False),
    Column("topic_created", Boolean, nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("offsets", JSON, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("lag", BigInteger, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("missed", BigInteger, nullable=False),
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
