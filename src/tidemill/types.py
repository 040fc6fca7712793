"""The five column types. All properties of a type are one entry of :data:`COLUMN_TYPES`.

How whole columns of a source are converted to a type is in ``sources/conversions.py``; nothing else depends on the type
alone. Neither Arrow nor Polars is imported with this module, so that commands that read no rows start quickly.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic_core import core_schema

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["int", "float", "string", "bool", "timestamp"]
COLUMN_KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)

JSON_TIMESTAMP = "%Y-%m-%dT%H:%M:%S%.6fZ"  # how Tidemill writes a timestamp in JSON, for Polars' strftime
LEAST_INT, MOST_INT = -(2**63), 2**63 - 1
MOST_EXACT = 2**53 - 1  # up to here no two whole numbers have the same float64; beyond, a float may be a rounded one

WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,19})(\.0+)?")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class ColumnType:
    """One column type.

    Attributes:
        description: the kind of value, for messages: ``... is 'abc', not a whole number of 64 bits``.
        arrow_factory: the name of pyarrow's factory of its type, and that factory's arguments.
        is_json: whether a JSON value of a message is one of this type.
        json_text: whether JSON has no such values, so that it writes them as texts.
        to_message: the JSON value of a message in the one notation that Arrow's JSON reader takes.
        json_factory: as ``arrow_factory``, of the type that Arrow's JSON reader gives; by default the same.
        is_toml: whether a value of the pipeline file is one of this type.
        from_toml: that value in Python's own type.
        from_json: the value that a JSON value of a request stands for; ValueError where it stands for none.
        from_text: the same for a text of a path, a query or a form.
        json_schema: the type in JSON Schema.
        example: a JSON value of the type.
        strict: pydantic's strict check of an input of a model.
        duckdb: the name of its constant in ``duckdb.sqltypes``.
        spark: the name of its class in ``pyspark.sql.types``.
    """

    description: str
    arrow_factory: tuple[str, ...]
    is_json: Callable[[Any], bool]
    json_text: bool
    to_message: Callable[[Any], Any]
    is_toml: Callable[[object], bool]
    from_toml: Callable[[Any], Any]
    from_json: Callable[[Any], Any]
    from_text: Callable[[str], Any]
    json_schema: Mapping[str, Any]
    example: Any
    strict: core_schema.CoreSchema
    duckdb: str
    spark: str
    json_factory: tuple[str, ...] | None = None

    @cached_property
    def arrow(self) -> pa.DataType:
        """The Arrow type that values have in memory and in batch files."""
        return arrow_type(self.arrow_factory)

    @cached_property
    def json_arrow(self) -> pa.DataType:
        """The Arrow type as which values are read from the JSON of messages; they are cast to ``arrow`` then."""
        return arrow_type(self.json_factory or self.arrow_factory)


def arrow_type(factory: tuple[str, ...]) -> pa.DataType:
    import pyarrow as pa

    name, *arguments = factory
    return getattr(pa, name)(*arguments)


def utc_moment(text: str, zone: tzinfo = UTC, ambiguous: str | None = None) -> datetime:
    """An ISO 8601 timestamp, converted to UTC; one without a zone is in ``zone``.

    Args:
        ambiguous: ``earliest`` or ``latest``: which moment a local time is that occurs twice; None where it is none.

    Raises:
        ValueError: it is not such a timestamp, no single moment in the zone, or beyond the years 1 to 9999 in UTC.
    """
    moment = datetime.fromisoformat(text)
    try:
        if moment.tzinfo is None:
            fault = local_time_fault(moment, zone)
            if fault == NOT_THERE or (fault and ambiguous is None):
                raise ValueError(fault)
            moment = moment.replace(tzinfo=zone, fold=int(ambiguous == "latest"))
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the calendar") from None


def iso(moment: datetime, timespec: str = "auto") -> str:
    """A moment of UTC as ISO 8601, with ``Z`` for its zone; ``timespec`` as in :meth:`datetime.isoformat`."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


NOT_THERE, TWICE = "does not exist", "occurs twice"


def local_time_fault(local: datetime, zone: tzinfo) -> str:
    """Why a local time is not one moment in ``zone``; empty where it is one."""
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return ""
    exists = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == local.replace(tzinfo=None)
    return TWICE if exists else NOT_THERE


def as_moment(value: object, zone: tzinfo = UTC, ambiguous: str | None = None) -> datetime:
    """The moment that an input of a model stands for: an ISO 8601 timestamp, as in :func:`utc_moment`, or a moment.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str):
        raise ValueError("not a text")
    return utc_moment(value, zone, ambiguous)


def is_moment(text: object) -> bool:
    """Whether :func:`utc_moment` reads it."""
    try:
        return isinstance(text, str) and bool(utc_moment(text))
    except ValueError:
        return False


def is_instant(text: str) -> bool:
    """Whether Arrow reads it as an ISO 8601 timestamp with a zone."""
    import pyarrow as pa

    try:
        pa.scalar(text).cast(COLUMN_TYPES["timestamp"].arrow)
    except pa.ArrowInvalid:
        return False
    return True


def with_zone(text: str) -> str:
    """A timestamp with its zone; one without a zone is in UTC."""
    return text if is_instant(text) else f"{text}Z"


def is_timestamp(text: object) -> bool:
    """Whether it is a text that Arrow reads as an ISO 8601 timestamp; the zone may be left out."""
    return isinstance(text, str) and (is_instant(text) or is_instant(f"{text}Z"))


def is_int(value: object) -> bool:
    """Whether it is a whole number of 64 bits. A float such as 3.0 is one, up to ``MOST_EXACT``."""
    if isinstance(value, float):
        return value.is_integer() and -MOST_EXACT <= value <= MOST_EXACT
    return isinstance(value, int) and not isinstance(value, bool) and LEAST_INT <= value <= MOST_INT


def whole(value: object) -> object:
    """A float that is a whole number (see :func:`is_int`) as an int; any other value itself."""
    return int(value) if isinstance(value, float) and is_int(value) else value


def is_float(value: object) -> bool:
    """Whether it is a finite number; a whole one counts."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def is_string(value: object) -> bool:
    return isinstance(value, str)


def is_bool(value: object) -> bool:
    return isinstance(value, bool)


def value_if(fits: Callable[[object], bool], convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A converter of the values that fit; it raises ValueError for the others."""

    def converted(value: Any) -> Any:
        if not fits(value):
            raise ValueError("not of this type")
        return convert(value)

    return converted


def int_from_text(text: str) -> int:
    """The whole number that a text such as ``3`` or ``3.0`` stands for.

    Raises:
        ValueError: it stands for none of 64 bits.
    """
    notation = WHOLE_NUMBER.fullmatch(text)
    if not notation or not is_int(int(notation[1])):
        raise ValueError("not a whole number of 64 bits")
    return int(notation[1])


def float_from_text(text: str) -> float:
    if not NUMBER.fullmatch(text) or not is_float(float(text)):
        raise ValueError("not a finite number")
    return float(text)


def bool_from_text(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text == "true"


COLUMN_TYPES: Mapping[str, ColumnType] = {
    "int": ColumnType(
        description="a whole number of 64 bits",
        arrow_factory=("int64",),
        is_json=is_int,
        json_text=False,
        to_message=int,
        is_toml=is_int,
        from_toml=int,
        from_json=value_if(is_int, int),
        from_text=int_from_text,
        json_schema={"type": "integer", "minimum": LEAST_INT, "maximum": MOST_INT},
        example=1,
        strict=core_schema.no_info_before_validator_function(
            whole, core_schema.int_schema(strict=True, ge=LEAST_INT, le=MOST_INT)
        ),
        duckdb="BIGINT",
        spark="LongType",
    ),
    "float": ColumnType(
        description="a finite number",
        arrow_factory=("float64",),
        is_json=is_float,
        json_text=False,
        to_message=float,
        is_toml=is_float,
        from_toml=float,
        from_json=value_if(is_float, float),
        from_text=float_from_text,
        json_schema={"type": "number"},
        example=1.5,
        strict=core_schema.float_schema(strict=True, allow_inf_nan=False),
        duckdb="DOUBLE",
        spark="DoubleType",
    ),
    "string": ColumnType(
        description="a string",
        arrow_factory=("string",),
        is_json=is_string,
        json_text=False,
        to_message=str,
        is_toml=is_string,
        from_toml=str,
        from_json=value_if(is_string, str),
        from_text=str,
        json_schema={"type": "string"},
        example="text",
        strict=core_schema.str_schema(strict=True),
        duckdb="VARCHAR",
        spark="StringType",
    ),
    "bool": ColumnType(
        description="true or false",
        arrow_factory=("bool_",),
        is_json=is_bool,
        json_text=False,
        to_message=bool,
        is_toml=is_bool,
        from_toml=bool,
        from_json=value_if(is_bool, bool),
        from_text=bool_from_text,
        json_schema={"type": "boolean"},
        example=True,
        strict=core_schema.bool_schema(strict=True),
        duckdb="BOOLEAN",
        spark="BooleanType",
    ),
    "timestamp": ColumnType(
        description="a timestamp (ISO 8601)",
        arrow_factory=("timestamp", "us", "UTC"),
        is_json=is_timestamp,
        json_text=True,
        to_message=with_zone,
        is_toml=is_moment,
        from_toml=utc_moment,
        from_json=value_if(is_string, utc_moment),
        from_text=utc_moment,
        json_schema={"type": "string", "format": "date-time"},
        example="2026-01-31T12:00:00Z",
        strict=core_schema.no_info_plain_validator_function(as_moment),
        duckdb="TIMESTAMP_TZ",
        spark="TimestampType",
    ),
}


def may_be_feature(kind: str) -> bool:
    """Whether a model may take a column of the type ``kind`` as it is; also so for a type that does not exist."""
    return kind != "timestamp"


def toml_fits(value: object, kind: str) -> bool:
    """Whether a value of the pipeline file is of the type ``kind``; any value fits a type that does not exist."""
    return kind not in COLUMN_TYPES or COLUMN_TYPES[kind].is_toml(value)
