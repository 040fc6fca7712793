"""The declared columns of a source or a side table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from tidemill.pipeline.text_settings import Ambiguous
from tidemill.types import COLUMN_KINDS, COLUMN_TYPES, ColumnKind, as_moment

if TYPE_CHECKING:
    import pyarrow as pa


class Cleaning(NamedTuple):
    """The steps that clean a column's text before it is typed, in this order.

    Attributes:
        strip: texts that are removed wherever they occur.
        missing: values that count as missing: exact texts, or numbers in any notation.
        format: the format of a timestamp.
        default: the value in place of a missing one.
        missing_in_source: those that count as missing in every column of the source.
        decimal: the decimal sign of numbers; None is a point.
        thousands: the sign between groups of three digits; None where there is none. A blank stands for any blank.
        true: the words for true, in upper or lower case; None are the usual ones. ``false``: those for false.
        timezone: the zone of timestamps without one; None is UTC.
        ambiguous: which of two moments a local time is that occurs twice; None where it does not fit.
    """

    strip: tuple[str, ...] = ()
    missing: tuple[str | int | float, ...] = ()
    format: str | None = None
    default: str | int | float | bool | None = None
    missing_in_source: tuple[str | int | float, ...] = ()
    decimal: str | None = None
    thousands: str | None = None
    true: tuple[str, ...] | None = None
    false: tuple[str, ...] | None = None
    timezone: str | None = None
    ambiguous: Ambiguous | None = None

    @property
    def all_missing(self) -> tuple[str | int | float, ...]:
        return (*self.missing, *self.missing_in_source)

    def typed(self) -> Cleaning:
        """The part that applies to values that have a type already, not to how text is written."""
        return Cleaning(
            missing=self.missing, default=self.default, missing_in_source=self.missing_in_source, format=self.format
        )


class Column(NamedTuple):
    """A declared column. ``optional``: values may be missing (``"int?"``). ``unit``, ``title`` and ``note`` are for
    people. ``given_name``: its name in the data; None where it is ``name``."""

    name: str
    kind: ColumnKind
    optional: bool
    cleaning: Cleaning = Cleaning()
    unit: str | None = None
    title: str | None = None
    given_name: str | None = None
    note: str | None = None

    @property
    def name_in_data(self) -> str:
        return self.given_name or self.name

    @property
    def zone(self) -> str:
        """The time zone of a timestamp's calendar, in which its hour and weekday count."""
        return self.cleaning.timezone or "UTC"

    def moment(self, value: object) -> datetime:
        """The moment that a value of a request or a message stands for; a text without a zone is in the column's.

        Raises:
            ValueError: it stands for none.
        """
        return as_moment(value, UTC if self.cleaning.timezone is None else ZoneInfo(self.zone), self.cleaning.ambiguous)

    @property
    def may_lack(self) -> bool:
        """Whether the data may lack this column."""
        return self.optional or self.cleaning.default is not None


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema that the declared columns have in memory and in batch files."""
    import pyarrow as pa

    fields = [pa.field(column.name, COLUMN_TYPES[column.kind].arrow, nullable=column.optional) for column in columns]
    return pa.schema(fields)


def column_type(value: str) -> str:
    """``value`` if it is a declared type, such as ``"int"`` or ``"int?"``.

    Raises:
        ValueError: it is none; the text says what is expected.
    """
    if value.removesuffix("?") not in COLUMN_TYPES:
        raise ValueError(f'one of {", ".join(COLUMN_KINDS)}, with "?" where it may be missing')
    return value


def column_table(value: object) -> object:
    """The table of a column that is declared by its type alone."""
    return {"type": column_type(value)} if isinstance(value, str) else value


DeclaredType = Annotated[str, AfterValidator(column_type)]
