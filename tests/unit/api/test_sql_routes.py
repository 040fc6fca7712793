"""SQL routes: read-only, over a generation's rows and predictions, with bound parameters and two limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from anyio import CapacityLimiter
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import wait_for
from tests.support.routes_run import (
    error_of,
    faults_of,
    sql_document,
    sql_routes_run,
)
from tests.support.serving_run import api_of, new_run, routes_document, size_of
from tidemill.api.app import create_app
from tidemill.api.custom.sql import Cursor, Database, bound, plain_key
from tidemill.api.custom.sql_routes import MAX_QUERIES, SQL_INDEX, SqlQuery, SqlRoute
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import LoadedGeneration
from tidemill.errors import Busy, PipelineInvalid, QueryError, TimeLimit
from tidemill.pipeline import Route
from tidemill.run.folder import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = sql_routes_run(tmp_path_factory.mktemp("sql"), "serve.time_limit=1s")
    yield run
    run.close()


@pytest.fixture(scope="module")
def api(run: Run) -> Iterator[httpx.Client]:
    with api_of(run) as client:
        yield client


# --- answers ------------------------------------------------------------------------------------------------------


def test_rows_with_bound_parameters(api: httpx.Client) -> None:
    """A query answers a list of objects, nearest first as it says, and no more than it says."""
    assert api.get("/by_price?target=1e2").json() == [
        {"id": 1, "hours": 100.0},
        {"id": 2, "hours": 91.0},
        {"id": 3, "hours": 110.0},
    ]
    assert api.get("/by_price?target=100&most=1").json() == [{"id": 1, "hours": 100.0}]
    assert api.get("/by_price?target=5").json() == []


def test_each_model_is_a_column(api: httpx.Client) -> None:
    """Beside the declared columns there are the batch and each model's prediction, of the generation asked."""
    rows = api.get("/predicted").json()
    assert [(row["id"], row["batch"]) for row in rows] == [(1, 1), (2, 1), (3, 1), (3, 2), (4, 2)]
    assert [row["size"] for row in rows] == [
        size_of(2, {"hours": hours, "count": 3}) for hours in (100.0, 91.0, 89.0, 110.0, 111.0)
    ]
    assert [(row["good"], row["cluster"], row["is_good"]) for row in rows] == [(1, 1, 1)] * 5
    predicted = api.post("/models/size/predict", json={"hours": 91.0, "count": 3}).json()["prediction"]
    assert rows[1]["size"] == predicted


def test_shapes(api: httpx.Client) -> None:
    """A list, an object, a single value, keys of its own."""
    assert api.get("/note", params={"note": "x"}).json() == [1]
    assert api.get("/").json() == {"lamp": [1, 3, 4], "fan": [2]}
    assert api.get("/shape").json() == {"rows": [{"n": 5}], "n": 5, "g": 2, "of": 1}


def test_home_is_left_to_browsers(api: httpx.Client) -> None:
    """A pipeline's own `GET /` answers programs; a browser gets the page, which lists it."""
    page = api.get("/", headers={"Accept": "text/html"})
    assert "<code>GET /by_price</code> Near a price" in page.text
    assert (page.headers["vary"], api.get("/").headers["vary"]) == ("Accept", "Accept")
    described = api.get("/openapi.json").json()["paths"]["/"]["get"]["responses"]["200"]["content"]
    assert set(described) == {"application/json", "text/html"}


def test_a_generation_in_the_path(api: httpx.Client) -> None:
    """An older generation has its own rows only; where there is no row, 404."""
    assert api.get("/note/1/1").json() == "x"
    assert api.get("/note/2/1").json() is None
    assert error_of(api.get("/note/4/1")) == (404, "not-found", "no row is of that kind")
    assert api.get("/note/4/2").status_code == 200
    assert error_of(api.get("/note/4/3")) == (404, "not-found", "there is no generation 3")
    assert error_of(api.get("/note/4/x"))[0] == 404


def test_a_side_table_can_be_joined(api: httpx.Client) -> None:
    """A side table is a table of its name."""
    assert [one["watts_of"] for one in api.get("/kinds").json()] == [40, 60, 40, 40, 40]


def test_values_as_json_has_them(api: httpx.Client) -> None:
    """Timestamps are ISO with Z, decimals numbers, NaN and infinities null, lists and structs as they are."""
    stamp = "2026-01-02T03:04:05Z"
    assert api.get("/values").json() == {
        "seen": stamp,
        "plain": stamp,
        "day": "2026-01-02",
        "decimal": 1.5,
        "total": 13,
        "nan": None,
        "inf": None,
        "list": [1.5, None],
        "struct": {"a": stamp, "b": 2.25},
        "map": {"k": 1},
        "nothing": None,
        "huge": 2.0**127,
        "uuid": "5b0d0a43-0000-4000-8000-000000000000",
        "clock": "01:02:03",
    }


def test_keys_of_an_object() -> None:
    """Whatever a first column holds can be a key."""
    assert [plain_key(one) for one in ("a", 1, 1.5, True, None)] == ["a", "1", "1.5", "true", "null"]


# --- parameters ---------------------------------------------------------------------------------------------------

GIVEN = {"i": "7", "f": "5", "s": "5", "b": "true", "t": "2026-01-02T04:04:05+01:00"}
TYPED = {"i": 7, "f": 5.0, "s": "5", "b": True, "t": "2026-01-02T03:04:05Z", "n": None}
DUCKDB_TYPES = {"ti": "BIGINT", "tf": "DOUBLE", "tt": "TIMESTAMP WITH TIME ZONE"}


def test_parameters_have_their_declared_types(api: httpx.Client) -> None:
    """The same values come by query, JSON and form, and are typed in DuckDB as declared."""
    expected = TYPED | DUCKDB_TYPES
    assert api.get("/types", params=GIVEN).json() == expected
    assert api.post("/form", data=GIVEN).json() == expected
    assert api.post("/typed", json=TYPED).json() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"i": "7.5"}, 'i is "7.5", not a whole number of 64 bits'),
        ({"f": "inf"}, 'f is "inf", not a finite number'),
        ({"b": "1"}, 'b is "1", not true or false'),
        ({"t": "now"}, 't is "now", not a timestamp (ISO 8601)'),
        ({"n": "x"}, 'n is "x", not a whole number of 64 bits'),
    ],
)
def test_a_mistyped_parameter(api: httpx.Client, change: dict[str, str], message: str) -> None:
    """A parameter of another type is 422 with its name."""
    assert error_of(api.get("/types", params=GIVEN | change)) == (422, "parameter", message)


def test_a_missing_parameter(api: httpx.Client) -> None:
    """What has neither default nor "?" must be given; the hint says all that is taken, and where."""
    answer = api.get("/by_price")
    assert error_of(answer) == (422, "parameter", "target is missing")
    assert answer.json()["error"]["hint"] == "give in the query target (float), most (int)"


@pytest.mark.parametrize(
    "text",
    [
        "' or 1=1 --",
        "x'; drop table rows; --",
        '"',
        "x' union select note from rows --",
        "$target",
        "\\",
        "\x00",
        "%27",
    ],
)
def test_a_parameter_is_never_part_of_the_query(api: httpx.Client, text: str) -> None:
    """Texts that would be SQL are compared as texts."""
    assert api.get("/note", params={"note": text}).json() == []
    assert api.get("/note", params={"note": "x"}).json() == [1]


@settings(deadline=None, max_examples=200)
@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
)
def test_any_value_comes_back_as_it_was(text: str, whole: int, number: float) -> None:
    """What is bound is what the query sees."""
    values = {"s": bound("string", text), "i": bound("int", whole), "f": bound("float", number)}
    cursor = DATABASE.cursor()
    row = cursor.fetch("select $s, $i, $f", values, 1).rows[0]
    cursor.close()
    assert row == (text, whole, None if number in (float("inf"), float("-inf")) else number)


DATABASE = Database({"rows": pa.table({"id": [1]})})


def test_a_value_beyond_json() -> None:
    """A type that the check would have refused is an error that says so all the same."""
    cursor = DATABASE.cursor()
    with pytest.raises(QueryError, match="beyond JSON"):
        cursor.fetch("select map {[1]: 2}", {}, 1)
    cursor.close()


def test_a_value_that_the_query_can_not_use(api: httpx.Client) -> None:
    """What DuckDB makes of a value is told without the query's text."""
    status, code, message = error_of(api.get("/cast?text=abc"))
    assert (status, code) == (422, "query")
    assert message == "Conversion Error: Could not convert string 'abc' to INT32"


def test_a_text_that_is_too_long(api: httpx.Client) -> None:
    """A text over 4 KiB is 422 with its name; the document tells the limit."""
    assert api.get("/note", params={"note": "ä" * 2048}).json() == []
    status, code, message = error_of(api.get("/note", params={"note": "ä" * 2048 + "a"}))
    assert (status, code) == (422, "parameter")
    assert (message.startswith("note is"), message.endswith("not a string of at most 4096 bytes")) == (True, True)
    described = api.get("/openapi.json").json()["paths"]["/note"]["get"]["parameters"][0]["schema"]
    assert described["maxLength"] == 4096


# --- limits -------------------------------------------------------------------------------------------------------


def test_too_many_rows_are_refused(api: httpx.Client) -> None:
    """An answer over the row limit is an error that says so, never cut."""
    assert error_of(api.get("/all")) == (422, "too-many-rows", "the answer has more than 100 rows")


@pytest.mark.parametrize("path", ["/slow", "/endless"])
def test_a_query_ends_at_the_time_limit(api: httpx.Client, path: str) -> None:
    """A query that takes longer is given up, and the API goes on answering meanwhile."""
    began = time.monotonic()
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(httpx.get(f"{api.base_url}{path}", timeout=30)))
    thread.start()
    assert api.get("/shape").json()["n"] == 5
    assert api.get("/health").status_code == 200
    thread.join()
    assert error_of(answers[0])[1] in ("time-limit", "query")  # or it had no memory left before
    assert time.monotonic() - began < 10


def test_a_step_that_does_not_look_up(api: httpx.Client) -> None:
    """A single step of DuckDB's that takes far longer is left behind at the time limit."""
    began = time.monotonic()
    assert error_of(api.get("/step"))[:2] == (503, "time-limit")
    assert time.monotonic() - began < 3
    assert api.get("/shape").json()["n"] == 5


def test_a_query_that_is_left_behind_keeps_its_slot() -> None:
    """Who is cancelled does not wait for the thread; the slot is free again once the thread has ended."""

    async def left_behind() -> None:
        limiter, began, go_on = CapacityLimiter(1), threading.Event(), threading.Event()

        def work(cursor: Cursor) -> bytes:
            began.set()
            assert go_on.wait(30)
            return str(cursor.fetch("select id from rows", {}, 1).rows).encode()

        task = asyncio.create_task(SqlQuery(limiter).run(DATABASE, work))
        assert await asyncio.to_thread(began.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert limiter.borrowed_tokens == 1
        go_on.set()
        assert await SqlQuery(limiter).run(DATABASE, work) == b"[(1,)]"
        assert limiter.borrowed_tokens == 0

    asyncio.run(left_behind())


async def asked(route: SqlRoute, **path: int) -> bytes:
    """What a route answers to a client that stays."""
    forever = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await forever.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "headers": [], "query_string": b"", "path_params": path}
    return bytes((await route.respond(Request(scope, receive))).body)


def test_a_query_without_a_slot_says_so(run: Run) -> None:
    """While queries that were left behind have all slots, others are told in words to ask again; then they can."""
    registry = ModelRegistry(run)
    registry.register_index(SQL_INDEX, lambda served: DATABASE)
    registry.refresh()

    async def all_taken() -> None:
        limiter, go_on = CapacityLimiter(MAX_QUERIES), threading.Event()
        at_work = threading.Barrier(MAX_QUERIES + 1)

        def work(cursor: Cursor) -> bytes:
            at_work.wait(30)
            assert go_on.wait(30)
            return b""

        route = SqlRoute(Route(path="/x", sql="select id from rows", answer="list"), registry, limiter)
        tasks = [asyncio.create_task(SqlQuery(limiter).run(DATABASE, work)) for _ in range(MAX_QUERIES)]
        await asyncio.to_thread(at_work.wait, 30)
        for task in tasks:
            task.cancel()
        with pytest.raises(Busy, match="4 SQL queries, as many as this API runs at a time, are still running"):
            await asked(route)
        go_on.set()
        assert await asked(route) == b"[1]"
        async with asyncio.timeout(30):
            while limiter.borrowed_tokens:  # those left behind give their slots back, each when its thread ends
                await asyncio.sleep(0.01)

    asyncio.run(all_taken())


def test_waiting_for_an_older_generation_counts(run: Run) -> None:
    """The time that it takes to prepare an older generation's rows is within the time limit, too."""
    ready = threading.Event()

    def made(served: LoadedGeneration) -> Database:
        assert served.number == 2 or ready.wait(30)
        return DATABASE

    registry = ModelRegistry(run)
    registry.register_index(SQL_INDEX, made)
    registry.refresh()

    async def twice() -> None:
        with pytest.raises(TimeLimit):
            await asked(route, generation=1)
        ready.set()
        assert await asked(route, generation=1) == b"[1]"

    declared = Route(path="/x/{generation}", sql="select id from rows", answer="list")
    route = SqlRoute(declared, registry, CapacityLimiter(1))
    asyncio.run(twice())


def test_a_query_ends_when_its_client_is_gone(tmp_path: Path) -> None:
    """Nobody waits for it any more: it is counted as gone long before the time limit."""
    run = sql_routes_run(tmp_path, "serve.time_limit=60s")
    with api_of(run) as client:
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{client.base_url}/slow", timeout=0.5)
        gone = 'tidemill_http_requests_total{method="GET",route="/slow",status="499"} 1.0'
        wait_for(lambda: gone in client.get("/metrics").text, gone)
        assert time.monotonic() - began < 30
    run.close()


def test_many_queries_at_once(tmp_path: Path) -> None:
    """Queries of two generations at once don't get into each other's way."""
    run = sql_routes_run(tmp_path, "serve.time_limit=60s")
    answers: list[Any] = []

    def ask(generation: int, address: str) -> None:
        with httpx.Client(base_url=address, timeout=90) as own:
            answers.extend((generation, own.get(f"/note/3/{generation}").json()) for _ in range(10))

    with api_of(run) as client:
        address = str(client.base_url)
        threads = [threading.Thread(target=ask, args=(1 + number % 2, address)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    run.close()
    assert len(answers) == 80
    assert [answer for answer in answers if answer[0] == 1] == [(1, None)] * 40


def test_a_query_has_so_much_memory() -> None:
    """A query that needs more than its memory is an error, not the end of the API."""
    cursor = DATABASE.cursor()
    with pytest.raises(QueryError, match="the query needs more than 1GB of memory"):
        cursor.fetch("select list(range) from range(1000000000)", {}, 1)
    cursor.close()


# --- a database that reaches nothing else -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{path}')",
        "select * from read_csv('{path}')",
        "select * from '{path}'",
        "select * from glob('/*')",
        "copy rows to '{path}'",
        "attach '{path}'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set threads = 1",
        "select getenv('HOME')",
        "delete from rows",
        "insert into rows values (2)",
    ],
)
def test_the_database_is_shut(tmp_path: Path, sql: str) -> None:
    """Even were a query not refused before, it can't read or write a file, nor change a setting or a row."""
    path = tmp_path / "secret.csv"
    path.write_text("secret\n")
    cursor = DATABASE.cursor()
    with pytest.raises(QueryError):
        cursor.fetch(sql.format(path=path), {}, 10)
    cursor.close()
    assert path.read_text() == "secret\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_cursor_that_is_given_up() -> None:
    """A query given up from another thread ends with the time limit's error."""
    cursor = DATABASE.cursor()
    done = threading.Event()

    def give_up() -> None:
        while not done.wait(0.05):
            cursor.give_up()

    thread = threading.Thread(target=give_up)
    thread.start()
    with pytest.raises(TimeLimit):
        cursor.fetch("select count(*) from range(10000000) a, range(10000000) b", {}, 1)
    done.set()
    thread.join()


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        (
            "select idd, $q as q from rows",
            'found Binder Error: Referenced column "idd" not found in FROM clause! Candidate bindings: "id"',
        ),
        ("selec 1", 'found Parser Error: syntax error at or near "selec"'),
        ("", "found 0 statements; expected one SELECT statement"),
        ("select 1; select 2", "found 2 statements; expected one SELECT statement"),
        ("copy rows to 'x'", "found the statement COPY; expected one SELECT statement"),
        ("attach 'x'", "found the statement ATTACH"),
        ("pragma version", "found the statement PRAGMA"),
        ("install httpfs", "found the statement LOAD"),
        ("set threads = 1", "found the statement SET"),
        ("call pragma_version()", "found the statement CALL"),
        ("insert into rows select * from rows", "found the statement INSERT"),
        ("explain select 1", "found the statement EXPLAIN"),
        ("describe rows", "found DESCRIBE, SHOW or SUMMARIZE"),
        ("with x as (delete from rows returning *) select *, $q as q from x", "found Binder Error: Can only delete"),
        (
            "select * from read_csv('/etc/passwd')",
            "found read_csv(...) as a table; expected one of rows; a query reads nothing else",
        ),
        ("select * from read_text('/etc/passwd')", "found read_text(...) as a table"),
        ("select (select count(*) from glob('/*')) as n", "found glob(...) as a table"),
        ("with x as (select * from read_parquet('x')) select * from x", "found read_parquet(...) as a table"),
        ("select * from '/etc/passwd'", 'found the table "/etc/passwd"; expected one of rows'),
        ("select * from query($q)", "found query(...) as a table"),
        ("select * from query_table('rows')", "found query_table(...) as a table"),
        ("select * from duckdb_settings()", "found duckdb_settings(...) as a table"),
        ("select * from information_schema.tables", 'found the table "information_schema.tables"'),
        ("select * from row", 'found the table "row"; expected one of rows; did you mean "rows"?'),
        ("select getenv('HOME') as x", "found the function getenv"),
        ("select current_setting('home_directory') as x", "found the function current_setting"),
        ("select $x as x", "found $x; expected a name among params; known: q"),
        ("select $1 as x", "found $1; expected a name among params"),
        ("select 1 as x", "found no $q; expected every one of params to be used"),
        ("select 1 as x, $q as x", 'found two columns "x"; expected each name once'),
        (
            "select interval 1 day as i, $q as q",
            'found "i", INTERVAL; expected a type that JSON can hold; cast(i as varchar)',
        ),
        ("select [{'a': 'b'::blob}] as i, $q as q", 'found "i", STRUCT(a BLOB)[]'),
        ("select 1::bignum as i, $q as q", 'found "i", BIGNUM'),
        ("select 1::uhugeint as i, $q as q", 'found "i", UHUGEINT'),
        ("select '10:00:00+02:00'::timetz as i, $q as q", 'found "i", TIME WITH TIME ZONE'),
        ("select map {[1]: 2} as i, $q as q", 'found "i", MAP(INTEGER[], INTEGER)'),
        ("select (1, x'aa') as i, $q as q", 'found "i", TUPLE(INTEGER, BLOB)'),
        ("select [1::variant]::variant[1] as i, $q as q", 'found "i", VARIANT[1]'),
        (
            'with "information_schema.tables" as (select $q) select * from information_schema.tables',
            'found the table "information_schema.tables"; expected one of rows',
        ),
    ],
)
def test_a_fault_of_a_query(sql: str, fault: str) -> None:
    """What a query may not be, or can't be, is told before anything runs."""
    faults = faults_of({"path": "/x", "sql": sql, "params": {"q": "string"}})
    assert len(faults) == 1, faults
    assert faults[0].startswith(f"routes[0].sql: {fault}")


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ({"answer": "object"}, "routes[0].sql: found 1 columns; expected 2 for the answer object"),
        (
            {"sql": "select 1 as a, 2 as b", "answer": {"x": "value"}},
            "routes[0].sql: found 2 columns; expected 1 for the",
        ),
        ({"answer": "prediction"}, 'routes[0].answer: found "prediction"; expected one of rows, row, value'),
        (
            {"params": {"generation": "int"}},
            'routes[0].params.generation: found "generation"; expected a name of letters',
        ),
        (
            {"params": {"x": {"type": "int", "default": "y"}}},
            "routes[0].params.x.default: found 'y'; expected a value of the type int",
        ),
        ({"params": {"x": "number"}}, "routes[0].params.x.type: found 'number'; expected one of"),
        ({"inputs": {"x": "y"}}, "routes[0].inputs: found {'x': 'y'}; expected no such key in a SQL route"),
    ],
)
def test_a_fault_of_a_sql_route(route: dict[str, Any], fault: str) -> None:
    """A SQL route's other keys are judged too."""
    faults = faults_of({"path": "/x", "sql": "select 1 as a"} | route)
    assert any(text.startswith(fault) for text in faults), faults


def test_names_that_sql_can_not_tell_apart(tmp_path: Path) -> None:
    """A model called like a column is a fault where there is SQL, and so is a table called rows."""
    document = sql_document({"path": "/x", "sql": "select 1 as a"})
    document["models"]["Hours"] = document["models"].pop("size")
    document["source"]["columns"]["Batch"] = "int"
    document["tables"]["Rows"] = document["tables"].pop("kinds")
    run = new_run(tmp_path, document=document)
    with pytest.raises(PipelineInvalid) as caught:
        create_app(run, ModelRegistry(run))
    run.close()
    assert {fault.path for fault in caught.value.faults} == {"models.Hours", "source.columns.Batch", "tables.Rows"}


def test_an_api_does_not_serve_a_query_that_is_not_read_only(tmp_path: Path) -> None:
    """Who starts the API without a check is stopped all the same."""
    run = new_run(tmp_path, document=routes_document({"path": "/x", "sql": "select * from read_csv('x')"}))
    with pytest.raises(PipelineInvalid, match="read_csv"):
        create_app(run, ModelRegistry(run))
    run.close()


def test_nothing_of_the_machine_is_told(tmp_path: Path) -> None:
    """A batch file that is gone keeps its generation out, with 503 and without the folder's place."""
    run = sql_routes_run(tmp_path)
    path = run.folder / run.catalog.batches()[0].path
    path.unlink()
    with api_of(run) as client:
        answer = client.get("/by_price?target=1")
        assert (answer.status_code, run.catalog.batches()[0].path in answer.text) == (503, True)
        assert str(tmp_path) not in answer.text
    run.close()
