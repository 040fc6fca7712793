"""What a declared route takes: each value from its place in the request, in its declared type.

A value is in the path if the path names it, else in the query of a GET, else in the body of a POST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

import orjson
from fastapi import Request

from tidemill.api.inputs import shown
from tidemill.api.routers.predict import read_body
from tidemill.errors import MOST_EXAMPLES, BadForm, BadJson, FeatureError, ParameterError
from tidemill.types import COLUMN_TYPES

Place = Literal["path", "query", "body"]
Body = Literal["json", "form"]

MOST_FIELDS = 1_000
FORM_TYPE = "application/x-www-form-urlencoded"

# Beside the columns' types: "text", which a number may stand for (a key, an item); "object"; "json", anything at all.
ALL_WANTED = {kind: column_type.description for kind, column_type in COLUMN_TYPES.items()} | {
    "text": "a string or a number",
    "object": "a JSON object",
    "json": "a JSON value",
}
SCHEMAS: dict[str, Mapping[str, Any]] = {
    kind: column_type.json_schema for kind, column_type in COLUMN_TYPES.items()
} | {
    "text": {"type": ["string", "number", "boolean"]},
    "object": {"type": "object"},
    "json": {},
}
EXAMPLES: dict[str, Any] = {kind: column_type.example for kind, column_type in COLUMN_TYPES.items()} | {
    "text": "1",
    "object": {},
    "json": {},
}


def from_text(kind: str, text: str) -> Any:
    """The value of this kind that a text of the path, the query or a form stands for.

    Raises:
        ValueError: it stands for none.
    """
    if kind in COLUMN_TYPES:
        return COLUMN_TYPES[kind].from_text(text)
    if kind == "text":
        return text
    raise ValueError(f"no {kind}")


def from_json(kind: str, value: Any) -> Any:
    """A JSON value as one of this kind: a number is no text for "string", nor a text a number.

    Raises:
        ValueError: it is none.
    """
    if kind in COLUMN_TYPES:
        return COLUMN_TYPES[kind].from_json(value)
    if kind == "json" or (kind == "object" and isinstance(value, dict)) or (kind == "text" and isinstance(value, str)):
        return value
    if kind == "text" and isinstance(value, int | float):
        return orjson.dumps(value).decode()
    raise ValueError(f"no {kind}")


@dataclass(frozen=True)
class Parameter:
    """One value that a route takes.

    ``name`` is what the route itself calls it, ``shown`` what clients do. A value left out is ``default`` unless it is
    ``required``; ``least`` and ``most`` bound a whole number, ``longest`` the bytes of a text in UTF-8.
    """

    name: str
    shown: str
    place: Place
    kind: str
    required: bool = True
    default: Any = None
    feature: bool = False
    least: int | None = None
    most: int | None = None
    longest: int | None = None

    def read(self, value: Any, as_text: bool) -> Any:
        """The value given.

        Raises:
            ValueError: it is of another type, or out of bounds.
        """
        found = (from_text if as_text else from_json)(self.kind, value)
        if self.least is not None and self.most is not None and not self.least <= found <= self.most:
            raise ValueError("out of bounds")
        if self.longest is not None and len(found.encode()) > self.longest:
            raise ValueError("too long")
        return found

    @property
    def wanted(self) -> str:
        if self.longest is not None:
            return f"{ALL_WANTED[self.kind]} of at most {self.longest} bytes"
        bounds = "" if self.least is None else f" from {self.least} to {self.most}"
        return ("a whole number" if bounds else ALL_WANTED[self.kind]) + bounds

    def schema(self) -> dict[str, Any]:
        """It as JSON Schema, with an example."""
        described = dict(SCHEMAS[self.kind])
        if self.least is not None:
            described |= {"minimum": self.least, "maximum": self.most}
        if self.longest is not None:
            described["maxLength"] = self.longest
        if self.default is not None:
            described["default"] = self.default
        return described | {"examples": [EXAMPLES[self.kind] if self.default is None else self.default]}


class Parameters:
    """All that a route takes. Made once; safe to share."""

    def __init__(self, parameters: Sequence[Parameter], body: Body = "json") -> None:
        self.all = tuple(parameters)
        self.body = body
        self.places = {one.place for one in parameters}

    async def read(self, request: Request) -> dict[str, Any]:
        """The values by the route's own names.

        Raises:
            ParameterError, FeatureError: one is missing or of the wrong type; all such are named as clients call them.
            BadJson, BadForm, BodyTooLarge: the body can't be read.
        """
        given: dict[Place, Mapping[str, Any]] = {"path": request.path_params, "query": request.query_params}
        if "body" in self.places:
            given["body"] = self._body(await read_body(request), request.headers.get("content-type", ""))
        return self.of(given)

    def of(self, given: Mapping[Place, Mapping[str, Any]]) -> dict[str, Any]:
        """The values by the route's own names, from what stands in each place."""
        values: dict[str, Any] = {}
        wrong: list[tuple[Parameter, str]] = []
        for one in self.all:
            value = given[one.place].get(one.shown)
            if value is None:
                values[one.name] = one.default
                if one.required:
                    wrong.append((one, f"{one.shown} is missing"))
                continue
            try:
                values[one.name] = one.read(
                    value, isinstance(value, str) and (one.place, self.body) != ("body", "json")
                )
            except ValueError:
                wrong.append((one, f"{one.shown} is {shown(value)}, not {one.wanted}"))
        if wrong:
            raise self._refusal(wrong)
        return values

    def _body(self, body: bytes, content_type: str) -> Mapping[str, Any]:
        return self._json(body) if self.body == "json" else self._form(body, content_type)

    def _json(self, body: bytes) -> Mapping[str, Any]:
        if not body.strip() and not any(one.required for one in self.all if one.place == "body"):
            return {}
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            message = f"the body is no JSON: {error}" if body.strip() else "the body is empty"
            raise BadJson(message, self._hint()) from None
        if not isinstance(document, dict):
            raise ParameterError(f"the body is {shown(document)}, not a JSON object", self._hint())
        return document

    def _form(self, body: bytes, content_type: str) -> Mapping[str, Any]:
        if content_type.startswith("multipart/"):
            raise BadForm(f"the body is {shown(content_type.partition(';')[0])}, not {FORM_TYPE}", self._hint())
        try:
            fields = parse_qsl(
                body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS, separator="&"
            )
        except ValueError:  # of UnicodeDecodeError too
            raise BadForm("the body is no form in UTF-8, or has too many fields", self._hint()) from None
        return dict(fields)

    def _refusal(self, wrong: Sequence[tuple[Parameter, str]]) -> ParameterError | FeatureError:
        found = "; ".join(complaint for _, complaint in wrong[:MOST_EXAMPLES])
        more = f"; and {len(wrong) - MOST_EXAMPLES} more" if len(wrong) > MOST_EXAMPLES else ""
        kind: Callable[[str, str], ParameterError | FeatureError]
        kind = FeatureError if all(one.feature for one, _ in wrong) else ParameterError
        return kind(found + more, self._hint())

    def _hint(self) -> str:
        """What is to be sent, and where."""
        where = {"path": "in the path", "query": "in the query", "body": f"in the body ({self._body_type()})"}
        told = [
            f"{where[place]} {', '.join(f'{one.shown} ({one.kind})' for one in self.all if one.place == place)}"
            for place in where
            if place in self.places
        ]
        return f"give {'; '.join(told)}"

    def _body_type(self) -> str:
        return "a JSON object" if self.body == "json" else FORM_TYPE
