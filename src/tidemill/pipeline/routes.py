"""The routes that a pipeline declares: what they do, what they take, how they answer.

A route either asks a model (``model``, with what it ``does``) or the generation's rows (``sql``). Where the client puts
a value follows from the route: in the path, if the path names it; else in the query of a GET; else in the body of a
POST.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from tidemill.pipeline.columns import ColumnType
from tidemill.pipeline.part import Part, Plain

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
MOST_BYTES = 4_096  # of a text that a SQL route is given, in UTF-8: what a query does with it may take its square
GENERATION = "generation"  # a name that a path may have in every route


class Action(NamedTuple):
    """What a route does with a model.

    ``method`` unless the route says another; ``inputs``: what it takes, beside the features of a row; ``parts``: what
    an answer can be made of; ``features``: whether it takes a row by its features.
    """

    method: Literal["GET", "POST"]
    inputs: tuple[str, ...]
    parts: tuple[str, ...]
    features: bool = False


COMMON = ("generation", "model")
PREDICTION = ("prediction", "probability", "probabilities", "label", "centre", "distance", "unseen")
ACTIONS: dict[str, Action] = {
    "predict": Action("POST", ("row",), (*PREDICTION, *COMMON), features=True),
    "row": Action("GET", ("key", "limit"), (*PREDICTION, "row", "rows", "key", *COMMON)),
    "profile": Action("GET", (), ("clusters", *COMMON)),
    "similar": Action("POST", ("row", "text", "key", "item", "top"), ("items", "unknown", *COMMON), features=True),
    "recommend": Action("POST", ("ratings", "user", "top"), ("items", "unknown", "outside", *COMMON)),
}
SQL_PARTS = ("rows", "row", "value", "list", "object", "generation")


def input_table(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def param_table(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class Input(Part):
    """The client's name for something that a route takes, and what holds where the client leaves it out."""

    name: Annotated[str, Field(min_length=1)]
    default: Plain = None


class Param(Part):
    """A parameter of a SQL route, always bound by DuckDB, never pasted into the text. ``example`` is for the docs."""

    type: ColumnType
    default: Plain = None
    example: Plain = None

    @property
    def kind(self) -> str:
        return self.type.removesuffix("?")

    @property
    def required(self) -> bool:
        return self.default is None and not self.type.endswith("?")


class Constant(Part):
    """A part of an answer that is always the same."""

    value: Any


Answer = str | dict[str, str | Constant] | None


def answer_parts(value: object) -> Answer:
    """One part's name; or keys, each with a part's name or ``{ value = ... }``."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, dict) or not value:
        raise ValueError("the name of a part, or a table of keys and parts")
    return {str(key): part_of(part) for key, part in value.items()}


def part_of(value: object) -> str | Constant:
    if isinstance(value, (str, Constant)):
        return value
    if not isinstance(value, dict) or set(value) != {"value"}:
        raise ValueError('in each key the name of a part, or a constant such as { value = "found" }')
    return Constant(value=value["value"])


class Route(Part):
    """An endpoint of the user's own.

    ``inputs`` gives the client's names for what the action takes (its own names where it is left out). ``answer``: one
    part, answered bare, or keys and what each holds; nothing: the standard answer. ``items``: the keys of each item of
    a list of rows, and the column (or ``distance``, ``similarity``, ``score``, ``item``) that each holds.
    """

    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_\-./{}]*$")]
    method: Literal["GET", "POST"] | None = None
    description: str = ""
    model: str | None = None
    does: Literal["predict", "row", "profile", "similar", "recommend"] = "predict"
    sql: str | None = None
    body: Literal["json", "form"] = "json"
    inputs: dict[str, Annotated[Input, BeforeValidator(input_table)]] = Field(default_factory=dict)
    params: dict[str, Annotated[Param, BeforeValidator(param_table)]] = Field(default_factory=dict)
    answer: Annotated[Any, AfterValidator(answer_parts)] = None
    items: dict[str, str] = Field(default_factory=dict)

    @property
    def verb(self) -> Literal["GET", "POST"]:
        """The HTTP method."""
        return self.method or ("GET" if self.sql is not None else ACTIONS[self.does].method)

    @property
    def parts(self) -> tuple[str, ...]:
        """What its answer can be made of."""
        return SQL_PARTS if self.sql is not None else ACTIONS[self.does].parts


def placeholders(path: str) -> list[str]:
    """The names in braces in a route's path, in order."""
    return PLACEHOLDER.findall(path)
