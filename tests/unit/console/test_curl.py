"""The curl lines: what a shell makes of them reaches the API as it was meant."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving_run import ROW, api_of, new_run, publish, routes_document, seal
from tidemill.console.forms.curl import curl

AWKWARD = """it's "5 > 4" & $HOME `x` \\ é\n@file"""


def words(line: str) -> list[str]:
    """What a POSIX shell makes of the line, its line breaks joined."""
    return shlex.split(line.replace("\\\n", " "))


def test_a_get_is_but_its_address() -> None:
    assert curl("GET", "http://127.0.0.1:5000/health") == "curl -sS http://127.0.0.1:5000/health"


def test_a_body_of_json_comes_through_the_shell_as_it_is() -> None:
    sent = words(curl("POST", "http://h/p", document={"text": AWKWARD, "n": 1.5}))
    assert sent[:5] == ["curl", "-sS", "-X", "POST", "http://h/p"]
    assert sent[5:8] == ["-H", "Content-Type: application/json", "-d"]
    assert json.loads(sent[8]) == {"text": AWKWARD, "n": 1.5}


def test_a_query_is_encoded_and_what_is_none_is_left_out() -> None:
    sent = words(curl("GET", "http://h/p", query={"q": "a&b c|d", "on": True, "top": None}))
    assert sent[-1] == "http://h/p?q=a%26b+c%7Cd&on=true"


def test_a_form_is_sent_field_by_field() -> None:
    sent = words(curl("POST", "http://h/p", form={"use": 300.5, "name": AWKWARD}))
    assert sent[5:] == ["--data-urlencode", "use=300.5", "--data-urlencode", f"name={AWKWARD}"]


def test_the_key_is_named_but_never_shown() -> None:
    assert '-H "Authorization: Bearer $TIDEMILL_API_KEY"' in curl("GET", "http://h/p", keyed=True)


def test_the_lines_work_against_a_served_pipeline(tmp_path: Path) -> None:
    """curl, run by a shell, gets the answers that a client of the API gets."""
    form = {"method": "POST", "path": "/size/{generation}", "model": "size", "body": "form", "answer": "prediction"}
    run = new_run(tmp_path, document=routes_document(form))
    try:
        seal(run, 1, [{}, {"note": AWKWARD}, {}])
        publish(run, 1, [1])
        with api_of(run) as client:
            address = str(client.base_url).rstrip("/")
            path = "/models/good/predict"
            row = ROW | {"kind": AWKWARD}
            assert run_line(curl("POST", address + path, document=row)) == client.post(path, json=row).json()
            query: dict[str, Any] = {"text": f"green {AWKWARD}", "top": 2}
            line = curl("GET", f"{address}/models/words/similar", query=query)
            assert run_line(line) == client.get("/models/words/similar", params=query).json()
            line = curl("POST", f"{address}/size/1", form={"hours": 4.0, "count": 6})
            assert run_line(line) == pytest.approx(1007.0)
    finally:
        run.close()


def run_line(line: str) -> Any:
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)
