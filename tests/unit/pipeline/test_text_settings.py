"""The settings of how text is written: what they may be, and what contradicts another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.pipeline.test_pipeline_file import faults, pipeline
from tidemill.pipeline import Cleaning, Pipeline


@pytest.mark.parametrize(
    ("assignment", "fault"),
    [
        ("source.encoding='winodws-1252'", 'expected an encoding, such as "utf-8", "utf-16" or "windows-1252"; did you'
         ' mean "windows-1252"?'),
        ("source.encoding='base64'", "source.encoding: found 'base64'; expected an encoding"),
        ("source.delimiter='ab'", "expected one character that is neither a quote nor a line end"),
        ("source.delimiter='\"'", "source.delimiter: found '\"'; expected one character"),
        ("source.escape='N'", "source.escape: found 'N'; expected one sign"),
        ("source.quote='qq'", "source.quote: found 'qq'; expected one sign"),
        ("source.quote=','", "source.quote: found the delimiter; expected another character"),
        ("source.skip=-1", "source.skip: found -1; expected 0 or more"),
        ("source.format='xml'", "source.format: found 'xml'; expected one of 'csv', 'jsonl', 'json' or 'parquet'"),
        ("source.thousands='.'", 'source.thousands: found ".", which is the decimal sign; expected another sign'),
        ("source.decimal=';'", "source.decimal: found ';'; expected one of '.' or ','"),
        ("source.timezone='Europe/Amstrdam'", 'expected an IANA time zone, such as "Europe/Amsterdam"; did you mean '
         '"Europe/Amsterdam"?'),
        ("source.ambiguous='latest'", "source.ambiguous: found 'latest'; expected none without timezone"),
        ("source.true=['0']", "source.true: found '0', which stands for true and for false; expected one of them"),
        ("source.false=['Ja', 'TRUE']", "source.false: found 'TRUE', which stands for true and for false"),
        ("source.true=[]", "source.true: found []; expected at least 1 entry"),
        ("source.columns.x={type='float', timezone='UTC'}", "source.columns.x.timezone: found 'UTC'; expected none: the"
         " column is float, not timestamp"),
        ("source.columns.at={type='timestamp', decimal=','}", "expected none: the column is timestamp, not int or"),
        ("source.columns.at={type='timestamp', format='%d %H'}", 'or "epoch", "epoch_ms", "epoch_us"'),
        ("source.columns.x={type='float', decimal=',', thousands=','}", "source.columns.x.thousands: found"),
    ],
)  # fmt: skip
def test_faults_of_settings(assignment: str, fault: str) -> None:
    """A setting that does not exist, or contradicts another, is a fault with the way out."""
    assert [fault in found for found in faults(assignment)] == [True]


@pytest.mark.parametrize(
    ("assignments", "fault"),
    [
        (["source.delimiter='blanks'", r"source.escape='\\'"], 'source.escape: found'),
        (["source.delimiter=' '", "source.trim=true"], 'expected delimiter = "blanks"'),
        (["source.delimiter='~'", "source.escape='~'"], "source.escape: found the delimiter"),
        (["source.quote='~'", "source.escape='~'"], "source.quote: found the escape"),
        (["source.decimal=','", "source.columns.x={type='float', thousands=','}"], "which is the decimal sign"),
        (["source.true=['A']", "source.columns.x={type='bool', false=['a']}"], "source.columns.x.false: found 'a'"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(assignments: list[str], fault: str) -> None:
    """Two settings of which each makes the other void are one fault."""
    assert [fault in found for found in faults(*assignments)] == [True]


def test_a_columns_cleaning_has_what_is_for_its_type() -> None:
    """The source's settings reach the columns of their types alone; a column's own precede them."""
    settings: dict[str, Any] = {
        "decimal": ",",
        "thousands": "'",
        "true": ["J"],
        "false": ["N"],
        "timezone": "Europe/Rome",
    }
    tiny = pipeline(
        *(f"source.{key}={json.dumps(value)}" for key, value in settings.items()),
        "source.columns.at={type='timestamp', timezone='UTC'}",
    )
    assert [column.cleaning for column in tiny.source.schema_] == [
        Cleaning(decimal=",", thousands="'"),
        Cleaning(decimal=",", thousands="'"),
        Cleaning(),
        Cleaning(timezone="UTC"),
    ]
    assert Pipeline.recorded(tiny.document()) == tiny
