"""The run's database: the one place that says what has been sealed, trained and published.

SQLAlchemy Core over SQLite (WAL, ``synchronous=FULL``). Every table has one writer: ``run`` whoever begins the run,
``source`` and ``side_tables`` the producer, ``batches``, ``batch_partitions``, ``accounts`` and ``ended`` the
collector, ``generations`` and ``models`` the trainer; in ``stages`` each stage writes the row of its own name. Paths
are relative to the run folder.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Integer, LargeBinary, String, Table, event

from tidemill.errors import CatalogError
from tidemill.run.catalog.account import Account
from tidemill.run.failpoints import failpoint

SCHEMA_VERSION = 3
MOST_ASKED = 1000  # numbers in one query
FILE_NAME = "catalog.sqlite"

SECRET_BYTES = 32
BUSY_SECONDS = 30.0  # how long to wait for another process that writes

GOES_ON = "then start the run again: it goes on where it stopped"
SEE = f"see that the disk has room and that the file may be written to, {GOES_ON}"
DAMAGED = "put back a copy of it, with its -wal file, or begin the run anew with --fresh"
WAY_OUT = {
    sqlite3.SQLITE_FULL: f"free some space, {GOES_ON}",
    sqlite3.SQLITE_BUSY: f"another program holds it: see that it ends, {GOES_ON}",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
UNUSABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What Python's SQLite raises of a file: the latter where it is damaged, and the message names a table in bytes that
are no UTF-8."""

StageState = Literal["starting", "running", "done", "stopped", "failed"]
GenerationState = Literal["training", "published", "failed"]

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
    Column("secret", String),  # NULL for a run that began before marks were signed
    Column("given", JSON),  # NULL for a run that began before it was recorded
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


def save_accounts(connection: sa.Connection, kept: Mapping[int, Account]) -> None:
    """Put these accounts in the place of those that are there."""
    connection.execute(sa.delete(accounts))
    if kept:
        connection.execute(
            sa.insert(accounts), [{"partition": partition, **asdict(account)} for partition, account in kept.items()]
        )


def now() -> str:
    """This moment in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Run:
    """One execution of a pipeline; ``document`` is the whole pipeline as it was begun with, defaults included, and
    ``given`` the part of it that was given (None where that was not recorded)."""

    id: str
    pipeline: str
    document: dict[str, Any]
    began_at: str
    secret: str | None = None
    given: dict[str, Any] | None = None


@dataclass(frozen=True)
class SourceState:
    """What the producer knows: how many ``rows`` fit in all (None until counted), went out, and did not fit."""

    fingerprint: str
    rows: int | None = None
    rejected: int = 0
    produced: int = 0
    complete: bool = False
    topic_id: str | None = None
    topic_created: bool = False


@dataclass(frozen=True)
class SideTable:
    """A side table as it was read into the file ``path``; ``fingerprint`` is that of the data it was read from."""

    name: str
    path: str
    rows: int
    rejected: int
    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Span:
    """The offsets of one partition that a batch holds, both ends included."""

    partition: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True)
class Decision:
    """A cut that was decided: which offsets the batch holds and why it was cut there. ``digest`` is the one over the
    accounts of all partitions up to its last message; None where none are kept."""

    batch: int
    cut: str
    spans: tuple[Span, ...]
    digest: str | None = None


@dataclass(frozen=True)
class Sealed:
    """What is known of a batch once its file has its final name."""

    path: str
    rows: int
    bytes: int
    sha256: str
    rejected: int = 0
    rejects_path: str | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None


@dataclass(frozen=True)
class Batch(Sealed):
    """A sealed batch."""

    batch: int = 0
    cut: str = ""
    sealed_at: str = ""
    partitions: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """Which files the catalog knows: the path of each sealed batch, the batch whose cut is recorded but which is not
    sealed, the generations that are published and those that were only begun."""

    sealed: Mapping[int, str]
    decided: int | None
    published: frozenset[int]
    begun: frozenset[int]


@dataclass(frozen=True)
class TrainedModel:
    """A model of a generation: how it was trained, how good it is, where its files are.

    ``rows`` counts what it was fitted on, scored on and could not use: ``{"train", "holdout", "skipped"}``.
    """

    model: str
    estimator: str
    metrics: dict[str, float | None]
    fit_seconds: float
    parity: dict[str, Any]
    rows: dict[str, int]
    scorer_path: str
    sha256: str
    spark_path: str
    profile: dict[str, Any] | None = None


@dataclass(frozen=True)
class Generation:
    """The batches it was trained on, counted in ``rows``, and its models once it is published."""

    generation: int
    state: GenerationState
    batches: tuple[int, ...]
    rows: int
    error: str | None = None
    began_at: str = ""
    published_at: str | None = None
    models: dict[str, TrainedModel] = field(default_factory=dict)


@dataclass(frozen=True)
class StageStatus:
    """What a stage last said of itself. ``endpoint`` is where it can be reached; ``counters`` are its own."""

    stage: str
    state: StageState
    pid: int
    endpoint: str | None = None
    error: dict[str, Any] | None = None
    counters: dict[str, Any] = field(default_factory=dict)
    updated_at: str = ""


@dataclass(frozen=True)
class ClosingAccount:
    """What the end marker says was ``sent`` to a partition, and the rows ``read`` of it up to the last sealed message:
    counts and digests. The marker's are None where the run began before markers said so."""

    sent: int | None
    sent_digest: str | None
    read: int
    read_digest: str


class Ending(Protocol):
    """What an end marker says."""

    @property
    def sent(self) -> int | None: ...
    @property
    def digest(self) -> str | None: ...


class Catalog:
    """The catalog of one run. Safe to use from several threads and processes at once."""

    def __init__(self, path: Path) -> None:
        """Open the catalog in the file ``path``, making it where it is not there yet, and bringing one of an older
        schema to this one.

        Raises:
            CatalogError: it can't be read, or was written by a newer Tidemill; such a one is left as it is.
        """
        self.path = path
        recorded_version(path)
        url = sa.URL.create("sqlite", database=str(path))  # a path in the text of a URL would be unquoted
        self.engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(self.engine, "connect", _sqlite_settings)
        event.listen(self.engine, "handle_error", self._explain)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _explain(self, context: sa.ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, UNUSABLE) and not isinstance(error, sqlite3.IntegrityError):
            raise unusable(self.path, error) from error

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # a text in it that is no UTF-8, or a document that is no JSON
            raise CatalogError(f"the catalog {self.path} is damaged: {error}", DAMAGED) from error

    def _prepare(self) -> None:
        """Make or migrate all of it in one transaction, or nothing."""
        with self._readable(), self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's sqlite3 begins none before CREATE and ALTER
            if fault := _sqlite_fault(connection):
                raise CatalogError(f"the catalog {self.path} is damaged: {fault}", DAMAGED)
            version = _version(self.path, connection.exec_driver_sql)
            if version is None:
                metadata.create_all(connection)
                connection.execute(sa.insert(meta), {"key": "schema_version", "value": str(SCHEMA_VERSION)})
            elif version != SCHEMA_VERSION:
                migrate(connection, version)

    def close(self) -> None:
        self.engine.dispose()

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Run | None:
        row = self._one(sa.select(run))
        return Run(**{name: row[name] for name in row if name != "one"}) if row else None

    def begin(self, id: str, pipeline: str, document: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Run:
        """Record the run, unless another process just did; the recorded one is returned."""
        values = {"one": 1, "id": id, "pipeline": pipeline, "document": dict(document), "began_at": now()}
        values["given"] = dict(document if given is None else given)
        values["secret"] = secrets.token_hex(SECRET_BYTES)
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(run), values)
        except sa.exc.IntegrityError:
            pass  # another stage was first; its record is as good
        recorded = self.run()
        assert recorded is not None
        return recorded

    def recorded(self) -> Recorded:
        """Which files of batches and generations it knows."""
        of_batches = sa.select(batches.c.batch, batches.c.path, batches.c.sealed_at).order_by(batches.c.batch)
        with self._readable(), self.engine.connect() as connection:
            cuts = connection.execute(of_batches).all()
            states = connection.execute(sa.select(generations.c.generation, generations.c.state)).all()
        published = frozenset(number for number, state in states if state == "published")
        return Recorded(
            sealed={number: path for number, path, sealed_at in cuts if sealed_at},
            decided=next((number for number, _, sealed_at in cuts if not sealed_at), None),
            published=published,
            begun=frozenset(number for number, _ in states) - published,
        )

    # --- the source, by the producer ------------------------------------------------------------------------------

    def source(self) -> SourceState | None:
        row = self._one(sa.select(source))
        return SourceState(**{name: row[name] for name in row if name != "one"}) if row else None

    def save_source(self, state: SourceState) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(source))
            connection.execute(sa.insert(source), asdict(state) | {"one": 1})
            failpoint("source.saving")
        failpoint("source.saved")

    def side_tables(self) -> dict[str, SideTable]:
        """The side tables that were read, by name."""
        rows = self._all(sa.select(side_tables).order_by(side_tables.c.name))
        return {row["name"]: SideTable(**row) for row in rows}

    def save_side_table(self, table: SideTable) -> None:
        """The commit point of a side table: from here on its file is the one to be used.

        Raises:
            CatalogError: it was recorded before.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(side_tables), asdict(table))
        except sa.exc.IntegrityError as error:
            message = f"the table {table.name} is recorded already"
            raise CatalogError(message, "is a second producer at work?") from error

    # --- batches, by the collector --------------------------------------------------------------------------------

    def decide(self, decision: Decision) -> None:
        """Record a cut before its batch is published, so that after a crash the same batch is made again."""
        with self.engine.begin() as connection:
            values = {"batch": decision.batch, "cut": decision.cut, "digest": decision.digest}
            connection.execute(sa.insert(batches), values | {"decided_at": now(), "rejected": 0})
            connection.execute(
                sa.insert(batch_partitions), [asdict(span) | {"batch": decision.batch} for span in decision.spans]
            )
            failpoint("batch.deciding")
        failpoint("batch.decided")

    def forget(self, batch: int) -> None:
        """Undo :meth:`decide` of a batch that is not sealed."""
        with self.engine.begin() as connection:
            unsealed = sa.select(batches.c.batch).where(batches.c.batch == batch, batches.c.sealed_at.is_(None))
            connection.execute(sa.delete(batch_partitions).where(batch_partitions.c.batch.in_(unsealed)))
            connection.execute(sa.delete(batches).where(batches.c.batch.in_(unsealed)))

    def seal(self, batch: int, sealed: Sealed, accounts: Mapping[int, Account] | None = None) -> None:
        """The commit point of a batch: from here on it is sealed, and its offsets are done with.

        ``accounts`` are those of all partitions up to its last message; None where none are kept.
        """
        with self.engine.begin() as connection:
            unsealed = sa.update(batches).where(batches.c.batch == batch, batches.c.sealed_at.is_(None))
            changed = connection.execute(unsealed.values(**asdict(sealed), sealed_at=now()))
            if changed.rowcount != 1:
                raise CatalogError(f"batch {batch} is not waiting to be sealed", "is a second collector at work?")
            save_accounts(connection, accounts or {})
            failpoint("batch.sealing")
        failpoint("batch.sealed")

    def accounts(self) -> dict[int, Account] | None:
        """The account of each partition up to its last sealed message; None in a run of which batches were sealed
        before accounts were kept."""
        rows = self._all(sa.select(accounts))
        if not rows and self.batches(limit=1):
            return None
        return {row.pop("partition"): Account(**row) for row in map(dict, rows)}

    def undecided(self) -> Decision | None:
        """The cut that was decided but whose batch was not sealed: at most one, after a crash."""
        row = self._one(sa.select(batches).where(batches.c.sealed_at.is_(None)))
        return Decision(row["batch"], row["cut"], self._spans(row["batch"]), row["digest"]) if row else None

    def batches(self, after: int = 0, limit: int | None = None) -> list[Batch]:
        """The sealed batches above number ``after``, in order, and no more than ``limit`` of them."""
        query = sa.select(batches).where(batches.c.batch > after).order_by(batches.c.batch).limit(limit)
        return self._batches(query, lambda last: (batch_partitions.c.batch > after, batch_partitions.c.batch <= last))

    def batches_numbered(self, numbers: Sequence[int]) -> list[Batch]:
        """Those of these batches (a few) that are sealed, in order."""
        query = sa.select(batches).where(batches.c.batch.in_(numbers)).order_by(batches.c.batch)
        return self._batches(query, lambda last: (batch_partitions.c.batch.in_(numbers),))

    def batches_with_rejects(self, most: int) -> list[tuple[int, int, str | None]]:
        """The newest sealed batches that had rejects among them, at most so many, in order: each one's number, how many
        there were, and their file."""
        query = sa.select(batches.c.batch, batches.c.rejected, batches.c.rejects_path)
        having = query.where(batches.c.rejected > 0, batches.c.sealed_at.is_not(None))
        newest = self._all(having.order_by(batches.c.batch.desc()).limit(most))
        return [(row["batch"], row["rejected"], row["rejects_path"]) for row in reversed(newest)]

    def _batches(
        self, query: sa.Select[Any], of_spans: Callable[[int], tuple[sa.ColumnElement[bool], ...]]
    ) -> list[Batch]:
        """The sealed batches of a query; ``of_spans`` has the condition for their spans, told the last one's number."""
        rows = self._all(query.where(batches.c.sealed_at.is_not(None)))
        spans: dict[int, list[Span]] = {row["batch"]: [] for row in rows}
        for row in self._all(
            sa.select(batch_partitions)
            .where(*of_spans(max(spans, default=0)))
            .order_by(batch_partitions.c.batch, batch_partitions.c.partition)
        ):
            if row["batch"] in spans:
                spans[row["batch"]].append(Span(row["partition"], row["first_offset"], row["last_offset"]))
        return [
            Batch(
                partitions=tuple(spans[row["batch"]]),
                **{name: row[name] for name in row if name not in ("decided_at", "digest")},
            )
            for row in rows
        ]

    def batch(self, number: int) -> Batch | None:
        """One sealed batch, or None where it is not sealed."""
        found = self.batches_numbered([number])
        return found[0] if found else None

    def _spans(self, batch: int) -> tuple[Span, ...]:
        query = sa.select(batch_partitions).where(batch_partitions.c.batch == batch)
        rows = self._all(query.order_by(batch_partitions.c.partition))
        return tuple(Span(row["partition"], row["first_offset"], row["last_offset"]) for row in rows)

    def next_offsets(self) -> dict[int, int]:
        """For each partition that a sealed batch has rows of, the first offset that no sealed batch has."""
        query = (
            sa.select(batch_partitions.c.partition, sa.func.max(batch_partitions.c.last_offset).label("last"))
            .join(batches, batches.c.batch == batch_partitions.c.batch)
            .where(batches.c.sealed_at.is_not(None))
            .group_by(batch_partitions.c.partition)
        )
        return {row["partition"]: row["last"] + 1 for row in self._all(query)}

    def totals(self) -> dict[str, int]:
        """Over all that is sealed: ``{"batches", "rows", "rejected", "bytes"}``."""
        query = sa.select(
            sa.func.count().label("batches"),
            sa.func.coalesce(sa.func.sum(batches.c.rows), 0).label("rows"),
            sa.func.coalesce(sa.func.sum(batches.c.rejected), 0).label("rejected"),
            sa.func.coalesce(sa.func.sum(batches.c.bytes), 0).label("bytes"),
        ).where(batches.c.sealed_at.is_not(None))
        found = self._all(query)[0]
        return found | {"rejected": found["rejected"] + self.rejected_after_last()}

    def rejected_after_last(self) -> int:
        """How many messages after the last row were none."""
        found: int = self._all(sa.select(sa.func.coalesce(sa.func.sum(ended.c.rejected), 0).label("rejected")))[0][
            "rejected"
        ]
        return found

    def end_stream(
        self,
        offsets: Mapping[int, int],
        rejected: Mapping[int, int],
        said: Mapping[int, Ending] | None = None,
        accounts: Mapping[int, Account] | None = None,
    ) -> None:
        """Record that the stream has ended, with all its rows sealed.

        Args:
            offsets: where each partition's end-of-stream marker stands.
            rejected: how many messages of each partition, after its last row, were none.
            said: the rows that each marker says were sent, and their digest; None where markers don't say.
            accounts: those of all partitions up to their end; None where none are kept.
        """
        ends = [
            {
                "partition": partition,
                "offset": offset,
                "rejected": rejected.get(partition, 0),
                "rows": said[partition].sent if said else None,
                "digest": said[partition].digest if said else None,
            }
            for partition, offset in offsets.items()
        ]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(ended), ends)
            save_accounts(connection, accounts or {})
            failpoint("stream.ending")
        failpoint("stream.ended")

    def ended(self) -> dict[int, int]:
        """Each partition with the offset of its end marker, once the stream has ended and all of it is sealed."""
        return {row["partition"]: row["offset"] for row in self._all(sa.select(ended))}

    def closing_account(self) -> dict[int, ClosingAccount]:
        """What was sent to each partition, by its end marker, beside what was read of it; empty before the stream's
        end and in a run that keeps no accounts."""
        rows = self._all(sa.select(ended).order_by(ended.c.partition))
        kept = self.accounts()
        if kept is None:
            return {}
        closing = {}
        for row in rows:
            account = kept.get(row["partition"], Account())
            closing[row["partition"]] = ClosingAccount(row["rows"], row["digest"], account.rows, account.digest)
        return closing

    # --- generations, by the trainer ------------------------------------------------------------------------------

    def begin_generation(self, generation: int, batch_numbers: Sequence[int], rows: int) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(models).where(models.c.generation == generation))
            connection.execute(sa.delete(generations).where(generations.c.generation == generation))
            connection.execute(
                sa.insert(generations),
                {
                    "generation": generation,
                    "state": "training",
                    "batches": list(batch_numbers),
                    "rows": rows,
                    "began_at": now(),
                },
            )
            failpoint("generation.beginning")
        failpoint("generation.begun")

    def publish_generation(self, generation: int, trained: Sequence[TrainedModel]) -> None:
        """The commit point of a generation: from here on it is served."""
        with self.engine.begin() as connection:
            connection.execute(sa.insert(models), [asdict(model) | {"generation": generation} for model in trained])
            connection.execute(
                sa.update(generations)
                .where(generations.c.generation == generation)
                .values(state="published", published_at=now(), error=None)
            )
            failpoint("generation.publishing")
        failpoint("generation.published")

    def fail_generation(self, generation: int, error: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(generations).where(generations.c.generation == generation).values(state="failed", error=error)
            )

    def generations(self, after: int = 0, state: GenerationState | None = None) -> list[Generation]:
        """The generations above number ``after``, in order, of one state or of all."""
        query = sa.select(generations).where(generations.c.generation > after)
        if state is not None:
            query = query.where(generations.c.state == state)
        return self._generations(query, models.c.generation > after)

    def generation_states(self, after: int = 0) -> dict[int, GenerationState]:
        """The state of each generation above number ``after``, in order. Cheap, however many there are."""
        query = sa.select(generations.c.generation, generations.c.state).where(generations.c.generation > after)
        with self._readable(), self.engine.connect() as connection:
            rows = connection.execute(query.order_by(generations.c.generation)).all()
            return {row[0]: row[1] for row in rows}

    def generations_among(self, numbers: Sequence[int]) -> list[Generation]:
        """The generations of these numbers, in order."""
        found: list[Generation] = []
        for start in range(0, len(numbers), MOST_ASKED):
            some = sorted(numbers)[start : start + MOST_ASKED]
            query = sa.select(generations).where(generations.c.generation.in_(some))
            found += self._generations(query, models.c.generation.in_(some))
        return found

    def generation(self, number: int) -> Generation | None:
        """One generation, or None where it has not been begun."""
        query = sa.select(generations).where(generations.c.generation == number)
        found = self._generations(query, models.c.generation == number)
        return found[0] if found else None

    def _generations(self, query: sa.Select[Any], of_models: sa.ColumnElement[bool]) -> list[Generation]:
        rows = self._all(query.order_by(generations.c.generation))  # first: one seen as published has its models
        trained: dict[int, dict[str, TrainedModel]] = {}
        for row in self._all(sa.select(models).where(of_models).order_by(models.c.model)):
            model = TrainedModel(**{name: row[name] for name in row if name != "generation"})
            trained.setdefault(row["generation"], {})[model.model] = model
        return [
            Generation(
                **{name: row[name] for name in row if name != "batches"},
                batches=tuple(row["batches"]),
                models=trained.get(row["generation"], {}),
            )
            for row in rows
        ]

    def generations_pulse(self) -> tuple[object, ...]:
        """A value that changes whenever a generation is begun, published or fails. Cheap, for those who watch.

        When each one that is not published was begun tells of one that failed and was begun again. The newest of these
        times would not: the clock may have stepped back.
        """
        state = generations.c.state
        counts = sa.select(state, sa.func.count(), sa.func.max(generations.c.generation)).group_by(state)
        unsettled = sa.select(generations.c.generation, generations.c.began_at).where(state != "published")
        with self.engine.connect() as connection:
            found = connection.execute(counts.order_by(state)).all()
            begun = connection.execute(unsettled.order_by(generations.c.generation)).all()
        return tuple(tuple(row) for row in (*found, *begun))

    def generations_by_state(self) -> dict[str, int]:
        """How many generations are in each state."""
        query = sa.select(generations.c.state, sa.func.count().label("count")).group_by(generations.c.state)
        return {row["state"]: row["count"] for row in self._all(query)}

    def generation_numbers(self, state: GenerationState) -> list[int]:
        """The numbers of the generations in this state, in order."""
        query = sa.select(generations.c.generation).where(generations.c.state == state)
        with self._readable(), self.engine.connect() as connection:
            return list(connection.execute(query.order_by(generations.c.generation)).scalars())

    def first_failure(self) -> tuple[int, str] | None:
        """The number of the first generation that failed, and why; None where none did."""
        query = sa.select(generations.c.generation, generations.c.error).where(generations.c.state == "failed")
        row = self._one(query.order_by(generations.c.generation).limit(1))
        return (row["generation"], row["error"]) if row else None

    def newest_generation(self, before: int | None = None) -> int:
        """The number of the newest published generation, of all or of those before one; 0 where there is none."""
        query = sa.select(sa.func.max(generations.c.generation)).where(generations.c.state == "published")
        if before is not None:
            query = query.where(generations.c.generation < before)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    # --- stages, each its own row ---------------------------------------------------------------------------------

    def save_stage(self, stage: StageStatus) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(stages).where(stages.c.stage == stage.stage))
            connection.execute(sa.insert(stages), asdict(stage) | {"updated_at": now()})

    def forget_stage(self, name: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(stages).where(stages.c.stage == name))

    def stages(self) -> dict[str, StageStatus]:
        return {row["stage"]: StageStatus(**row) for row in self._all(sa.select(stages).order_by(stages.c.stage))}

    # --- reading --------------------------------------------------------------------------------------------------

    def _all(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._readable(), self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _one(self, query: sa.Select[Any]) -> dict[str, Any] | None:
        rows = self._all(query)
        return rows[0] if rows else None


MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE run ADD COLUMN secret VARCHAR",
        "ALTER TABLE run ADD COLUMN given JSON",
        "ALTER TABLE ended ADD COLUMN rows BIGINT",
        "ALTER TABLE ended ADD COLUMN digest VARCHAR",
        "ALTER TABLE batches ADD COLUMN digest VARCHAR",
    ),
}
"""For each older version of the schema, what makes the next one of it; tables that are new are made anyway."""


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring a catalog of an older schema to this one, in the transaction of ``connection``."""
    for older in range(version, SCHEMA_VERSION):
        for statement in MIGRATIONS[older]:
            connection.exec_driver_sql(statement)
    metadata.create_all(connection)
    failpoint("catalog.migrating")
    update = sa.update(meta).where(meta.c.key == "schema_version")
    connection.execute(update.values(value=str(SCHEMA_VERSION)))


def recorded_version(path: Path) -> int | None:
    """The version of the schema of the catalog in the file ``path``; None where there is none, or nothing in it yet.

    Raises:
        CatalogError: it can't be read, is no catalog, or has a version that this Tidemill does not know. The file is
            left as it is.
    """
    if not path.exists() or path.stat().st_size == 0:
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size:  # SQLite would delete it
            raise CatalogError(f"the catalog {path} is missing or empty, but {wal.name} beside it is not", DAMAGED)
        return None
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            return _version(path, connection.execute)
    except UNUSABLE as error:
        raise unusable(path, error) from error


def _version(path: Path, execute: Callable[[str], Any]) -> int | None:
    tables = {name for (name,) in execute("SELECT name FROM sqlite_master").fetchall()}
    if not tables:
        return None
    version = execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall() if "meta" in tables else []
    if not version:
        raise CatalogError(f"{path} is no catalog of Tidemill: it says no schema version", DAMAGED)
    try:
        number = int(version[0][0])
    except (TypeError, ValueError) as error:
        raise CatalogError(f"the catalog {path} is damaged: {error}", DAMAGED) from error
    if number in (SCHEMA_VERSION, *MIGRATIONS):
        return number
    raise CatalogError(
        f"the catalog {path} has schema version {number}; this Tidemill knows version {SCHEMA_VERSION}",
        "use the Tidemill that began this run, another --run-dir, or --fresh to begin anew",
    )


def unusable(path: Path, error: sqlite3.DatabaseError | UnicodeDecodeError) -> CatalogError:
    """SQLite's refusal, with the way out."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return CatalogError(f"the catalog {path} can't be used: {error}", WAY_OUT.get(code, SEE))


def _sqlite_fault(connection: sa.Connection) -> str | None:
    """What is wrong with the file as a whole; opening it, SQLite looks at its head only."""
    found: str = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    return None if found == "ok" else found.splitlines()[-1]


def _sqlite_settings(connection: sqlite3.Connection, _: object) -> None:
    """With the look at the file above the only SQLite-only statements: readers never wait for a writer, and a commit
    survives a power cut."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
