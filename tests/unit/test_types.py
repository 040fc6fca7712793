"""The five column types: one entry of one table says all that is known of each."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pydantic_core import SchemaValidator

from tidemill.pipeline import Column, arrow_schema
from tidemill.sources.conversions import CONVERSIONS
from tidemill.types import COLUMN_KINDS, COLUMN_TYPES, may_be_feature, toml_fits

VALUES: dict[str, Any] = {"int": 1, "float": 0.5, "string": "x", "bool": True, "timestamp": "2026-01-31T12:00:00Z"}
NOT_A_TYPE = "date"


def test_each_type_has_one_entry_and_one_conversion() -> None:
    """The names of the types, the table of the types and the conversions of sources agree."""
    assert tuple(COLUMN_TYPES) == tuple(CONVERSIONS) == COLUMN_KINDS


@pytest.mark.parametrize("kind", COLUMN_KINDS)
def test_an_example_is_of_its_type_everywhere(kind: str) -> None:
    """Messages, pipeline files, requests, models' features and DuckDB take the type's own example."""
    column_type = COLUMN_TYPES[kind]
    assert column_type.is_json(column_type.example)
    assert column_type.is_toml(column_type.example)
    assert column_type.from_json(column_type.example) is not None
    assert getattr(duckdb.sqltypes, column_type.duckdb)
    if column_type.strict is not None:
        validated = SchemaValidator(column_type.strict).validate_python(column_type.example)
        assert validated == column_type.from_json(column_type.example)


@pytest.mark.parametrize("kind", COLUMN_KINDS)
@pytest.mark.parametrize("other", COLUMN_KINDS)
def test_no_type_takes_a_value_of_another(kind: str, other: str) -> None:
    """Only a float takes a whole number, and only a string the text of a timestamp."""
    allowed = kind == other or (kind, other) in {("float", "int"), ("string", "timestamp")}
    assert COLUMN_TYPES[kind].is_json(VALUES[other]) is allowed
    assert COLUMN_TYPES[kind].is_toml(VALUES[other]) is allowed


@pytest.mark.parametrize("kind", COLUMN_KINDS)
def test_arrow_types_resemble_their_own_type_only(kind: str) -> None:
    """The Arrow type of each column type is converted as it is, and is nearest to that type."""
    arrow = COLUMN_TYPES[kind].arrow
    assert CONVERSIONS[kind].accepts(arrow)
    assert [name for name, conversion in CONVERSIONS.items() if conversion.resembles(arrow)] == [kind]


def test_the_schema_of_declared_columns() -> None:
    """Optional columns are nullable, and timestamps are microseconds in UTC."""
    schema = arrow_schema([Column("id", "int", False), Column("at", "timestamp", True)])
    assert schema == pa.schema(
        [pa.field("id", pa.int64(), nullable=False), pa.field("at", pa.timestamp("us", tz="UTC"), nullable=True)]
    )


def test_moments_come_out_in_utc() -> None:
    """A zone is converted, and a missing one is UTC."""
    read = COLUMN_TYPES["timestamp"].from_text
    assert read("2026-01-31T13:00:00+01:00") == read("2026-01-31T12:00:00") == read("2026-01-31 12:00:00Z")
    assert isinstance(read("2026-01-31"), datetime)


def test_a_type_that_does_not_exist_is_no_second_fault() -> None:
    """An unknown type is reported once, where it is declared: its default and its use are not judged."""
    assert toml_fits(7, NOT_A_TYPE)
    assert may_be_feature(NOT_A_TYPE)
    assert not may_be_feature("timestamp")


def test_commands_start_without_arrow() -> None:
    """The command line and the column types load neither Arrow nor Polars nor DuckDB: that takes a moment."""
    modules = "tidemill.cli.run_commands, tidemill.cli.run_options"
    code = f"import sys, {modules}; print({{'pyarrow', 'polars', 'duckdb'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
