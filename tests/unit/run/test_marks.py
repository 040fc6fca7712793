"""Marks that only the run's own writer can make, and an account that says which rows went through a partition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.run.catalog.account import BLOCK_BYTES, Account, total_digest
from tidemill.run.marks import CLAIM, END, MOST_BYTES, POSITION, Kind, Marks

RUN, SECRET, TOPIC = "a" * 32, "5e" * 32, "topic-id"
KINDS: tuple[Kind, ...] = (CLAIM, POSITION, END)

values = st.lists(st.binary(max_size=3 * BLOCK_BYTES).filter(lambda value: b"\n" not in value), max_size=12)


class Headed:
    """A message of a partition with headers."""

    def __init__(self, partition: int, *headers: tuple[str, bytes | str | None]) -> None:
        self._partition = partition
        self._headers = headers

    def partition(self) -> int:
        return self._partition

    def headers(self) -> Sequence[tuple[str, bytes | str | None]]:
        return self._headers

    def set_headers(self, headers: object) -> None:
        """No test changes them."""


def marks(run: str = RUN, secret: str | None = SECRET, topic: str = TOPIC) -> Marks:
    return Marks(run, secret, topic)


# --- accounts ---------------------------------------------------------------------------------------------------------


@given(values, st.lists(st.integers(0, 12), max_size=6))
def test_grouping_does_not_matter(rows: list[bytes], cuts: list[int]) -> None:
    """However the rows are grouped, the account is the same in all that it holds."""
    account = Account()
    for first, last in pairwise([0, *sorted(cuts), 12]):
        account = account.add(rows[first:last])
    assert account == Account().add(rows)
    assert len(account.pending) < BLOCK_BYTES


@given(values)
def test_the_digest_is_as_defined(rows: list[bytes]) -> None:
    """The rows, each with a line feed, in blocks that are hashed together with the hash before them. Old runs hold such
    digests."""
    text, chain = b"".join(row + b"\n" for row in rows), bytes(32)
    while len(text) >= BLOCK_BYTES:
        chain, text = sha256(chain + text[:BLOCK_BYTES]).digest(), text[BLOCK_BYTES:]
    account = Account().add(rows)
    assert (account.chain, account.pending) == (chain, text)
    assert account.digest == sha256(chain + text + len(rows).to_bytes(8, "big")).hexdigest()


@given(values, st.data())
def test_another_row_gives_another_digest(rows: list[bytes], data: st.DataObject) -> None:
    """A row that is changed, left out, doubled or moved, or one that is split in two, gives another digest."""
    digest = Account().add(rows).digest
    place = data.draw(st.integers(0, len(rows)))
    others = [
        [*rows[:place], b"one more", *rows[place:]],
        [*rows[:place], *rows[place + 1 :]],
        [*rows[:place], *(row + b"x" for row in rows[place : place + 1]), *rows[place + 1 :]],
        [*rows[place:], *rows[:place]],
        [b"".join(rows)],
    ]
    for other in others:
        assert (Account().add(other).digest == digest) == (other == rows)


def test_a_total_tells_partitions_apart() -> None:
    """The total digest is another one where two partitions have changed places, and where one has another row."""
    one, two = Account().add([b"1"]), Account().add([b"2"])
    assert total_digest({0: one, 1: two}) == total_digest({1: two, 0: one})
    assert len({total_digest(each) for each in ({0: one, 1: two}, {0: two, 1: one}, {0: one, 1: one}, {0: one})}) == 4


# --- marks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, None])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_is_read_as_it_was_written(kind: Kind, secret: str | None) -> None:
    """A run reads what it wrote, signed or, begun before marks were signed, not signed."""
    header = marks(secret=secret).write(kind, 3, rows=7, digest="ab")
    assert marks(secret=secret).read(Headed(3, header), kind) == {"run": RUN, "rows": 7, "digest": "ab"}
    assert len(header[1]) < MOST_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_of_another_place_is_none(kind: Kind) -> None:
    """A genuine mark counts for its run, kind, topic and partition only, and with its run's secret only."""
    header = marks().write(kind, 3, rows=7)
    assert marks().read(Headed(3, header), kind)
    assert marks().read(Headed(2, header), kind) is None
    assert marks(run="b" * 32).read(Headed(3, header), kind) is None
    assert marks(secret="00" * 32).read(Headed(3, header), kind) is None
    assert marks(topic="made anew").read(Headed(3, header), kind) is None
    for other in set(KINDS) - {kind}:
        assert marks().read(Headed(3, header), other) is None
        assert marks().read(Headed(3, (other, header[1])), other) is None


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 8},
        {"rows": True},
        {"rows": None},
        {"rows": "7"},
        {"more": 1},
        {"run": "b" * 32},
        {"mac": None},
        {"mac": ""},
        {"mac": "\ud800"},
        {"mac": 7},
        {"mac": ["0" * 64]},
        {"mac": "0" * 64},
    ],
)
def test_a_mark_that_was_tampered_with_is_none(change: dict[str, Any]) -> None:
    """Each field is signed: with another value of one, or with one more, the mark is no longer the run's."""
    kind, value = marks().write(POSITION, 0, rows=7)
    changed = json.dumps(json.loads(value) | change).encode()
    assert marks().read(Headed(0, (kind, value)), POSITION)
    assert marks().read(Headed(0, (kind, changed)), POSITION) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        b"",
        b"\xff\xfe",
        b"7",
        b"[]",
        b"{}",
        b"[" * 1000,
        b'{"run":' * 140,
        b"9" * 1000,
        b"[" * 2**20,
        json.dumps({"run": RUN, "rows": 10**9}).encode(),
        json.dumps({"run": RUN, "rows": 10**9, "mac": "f" * 64}).encode(),
    ],
)
def test_what_others_write_hides_no_mark(value: bytes | str | None) -> None:
    """Whatever stands in headers of the same name, before or after it, the genuine mark is found, and it alone."""
    junk, header = (POSITION, value), marks().write(POSITION, 0, rows=7)
    assert marks().read(Headed(0, junk), POSITION) is None
    for headers in ((junk, header), (header, junk), (*[junk] * 100, header)):
        assert marks().read(Headed(0, *headers), POSITION) == {"run": RUN, "rows": 7}


def test_a_message_without_headers_has_no_mark() -> None:
    """No header, no mark."""
    assert marks().read(Headed(0), END) is None
