"""The console's forms: the fields of a model and of a route, and the request that their values make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving_run import COUNT, HOURS, KIND, NOTE, ON, api_of, new_run, routes_document
from tidemill.api.documents import route_body
from tidemill.api.inputs import feature_schema
from tidemill.console import formatting
from tidemill.console.forms import fields, request, route_fields, widgets
from tidemill.console.forms.fields import Field
from tidemill.console.forms.route_fields import Operation
from tidemill.pipeline import load
from tidemill.run.folder import open_run
from tidemill.scoring import Feature

READY = ("amazon-sales", "denver-crime", "dutch-electricity", "movie-ratings", "price-paid", "smart-home")
UNSEEN: dict[str, Any] = {"categories": None, "minimum": None, "maximum": None, "example": None}
COLUMNS: list[Any] = [
    {"name": "age", "kind": "int", "title": "device age", "unit": "months"},
    {"name": "kind", "kind": "string", "title": None, "unit": None},
]


def field(one: dict[str, Any], **changes: Any) -> Field:
    return fields.field(one | changes)


# --- a model's fields -------------------------------------------------------------------------------------------------


def test_a_field_has_what_training_saw() -> None:
    """In the model's order: a choice of categories, ranges as help, an example in each."""
    kind, hours, count, on = fields.fields({"inputs": [KIND, HOURS | {"unit": "hours/day"}, COUNT, ON]})
    assert kind == Field(
        "kind", "kind", "string", "lamp", ("lamp", "fan"), None, "Seen: 2 different. Another may be typed."
    )
    assert hours == Field("hours", "hours (hours/day)", "float", 2.5, None, 0.5, "Seen: 0 to 24 hours/day.")
    assert count == Field("count", "count", "int", 3, None, 1, "Seen: 0 to 9.")
    assert on == Field("on", "on", "bool", True)


@pytest.mark.parametrize(("kind", "value"), [("int", 1), ("float", 1.0), ("string", ""), ("bool", True)])
def test_before_the_first_generation_a_field_has_a_plain_value(kind: str, value: Any) -> None:
    """Nothing seen: no range, no choices, and a value of the right kind all the same."""
    found = field({"name": "x", "kind": kind} | UNSEEN)
    assert found.default == value
    assert type(found.default) is type(value)
    assert (found.choices, found.help) == (None, "")


def test_a_title_and_a_unit_make_the_label() -> None:
    assert field(HOURS, title="use", unit="hours/day").label == "use (hours/day)"
    assert field(HOURS, title="use", unit=None).label == "use"
    assert field(HOURS, title=None, unit=None).label == "hours"


def test_a_single_category_is_a_choice_too_and_a_thousand_are_none() -> None:
    one = field(KIND, categories=["lamp"], example=None)
    assert (one.choices, one.default, one.help) == (("lamp",), "lamp", "Seen: only this one.")
    many = field(KIND, categories=[f"kind {number}" for number in range(1000)])
    assert (many.choices, many.help) == (None, "Seen: 1,000 different. Another may be typed.")
    assert field(KIND, categories=[]).choices is None
    assert field(NOTE).default == "a lamp"


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
    assert field(HOURS, minimum=least, maximum=most).step == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    ("example", "least", "most", "shown"),
    [
        (23.3564116936, 0.0, 60.0, 23.36),
        (0.000123456, 0.0, 1.0, 0.0001235),
        (-104.987654321, -105.1, -104.7, -104.9877),  # of a narrow range more is told
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
    assert field(HOURS, example=example, minimum=least, maximum=most).default == shown


def test_a_whole_number_stays_within_what_a_browser_holds() -> None:
    assert field(COUNT, example=2**63 - 1).default == 2**53 - 1
    assert field(COUNT, example=-(2**63)).default == 1 - 2**53


def test_a_row_has_the_kinds_of_the_columns_and_leaves_out_what_is_empty() -> None:
    asked = fields.fields({"inputs": [KIND, HOURS, COUNT, ON]})
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
    assert request.column_titles(COLUMNS) == {"age": "device age (months)", "kind": "kind"}
    assert [request.title(COLUMNS, one) for one in ("age", "kind", "other")] == ["device age", "kind", "other"]
    assert [request.units(COLUMNS, one) for one in ("age", "kind", "other", None)] == ["months", None, None, None]


def test_an_example_that_is_not_given_is_nothing() -> None:
    assert request.example({"examples": {"user": 0, "key": None}}, "user") == "0"
    assert request.example({"examples": {"user": 0, "key": None}}, "key") == ""
    assert request.example({"examples": None}, "text") == ""


def test_choices_of_a_widget() -> None:
    assert widgets.choices(Field("a", "a", "string", choices=("x", "y"))) == ["x", "y"]
    assert widgets.choices(Field("a", "a", "string")) == []


# --- routes -----------------------------------------------------------------------------------------------------------


def operations(run: Any) -> list[Operation]:
    """The run's declared routes as its own OpenAPI document tells of them."""
    with api_of(run) as client:
        document = client.get("/openapi.json").json()
    return route_fields.operations([route_body(one).document() for one in run.pipeline.routes], document)


def examples(one: Operation) -> dict[str, Any]:
    """What the fields hold when the form is opened; what may be left out is given a value of its kind."""
    other = {"int": 3, "float": 2.5, "bool": True, "string": "text", "json": "[]"}
    return {
        asked.field.name: other[asked.field.kind] if asked.field.default is None else asked.field.default
        for asked in one.asked
    }


@pytest.mark.parametrize("name", READY)
def test_every_route_of_the_ready_pipelines_makes_a_whole_request(name: str, tmp_path: Path) -> None:
    """Every declared route is in the OpenAPI document, and its form's request has every parameter in its place."""
    run = open_run(load(name), tmp_path / "run")
    try:
        found = operations(run)
        assert len(found) == len(run.pipeline.routes)
        for one in found:
            request = route_fields.request(one, examples(one))
            parts = {"query": request.query, "json": request.document or {}, "form": request.form or {}}
            for place, sent in parts.items():
                assert set(sent) == {asked.field.name for asked in one.asked if asked.place == place}, one.name
            in_path = {asked.field.name for asked in one.asked if asked.place == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", one.path))
            assert "{" not in request.path
            assert all(asked.field.default is not None for asked in one.asked if asked.field.required), one.name
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
    request = route_fields.request(form, values)
    assert (request.path, request.form, request.document) == ("/size/1", {"hours": 2.0, "count": 3}, None)
    request = route_fields.request(json, values)
    assert (request.path, request.form, request.document) == ("/sizes/1", None, {"hours": 2.0, "count": 3})


def operation(parameters: list[Any], body: Any = None) -> Operation:
    told = {"parameters": parameters, "summary": "a summary"} | ({"requestBody": body} if body else {})
    document = {"paths": {"/r/{name}": {"post": told}}, "components": {"schemas": {"Row": ROW}}}
    routes: list[Any] = [
        {"method": "POST", "path": "/r/{name}", "description": None},
        {"method": "GET", "path": "/gone"},
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
    fields = {one.field.name: (one.place, one.field.kind, one.field.default) for one in found.asked}
    assert fields == {
        "name": ("path", "string", "a/b c"),
        "top": ("query", "int", 5),
        "row": ("json", "json", '{"x": 1.5}'),
        "sort": ("json", "bool", None),
    }
    request = route_fields.request(found, {one.field.name: one.field.default for one in found.asked})
    assert request.path == "/r/a%2Fb%20c"
    assert (request.query, request.document) == ({"top": 5}, {"row": {"x": 1.5}})


def test_what_is_no_json_is_named() -> None:
    found = operation([NAME, TOP], BODY)
    with pytest.raises(ValueError, match="row is no JSON"):
        route_fields.request(found, {"name": "a", "row": "{"})


def test_a_body_of_another_kind_has_no_fields() -> None:
    found = operation([NAME], {"content": {"text/plain": {"schema": {"type": "string"}}}})
    assert (found.body, len(found.asked)) == (None, 1)
