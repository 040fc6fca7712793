"""The settings of the Kafka client that a pipeline file may make: a list of allowed ones; all others are refused.

A pipeline file may come from a stranger. Several of librdkafka's settings load a library or run a shell command, so a
setting is allowed only if it is known to do neither, and not to affect exactly-once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tidemill.errors import Fault
from tidemill.texts import did_you_mean


def names(text: str) -> tuple[str, ...]:
    """The names in ``text``, separated by blanks."""
    return tuple(text.split())


CONNECTION = names("""
    client.id client.rack client.dns.lookup broker.address.family broker.address.ttl security.protocol
    connections.max.idle.ms enable.metrics.push log.connection.close socket.timeout.ms
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.nagle.disable socket.max.fails
    socket.send.buffer.bytes socket.receive.buffer.bytes receive.message.max.bytes reconnect.backoff.ms
    reconnect.backoff.max.ms reconnect.backoff.jitter.ms retry.backoff.ms retry.backoff.max.ms
    api.version.request.timeout.ms request.timeout.ms metadata.max.age.ms metadata.recovery.strategy
    metadata.recovery.rebootstrap.trigger.ms topic.metadata.refresh.interval.ms
    topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.fast.cnt topic.metadata.refresh.sparse
    topic.metadata.propagation.max.ms
""")
TLS = names("""
    ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem ssl.crl.location ssl.key.location
    ssl.key.pem ssl.key.password ssl.keystore.location ssl.keystore.password ssl.cipher.suites ssl.curves.list
    ssl.sigalgs.list ssl.endpoint.identification.algorithm https.ca.location https.ca.pem
""")
SASL = names("""
    sasl.mechanism sasl.mechanisms sasl.username sasl.password sasl.kerberos.service.name
    sasl.kerberos.min.time.before.relogin sasl.oauthbearer.method sasl.oauthbearer.client.id
    sasl.oauthbearer.client.secret sasl.oauthbearer.scope sasl.oauthbearer.extensions
    sasl.oauthbearer.token.endpoint.url
""")
FLOW = names("""
    batch.size batch.num.messages compression.level queue.buffering.max.messages queue.buffering.max.kbytes
    queued.min.messages fetch.min.bytes fetch.max.bytes fetch.message.max.bytes max.partition.fetch.bytes
    fetch.error.backoff.ms fetch.queue.backoff.ms check.crcs session.timeout.ms heartbeat.interval.ms
    transaction.timeout.ms
""")
ALLOWED = frozenset((*CONNECTION, *TLS, *SASL, *FLOW))

OWN_SETTINGS = names("""
    group.id group.instance.id group.protocol group.protocol.type group.remote.assignor
    partition.assignment.strategy enable.auto.commit auto.commit.enable auto.commit.interval.ms
    enable.auto.offset.store enable.partition.eof offset.store.method offset.store.path enable.idempotence
    enable.gapless.guarantee transactional.id isolation.level auto.offset.reset acks request.required.acks
    message.max.bytes max.in.flight max.in.flight.requests.per.connection retries message.send.max.retries
    message.timeout.ms delivery.timeout.ms partitioner topic.blacklist allow.auto.create.topics
""")
SET_SETTINGS = names("""
    linger.ms queue.buffering.max.ms compression.type compression.codec fetch.wait.max.ms
    queued.max.messages.kbytes
""")

LOADS = "it loads a library into the program"
SHELL = "librdkafka puts it into a shell command"
OWN = "exactly-once depends on it"
REASONS = {
    "plugin.library.paths": LOADS,
    "ssl.engine.location": LOADS,
    "ssl.engine.id": LOADS,
    "ssl.providers": LOADS,
    "sasl.kerberos.kinit.cmd": SHELL,
    "sasl.kerberos.keytab": SHELL,
    "sasl.kerberos.principal": SHELL,
    "enable.ssl.certificate.verification": "without it others can pose as your Kafka; use ssl.ca.location",
    "enable.sasl.oauthbearer.unsecure.jwt": "anyone can make such a token",
    "debug": "it logs what clients and brokers send each other",
    "bootstrap.servers": "use bootstrap_servers in [stream], or --bootstrap-servers",
    "metadata.broker.list": "use bootstrap_servers in [stream], or --bootstrap-servers",
    **dict.fromkeys(OWN_SETTINGS, OWN),
    **dict.fromkeys(SET_SETTINGS, "Tidemill sets it"),
}
UNKNOWN = "a setting that is not on the list of allowed ones"

SECRETS = re.compile(r"password|secret|key\.pem", re.IGNORECASE)


def client_faults(settings: Mapping[str, object]) -> Iterator[Fault]:
    """The refused settings of a pipeline's ``[stream.kafka]``, with the reasons. No value is shown."""
    for name, value in settings.items():
        path = f"stream.kafka.{name}"
        if name in REASONS:
            yield Fault(path, "a setting", f"no such setting: {REASONS[name]}")
        elif name not in ALLOWED:
            yield Fault(path, UNKNOWN, "an allowed setting: see docs/reference.md", did_you_mean(name, sorted(ALLOWED)))
        elif SECRETS.search(name) and isinstance(value, str):
            yield Fault(path, "a secret", '{ env = "NAME" } or { file = "PATH" }', "not in this file")
