"""What a client may take of the API before its key is looked at, tried by raw sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support import wait_for
from tests.support.serving_run import KEY, ROW, api_of, new_run, publish
from tidemill.api.dependencies import MAX_PREDICT_BYTES
from tidemill.run.folder import Run
from tidemill.web.limits import Limits

MOST = Limits().head_bytes
SHORT = Limits(head_seconds=0.6, body_seconds=0.8, answer_seconds=0.5, connections=20)
HEAD = b"POST /size_of HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + KEY.encode() + b"\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = new_run(tmp_path_factory.mktemp("limits"))
    publish(run, 1)
    yield run
    run.close()


@pytest.fixture(scope="module")
def api(run: Run, key_file: Path) -> Iterator[httpx.Client]:
    """The API with its own limits; a client that bears the key."""
    with api_of(run, key_file=key_file) as client:
        client.headers["X-API-Key"] = KEY
        yield client


@contextmanager
def limited(folder: Path, key_file: Path, limits: Limits) -> Iterator[httpx.Client]:
    """The API of a run of its own with these limits; a client that bears the key."""
    run = new_run(folder)
    publish(run, 1)
    with api_of(run, key_file=key_file, limits=limits) as client:
        client.headers["X-API-Key"] = KEY
        yield client
    run.close()


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[httpx.Client]:
    """The API of another run, with short deadlines and few connections."""
    with limited(tmp_path_factory.mktemp("hurried"), key_file, SHORT) as client:
        yield client


@pytest.fixture
def crowded(tmp_path: Path, key_file: Path) -> Iterator[httpx.Client]:
    """The API of another run, with few connections and all the time in the world."""
    with limited(tmp_path / "crowded", key_file, replace(SHORT, head_seconds=60, body_seconds=60)) as client:
        yield client


def connected(client: httpx.Client) -> socket.socket:
    url = client.base_url
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=20)


def bytes_answered(client: httpx.Client, *parts: bytes) -> bytes:
    """All that the server sends to one that sends these parts, until the server ends the connection."""
    with closing(connected(client)) as one:
        for part in parts:
            try:
                one.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
        return to_the_end(one)


def to_the_end(one: socket.socket) -> bytes:
    received = bytearray()
    try:
        while part := one.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return bytes(received)


def refusal(answer: bytes) -> tuple[int, str]:
    """The status and the error's code of the last answer."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    status = head[head.rindex(b"HTTP/1.1") :].split(b" ")[1]
    assert b"connection: close" in head
    return int(status), json.loads(body)["error"]["code"]


def header(size: int, name: bytes = b"X-Long") -> bytes:
    return name + b": " + b"a" * (size - len(name) - 4) + b"\r\n"


# --- bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"GET / HTTP/1.1\r\nHost: localhost\r\n", *[b"X: a\r\n" * 1000] * 200], (431, "request-head-too-large")),
        ([b"GET / HTTP/1.1\r\nHost: localhost\r\n", header(MOST)], (431, "request-head-too-large")),
        ([b"GET / HTTP/1.0\r\n", header(2 * MOST)], (431, "request-head-too-large")),
        ([b"GET /", *[b"a" * 8000] * 20], (414, "url-too-long")),
        ([b"\r\n" * MOST], (431, "request-head-too-large")),
        ([CHUNKED, b"1;" + b"x" * 2 * MOST], (431, "request-head-too-large")),
        ([CHUNKED, b"0\r\n", *[b"X: a\r\n" * 1000] * 200], (431, "request-head-too-large")),
        ([b"nonsense\r\n\r\n"], (400, "request")),
        ([b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"], (400, "request")),
    ],
    ids=["many", "long", "old", "url", "blank", "extension", "trailers", "nonsense", "bytes"],
)
def test_what_is_no_body_has_64_kib(api: httpx.Client, parts: list[bytes], expected: tuple[int, str]) -> None:
    """An address, headers, chunk sizes and trailers over 64 KiB are refused in the API's own form, key or no key."""
    assert refusal(bytes_answered(api, *parts)) == expected
    assert api.get("/health").status_code == 200


def test_the_limit_is_exact(api: httpx.Client) -> None:
    """A head of exactly 64 KiB is answered, on a connection that has answered before too; one byte more is not."""
    first = b"GET /models HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + KEY.encode() + b"\r\n"
    whole = first + header(MOST - len(first) - 2) + b"\r\n"
    assert len(whole) == MOST
    with closing(connected(api)) as one:
        for _ in range(2):
            one.sendall(whole)
            assert one.recv(12) == b"HTTP/1.1 200"
            wait_for(lambda: one.recv(65536).endswith(b"]"), "the end of the answer")
    assert refusal(bytes_answered(api, first + header(MOST - len(first) - 1) + b"\r\n"))[0] == 431


def test_a_chunked_body_is_counted(api: httpx.Client) -> None:
    """A body without a length is refused once it is over its limit; without the key it is not read at all."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with closing(connected(api)) as one:
        one.sendall(CHUNKED + chunk * (MAX_PREDICT_BYTES // 65536 + 1))
        assert one.recv(12) == b"HTTP/1.1 413"
    with closing(connected(api)) as one:
        one.sendall(CHUNKED.replace(KEY.encode(), b"no-key-at-all"))
        assert one.recv(12) == b"HTTP/1.1 401"


def test_trailers_are_no_headers(api: httpx.Client) -> None:
    """A key after the body is none, and small trailers do no harm."""
    body = json.dumps(ROW).encode()
    end = b"%x\r\n" % len(body) + body + b"\r\n0\r\nX-API-Key: " + KEY.encode() + b"\r\n\r\n"
    with closing(connected(api)) as one:
        one.sendall(CHUNKED.replace(b"X-API-Key", b"X-Other") + end)
        assert one.recv(12) == b"HTTP/1.1 401"
    with closing(connected(api)) as one:
        one.sendall(CHUNKED + end)
        assert one.recv(12) == b"HTTP/1.1 200"


def test_refusals_are_counted(api: httpx.Client) -> None:
    """The metrics tell how many requests were refused before their heads were whole."""
    bytes_answered(api, b"GET / HTTP/1.1\r\n", header(2 * MOST))
    assert 'method="other",route="refused",status="431"' in api.get("/metrics").text


def test_pipelined_requests_are_answered_in_order(api: httpx.Client) -> None:
    """Ten requests sent at once get ten answers; a thousand at once are too many."""
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = ask.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert bytes_answered(api, ask * 9 + last).count(b"HTTP/1.1 200") == 10
    assert bytes_answered(api, ask * 1000).count(b"HTTP/1.1 200") < 1000
    assert api.get("/health").status_code == 200


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "byte"),
    [
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (CHUNKED, b""),
        (HEAD + b"Content-Length: 999\r\n\r\n", b" "),
    ],
    ids=["head", "slow head", "body", "slow body"],
)
def test_half_a_request_has_its_time(hurried: httpx.Client, first: bytes, byte: bytes) -> None:
    """A request that stays half-sent, or comes byte by byte, is refused at its deadline."""
    with closing(connected(hurried)) as one:
        one.sendall(first)
        one.settimeout(0.1)
        found = b""
        began = time.monotonic()
        while not found and time.monotonic() - began < 20:
            try:
                found = one.recv(65536)
            except TimeoutError:
                one.sendall(byte)
        assert refusal(found) == (408, "request-timeout")


def test_a_refused_body_has_its_time_too(hurried: httpx.Client) -> None:
    """A client without the key that goes on sending its body for ever is dropped, with the one answer it got."""
    answer = bytes_answered(hurried, b"POST /size_of HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{")
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith(b"HTTP/1.1 401")


def test_a_silent_connection_is_closed(hurried: httpx.Client) -> None:
    """Who connects and says nothing is hung up on, without a word."""
    assert bytes_answered(hurried) == b""


def test_a_client_that_takes_no_answers_is_dropped(hurried: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks on and on and reads nothing is dropped, which is no fault of the API's own."""
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + KEY.encode() + b"\r\n\r\n"
    with closing(socket.socket()) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(20)
        one.connect((hurried.base_url.host, hurried.base_url.port))

        def dropped() -> bool:
            try:
                one.sendall(ask)
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_for(dropped, "the end of the connection", 60)
    assert hurried.get("/health").status_code == 200
    assert "a request failed" not in capsys.readouterr().out


# --- connections --------------------------------------------------------------------------------------------------


def test_half_open_connections_keep_nobody_out(crowded: httpx.Client) -> None:
    """Of more connections than are allowed the oldest half-sent ones give way; a whole request is answered."""
    with ExitStack() as stack:
        held = [stack.enter_context(closing(connected(crowded))) for _ in range(3 * SHORT.connections)]
        for one in held:
            try:
                one.sendall(b"GET / HT")
            except (BrokenPipeError, ConnectionResetError):
                continue  # it has given way already
        assert crowded.post("/size_of", json=ROW).status_code == 200
        assert refusal(to_the_end(held[0])) == (503, "too-many-connections")


def test_refused_connections_give_way_first(hurried: httpx.Client) -> None:
    """Clients that hold on to connections on which they were refused keep nobody out."""
    with ExitStack() as stack:
        held = [stack.enter_context(closing(connected(hurried))) for _ in range(SHORT.connections)]
        for one in held:
            one.sendall(b"GET / HT")
        refused = [to_the_end(one) for one in held]
        assert [refusal(found)[0] for found in refused if found].count(408) > 1
        answers = [httpx.post(hurried.base_url.join("/size_of"), json=ROW, headers=hurried.headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3


def test_connections_at_work_are_not_closed_for_others(hurried: httpx.Client) -> None:
    """Where each connection has a request under way, the newest is refused."""
    with ExitStack() as stack:
        hurried.get("/health", headers={"Connection": "close"})
        for _ in range(SHORT.connections):
            connection = stack.enter_context(closing(connected(hurried)))
            connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 999\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 100"  # its request is under way
        assert refusal(to_the_end(stack.enter_context(closing(connected(hurried))))) == (503, "too-many-connections")
