"""What a model is asked with: a field for each of its inputs, made from what the API tells of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_CHOICES = 500  # of categories; more are asked for as text
MOST_WHOLE = 2**53 - 1  # the last whole number that a browser holds exactly
PLAIN: dict[str, Any] = {"int": 1, "float": 1.0, "string": "", "bool": True}


@dataclass(frozen=True)
class Field:
    """One value to be asked for.

    ``kind``: int, float, string, bool; of a route's field also json, whose value is any JSON. ``choices``: what the
    value may be, or as a rule is. ``step``: by how much a number goes up and down.
    """

    name: str
    label: str
    kind: str
    default: Any = None
    choices: tuple[str, ...] | None = None
    step: int | float | None = None
    help: str = ""
    required: bool = True


def fields(model: Mapping[str, Any]) -> list[Field]:
    """The fields of a model's document, in the model's order, with an example of the newest generation in each."""
    return [field(one) for one in model["inputs"]]


def field(one: Mapping[str, Any]) -> Field:
    """The field of one input: what training saw is shown, and other values can be given too."""
    kind, categories = one["kind"], one["categories"]
    return Field(
        name=one["name"],
        label=label(one),
        kind=kind,
        default=default(one),
        choices=tuple(categories) if categories and len(categories) <= MOST_CHOICES else None,
        step=step(one),
        help=seen(one),
    )


def label(one: Mapping[str, Any]) -> str:
    """What a column is called, with its unit: ``device age (months)``."""
    unit = one.get("unit")
    name: str = one.get("title") or one["name"]
    return f"{name} ({unit})" if unit else name


def default(one: Mapping[str, Any]) -> Any:
    example, kind = one["example"], one["kind"]
    if example is None:
        example = one["categories"][0] if one["categories"] else PLAIN[kind]
    if kind == "int":
        return max(-MOST_WHOLE, min(MOST_WHOLE, int(example)))
    return rounded(float(example), span(one)) if kind == "float" else example


def rounded(example: float, span: float) -> float:
    """An example with so few places after the point that one can take it in: four significant digits of itself, or of
    the range seen where that is smaller. What is before the point stays."""
    size = min(one for one in (abs(example), span) if one > 0) if example else 1.0
    return round(example, max(0, 3 - math.floor(math.log10(size)))) if math.isfinite(size) else example


def span(one: Mapping[str, Any]) -> float:
    """How wide the range is that training saw; 0 where it saw none."""
    least, most = one["minimum"], one["maximum"]
    return max(0.0, most - least) if least is not None and most is not None else 0.0


def step(one: Mapping[str, Any]) -> int | float | None:
    """1 for a whole number; of others about a hundredth of the range seen, as 1, 2 or 5 times a power of ten."""
    if one["kind"] == "int":
        return 1
    if one["kind"] != "float":
        return None
    return rounded_step(span(one) / 100) if span(one) else 0.1


def rounded_step(size: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is no smaller."""
    power = math.floor(math.log10(size))
    scale = next(factor for factor in (1, 2, 5, 10) if factor * 10.0**power >= size * (1 - 1e-9))
    return float(f"{scale}e{power}")


def seen(one: Mapping[str, Any]) -> str:
    """What training saw of an input: "Seen: 0.5 to 24 hours/day."."""
    if one["categories"]:
        count = len(one["categories"])
        return f"Seen: {count:,} different. Another may be typed." if count > 1 else "Seen: only this one."
    if one["minimum"] is None or one["kind"] == "bool":
        return ""
    unit = f" {one['unit']}" if one.get("unit") else ""
    return f"Seen: {one['minimum']:,.6g} to {one['maximum']:,.6g}{unit}."


def row(asked: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """The row of these values; a field left empty is left out, so that the API says what is missing."""
    return {one.name: typed(one, values[one.name]) for one in asked if values.get(one.name) is not None}


def typed(one: Field, value: Any) -> Any:
    if one.kind == "float":
        return float(value)
    return int(value) if one.kind == "int" else value
