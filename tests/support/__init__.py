"""What all tests share: the public files, and waiting for an event with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from confluent_kafka.admin import AdminClient

from tidemill.kafka.client import Topic, await_topic, make_topic
from tidemill.run.catalog import Catalog

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SMART_HOME = DATA / "smart-home" / "smart_home_device_usage_data.csv"
PUBLIC_FILES = {
    "smart-home": SMART_HOME,
    "amazon-sales": DATA / "amazon-sales" / "amazon_sales.csv",
    "denver-crime": DATA / "denver-crime" / "denver_crime_by_reported_date.csv",
    "price-paid": DATA / "price-paid" / "pp-1995-sample.csv",
    "dutch-electricity": DATA / "dutch-electricity" / "coteq_electricity_2018.csv",
    "movie-ratings": DATA / "movielens" / "ratings.csv",
}
"""The public data set of each ready pipeline."""

T = TypeVar("T")


def new_topic(admin: AdminClient, name: str, partitions: int) -> Topic:
    """Create a topic as the producer does, and wait until Kafka shows it."""
    make_topic(admin, name, partitions)
    return await_topic(admin, name)


def assert_account_closed(catalog: Catalog) -> None:
    """The rows read of each partition are those that its end marker says were sent, by number and digest, and each of
    them is in a sealed batch or in the rejects."""
    accounts = catalog.closing_account()
    assert accounts, "the stream has not ended"
    for partition, account in accounts.items():
        assert (account.read, account.read_digest) == (account.sent, account.sent_digest), partition
    totals = catalog.totals()
    sent = sum(account.sent or 0 for account in accounts.values())
    assert totals["rows"] <= sent <= totals["rows"] + totals["rejected"]


def wait_for(look: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """The first true result of ``look``; fails with ``what`` after ``seconds``.

    The longer it waits, the less often it looks, as a look takes time from what is waited for.
    """
    start = time.monotonic()
    while not (result := look()):
        waited = time.monotonic() - start
        if waited > seconds:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(min(0.2, max(0.02, waited / 20)))
    return result
