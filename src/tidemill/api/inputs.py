"""The inputs of a model: the columns of its features, with their types, checked strictly, and as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic_core import SchemaValidator, ValidationError, core_schema

from tidemill.api.values import EXAMPLES, EXPECTED, JSON_TYPES, json_object, shown
from tidemill.errors import BodyTooLarge, FeatureError
from tidemill.pipeline import Column, Pipeline
from tidemill.scoring import Feature
from tidemill.texts import MOST_EXAMPLES
from tidemill.types import COLUMN_TYPES, LEAST_INT, MOST_INT

MAX_ROWS = 10_000
MAX_HINT_FEATURES = 12
MAX_LISTED_CATEGORIES = 20

Row = dict[str, Any]
MARKUP = re.compile(r"([\\`*_\[\]<>!|~&])")  # of Markdown and HTML


Columns = dict[str, list[Any]]  # by name the value of each row

PLAIN_TYPES: dict[str, set[type]] = {"int": {int}, "float": {int, float}, "string": {str}, "bool": {bool}}
"""The types of JSON values that a column takes as they are; others are looked at one by one."""


class Rows(NamedTuple):
    """The rows of a request: a single ``row``; or rows by their ``columns``, whose answer is a list."""

    row: Row | None
    columns: Columns

    @property
    def empty(self) -> bool:
        """Whether there is no row."""
        return self.row is None and not any(self.columns.values())


class ModelInputs:
    """The columns that the features of one model are made of. Built once; checking a row takes a few microseconds."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """``columns``: in the model's order."""
        self.columns = {column.name: column for column in columns}
        self.kinds: dict[str, str] = {column.name: column.kind for column in columns}
        self.titles = {column.name: title for column in columns if (title := column_title(column))}
        row = core_schema.typed_dict_schema(
            {column.name: core_schema.typed_dict_field(strict_schema(column)) for column in columns},
            extra_behavior="ignore",
        )
        self._row = SchemaValidator(row)
        self._rows = SchemaValidator(core_schema.list_schema(row))

    def read(self, body: bytes) -> Rows:
        """The rows in a request's body: one row object, or ``{"rows": [...]}``. Keys that are not features are ignored.

        Raises:
            BadJson: it is not JSON.
            FeatureError: it has another form, or a feature is missing or of the wrong type; each such is named.
            BodyTooLarge: it has more than ``MAX_ROWS`` rows.
        """
        document = json_object(body, self._hint, FeatureError)
        rows = document.get("rows")
        if not isinstance(rows, list):
            return Rows(self._only_row(document), {})
        if len(rows) > MAX_ROWS:
            raise BodyTooLarge(f"{len(rows)} rows in one request; at most {MAX_ROWS}", "send them in several requests")
        return Rows(None, self._plain_columns(rows) or self._checked_columns(rows))

    def _plain_columns(self, rows: list[Any]) -> Columns | None:
        """The columns of rows, where each is seen to be good as a whole; None where rows must be looked at one by one.
        Without an object for each row that is several times faster."""
        if set(map(type, rows)) != {dict}:
            return None
        try:
            columns = {name: list(map(itemgetter(name), rows)) for name in self.columns}
        except KeyError:
            return None
        for name, values in columns.items():
            if self.kinds[name] == "timestamp":
                try:
                    columns[name] = list(map(self.columns[name].moment, values))
                except ValueError:
                    return None
            elif not is_plain(self.kinds[name], values):
                return None
        return columns

    def _checked_columns(self, rows: list[Any]) -> Columns:
        """
        Raises:
            FeatureError: a feature is missing or of the wrong type; each such is named.
        """
        try:
            checked = self._rows.validate_python(rows)
        except ValidationError as error:
            raise self._feature_error(error) from None
        return {name: [row[name] for row in checked] for name in self.columns}

    def row(self, values: Mapping[str, Any]) -> Row:
        """The features of one row.

        Raises:
            FeatureError: one is missing or of the wrong type.
        """
        try:
            row: Row = self._row.validate_python(values)
        except ValidationError as error:
            raise self._feature_error(error) from None
        return row

    def _only_row(self, document: Row) -> Row:
        try:
            return self.row(document)
        except FeatureError:
            if "rows" in document and "rows" not in self.kinds:
                raise FeatureError(f"rows is {shown(document['rows'])}, not a list", self._hint()) from None
            raise

    def _feature_error(self, error: ValidationError) -> FeatureError:
        count = error.error_count()
        details = error.errors(include_url=False, include_context=False)[:MOST_EXAMPLES]
        more = f"; and {count - MOST_EXAMPLES} more" if count > MOST_EXAMPLES else ""
        return FeatureError("; ".join(map(self._complaint, details)) + more, self._hint())

    def _complaint(self, error: Any) -> str:
        location, name = error["loc"], error["loc"][-1]
        row = f"rows[{location[0]}]" if isinstance(location[0], int) else ""
        if isinstance(name, int):
            return f"{row} is {shown(error['input'])}, not a JSON object"
        path = f"{row}.{name}" if row else name
        if error["type"] == "missing":
            return f"{path} is missing"
        return f"{path} is {shown(error['input'])}, not {EXPECTED[self.kinds[name]]}"

    def _hint(self) -> str:
        features = ", ".join(f"{name} ({kind})" for name, kind in list(self.kinds.items())[:MAX_HINT_FEATURES])
        more = ", …" if len(self.kinds) > MAX_HINT_FEATURES else ""
        return f'send one row as a JSON object, or {{"rows": [...]}} with a list of them; a row has {features}{more}'

    def schema(self, seen: Mapping[str, Feature]) -> dict[str, Any]:
        """JSON Schema of one row; ``seen``: the values of each column in training."""
        example = {name: feature_example(kind, seen.get(name)) for name, kind in self.kinds.items()}
        return {
            "type": "object",
            "properties": {
                name: feature_schema(kind, seen.get(name), self.titles.get(name)) for name, kind in self.kinds.items()
            },
            "required": list(self.kinds),
            "not": {"properties": {"rows": {"type": "array"}}, "required": ["rows"]},
            "description": "Keys that are not features are ignored, so a whole row of the stream may be sent.",
            "examples": [example],
        }


def is_plain(kind: str, values: Sequence[Any]) -> bool:
    """Whether the values of one or more rows are all of this type as they are."""
    if not set(map(type, values)) <= PLAIN_TYPES[kind]:
        return False
    return kind != "int" or LEAST_INT <= min(values) <= max(values) <= MOST_INT


def model_inputs(pipeline: Pipeline, model: str) -> ModelInputs:
    return ModelInputs(pipeline.inputs(model))


def strict_schema(column: Column) -> core_schema.CoreSchema:
    """Pydantic's strict check of a value of the column; a timestamp without a zone is in the column's."""
    if column.kind == "timestamp":
        return core_schema.no_info_plain_validator_function(column.moment)
    return COLUMN_TYPES[column.kind].strict


def column_title(column: Column) -> str:
    """A column's title for people, with its unit; empty if the pipeline declares neither."""
    unit = column.unit and f"in {column.unit}"
    return ", ".join(part for part in (column.title, unit) if part)


def feature_example(kind: str, feature: Feature | None) -> Any:
    example = feature.example if feature else None
    return EXAMPLES[kind] if example is None else example


def escape_markdown(category: str) -> str:
    """A text of the data, for a description that is rendered as Markdown."""
    return MARKUP.sub(r"\\\1", " ".join(category.split()))


def feature_schema(kind: str, feature: Feature | None, title: str | None = None) -> dict[str, Any]:
    """One feature as JSON Schema. The range that training saw is described, not enforced: other values are answered."""
    schema = dict(JSON_TYPES[kind])
    sentences = [f"{title}."] if title else []
    if feature and feature.categories:
        categories = map(escape_markdown, feature.categories[:MAX_LISTED_CATEGORIES])
        sentences.append("In training: " + ", ".join(categories))
    elif feature and feature.minimum is not None:
        sentences.append(f"In training: {feature.minimum:g} to {feature.maximum:g}")
    if sentences:
        schema["description"] = " ".join(sentences)
    schema["examples"] = [feature_example(kind, feature)]
    return schema
