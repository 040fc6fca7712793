"""A real Kafka that wants a login, with and without TLS, and that asks who may read which topic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.certificate import CERTIFICATE
from tidemill.java import Java
from tidemill.kafka.embedded.broker import HOST, EmbeddedBroker, free_port
from tidemill.kafka.embedded.guarded_process import GuardedProcess

PASSWORD = "tide-and-mill"
USERS = ("reader", "stranger")  # the second may read nothing
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required " + " ".join(
    f'user_{user}="{PASSWORD}"' for user in USERS
)

# Lines behind the embedded broker's own, of which they replace some. Its own listener stays open, for tests' clients.
MORE = """
listeners=CLIENT://{host}:{client},LOGIN://{host}:{login},SECURE://{host}:{secure},CONTROLLER://{host}:{controller}
listener.security.protocol.map=CLIENT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config={jaas};
listener.name.secure.plain.sasl.jaas.config={jaas};
ssl.keystore.type=PEM
ssl.keystore.location={pem}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class SecuredBroker(EmbeddedBroker):
    """Use it in a ``with`` block.

    Attributes:
        bootstrap: for tests, without a login.
        login, secure: with one (SASL's mechanism PLAIN), ``secure`` by TLS, whose certificate is in the file ``ca``.
    """

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder / "broker", folder / "kafka.log", jars=jars)
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / "server.pem"
        self.ca.write_text(CERTIFICATE)
        ports = [free_port(), free_port()]
        self.login, self.secure = (f"{HOST}:{port}" for port in ports)

    def _run(self, java: Java, arguments: tuple[str, ...], folder: Path) -> GuardedProcess:
        path = folder / "server.properties"
        written = dict(line.partition("=")[::2] for line in path.read_text().splitlines())
        client, controller = (part.rpartition(":")[2] for part in written["listeners"].split(","))
        login, secure = (address.rpartition(":")[2] for address in (self.login, self.secure))
        more = MORE.format(
            host=HOST, client=client, controller=controller, login=login, secure=secure, jaas=LOGIN, pem=self.ca
        )
        path.write_text(path.read_text() + more)
        return super()._run(java, arguments, folder)

    def allow(self, user: str, topic: str, operations: Sequence[AclOperation]) -> None:
        """Give a user rights on a topic."""
        kind, name = ResourceType.TOPIC, ResourcePatternType.LITERAL
        rights = [
            AclBinding(kind, topic, name, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.create_acls(rights).values():
            done.result(10)
