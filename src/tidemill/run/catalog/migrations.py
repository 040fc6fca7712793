"""The versions of the catalog's schema: which one a file has, and the migrations from older ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tidemill.errors import CatalogError
from tidemill.run.catalog.account import EMPTY_CHAIN
from tidemill.run.catalog.schema import SCHEMA_VERSION, meta, metadata
from tidemill.run.failpoints import failpoint

BUSY_SECONDS = 30.0  # how long to wait for another process that writes

CONTINUES = "then start the run again: it continues where it stopped"
CHECK_DISK = f"check that the disk has room and that the file may be written to, {CONTINUES}"
DAMAGED = "put back a copy of it, with its -wal file, or start over with --fresh"
HINTS = {
    sqlite3.SQLITE_FULL: f"free some space, {CONTINUES}",
    sqlite3.SQLITE_BUSY: f"another program holds it: check that it ends, {CONTINUES}",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
UNUSABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""The errors that Python's SQLite raises for a file that it can't use. It raises UnicodeDecodeError where the file is
damaged and the message names a table in bytes that are not UTF-8.
"""


MIGRATIONS: dict[int, tuple[tuple[str, str], ...]] = {
    2: (
        ("run", "secret VARCHAR"),
        ("run", "given JSON"),
        ("ended", "rows BIGINT"),
        ("ended", "digest VARCHAR"),
        ("batches", "digest VARCHAR"),
    ),
    3: (),
    4: (
        ("drifts", '"before" FLOAT'),
        ("drifts", '"after" FLOAT'),
        ("line_models", "estimator VARCHAR NOT NULL DEFAULT ''"),
        ("line_models", "metrics JSON NOT NULL DEFAULT '{}'"),
        ("line_models", "parity JSON NOT NULL DEFAULT '{}'"),
        ("line_models", "rows JSON NOT NULL DEFAULT '{}'"),
        ("line_models", "profile JSON"),
        ("comparisons", "reference_line VARCHAR NOT NULL DEFAULT ''"),
        ("drifts", "reference_line VARCHAR NOT NULL DEFAULT ''"),
        ("decisions", "line VARCHAR NOT NULL DEFAULT ''"),
        ("decisions", "former_line VARCHAR NOT NULL DEFAULT ''"),
    ),
    5: (
        ("batches", "removed_at VARCHAR"),
        ("generations", "removed_at VARCHAR"),
        ("accounts", "posted_rows BIGINT NOT NULL DEFAULT '0'"),
        ("accounts", f"posted_chain BLOB NOT NULL DEFAULT X'{EMPTY_CHAIN.hex()}'"),
        ("accounts", "posted_pending BLOB NOT NULL DEFAULT X''"),
        ("accounts", "sent BIGINT"),
    ),
    6: (),
}
"""For each older version, the columns that the next one adds: the table, and the column. Tables that a version adds are
created as the current version has them.
"""


def migrate(connection: sa.Connection, version: int) -> None:
    """Migrate a catalog of an older version to the current one, in the transaction of ``connection``."""
    there = set(sa.inspect(connection).get_table_names())
    for older in range(version, SCHEMA_VERSION):
        for table, column in MIGRATIONS[older]:
            if table in there:
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
    metadata.create_all(connection)
    failpoint("catalog.migrating")
    update = sa.update(meta).where(meta.c.key == "schema_version")
    connection.execute(update.values(value=str(SCHEMA_VERSION)))


def recorded_version(path: Path) -> int | None:
    """The schema version of the catalog in the file ``path``; None where the file is missing or empty.

    Raises:
        CatalogError: it can't be read, is not a catalog, or has a version that this Tidemill does not know. The file is
            left unchanged.
    """
    if not path.exists() or path.stat().st_size == 0:
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size:  # SQLite would delete it
            raise CatalogError(f"the catalog {path} is missing or empty, but {wal.name} beside it is not", DAMAGED)
        return None
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            return schema_version(path, connection.execute)
    except UNUSABLE as error:
        raise unusable(path, error) from error


def schema_version(path: Path, execute: Callable[[str], Any]) -> int | None:
    """The schema version that ``execute``, which runs a statement on the open catalog, finds; None if it is empty.

    Raises:
        CatalogError: it has no version, or one that this Tidemill does not know.
    """
    tables = {name for (name,) in execute("SELECT name FROM sqlite_master").fetchall()}
    if not tables:
        return None
    version = execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall() if "meta" in tables else []
    if not version:
        raise CatalogError(f"{path} is not a Tidemill catalog: it has no schema version", DAMAGED)
    try:
        number = int(version[0][0])
    except (TypeError, ValueError) as error:
        raise CatalogError(f"the catalog {path} is damaged: {error}", DAMAGED) from error
    if number in (SCHEMA_VERSION, *MIGRATIONS):
        return number
    raise CatalogError(
        f"the catalog {path} has schema version {number}; this Tidemill knows version {SCHEMA_VERSION}",
        "use the Tidemill that started this run, another --run-dir, or --fresh to start over",
    )


def unusable(path: Path, error: sqlite3.DatabaseError | UnicodeDecodeError) -> CatalogError:
    """The error for a catalog that SQLite can't use, with a hint for its cause."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return CatalogError(f"the catalog {path} can't be used: {error}", HINTS.get(code, CHECK_DISK))
