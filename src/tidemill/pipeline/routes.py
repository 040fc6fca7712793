"""The routes that a pipeline declares: their actions, inputs and answers.

A route either asks a model (``model``, and what it ``does``) or queries the generation's rows (``sql``). A value is in
the path if the path names it, else in the query of a GET, else in the body of a POST.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from tidemill.pipeline.columns import DeclaredType
from tidemill.pipeline.part import Part, Plain

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
MOST_BYTES = 4_096  # of a text parameter of a SQL route, in UTF-8: a query may take time quadratic in its length
GENERATION = "generation"  # a placeholder that every route's path may have


class Action(NamedTuple):
    """The action of a route on a model.

    Attributes:
        method: the default method.
        inputs: its inputs, beside the features of a row.
        parts: the parts that an answer can have.
        features: whether it takes a row by its features.
    """

    method: Literal["GET", "POST"]
    inputs: tuple[str, ...]
    parts: tuple[str, ...]
    features: bool = False


COMMON = ("generation", "line", "model")
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
    """The client's name of an input, and its default."""

    name: Annotated[str, Field(min_length=1)]
    default: Plain = None


class Param(Part):
    """A parameter of a SQL route. DuckDB binds it; it is never pasted into the query. ``example`` is for the docs."""

    type: DeclaredType
    default: Plain = None
    example: Plain = None

    @property
    def kind(self) -> str:
        return self.type.removesuffix("?")

    @property
    def required(self) -> bool:
        return self.default is None and not self.type.endswith("?")


class Constant(Part):
    """A constant part of an answer."""

    value: Any


Answer = str | dict[str, str | Constant] | None


def answer_parts(value: object) -> Answer:
    """The name of one part; or keys, each with the name of a part or ``{ value = ... }``.

    Raises:
        ValueError: it is neither; the text says what is expected.
    """
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
    """A declared endpoint.

    Attributes:
        inputs: the client's names of the action's inputs; by default the action's own.
        answer: one part, which is the whole answer; or keys, and the part that each holds; by default the standard
            answer.
        items: for a list of rows, the keys of each item, and the column (or ``distance``, ``similarity``, ``score``,
            ``item``) that each holds.
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
        """The parts that its answer can consist of."""
        return SQL_PARTS if self.sql is not None else ACTIONS[self.does].parts


def placeholders(path: str) -> list[str]:
    """The names in braces in a route's path, in order."""
    return PLACEHOLDER.findall(path)
