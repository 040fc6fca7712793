"""Why a Kafka does not answer, or refuses: in words, with the way out."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tidemill.errors import BootstrapError
from tidemill.texts import shorten_text

ASK_SECONDS = 0.5
PAUSE_SECONDS = 0.05
MOST_TEXT = 300
UNAUTHORIZED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
LOGIN = "check security.protocol, sasl.mechanism, sasl.username and sasl.password in [stream.kafka]"
TLS = (
    "check security.protocol in [stream.kafka], and that ssl.ca.location is the file of the certificate that the "
    "broker's own is signed by"
)
CLOSED = (
    "it closes every connection, as a broker does that wants TLS or a login",
    'set "security.protocol" in [stream.kafka] to "SSL", "SASL_SSL" or "SASL_PLAINTEXT", with the login; '
    "tidemill init takes --kafka NAME=VALUE",
)
CHECK = (
    "check that it runs and that the address is right (--bootstrap-servers HOST:PORT); a run that reads no topic of "
    "others needs no address: it starts a Kafka of its own"
)


def await_kafka(settings: Mapping[str, Any], address: str, seconds: float) -> None:
    """Return once Kafka answers.

    Raises:
        BootstrapError: it refuses the login or TLS, or does not answer within ``seconds``.
    """
    errors: list[KafkaError] = []
    client = AdminClient({**settings, "error_cb": errors.append})  # not kept: its errors would pile up unpolled
    end = time.monotonic() + seconds
    while True:
        try:
            client.list_topics(timeout=ASK_SECONDS)
        except KafkaException as error:
            client.poll(0)
            raise_refusal(errors, address)
            if time.monotonic() > end:
                raise silence(errors, address, seconds) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


def raise_refusal(errors: Sequence[KafkaError], address: str) -> None:
    """
    Raises:
        BootstrapError: one of the errors is a refusal, which asking again does not change.
    """
    for error in errors:
        if error.code() == KafkaError._AUTHENTICATION:
            raise BootstrapError(f"the Kafka at {address} refuses the login: {told(error)}", LOGIN)
        if error.code() == KafkaError._SSL:
            raise BootstrapError(f"there is no TLS with the Kafka at {address}: {told(error)}", TLS)


def silence(errors: Sequence[KafkaError], address: str, seconds: float) -> BootstrapError:
    """The error for a Kafka that does not answer, with the client's newest reason."""
    message = f"no Kafka answers at {address} within {seconds:g} s"
    reasons = [told(error) for error in errors if error.code() != KafkaError._ALL_BROKERS_DOWN]
    if reasons:
        return BootstrapError(f"{message}: {reasons[-1]}", TLS if "SSL" in reasons[-1] else CHECK)
    if errors:  # of closed connections the client says no more than that no broker is left
        return BootstrapError(f"{message}: {CLOSED[0]}", CLOSED[1])
    return BootstrapError(message, CHECK)


def told(error: KafkaError) -> str:
    """The client's text, without the address before it and the client's state behind it."""
    text = re.sub(r" \(after \d+ms in state \w+[^)]*\)$", "", re.sub(r"^\S+: ", "", error.str()))
    return shorten_text(text, MOST_TEXT)


def way_out(error: object) -> str:
    """What to do about an error of Kafka."""
    if isinstance(error, KafkaError) and error.code() in UNAUTHORIZED:
        return "the user of [stream.kafka] needs the rights to read and to describe the topic (Kafka's ACLs)"
    return "see Kafka's log"
