"""The console's forms: the fields of a model and of a route, and the request that their values make."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.console_answers import (
    COUNT_INPUT,
    HOURS_INPUT,
    KIND_INPUT,
    NOTE_INPUT,
    ON_INPUT,
    changed,
    column,
    recommender,
)
from tests.support.serving_run import api_of, new_run, routes_document
from tidemill import schemas
from tidemill.api.documents import route_body
from tidemill.api.inputs import feature_schema
from tidemill.console import formatting
from tidemill.console.forms import fields, route_fields
from tidemill.console.forms.fields import Field, RatingSlider
from tidemill.console.forms.route_fields import Operation
from tidemill.pipeline import load
from tidemill.run.folder import open_run
from tidemill.scoring import Feature

READY = ("amazon-sales", "denver-crime", "dutch-electricity", "movie-ratings", "price-paid", "smart-home")
UNSEEN: dict[str, Any] = {"categories": None, "minimum": None, "maximum": None, "example": None}
COLUMNS = [column("age", "int", unit="months", title="device age"), column("kind", "string")]


def field(one: schemas.InputBody, **changes: Any) -> Field:
    return fields.field(changed(one, **changes))


# --- a model's fields -------------------------------------------------------------------------------------------------


def test_a_field_has_what_training_saw() -> None:
    """In the model's order: a choice of categories, ranges as help, an example in each."""
    kind, hours, count, on = fields.model_fields(
        [KIND_INPUT, changed(HOURS_INPUT, unit="hours/day"), COUNT_INPUT, ON_INPUT]
    )
    assert kind == Field(
        "kind", "kind", "string", "lamp", ("lamp", "fan"), None, "Seen: 2 different values. You can type another."
    )
    assert hours == Field("hours", "hours (hours/day)", "float", 2.5, None, 0.5, "Seen: 0 to 24 hours/day.")
    assert count == Field("count", "count", "int", 3, None, 1, "Seen: 0 to 9.")
    assert on == Field("on", "on", "bool", True)


@pytest.mark.parametrize(("kind", "value"), [("int", 1), ("float", 1.0), ("string", ""), ("bool", True)])
def test_before_the_first_generation_a_field_has_a_plain_value(kind: str, value: Any) -> None:
    """Nothing seen: no range, no choices, and a value of the right kind all the same."""
    found = field(HOURS_INPUT, name="x", kind=kind, **UNSEEN)
    assert found.default == value
    assert type(found.default) is type(value)
    assert (found.choices, found.help) == (None, "")


def test_a_title_and_a_unit_make_the_label() -> None:
    assert field(HOURS_INPUT, title="use", unit="hours/day").label == "use (hours/day)"
    assert field(HOURS_INPUT, title="use", unit=None).label == "use"
    assert field(HOURS_INPUT, title=None, unit=None).label == "hours"


def test_a_single_category_is_a_choice_too_and_a_thousand_are_none() -> None:
    one = field(KIND_INPUT, categories=["lamp"], example=None)
    assert (one.choices, one.default, one.help) == (("lamp",), "lamp", "Seen: only this value.")
    many = field(KIND_INPUT, categories=[f"kind {number}" for number in range(1000)])
    assert (many.choices, many.help) == (None, "Seen: 1,000 different values. You can type another.")
    assert field(KIND_INPUT, categories=[]).choices is None
    assert field(NOTE_INPUT).default == "a lamp"


@pytest.mark.parametrize(
    ("least", "most", "step"),
    [
        (0.0, 24.0, 0.5),
        (0.0, 100.0, 1.0),
        (0.0, 1e-9, 1e-11),
        (-1e300, 1e300, 2e298),
        (5.0, 5.0, 0.1),
        (None, None, 0.1),
    ],
)
def test_a_step_is_a_round_hundredth_of_the_range(least: float | None, most: float | None, step: float) -> None:
    assert field(HOURS_INPUT, minimum=least, maximum=most).step == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    ("example", "least", "most", "shown"),
    [
        (23.3564116936, 0.0, 60.0, 23.36),
        (0.000123456, 0.0, 1.0, 0.0001235),
        (-104.987654321, -105.1, -104.7, -104.9877),  # a narrow range needs more digits
        (1234567.891, 0.0, 2e6, 1234568.0),
        (2.5, None, None, 2.5),
        (0.0, 0.0, 24.0, 0.0),
        (1 / 3, 1 / 3, 1 / 3, 0.3333),
        (1e300, -1e300, 1e300, 1e300),
    ],
)
def test_an_example_has_no_more_digits_than_one_takes_in(
    example: float, least: float | None, most: float | None, shown: float
) -> None:
    assert field(HOURS_INPUT, example=example, minimum=least, maximum=most).default == shown


def test_a_whole_number_stays_within_what_a_browser_holds() -> None:
    assert field(COUNT_INPUT, example=2**63 - 1).default == 2**53 - 1
    assert field(COUNT_INPUT, example=-(2**63)).default == 1 - 2**53


def test_a_row_has_the_kinds_of_the_columns_and_leaves_out_what_is_empty() -> None:
    asked = fields.model_fields([KIND_INPUT, HOURS_INPUT, COUNT_INPUT, ON_INPUT])
    row = fields.row(asked, {"kind": "", "hours": 2, "count": 3.0, "on": False})
    assert row == {"kind": "", "hours": 2.0, "count": 3, "on": False}
    assert [type(one) for one in row.values()] == [str, float, int, bool]
    assert fields.row(asked, {"kind": None, "hours": None}) == {}


def test_a_text_stands_in_markdown_as_it_is() -> None:
    assert formatting.plain("a*b_c [d](e) &lt;") == r"a\*b_c \[d\](e) \&lt;"
    assert formatting.plain("device age (months)") == "device age (months)"
    assert formatting.plain("__a__ -> b-c -- d") == r"\_\_a\_\_ \-\> b-c \-\- d"
    assert [formatting.plain(text) for text in ("1. a", "12) a", "- a", "+ a", "# a", "2.5")] == [
        r"1\. a",
        r"12\) a",
        r"\- a",
        r"\+ a",
        r"\# a",
        "2.5",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (":x:", ":|x:"),
        ("a :material/star: b", "a :|material/star: b"),
        ("http://a.b", "http:|//a.b"),
        ("WWW.a.b", "WWW|.a.b"),
        ("a@b.c", "a@|b.c"),
        ("12:30:45", "12:30:45"),
        ("note: a", "note: a"),
    ],
)
def test_a_text_is_no_icon_and_no_link(text: str, shown: str) -> None:
    """What Streamlit looks for after Markdown was read is broken by a sign that is not seen."""
    assert formatting.plain(text).replace("\\", "") == shown.replace("|", formatting.JOINER)


def test_a_category_stands_in_a_description_as_it_is() -> None:
    """The API's descriptions are Markdown; the console takes their escapes away before it makes its own."""
    feature = Feature("kind", "string", ("![x](http://a/b) <c>", "a_b"))
    described = feature_schema("string", feature)
    assert described["description"] == r"In training: \!\[x\](http://a/b) \<c\>, a\_b"
    one = route_fields.field_of("kind", described, True, described["description"], None, {})
    assert one.help == "In training: ![x](http://a/b) <c>, a_b"


def test_what_stands_at_the_head_of_a_table() -> None:
    assert fields.column_labels(COLUMNS) == {"age": "device age (months)", "kind": "kind"}
    assert [fields.column_title(COLUMNS, one) for one in ("age", "kind", "other")] == ["device age", "kind", "other"]
    assert [fields.column_unit(COLUMNS, one) for one in ("age", "kind", "other", None)] == ["months", None, None, None]


def test_an_example_that_is_not_given_is_nothing() -> None:
    asked = recommender(examples=schemas.ExampleBody(user="0", key=7))
    assert fields.example(asked, "user") == "0"
    assert fields.example(asked, "key") == "7"
    assert fields.example(asked, "item") == ""
    assert fields.example(recommender(examples=None), "text") == ""


@pytest.mark.parametrize(
    ("least", "most", "whole", "slider"),
    [
        (0.5, 5.0, False, RatingSlider(0.5, 5.0, 0.5, 4.0)),
        (1.0, 5.0, True, RatingSlider(1.0, 5.0, 1.0, 4.0)),
        (0.0, 100.0, True, RatingSlider(0.0, 100.0, 1.0, 80.0)),
        (0.0, 1.0, False, RatingSlider(0.0, 1.0, 0.5, 1.0)),
        (-10.0, 10.0, False, RatingSlider(-10.0, 10.0, 0.2, 6.0)),
        (0.15, 0.95, False, RatingSlider(0.15, 0.95, 0.01, 0.79)),
        (3.0, 3.0, True, None),
    ],
)
def test_ratings_are_given_on_the_models_own_scale(
    least: float, most: float, whole: bool, slider: RatingSlider | None
) -> None:
    """From the least to the greatest rating that training saw, in steps of the column's kind; of one value none."""
    found = fields.rating_slider(schemas.RatingScale(minimum=least, maximum=most), whole)
    assert (found and asdict(found)) == (slider and pytest.approx(asdict(slider)))


# --- routes -----------------------------------------------------------------------------------------------------------


def operations(run: Any) -> list[Operation]:
    """The run's declared routes as its own OpenAPI document tells of them."""
    with api_of(run) as client:
        document = client.get("/openapi.json").json()
    return route_fields.operations([route_body(route) for route in run.pipeline.routes], document)


def examples(one: Operation) -> dict[str, Any]:
    """What the fields hold when the form is opened; what may be left out is given a value of its kind."""
    other = {"int": 3, "float": 2.5, "bool": True, "string": "text", "json": "[]"}
    return {
        asked.field.name: other[asked.field.kind] if asked.field.default is None else asked.field.default
        for asked in one.parameters
    }


@pytest.mark.parametrize("name", READY)
def test_every_route_of_the_ready_pipelines_makes_a_whole_request(name: str, tmp_path: Path) -> None:
    """Every declared route is in the OpenAPI document, and its form's request has every parameter in its place."""
    run = open_run(load(name), tmp_path / "run")
    try:
        found = operations(run)
        assert len(found) == len(run.pipeline.routes)
        for one in found:
            request = route_fields.route_request(one, examples(one))
            parts = {"query": request.query, "json": request.document or {}, "form": request.form or {}}
            for place, sent in parts.items():
                assert set(sent) == {asked.field.name for asked in one.parameters if asked.location == place}, one.name
            in_path = {asked.field.name for asked in one.parameters if asked.location == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", one.path))
            assert "{" not in request.path
            assert all(asked.field.default is not None for asked in one.parameters if asked.field.required), one.name
    finally:
        run.close()


def test_a_route_is_asked_in_its_path_its_query_and_its_body(tmp_path: Path) -> None:
    """One route with all of them; a JSON body where the pipeline says nothing else."""
    route = {"path": "/size/{generation}", "model": "size", "answer": "prediction", "method": "POST"}
    run = new_run(tmp_path, document=routes_document(route | {"body": "form"}, route | {"path": "/sizes/{generation}"}))
    try:
        form, json = operations(run)
    finally:
        run.close()
    values = {"generation": "1", "hours": 2.0, "count": 3}
    request = route_fields.route_request(form, values)
    assert (request.path, request.form, request.document) == ("/size/1", {"hours": 2.0, "count": 3}, None)
    request = route_fields.route_request(json, values)
    assert (request.path, request.form, request.document) == ("/sizes/1", None, {"hours": 2.0, "count": 3})


def operation(parameters: list[Any], body: Any = None) -> Operation:
    described = {"parameters": parameters, "summary": "a summary"} | ({"requestBody": body} if body else {})
    document = {"paths": {"/r/{name}": {"post": described}}, "components": {"schemas": {"Row": ROW}}}
    routes = [
        schemas.HomeRoute(method="POST", path="/r/{name}", model=None, description=""),
        schemas.HomeRoute(method="GET", path="/gone", model=None, description=""),
    ]
    (found,) = route_fields.operations(routes, document)
    return found


ROW = {"type": "object", "properties": {"x": {"type": "number", "example": 1.5}, "y": {"type": ["integer", "null"]}}}
NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "example": "a/b c"}
TOP = {"name": "top", "in": "query", "schema": {"anyOf": [{"type": "integer", "default": 5}, {"type": "null"}]}}
BODY = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["row"],
                "properties": {"row": {"$ref": "#/components/schemas/Row"}, "sort": {"type": "boolean"}},
            }
        }
    }
}


def test_references_and_alternatives_are_followed() -> None:
    found = operation([NAME, TOP], BODY)
    assert (found.name, found.description, found.body) == ("POST /r/{name}", "a summary", "json")
    fields = {one.field.name: (one.location, one.field.kind, one.field.default) for one in found.parameters}
    assert fields == {
        "name": ("path", "string", "a/b c"),
        "top": ("query", "int", 5),
        "row": ("json", "json", '{"x": 1.5}'),
        "sort": ("json", "bool", None),
    }
    request = route_fields.route_request(found, {one.field.name: one.field.default for one in found.parameters})
    assert request.path == "/r/a%2Fb%20c"
    assert (request.query, request.document) == ({"top": 5}, {"row": {"x": 1.5}})


def test_what_is_no_json_is_named() -> None:
    found = operation([NAME, TOP], BODY)
    with pytest.raises(ValueError, match="row is not valid JSON"):
        route_fields.route_request(found, {"name": "a", "row": "{"})


def test_a_body_of_another_kind_has_no_fields() -> None:
    found = operation([NAME], {"content": {"text/plain": {"schema": {"type": "string"}}}})
    assert (found.body, len(found.parameters)) == (None, 1)
