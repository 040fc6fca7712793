"""The options of ``tidemill init --topic``: settings, the places of secrets, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidemill.errors import UsageError
from tidemill.process.topic_access import TopicOptions, topic_access


def test_settings_and_the_places_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are kept as given; a secret is the place where it is; a path is the one that the pipeline file, or
    librdkafka, finds from anywhere; the options are known as they were typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").touch()
    kafka = ("sasl.username=a=b", "sasl.password=file:secret.txt", "ssl.ca.location=ca.pem", "ssl.key.location=none")
    registry = ("token=env:TOKEN", "ca=ca.pem")
    options = TopicOptions(kafka, "avro", "http://127.0.0.1:8081", registry)
    access = topic_access("orders", "k:1", options, tmp_path / "sub")
    assert access.kafka == {
        "sasl.username": "a=b",
        "sasl.password": {"file": str(tmp_path / "secret.txt")},
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "ssl.key.location": "none",
    }
    assert access.registry == {
        "url": "http://127.0.0.1:8081",
        "token": {"env": "TOKEN"},
        "ca": str(tmp_path / "ca.pem"),
    }
    assert access.options[:2] == ("--kafka", "sasl.username=a=b")
    assert access.options[8:12] == ("--value", "avro", "--registry", "http://127.0.0.1:8081")
    assert access.options[12:] == ("--registry-set", "token=env:TOKEN", "--registry-set", "ca=ca.pem")
    beside = topic_access("orders", "k:1", options, tmp_path)
    assert beside.kafka["sasl.password"] == {"file": "secret.txt"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TopicOptions(kafka=["hunter2"]), "not of the form NAME=VALUE"),
        (TopicOptions(kafka=["sasl.password=hunter2"]), "a secret is neither typed here nor written"),
        (TopicOptions(kafka=["ssl.key.pem=hunter2"]), "a secret is neither typed here nor written"),
        (TopicOptions(kafka=["sasl.pasword=hunter2"]), 'did you mean "sasl.password"'),
        (TopicOptions(kafka=["group.id=g"]), "exactly-once depends on it"),
        (TopicOptions(kafka=["plugin.library.paths=p.so"]), "loads a library"),
        (TopicOptions(value="avro"), "registry of the schemas is not given"),
        (TopicOptions(registry_settings=["username=me"]), "registry of the schemas is not given"),
        (TopicOptions(value="json", registry="http://r:1"), 'a registry beside value = "json"'),
        (TopicOptions(registry="r:1"), "http://127.0.0.1:8081"),
        (TopicOptions(value="avro", registry=""), "registry of the schemas is not given"),
        (TopicOptions(registry="http://r:1", registry_settings=["ca=env:hunter2"]), "ca: the place of a secret"),
        (TopicOptions(registry="http://me:hunter2@r:1"), "a user in the address"),
        (TopicOptions(registry="http://r:1", registry_settings=["token=hunter2"]), "a secret is neither typed"),
        (TopicOptions(registry="http://r:1", registry_settings=["user=me"]), "user: no such setting"),
        (TopicOptions(registry="http://r:1", registry_settings=["username=me"]), "one of username and password"),
    ],
)
def test_what_is_refused(options: TopicOptions, message: str) -> None:
    """A secret itself, a setting that no pipeline may have, and options that do not go together are refused, and no
    secret is shown."""
    with pytest.raises(UsageError, match=message) as caught:
        topic_access("orders", "k:1", options, Path())
    assert "hunter2" not in json.dumps(caught.value.document())
