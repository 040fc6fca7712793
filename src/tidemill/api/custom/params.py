"""The parameters of a declared route: reads each value from its location in a request, in its declared type.

A value is in the path if the path names it, else in the query of a GET, else in the body of a POST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

from fastapi import Request

from tidemill.api.dependencies import read_body
from tidemill.api.values import EXAMPLES, EXPECTED, JSON_TYPES, from_json, from_text, json_object, shown
from tidemill.errors import BadForm, FeatureError, ParameterError
from tidemill.texts import MOST_EXAMPLES

Location = Literal["path", "query", "body"]
Body = Literal["json", "form"]

MAX_FIELDS = 1_000
FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Parameter:
    """One value that a route takes.

    ``name`` is the route's own name for it, ``client_name`` that of clients. A value left out is ``default`` unless it
    is ``required``. ``minimum`` and ``maximum`` bound a whole number, ``max_bytes`` a text in UTF-8. ``moment`` reads
    a timestamp.
    """

    name: str
    client_name: str
    location: Location
    kind: str
    required: bool = True
    default: Any = None
    feature: bool = False
    minimum: int | None = None
    maximum: int | None = None
    max_bytes: int | None = None
    moment: Callable[[object], datetime] | None = None

    def read(self, value: Any, as_text: bool) -> Any:
        """The typed value.

        Raises:
            ValueError: it is of another type, or out of bounds.
        """
        typed: Any = self.moment(value) if self.moment else (from_text if as_text else from_json)(self.kind, value)
        if self.minimum is not None and self.maximum is not None and not self.minimum <= typed <= self.maximum:
            raise ValueError("out of bounds")
        if self.max_bytes is not None and len(typed.encode()) > self.max_bytes:
            raise ValueError("too long")
        return typed

    @property
    def expected(self) -> str:
        """The expected value, in words for messages."""
        if self.max_bytes is not None:
            return f"{EXPECTED[self.kind]} of at most {self.max_bytes} bytes"
        bounds = "" if self.minimum is None else f" from {self.minimum} to {self.maximum}"
        return ("a whole number" if bounds else EXPECTED[self.kind]) + bounds

    def schema(self) -> dict[str, Any]:
        """The parameter as JSON Schema, with an example."""
        schema = dict(JSON_TYPES[self.kind])
        if self.minimum is not None:
            schema |= {"minimum": self.minimum, "maximum": self.maximum}
        if self.max_bytes is not None:
            schema["maxLength"] = self.max_bytes
        if self.default is not None:
            schema["default"] = self.default
        return schema | {"examples": [EXAMPLES[self.kind] if self.default is None else self.default]}


class Parameters:
    """All parameters of a route. Immutable."""

    def __init__(self, parameters: Sequence[Parameter], body: Body = "json") -> None:
        self.all = tuple(parameters)
        self.body = body
        self.locations = {parameter.location for parameter in parameters}

    async def read(self, request: Request) -> dict[str, Any]:
        """The values by the route's own names.

        Raises:
            ParameterError, FeatureError: one is missing or of the wrong type; all such are named as clients call them.
            BadJson, BadForm, BodyTooLarge: the body can't be read.
        """
        raw: dict[Location, Mapping[str, Any]] = {"path": request.path_params, "query": request.query_params}
        if "body" in self.locations:
            raw["body"] = self._body(await read_body(request), request.headers.get("content-type", ""))
        return self.of(raw)

    def of(self, raw: Mapping[Location, Mapping[str, Any]]) -> dict[str, Any]:
        """The values by the route's own names, from the raw values in each location."""
        values: dict[str, Any] = {}
        wrong: list[tuple[Parameter, str]] = []
        for parameter in self.all:
            name, value = parameter.client_name, raw[parameter.location].get(parameter.client_name)
            if value is None:
                values[parameter.name] = parameter.default
                if parameter.required:
                    wrong.append((parameter, f"{name} is missing"))
                continue
            as_text = isinstance(value, str) and (parameter.location, self.body) != ("body", "json")
            try:
                values[parameter.name] = parameter.read(value, as_text)
            except ValueError:
                wrong.append((parameter, f"{name} is {shown(value)}, not {parameter.expected}"))
        if wrong:
            raise self._error(wrong)
        return values

    def _body(self, body: bytes, content_type: str) -> Mapping[str, Any]:
        return self._json(body) if self.body == "json" else self._form(body, content_type)

    def _json(self, body: bytes) -> Mapping[str, Any]:
        if not body.strip() and not any(parameter.required for parameter in self.all if parameter.location == "body"):
            return {}
        return json_object(body, self._hint, ParameterError)

    def _form(self, body: bytes, content_type: str) -> Mapping[str, Any]:
        if content_type.startswith("multipart/"):
            raise BadForm(f"the body is {shown(content_type.partition(';')[0])}, not {FORM_TYPE}", self._hint())
        try:
            fields = parse_qsl(
                body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS, separator="&"
            )
        except ValueError:  # includes UnicodeDecodeError
            raise BadForm("the body is not a form in UTF-8, or has too many fields", self._hint()) from None
        return dict(fields)

    def _error(self, wrong: Sequence[tuple[Parameter, str]]) -> ParameterError | FeatureError:
        complaints = "; ".join(complaint for _, complaint in wrong[:MOST_EXAMPLES])
        more = f"; and {len(wrong) - MOST_EXAMPLES} more" if len(wrong) > MOST_EXAMPLES else ""
        kind: Callable[[str, str], ParameterError | FeatureError]
        kind = FeatureError if all(parameter.feature for parameter, _ in wrong) else ParameterError
        return kind(complaints + more, self._hint())

    def _hint(self) -> str:
        """The values that a client must send, and their locations."""
        where = {"path": "in the path", "query": "in the query", "body": f"in the body ({self._body_type()})"}
        parts = []
        for location in where:
            names = [
                f"{parameter.client_name} ({parameter.kind})"
                for parameter in self.all
                if parameter.location == location
            ]
            if names:
                parts.append(f"{where[location]} {', '.join(names)}")
        return f"give {'; '.join(parts)}"

    def _body_type(self) -> str:
        return "a JSON object" if self.body == "json" else FORM_TYPE
