"""The API key: asked for on every route but one, and without which nobody else's machine is served."""

from __future__ import annotations

import re
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from starlette.routing import Route

from tests.support.commands import COMMAND
from tests.support.serving_run import KEY, api_of, basic_auth, new_run, publish, seal
from tidemill.api.app import create_app
from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import InputError
from tidemill.web.api_key import VARIABLE, api_key, require_key

GOOD = [
    {"Authorization": f"Bearer {KEY}"},
    {"X-API-Key": KEY},
    basic_auth(KEY, "anyone"),
    basic_auth(KEY, ""),
    {"X-API-Key": KEY} | basic_auth("its own", "proxy"),
]
BAD: list[dict[str, str]] = [
    {},
    {"Authorization": f"Bearer {KEY}x"},
    {"X-API-Key": "1"},
    {"Authorization": KEY},
    basic_auth(f"{KEY}x", "anyone"),
    basic_auth("", KEY),
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": f"Basic {b64encode(KEY.encode()).decode()}"},
]


def test_every_route_but_health_wants_the_key(tmp_path: Path, key_file: Path) -> None:
    """Without the key, or with another, every route of the API answers 401 and nothing else; with it none does."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}])
    publish(run, 1, [1])
    routes = [route for route in create_app(run, ModelRegistry(run)).routes if isinstance(route, Route)]
    paths = [(method, re.sub(r"\{[^}]*\}", "1", route.path)) for route in routes for method in route.methods or ()]
    assert len(paths) > 15
    with api_of(run, key_file=key_file) as client:
        for method, path in [*paths, ("GET", "/nothing/here"), ("PUT", "/models")]:
            for headers in BAD:
                answer = client.request(method, path, headers=headers)
                if path == "/health":
                    assert answer.status_code in (200, 503)
                else:
                    assert (path, answer.status_code) == (path, 401)
                    assert answer.headers.get_list("www-authenticate") == ["Bearer", 'Basic realm="Tidemill"']
                    assert KEY not in answer.text
            for good in GOOD:
                assert client.request(method, path, headers=good).status_code != 401


@pytest.mark.parametrize("damaged", [b"Basic", b"Basic ====", b"Basic YQ", b"Basic \xff\xfe", b"Basic /w=="])
def test_credentials_that_cannot_be_read(tmp_path: Path, key_file: Path, damaged: bytes) -> None:
    """Credentials that are no base64, or hold no password, are refused like none at all."""
    with api_of(new_run(tmp_path), key_file=key_file) as client:
        answer = client.get("/models", headers=[(b"Authorization", damaged)])
        assert answer.status_code == 401
        assert answer.json()["error"]["message"] == "this API requires a key"


def test_without_a_key_nobody_is_asked_for_one(tmp_path: Path) -> None:
    """On loopback a key is optional."""
    with api_of(new_run(tmp_path)) as client:
        assert client.get("/models").status_code == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "fe80::1%eth0"])
def test_other_machines_need_a_key(address: str, key_file: Path) -> None:
    """An address that other machines can reach is not served without a key; loopback is."""
    with pytest.raises(InputError, match="needs an API key"):
        require_key(address, None)
    require_key(address, api_key(key_file))
    for loopback in ("127.0.0.1", "127.8.8.8", "::1"):
        require_key(loopback, None)


def test_access_is_looked_at_before_anything_starts(tmp_path: Path) -> None:
    """`up` refuses a key that can't be read, and another machine's address without one, and leaves no run behind."""
    for options in (["--api-key-file", str(tmp_path / "none.txt")], ["--host", "0.0.0.0"]):
        line = [*COMMAND, "up", "smart-home", "--run-dir", str(tmp_path / "run"), *options]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "API key" in done.stderr
        assert not (tmp_path / "run").exists()


def test_where_the_key_comes_from(tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file, or else from the environment; one that is too short, or can't be read, is refused unseen."""
    assert api_key(None) is None
    monkeypatch.setenv(VARIABLE, "")
    assert api_key(None) is None
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(InputError, match="fewer than 16") as caught:
        api_key(None)
    assert "short" not in caught.value.message.replace("shorter", "")
    assert api_key(key_file) is not None
    with pytest.raises(InputError, match="can't be read"):
        api_key(tmp_path / "none.txt")


def test_a_key_that_others_can_read_is_warned_of(
    tmp_path: Path, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names a key's file that other users can read, and how to close it to them; not the key."""
    for mode, warned in ((0o644, True), (0o640, True), (0o604, True), (0o600, False), (0o400, False)):
        key_file.chmod(mode)
        caplog.clear()
        assert api_key(key_file)
        assert (f"chmod 600 {key_file}" in caplog.text) == warned
        assert KEY not in caplog.text
