"""The catalog's file: opening it, SQLite's settings, and the engine that all queries share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from tidemill.errors import CatalogError
from tidemill.run.catalog import migrations
from tidemill.run.catalog.migrations import DAMAGED, UNUSABLE, migrate, recorded_version, schema_version, unusable
from tidemill.run.catalog.schema import SCHEMA_VERSION, meta, metadata
from tidemill.types import iso

LARGE = 32 * 2**20
EXPLAINING = ("cells", "comparisons")  # the tables that no stage but the one that judges reads


def now() -> str:
    """The current time in UTC, ISO 8601."""
    return iso(datetime.now(UTC), "milliseconds")


class CatalogFile:
    """The catalog's file and the queries that its parts share. Thread-safe and process-safe."""

    def __init__(self, path: Path) -> None:
        """Open the catalog in the file ``path``. Create it if there is none; migrate it if its schema is older.

        Raises:
            CatalogError: it can't be read, or a newer Tidemill wrote it. The file is left unchanged.
        """
        self.path = path
        recorded_version(path)
        url = sa.URL.create("sqlite", database=str(path))  # in the text of a URL the path would be unquoted
        self.engine = sa.create_engine(url, connect_args={"timeout": migrations.BUSY_SECONDS})
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
        except ValueError as error:  # a text that is not UTF-8, or a document that is not JSON
            raise CatalogError(f"the catalog {self.path} is damaged: {error}", DAMAGED) from error

    def _prepare(self) -> None:
        """Create or migrate the schema in one transaction."""
        with self._readable(), self.engine.begin() as connection:
            connection.exec_driver_sql(
                "BEGIN IMMEDIATE"
            )  # Python's sqlite3 starts no transaction before CREATE and ALTER
            if fault := _sqlite_fault(connection, self.path.stat().st_size):
                raise CatalogError(f"the catalog {self.path} is damaged: {fault}", DAMAGED)
            version = schema_version(self.path, connection.exec_driver_sql)
            if version is None:
                metadata.create_all(connection, checkfirst=False)  # it is empty: there is nothing to look for
                connection.execute(sa.insert(meta), {"key": "schema_version", "value": str(SCHEMA_VERSION)})
            elif version != SCHEMA_VERSION:
                migrate(connection, version)

    def close(self) -> None:
        self.engine.dispose()

    def _all(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._readable(), self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _one(self, query: sa.Select[Any]) -> dict[str, Any] | None:
        rows = self._all(query)
        return rows[0] if rows else None


def _sqlite_fault(connection: sa.Connection, size: int) -> str | None:
    """The fault of a file of ``size`` bytes; None if it is intact. SQLite checks only the header when it opens a file.

    Of a large file nearly all are the cells and comparisons of judgings, which no stage needs to do its work: they are
    left out, so that opening a long run's catalog costs no more. A fault in them is found where they are read.
    """
    checks = ["1"]
    if size > LARGE:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
        checks = [f'"{table}"' for table in tables if table not in EXPLAINING]
    for check in checks:
        answer: str = connection.exec_driver_sql(f"PRAGMA integrity_check({check})").scalars().first() or "ok"
        if answer != "ok":
            return answer.splitlines()[-1]
    return None


def _sqlite_settings(connection: sqlite3.Connection, _: object) -> None:
    """Readers never wait for a writer, and a commit survives a power cut.

    These and the integrity check are the only statements that other databases do not have.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
