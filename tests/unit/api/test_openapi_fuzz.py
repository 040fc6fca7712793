"""Requests that schemathesis makes from the OpenAPI document, right ones and wrong ones: each answer is as documented.

For every operation: the document's own examples, the edges of each schema (too long, null, absent, another type, other
methods and media types), and random data, over real HTTP. Each run makes the same requests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.support.memory_intake import MemoryIntake
from tests.support.open_stream import open_pipeline
from tests.support.routes_run import declared_routes, sql_routes_run
from tests.support.serving_run import KEY, api_of, new_run, publish, seal, write_key
from tidemill.run.folder import Run, open_run

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)
EXAMPLES = [1, pytest.param(8, marks=pytest.mark.nightly)]
"""Random requests for each operation, beside its examples and its edges."""
SECONDS = 280  # for one run of schemathesis, which takes a tenth of that on an idle machine
ALL_PHASES = "examples,coverage,fuzzing"
BEARER = {"Authorization": f"Bearer {KEY}"}
KNOWN = {"key": 1, "crime_id": 1, "user": "ann", "item": 0, "id": 1, "generation": 2}  # what random paths hardly hit


def fuzz(
    client: httpx.Client,
    folder: Path,
    examples: int,
    *options: str,
    checks: str = CHECKS,
    phases: str = ALL_PHASES,
) -> None:
    """Run schemathesis over the document that the API gives, and fail with what it reports."""
    document = folder / "openapi.json"
    document.write_bytes(client.get("/openapi.json").raise_for_status().content)
    made = ["--mode", "all", "--phases", phases, "--max-examples", str(examples)]
    same = ["--generation-deterministic", "--no-color"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", str(client.base_url)]
    whole = [*command, "--checks", checks, "--continue-on-failure", *made, *same, *options]
    done = subprocess.run(whole, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def fuzz_known(client: httpx.Client, folder: Path, examples: int) -> None:
    """The same where a path names something, which is one that there is."""
    lines = [f'"path.{name}" = {orjson.dumps(value).decode()}' for name, value in KNOWN.items()]
    (folder / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]), encoding="utf-8")
    fuzz(client, folder, examples, "--include-path-regex", "[{]")


def plain_run(folder: Path) -> Run:
    """The test pipeline: three models that predict, and two published generations beside one that is not."""
    run = new_run(folder)
    for number in (1, 2):
        seal(run, number, [{"id": number}, {"id": 7, "note": "lamp"}])
        publish(run, number, list(range(1, number + 1)))
    run.catalog.begin_generation(3, [1, 2, 3], 6)
    return run


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[httpx.Client]:
    run = plain_run(tmp_path)
    with api_of(run) as client:
        yield client
    run.close()


@pytest.fixture
def declared(tmp_path: Path) -> Iterator[httpx.Client]:
    """Declared routes of every kind: path, query, form and JSON; models that search and recommend; SQL."""
    run = sql_routes_run(tmp_path, routes=declared_routes())
    with api_of(run) as client:
        yield client
    run.close()


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[httpx.Client]:
    """The test pipeline behind a key, which the client bears."""
    run = plain_run(tmp_path)
    with api_of(run, key_file=write_key(tmp_path)) as client:
        client.headers.update(BEARER)
        yield client
    run.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[httpx.Client]:
    """A stream that takes rows by HTTP."""
    run = open_run(open_pipeline(), tmp_path)
    with api_of(run, intake=MemoryIntake()) as client:
        yield client
    run.close()


@pytest.mark.slow
@pytest.mark.parametrize("examples", EXAMPLES)
def test_rows_by_http_are_answered_as_documented(opened: httpx.Client, examples: int, tmp_path: Path) -> None:
    """The same for ``POST /rows``. The document's examples of NDJSON are left out: schemathesis can't send it."""
    fuzz(opened, tmp_path, examples, "--include-path", "/rows", phases="coverage,fuzzing")


@pytest.mark.slow
@pytest.mark.parametrize("examples", EXAMPLES)
def test_every_pipeline_answers_as_documented(plain: httpx.Client, examples: int, tmp_path: Path) -> None:
    """Whatever is sent to the endpoints that every pipeline has, the answer is one that the document tells of."""
    fuzz(plain, tmp_path, examples, "--exclude-path-regex", "[{]")
    fuzz_known(plain, tmp_path, examples)


@pytest.mark.nightly
@pytest.mark.parametrize("examples", EXAMPLES)
def test_paths_that_name_nothing_are_answered_as_documented(plain: httpx.Client, examples: int, tmp_path: Path) -> None:
    """The same where a path has any text in place of what it names."""
    fuzz(plain, tmp_path, examples, "--include-path-regex", "[{]")


@pytest.mark.nightly
@pytest.mark.parametrize("examples", EXAMPLES)
def test_declared_routes_answer_as_documented(declared: httpx.Client, examples: int, tmp_path: Path) -> None:
    """The same for a pipeline's own routes."""
    fuzz(declared, tmp_path, examples)
    fuzz_known(declared, tmp_path, examples)


@pytest.mark.slow
@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.nightly
def test_behind_a_key_answers_are_as_documented(keyed: httpx.Client, examples: int, tmp_path: Path) -> None:
    """Behind a key the document says so: with the key no operation does without it, and without it 401 is told of."""
    fuzz(
        keyed,
        tmp_path,
        examples,
        "--header",
        f"Authorization: {BEARER['Authorization']}",
        checks=f"{CHECKS},ignored_auth",
    )
    fuzz(keyed, tmp_path, examples, "--generation-with-security-parameters", "false", phases="examples,fuzzing")


def test_the_document_tells_of_the_key(keyed: httpx.Client) -> None:
    """Every operation but ``/health`` asks for the key, in one of the three ways, and tells of 401."""
    document = keyed.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "basic", "header"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            told = operation.get("security"), "401" in operation["responses"]
            assert told == (
                (None, False) if path == "/health" else ([{"bearer": []}, {"basic": []}, {"header": []}], True)
            )


@pytest.mark.parametrize("hours", [1.5e167, -1.7e308])
def test_a_row_that_is_too_far_from_all_others(declared: httpx.Client, hours: float) -> None:
    """A row whose distances are beyond a number of 64 bits is refused, by its features and as declared."""
    row = {"hours": hours, "count": 1}
    for path, body in (("/models/near/similar", {"row": row}), ("/recommend", {"property_features": row})):
        answer = declared.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "feature")
