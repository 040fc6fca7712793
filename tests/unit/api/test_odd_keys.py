"""Keys with any characters, in the path of every endpoint that takes one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.support.serving_run import api_of, new_run, publish, routes_document, seal

KEYS = [
    *(
        "A/5 21171",
        "Pizza/Italian",
        "a//b",
        "/abs",
        "end/",
        "/",
        "http://x.y/z?a=b&c=d#e",
        "a%2Fb",
        "100%",
        "a b",
        "a+b",
    ),
    *(
        "?q=1",
        "#tag",
        "a;b",
        "a\nb",
        "a/\nb",
        "end\n",
        "tab\there",
        " lead",
        "trail ",
        'a"b',
        "a'b",
        "a\\b",
        "",
        "x" * 500,
    ),
    *(
        "\u00e9",
        "e\u0301",
        "日本",
        "😀",
        "\u200bzw",
        "A",
        "a",
        "null",
        "NaN",
        "0012",
        "12",
        "1e3",
        "true",
        "{id}",
        "...",
        "*",
    ),
]
ROUTES = [
    {
        "path": "/ids/{note}",
        "params": {"note": "string"},
        "sql": "select id from rows where note = $note",
        "answer": "list",
    },
    {"path": "/in/{note}/of/{generation}", "method": "GET", "model": "size", "does": "row", "inputs": {"key": "note"}},
    {
        "path": "/like/{key}",
        "method": "GET",
        "model": "near",
        "does": "similar",
        "answer": "items",
        "items": {"id": "id"},
    },
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    document = routes_document(*ROUTES)
    document["source"]["columns"]["note"] = "string"
    document["stream"]["key"] = "note"
    run = new_run(tmp_path_factory.mktemp("keys"), document=document)
    seal(run, 1, [{"id": place, "note": key} for place, key in enumerate(KEYS)])
    publish(run, 1, [1])
    with api_of(run) as client:
        yield client


@pytest.mark.parametrize(("place", "key"), list(enumerate(KEYS)))
def test_a_key_is_found_by_every_endpoint(api: httpx.Client, place: int, key: str) -> None:
    """Percent-encoded, by the built-in endpoints and by declared routes, in the last part of the path and before."""
    text = quote(key, safe="")
    assert api.get(f"/models/size/rows/{text}").json()["rows"][0]["row"]["id"] == place
    assert api.get(f"/models/near/similar/{text}").json()["key"] == key
    assert api.get(f"/ids/{text}").json() == [place]
    assert api.get(f"/in/{text}/of/1").json()["rows"][0]["row"]["id"] == place
    assert [item["id"] for item in api.get(f"/like/{text}").json()] == [n for n in range(len(KEYS)) if n != place][:10]
    unknown = api.get(f"/models/taste/recommend/{quote('~', safe='')}{text}").json()["error"]
    assert unknown["code"] == "not-found"
    assert "no user" in unknown["message"]


def test_a_slash_that_is_not_encoded_separates(api: httpx.Client) -> None:
    """In a declared route it is another address, and an encoded one is none of the route's own."""
    assert api.get("/ids/Pizza/Italian").json()["error"]["message"] == 'there is nothing at "/ids/Pizza/Italian"'
    assert api.get("/ids%2FA").json()["error"]["message"] == 'there is nothing at "/ids/A"'
