"""What the console makes of the answers of its API, and of their absence."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.commands import COMMAND
from tests.support.console_answers import STATUS, changed, generation
from tests.support.serving_run import ROW, api_of, new_run, publish, routes_document, seal
from tidemill import schemas
from tidemill.console import client
from tidemill.console.client import Api, ApiError, ApiKeyRequired, ApiUnavailable
from tidemill.console.pages.rejects import reject_row
from tidemill.errors import CatalogError
from tidemill.pipeline import load
from tidemill.run.catalog import SourceState
from tidemill.run.folder import open_run
from tidemill.run.rejects import Rejects
from tidemill.schemas import GenerationBody, ModelBody, SimilarItems, StatusBody

KEY = "a key of at least sixteen"


@contextmanager
def asking(locate: Callable[[], str | None]) -> Iterator[None]:
    client.serve_from(locate)
    try:
        yield
    finally:
        client.serve_from(client.no_address)
        client.connections().close()
        client.connections.cache_clear()


class NoApi(BaseHTTPRequestHandler):
    """Another program, which answers everything with a page."""

    def do_GET(self) -> None:  # the base class's name
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>hello</p>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_what_is_no_api_is_an_api_that_is_away() -> None:
    """No address, nobody at it, a catalog that can't be read, and another program there: each is worth asking again."""

    def unreadable() -> str | None:
        raise CatalogError("the catalog is locked", "ask again")

    with serving(NoApi) as address:
        for locate in (client.no_address, lambda: "http://127.0.0.1:1", unreadable, lambda: address):
            with asking(locate), pytest.raises(ApiUnavailable):
                Api().get("/status", StatusBody)
            with asking(locate), pytest.raises(ApiUnavailable):
                Api().send("GET", "/openapi.json")


def test_the_key_goes_to_the_api(tmp_path: Path) -> None:
    """The API's own key is asked for; whatever a visitor types that is none is a wrong key, not a fault."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY, encoding="utf-8")
    run = new_run(tmp_path / "run")
    publish(run, 1)
    with api_of(run, key_file=key_file) as api, asking(lambda: str(api.base_url).rstrip("/")):
        for wrong in (b"", b"another key of that length", "schlüssel\N{SNOWMAN}".encode()):
            with pytest.raises(ApiKeyRequired):
                Api(wrong).get("/status", StatusBody)
        assert Api(KEY.encode()).get("/status", StatusBody).newest == 1
        with pytest.raises(ApiError) as refused:
            Api(KEY.encode()).get("/models/none", ModelBody)
        assert (refused.value.status, refused.value.code) == (404, "not-found")


def test_an_answer_is_parsed_into_its_schema() -> None:
    """Keys that a newer API has beside the schema's are dropped; a missing key or another type is a fault."""
    body = STATUS.model_dump(mode="json")
    newer = body | {"added": 1, "rows": body["rows"] | {"added": {"too": 2}}}
    assert client.parsed(StatusBody, json.dumps(newer).encode()) == STATUS
    for other in ({"lag": "ten"}, {"rows": {"produced": 1}}):
        with pytest.raises(ValidationError):
            client.parsed(StatusBody, json.dumps(newer | other).encode())


def test_a_list_and_an_item_with_columns_of_its_own_are_parsed() -> None:
    """A list is parsed entry by entry; an item keeps the columns of its side table, though the schema names none."""
    body = [generation(1, 1.5).model_dump(mode="json") | {"added": 1}, generation(2, 1.25).model_dump(mode="json")]
    parsed = client.parsed(list[GenerationBody], json.dumps(body).encode())
    assert parsed == [generation(1, 1.5), generation(2, 1.25)]
    item = {"item": 7, "similarity": 0.5, "title": "Heat"}
    similar = {"model": "taste", "generation": 1, "item": "1", "items": [item], "added": 1}
    found = client.parsed(SimilarItems, json.dumps(similar).encode()).items[0]
    assert found.model_extra == {"title": "Heat"}


def test_a_thousand_generations_are_parsed_at_once() -> None:
    """A long answer is parsed into its schema, element by element."""
    content = json.dumps([generation(number, 1.5).model_dump(mode="json") for number in range(1, 1001)]).encode()
    parsed = client.parsed(list[GenerationBody], content)
    assert [body.generation for body in parsed] == list(range(1, 1001))


def test_an_answer_of_another_form_is_an_error_with_a_way_out() -> None:
    """An API of another version is named as the cause, with the key at fault."""
    body = changed(STATUS).model_dump(mode="json") | {"lag": "ten"}

    class OtherVersion(NoApi):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    with serving(OtherVersion) as address, asking(lambda: address), pytest.raises(ApiError) as error:
        Api().get("/status", StatusBody)
    assert "GET /status does not fit its schema: lag" in error.value.message
    assert "same version" in error.value.hint


def test_every_answer_of_the_api_fits_its_schema(tmp_path: Path) -> None:
    """What the pages ask a run for is parsed into the schemas that they name."""
    run = new_run(tmp_path, document=routes_document())
    seal(run, 1, [{"id": 1, "note": "a lamp"}, {"id": 2}, {"id": 3}])
    publish(run, 1, [1])
    with api_of(run) as server, asking(lambda: str(server.base_url).rstrip("/")):
        api = Api()
        pipeline = api.get("/pipeline", schemas.Home)
        assert set(pipeline.models) == {"size", "good", "group", "near", "words", "taste"}
        assert api.get("/status", StatusBody).batches == 1
        assert [one.generation for one in api.get("/generations", list[GenerationBody], after=0, limit=25)] == [1]
        assert api.get("/generations/1", GenerationBody).state == "published"
        assert [one.rows for one in api.get("/batches", list[schemas.BatchBody], after=0, limit=5)] == [3]
        assert api.get("/batches/1", schemas.BatchBody).batch == 1
        assert len(api.get("/batches/1/rows", schemas.BatchRows, offset=1, limit=10).items) == 2
        assert api.get("/rejects", schemas.RejectPlaces).rejected == 0
        for model in pipeline.models:
            assert api.get(f"/models/{model}", ModelBody, limit=1).model == model
            assert api.get(f"/models/{model}/history", schemas.History, points=200).generations == 1
        assert len(api.get("/models/group/profile", schemas.Profile, generation=1).clusters) == 2
        assert api.get("/models/group/points", schemas.Points, x="hours", y="id", limit=9).sampled == 3
        assert api.post("/models/size/predict", ROW, schemas.Answered).generation == 1
        assert len(api.post("/models/good/generations/predict", ROW, schemas.Across, limit=50).answers) == 1
        assert api.get("/models/good/rows/1", schemas.FoundRows, limit=20).rows[0].batch == 1
        assert len(api.post("/models/near/similar", {"row": ROW, "top": 2}, schemas.NearRows).items) == 2
        assert api.post("/models/words/similar", {"text": "lamp", "top": 2}, schemas.AlikeRows).generation == 1
        items = api.get("/models/taste/items", schemas.Items, q="", limit=20).items
        rated = {"ratings": {str(items[0].item): 1.0}, "top": 10}
        assert api.post("/models/taste/recommend", rated, schemas.Recommendations).generation == 1
        similar = api.get(f"/models/taste/similar/{items[0].item}", SimilarItems, top=10)
        assert similar.item == str(items[0].item)
        taste = api.get("/models/taste", ModelBody, limit=1)
        assert taste.examples is not None
        user = taste.examples.user
        assert api.get(f"/models/taste/recommend/{user}", schemas.UserRecommendations, top=10).user == user
        assert api.get("/models/near/similar/1", schemas.NearRows, top=10).key == "1"
        assert api.get("/models/words/similar/1", schemas.AlikeRows, top=10).key == "1"
    run.close()


def test_the_text_of_a_reject_is_shown(tmp_path: Path) -> None:
    """What did not fit is shown as the API has it, with its line and its reason."""
    run = new_run(tmp_path)
    rejects = Rejects(run.rejects / "source.jsonl", live=True)
    rejects.extend([{"file": "a.csv", "line": 7, "reason": "too few values", "text": "1,lamp"}])
    rejects.publish()
    run.catalog.save_source(SourceState("print", rows=1, rejected=1, produced=0, complete=True))
    with api_of(run) as server, asking(lambda: str(server.base_url).rstrip("/")):
        (place,) = Api().get("/rejects", schemas.RejectPlaces).places
        (reject,) = Api().get(f"/rejects/{place.place}", schemas.RejectsBody, offset=0, limit=25).items
    run.close()
    assert reject_row(reject) == {"where": "line 7", "reason": "too few values", "message": "1,lamp"}


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server with this handler."""
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_no_console_for_other_machines_without_a_key(tmp_path: Path) -> None:
    """`tidemill console --host` another address is refused without a key, before anything listens."""
    open_run(load("smart-home"), tmp_path / "run").close()
    line = [*COMMAND, "console", "smart-home", "--run-dir", str(tmp_path / "run"), "--console-port", "0"]
    done = subprocess.run([*line, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "needs an API key" in done.stderr
