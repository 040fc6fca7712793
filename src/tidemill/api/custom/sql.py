"""Read-only SQL by DuckDB over a generation's rows, each model's prediction as a column, and the side tables.

DuckDB queries the Arrow tables without a copy. A query can reach nothing else: no file, no network, no setting. It is
one SELECT (see ``checks``), its parameters are bound, and it is interrupted at the time limit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.value.constant import Value

from tidemill.errors import QueryError, TidemillError, TimeLimit, TooManyRows
from tidemill.run.catalog import Batch, Generation
from tidemill.scoring import ROW_KINDS, SCORERS, RowScorer, Scorer
from tidemill.texts import shorten
from tidemill.types import COLUMN_TYPES, iso

ROWS, BATCH = "rows", "batch"
MEMORY = "1GB"  # for a query; the tables do not count
CHUNK = 65_536  # rows scored at a time
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": MEMORY,
    "temp_directory": "",
}
LOCKS = ("SET TimeZone = 'UTC'", "SET enable_external_access = false", "SET lock_configuration = true")

Tables = Mapping[str, pa.Table]


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that can't reach anything outside, and whose settings can't be changed."""
    connection = duckdb.connect(":memory:", config=SETTINGS)
    for statement in LOCKS:
        connection.execute(statement)
    return connection


def prediction_type(estimator: str, label: str) -> pa.DataType | None:
    """The type of an estimator's predictions, for a label of this type; None if it does not predict for a row."""
    kind = SCORERS[estimator].kind if estimator in SCORERS else None
    if kind not in ROW_KINDS:
        return None
    return {"clustering": pa.int64(), "regression": pa.float64()}.get(kind, COLUMN_TYPES[label].arrow)


def with_predictions(
    rows: pa.Table, batches: list[Batch], scorers: Mapping[str, Scorer], types: Mapping[str, pa.DataType]
) -> pa.Table:
    """The table ``rows`` of SQL routes: the declared columns, ``batch``, and a column for each model that predicts.

    Args:
        rows: all rows of ``batches``, in order.
    """
    numbers = np.repeat([batch.batch for batch in batches], [batch.rows for batch in batches]).astype(np.int64)
    table = rows.append_column(BATCH, pa.array(numbers))
    for name, kind in types.items():
        scorer = scorers[name]
        assert isinstance(scorer, RowScorer), "its kind says so"
        table = table.append_column(name, predicted(scorer, rows, kind))
    return table


def predicted(scorer: RowScorer, rows: pa.Table, kind: pa.DataType) -> pa.ChunkedArray:
    """A model's prediction for each row, computed in chunks to bound the memory for features."""
    pieces = [scorer.column(rows.slice(start, CHUNK)).cast(kind) for start in range(0, len(rows), CHUNK)]
    return pa.chunked_array(pieces, type=kind)


def batches_of(generation: Generation, sealed: list[Batch]) -> list[Batch]:
    numbers = set(generation.batches)
    return [batch for batch in sealed if batch.batch in numbers]


def bound(kind: str, value: Any) -> Value | None:
    """A parameter's value as a DuckDB value of its declared type."""
    return None if value is None else Value(value, getattr(duckdb.sqltypes, COLUMN_TYPES[kind].duckdb))


class Result(NamedTuple):
    """The rows of an answer as plain values, in the order of ``columns``."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class Cursor:
    """Runs one query at a time. Another thread may interrupt it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: Tables) -> None:
        self._cursor = connection.cursor()
        for name, table in tables.items():
            self._cursor.register(name, table)  # only this cursor sees the registered tables
        self._given_up = False
        self._closed = False
        self._lock = threading.Lock()  # a closed cursor must not be interrupted

    def relation(self, sql: str, parameters: Mapping[str, Value | None]) -> duckdb.DuckDBPyRelation:
        """The query's result as a relation, which is not computed yet."""
        return self._cursor.sql(sql, params=dict(parameters))

    def fetch(self, sql: str, parameters: Mapping[str, Value | None], row_limit: int) -> Result:
        """The rows of the answer.

        Raises:
            TooManyRows: there are more than ``row_limit``.
            TimeLimit: the query was given up meanwhile.
            QueryError: it fails with these parameters, or JSON can't hold its result.
        """
        try:
            relation = self.relation(sql, parameters)
            columns = relation.columns
            table = relation.limit(row_limit + 1).to_arrow_table()
        except duckdb.InterruptException:
            raise too_long() from None
        except duckdb.OutOfMemoryException as error:
            raise QueryError(f"the query needs more than {MEMORY} of memory", "ask for less") from error
        except duckdb.Error as error:
            if self._given_up:
                raise too_long() from None
            raise QueryError(message_of(error), "check that the parameters fit") from error
        if len(table) > row_limit:
            raise TooManyRows(
                f"the answer has more than {row_limit} rows", "ask for less, or raise row_limit in [serve]"
            )
        return Result(columns, plain_rows(table))

    def give_up(self) -> None:
        """Interrupt the query. A call before the query begins has no effect, so repeat it until the query has ended."""
        with self._lock:
            self._given_up = True
            if not self._closed:
                self._cursor.interrupt()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._cursor.close()


class Database:
    """The tables of one generation, for concurrent queries from many threads."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._connection = connect()

    def cursor(self) -> Cursor:
        return Cursor(self._connection, self.tables)


def too_long() -> TidemillError:
    return TimeLimit("the query took longer than this API allows", "ask for less, or raise time_limit in [serve]")


def message_of(error: duckdb.Error) -> str:
    """DuckDB's message, without the text of the query."""
    message = str(error).partition("\n\nLINE ")[0]
    return shorten(" ".join(message.split()), 300)[1:-1]


def plain_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows as values that JSON can hold.

    Raises:
        QueryError: JSON can't hold a value, or a date is out of range.
    """
    try:
        columns = [[plain(value) for value in column.to_pylist(maps_as_pydicts="lossy")] for column in table.columns]
    except (TypeError, ValueError, OverflowError) as error:
        raise QueryError(f"a value of the answer is beyond JSON: {error}", "cast it in the SQL") from error
    return list(zip(*columns, strict=True))


def plain(value: Any) -> Any:
    """A value of Arrow's as JSON has it: a decimal is a number; NaN and infinity are null."""
    if isinstance(value, Decimal):
        integral = value == value.to_integral_value() and abs(value) < 2**63
        return int(value) if integral else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {plain_key(key): plain(element) for key, element in value.items()}
    return value


def plain_key(key: Any) -> str:
    """A value as the key of a JSON object."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, datetime):
        return iso(key)
    return str(plain(key))
