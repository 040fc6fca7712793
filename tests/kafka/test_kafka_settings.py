"""The user's own settings of the Kafka client: passed on, secrets unseen, and what exactly-once rests on left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.training_run import run_of
from tidemill.errors import BootstrapError, PipelineInvalid
from tidemill.kafka import client as kafka_module
from tidemill.pipeline import Raw, parse
from tidemill.pipeline.kafka_settings import ALLOWED, REASONS
from tidemill.run.folder import Run
from tidemill.run.stage import Stop

SECRET = "hunter2-hunter2"


def run_with_settings(folder: Path, **settings: object) -> Run:
    return run_of(
        folder,
        source={"path": "data.csv", "columns": {"x": "float"}},
        stream={"topic": "t", "kafka": settings},
        models={"groups": {"estimator": "KMeans", "features": ["x"]}},
    )


def test_settings_reach_the_client(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and secrets, from the environment and from files, are the client's; none of ours is overridden."""
    monkeypatch.setenv("KAFKA_WORD", SECRET)
    (tmp_path / "user.txt").write_text("me\n", encoding="utf-8")
    run = run_with_settings(
        tmp_path,
        **{"client.id": "mine", "sasl.password": {"env": "KAFKA_WORD"}, "sasl.username": {"file": "user.txt"}},
    )
    cluster, admin = kafka_module.connect_cluster(run, kafka, Stop())
    made = cluster.settings(group_id="g")
    assert (made["client.id"], made["sasl.password"], made["sasl.username"]) == ("mine", SECRET, "me")
    assert (made["bootstrap.servers"], made["group.id"]) == (kafka, "g")
    assert admin.list_topics(timeout=10).brokers
    assert SECRET not in repr(cluster)


def test_secrets_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the catalog nor an error that the client makes of its settings holds a secret."""
    monkeypatch.setenv("KAFKA_WORD", SECRET)
    run = run_with_settings(tmp_path, **{"sasl.password": {"env": "KAFKA_WORD"}, "socket.timeout.ms": "x"})
    with pytest.raises(BootstrapError, match=r"socket\.timeout\.ms") as caught:
        kafka_module.connect_cluster(run, "127.0.0.1:1", Stop())
    assert SECRET not in str(caught.value.document())
    recorded = run.catalog.run()
    assert recorded is not None
    assert recorded.document["stream"]["kafka"]["sasl.password"] == {"env": "KAFKA_WORD", "file": None}


@pytest.mark.parametrize(("secret", "fault"), [({"env": "NOT_THERE"}, "no NOT_THERE"), ({"file": "n"}, "n can't be")])
def test_a_secret_that_is_not_there(tmp_path: Path, secret: dict[str, str], fault: str) -> None:
    """The error names the setting and the place where its secret was looked for."""
    with pytest.raises(BootstrapError, match=rf"sasl\.password: .*{fault}"):
        kafka_module.connect_cluster(run_with_settings(tmp_path, **{"sasl.password": secret}), "127.0.0.1:1", Stop())


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"sasl.password": SECRET}, '{ env = "NAME" }'),
        ({"ssl.key.pem": SECRET}, '{ env = "NAME" }'),
        ({"acks": "0"}, "exactly-once depends on it"),
        ({"isolation.level": "read_uncommitted"}, "exactly-once depends on it"),
        ({"client.id": {"env": "A", "file": "b"}}, "for a secret"),
        ({"plugin.library.paths": "p.so"}, "loads a library"),
        ({"ssl.engine.location": "e.so"}, "loads a library"),
        ({"ssl.providers": "p"}, "loads a library"),
        ({"sasl.kerberos.kinit.cmd": {"env": "A"}}, "shell command"),
        ({"sasl.kerberos.principal": "x; true"}, "shell command"),
        ({"enable.ssl.certificate.verification": False}, "ssl.ca.location"),
        ({"bootstrap.servers": "h:1"}, "bootstrap_servers in [stream]"),
        ({"linger.ms": 1}, "Tidemill sets it"),
        ({"sasl.pasword": {"env": "A"}}, 'did you mean "sasl.password"'),
        ({"setting.of.a.later.version": 1}, "not on the list of allowed ones"),
        ({"sasl.oauthbearer.config": SECRET}, "not on the list of allowed ones"),
    ],
)
def test_what_may_not_stand_in_the_file(tmp_path: Path, setting: dict[str, object], expected: str) -> None:
    """A secret in the file itself, and a setting that exactly-once rests on, are faults; the secret is not shown."""
    raw = {
        "name": "n",
        "source": {"path": "d.csv", "columns": {"x": "float"}},
        "stream": {"topic": "t", "kafka": setting},
        "batches": {"rows": 1},
        "models": {"m": {"estimator": "KMeans", "features": ["x"]}},
    }
    with pytest.raises(PipelineInvalid) as caught:
        parse(Raw("n.toml", tmp_path, raw))
    assert expected in caught.value.message
    assert SECRET not in caught.value.message


def test_what_is_allowed_is_documented() -> None:
    """Every allowed setting is in the reference, and none is refused too."""
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert not ALLOWED & set(REASONS)
    assert [name for name in sorted(ALLOWED) if f"`{name}`" not in reference] == []
