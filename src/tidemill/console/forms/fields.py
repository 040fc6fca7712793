"""The fields of a model's form, made from the API's description of its inputs, and the names of columns. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tidemill.schemas import ColumnBody, InputBody, ModelBody, RatingScale

MOST_CHOICES = 500  # categories; more are typed in a text field
MOST_WHOLE = 2**53 - 1  # the largest whole number that a browser holds exactly
MOST_EXAMPLE_COLUMNS = 20
INDEX = "_index"  # what Streamlit calls the index of a table
PLAIN: dict[str, Any] = {"int": 1, "float": 1.0, "string": "", "bool": True, "timestamp": "2026-01-31T12:00:00Z"}


@dataclass(frozen=True)
class Field:
    """A value to fill in.

    ``kind``: int, float, string, timestamp or bool; for a route's parameter also json, any JSON value. ``choices``: the
    usual values. ``step``: how far a number's buttons move it.
    """

    name: str
    label: str
    kind: str
    default: Any = None
    choices: tuple[str, ...] | None = None
    step: int | float | None = None
    help: str = ""
    required: bool = True


def model_fields(inputs: Sequence[InputBody]) -> list[Field]:
    """A field for each input of a model, in the model's order, filled in with an example of the newest generation."""
    return [field(column) for column in inputs]


def field(column: InputBody) -> Field:
    """The field of one input. It shows the values of training, and accepts others too."""
    categories = column.categories
    return Field(
        name=column.name,
        label=label(column),
        kind=column.kind,
        default=default(column),
        choices=tuple(categories) if categories and len(categories) <= MOST_CHOICES else None,
        step=step(column),
        help=seen(column),
    )


def default(column: InputBody) -> Any:
    example = column.example
    if example is None:
        example = column.categories[0] if column.categories else PLAIN[column.kind]
    if column.kind == "int":
        return max(-MOST_WHOLE, min(MOST_WHOLE, int(example)))
    return rounded(float(example), input_range(column)) if column.kind == "float" else example


def rounded(example: float, width: float) -> float:
    """An example in readable precision: four significant digits of itself or of the range seen, whichever is smaller.
    All digits before the point stay."""
    size = min(value for value in (abs(example), width) if value > 0) if example else 1.0
    return round(example, max(0, 3 - math.floor(math.log10(size)))) if math.isfinite(size) else example


def input_range(column: InputBody) -> float:
    """The width of the input's range in training; 0 if it has none."""
    least, most = column.minimum, column.maximum
    return max(0.0, most - least) if least is not None and most is not None else 0.0


def step(column: InputBody) -> int | float | None:
    """1 for a whole number; for others about a hundredth of the range seen."""
    if column.kind == "int":
        return 1
    if column.kind != "float":
        return None
    width = input_range(column)
    return round_step(width / 100) if width else 0.1


def round_step(size: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is at least ``size``."""
    power = math.floor(math.log10(size))
    scale = next(factor for factor in (1, 2, 5, 10) if factor * 10.0**power >= size * (1 - 1e-9))
    return float(f"{scale}e{power}")


def seen(column: InputBody) -> str:
    """The values of an input in training, ``Seen: 0.5 to 24 hours/day.``, or the features that are made of it."""
    if column.features:
        form = "An ISO 8601 timestamp. " if column.kind == "timestamp" else ""
        return f"{form}The model takes {', '.join(column.features)}."
    if column.categories:
        count = len(column.categories)
        return f"Seen: {count:,} different values. You can type another." if count > 1 else "Seen: only this value."
    if column.minimum is None or column.kind == "bool":
        return ""
    unit = f" {column.unit}" if column.unit else ""
    return f"Seen: {column.minimum:,.6g} to {column.maximum:,.6g}{unit}."


def row(fields: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """The row of these values. An empty field is left out, so that the API's error names it."""
    return {field.name: typed(field, values[field.name]) for field in fields if values.get(field.name) is not None}


def typed(field: Field, value: Any) -> Any:
    if field.kind == "float":
        return float(value)
    return int(value) if field.kind == "int" else value


def example(model: ModelBody, name: Literal["user", "item", "text", "key"]) -> str:
    """The API's example of a request to a model; empty if it has none."""
    value = getattr(model.examples, name, None)
    return "" if value is None else str(value)


# --- names of columns -----------------------------------------------------------------------------------------------


def label(column: InputBody | ColumnBody) -> str:
    """A column's title, or its name, with its unit: ``device age (months)``."""
    name = column.title or column.name
    return f"{name} ({column.unit})" if column.unit else name


def column_title(columns: Sequence[ColumnBody], name: str) -> str:
    """The title of the pipeline's column, or its name, without the unit."""
    return next((column.title for column in columns if column.name == name and column.title), name)


def column_unit(columns: Sequence[ColumnBody], name: str | None) -> str | None:
    """The unit of the pipeline's column, if it has one."""
    return next((column.unit for column in columns if column.name == name), None)


def example_row(columns: Sequence[ColumnBody]) -> dict[str, Any]:
    """A row that fits the columns; of many columns without those that may be missing."""
    asked = [column for column in columns if not column.optional or len(columns) <= MOST_EXAMPLE_COLUMNS]
    return {column.name: PLAIN[column.kind] for column in asked}


def column_labels(columns: Sequence[ColumnBody], own: Collection[str] = ()) -> dict[str, str]:
    """The labels of the pipeline's columns by their keys in a table that has the keys ``own`` too."""
    return {column_key(column.name, own): label(column) for column in columns}


def column_key(name: str, own: Collection[str]) -> str:
    """The key of a pipeline's column in a table that has the keys ``own`` too; another one than Streamlit's own."""
    return f"column {name}" if name in own or name == INDEX else name


def distinct_labels(columns: Sequence[ColumnBody], own: Collection[str] = ()) -> dict[str, str]:
    """The labels of the columns by their names; those that are equal, or one of ``own``, have the names in brackets."""
    labels = {column.name: label(column) for column in columns}
    counts = Counter(labels.values())
    return {name: f"{text} [{name}]" if counts[text] > 1 or text in own else text for name, text in labels.items()}


# --- ratings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RatingSlider:
    """The ends and the step of the slider for one rating, and where it starts."""

    minimum: float
    maximum: float
    step: float
    start: float


def rating_slider(scale: RatingScale, whole: bool) -> RatingSlider | None:
    """The slider for ratings on the model's own scale; None if the scale is a single value.

    The step is 1 for a column of whole numbers, else 0.5 where that fits the scale, else about a hundredth of it. The
    slider starts near four fifths of the scale, as people add titles that they like.
    """
    width = scale.maximum - scale.minimum
    if width <= 0:
        return None
    halves = width <= 10 and (2 * scale.minimum).is_integer() and (2 * scale.maximum).is_integer()
    step = 1.0 if whole else 0.5 if halves else round_step(width / 100)
    start = scale.minimum + step * round(0.8 * width / step)
    return RatingSlider(scale.minimum, scale.maximum, step, min(start, scale.maximum))
