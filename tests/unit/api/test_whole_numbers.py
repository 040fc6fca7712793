"""A whole number written 3.0 is the number 3 wherever a request may have one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import SchemaValidator, ValidationError

from tests.support.routes_run import MODEL_ROUTES, SQL_BATCHES, SQL_ROUTES, sql_routes_run
from tests.support.serving_run import api_of
from tidemill.types import COLUMN_TYPES, LEAST_INT, MOST_EXACT, MOST_INT


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    wanted = ("/asked", "/predict/{generation}", "/json", "/found", "/films", "/films/like/{item}", "/like/{key}")
    routes = [
        route for route in [*MODEL_ROUTES, *SQL_ROUTES] if route["path"] in (*wanted, "/types", "/typed", "/form")
    ]
    run = sql_routes_run(tmp_path_factory.mktemp("whole"), routes=routes)
    with api_of(run) as client:
        yield client
    run.close()


OF_TEXT = [
    "/asked?usage_hours=1&n={}",
    "/models/size/rows/{}",
    "/found?key={}",
    "/models/near/similar/{}",
    "/models/taste/similar/{}",
    "/films/like/{}?top={}",
    "/like/{}?top={}",
    "/types?i={}&f=1.5&s=x&b=true&t=2026-01-01",
]
BODIES: list[tuple[str, str]] = [
    ("/models/size/predict", '{{"hours": 1.5, "count": {}}}'),
    ("/models/size/predict", '{{"rows": [{{"hours": 1.5, "count": {}}}]}}'),
    ("/models/near/similar", '{{"row": {{"hours": 1.5, "count": {}}}, "top": {}}}'),
    ("/models/taste/recommend", '{{"ratings": {{"{}": 4}}, "top": {}}}'),
    ("/json", '{{"usage_hours": 1.5, "n": {}}}'),
    ("/films", '{{"ratings": {{"{}": 4}}, "top": {}}}'),
    ("/typed", '{{"i": {}, "f": 1.5, "s": "x", "b": true, "t": "2026-01-01"}}'),
]


def answer(response: httpx.Response) -> tuple[int, Any]:
    """The status, and the answer without the key as it was asked for."""
    body = response.json()
    return response.status_code, {name: body[name] for name in body if name != "key"} if isinstance(
        body, dict
    ) else body


@pytest.mark.parametrize("path", OF_TEXT)
def test_paths_and_queries_take_3_0(api: httpx.Client, path: str) -> None:
    """The answer for 2.0 in a path or a query is that for 2; 2.5 is no whole number."""
    plain = answer(api.get(path.replace("{}", "2")))
    assert plain[0] == 200
    for other in ("2.0", "2.000"):
        assert answer(api.get(path.replace("{}", other))) == plain
    assert api.get(path.replace("{}", "2.5")).status_code in (400, 404, 422)


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_bodies_take_3_0(api: httpx.Client, path: str, body: str) -> None:
    """The answer for 2.0 in a JSON body is that for 2; 2.5 is no whole number."""

    def post(number: str) -> tuple[int, Any]:
        return answer(api.post(path, content=body.replace("{}", number).replace("{{", "{").replace("}}", "}")))

    plain = post("2")
    assert plain[0] == 200
    assert post("2.0") == plain
    assert post("2.5")[0] in (400, 404, 422)
    for rounded in ("9007199254740993.0", "1e300"):
        assert post(rounded)[0] in (400, 404, 422)


@pytest.mark.parametrize("path", ["/predict/1", "/form"])
def test_forms_take_3_0(api: httpx.Client, path: str) -> None:
    """The answer for 2.0 in a form is that for 2."""
    form = {"usage_hours": "1.5", "f": "1.5", "s": "x", "b": "true", "t": "2026-01-01"}
    plain, other = (answer(api.post(path, data=form | {"n": text, "i": text})) for text in ("2", "2.0"))
    assert plain[0] == 200
    assert other == plain


def test_the_rows_are_there() -> None:
    """The key that is asked for is a row's."""
    assert 2 in {row["id"] for batch in SQL_BATCHES for row in batch}


@settings(max_examples=200)
@given(st.integers(LEAST_INT, MOST_INT) | st.integers(-(10**6), 10**6))
def test_every_form_of_a_whole_number_is_one(number: int) -> None:
    """JSON's and text's 3.0 give the int 3 itself, as long as the float is exact; a fraction is refused in each."""
    kind = COLUMN_TYPES["int"]
    assert kind.strict is not None
    strict = SchemaValidator(kind.strict)
    assert kind.from_text(f"{number}.0") == kind.from_text(str(number)) == number
    if abs(number) > MOST_EXACT:
        assert not kind.is_json(float(number))
        with pytest.raises(ValidationError):
            strict.validate_python(float(number))
        return
    for value in (kind.from_json(float(number)), strict.validate_python(float(number)), kind.to_message(float(number))):
        assert (value, type(value)) == (number, int)
    assert not kind.is_json(number + 0.5) or abs(number) > 2**52
