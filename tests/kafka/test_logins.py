"""A Kafka that wants a login: init and the stream read a topic there; refusals are told, with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation

from tests.support.secured_broker import PASSWORD, SecuredBroker
from tests.support.stage_run import collect_to_end
from tests.support.topic_run import OthersTopic, sealed_ns
from tidemill.errors import BootstrapError, StreamFailed
from tidemill.guessing.topic_notation import TopicAccess
from tidemill.kafka.client import KafkaConnection, connect_admin
from tidemill.pipeline import load
from tidemill.process.initiation import initiate_topic, write
from tidemill.process.topic_access import TopicOptions, topic_access
from tidemill.process.topic_sample import sample_topic
from tidemill.run.folder import open_run

pytestmark = pytest.mark.kafka
LOGIN = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "reader",
    "sasl.password": PASSWORD,
}
TLS = {"security.protocol": "SASL_SSL"}


@pytest.fixture(scope="module")
def broker(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with SecuredBroker(tmp_path_factory.mktemp("secured"), jars) as secured:
        yield secured


@pytest.fixture
def topic(broker: SecuredBroker) -> OthersTopic:
    """A topic of 300 rows, which the user "reader" may read and describe, and nothing more."""
    others = OthersTopic(broker.bootstrap)
    for n in range(300):
        others.put({"n": n, "size": n / 7})
    others.flush()
    broker.allow("reader", others.name, [AclOperation.READ, AclOperation.DESCRIBE])
    return others


def test_a_topic_behind_a_login_and_tls(
    broker: SecuredBroker, topic: OthersTopic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline that init writes passes its check and runs as it stands, by a user with no right but on the topic;
    the file says where the password is, not the password."""
    monkeypatch.setenv("KAFKA_WORD", PASSWORD)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text(broker.ca.read_text())
    given = ["security.protocol=SASL_SSL", "sasl.mechanism=PLAIN", "sasl.username=reader"]
    options = TopicOptions((*given, "sasl.password=env:KAFKA_WORD", "ssl.ca.location=ca.pem"))
    access = topic_access(topic.name, broker.secure, options, tmp_path)
    initiated = initiate_topic(access, name="orders", out=tmp_path / "orders.toml")
    assert '"sasl.password" = { env = "KAFKA_WORD" }' in initiated.text
    assert PASSWORD not in initiated.text
    assert len(initiated.report.tried["source"].rows) == 300
    write(initiated, force=False)
    monkeypatch.chdir("/")  # the run may be started anywhere
    run = open_run(load(str(initiated.path)), tmp_path / "run")
    collect_to_end(run)
    assert sealed_ns(run) == list(range(300))


@pytest.mark.parametrize(
    ("tls", "settings", "message", "hint"),
    [
        (False, {**LOGIN, "sasl.password": "wrong"}, "refuses the login: .*Invalid username or password$", "password"),
        (False, {**LOGIN, "sasl.mechanism": "SCRAM-SHA-256"}, "supported mechanisms: PLAIN$", "sasl.mechanism"),
        (False, {}, "it closes every connection", "--kafka NAME=VALUE"),
        (True, LOGIN, "it closes every connection", "SASL_SSL"),
        (True, LOGIN | TLS, "there is no TLS with .*certificate verify failed", "ssl.ca.location"),
        (False, LOGIN | TLS, "no Kafka answers .*PLAINTEXT", "security.protocol"),
    ],
)
def test_a_refusal_is_told(broker: SecuredBroker, tls: bool, settings: dict[str, str], message: str, hint: str) -> None:
    """A wrong login, no login, and TLS on one side alone are an error that names the reason and the settings to change;
    the password is not in it."""
    address = broker.secure if tls else broker.login
    with pytest.raises(BootstrapError, match=message) as caught:
        connect_admin(KafkaConnection(address, settings), seconds=0.1)
    assert hint in caught.value.hint
    assert PASSWORD not in str(caught.value.document())


@pytest.mark.parametrize("operation", [AclOperation.DESCRIBE_CONFIGS, AclOperation.DESCRIBE])
def test_a_topic_that_may_not_be_read(
    broker: SecuredBroker, operation: AclOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to describe a topic, or to read it, the error names the rights."""
    monkeypatch.setenv("KAFKA_WORD", PASSWORD)
    others = OthersTopic(broker.bootstrap)
    others.write(range(3))
    broker.allow("reader", others.name, [operation])
    with pytest.raises(StreamFailed, match="authorization failed") as caught:
        sample_topic(TopicAccess(others.name, broker.login, {**LOGIN, "sasl.password": {"env": "KAFKA_WORD"}}))
    assert "rights to read and to describe" in caught.value.hint
