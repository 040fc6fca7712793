"""The rows that are held out, by a hash that is written a second time here, slowly and from its specification."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.judging.holdout import hash_bytes, held_out, row_hashes
from tidemill.pipeline import Column, Holdout, arrow_schema

P1, P2, P3, P4, P5 = (
    11400714785074694791,
    14029467366897019727,
    1609587929392839161,
    9650029242287828579,
    2870177450012600261,
)
MASK = 2**64 - 1
COLUMNS = (
    Column("count", "int", True),
    Column("size", "float", True),
    Column("word", "string", True),
    Column("on", "bool", True),
    Column("when", "timestamp", True),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "count": st.integers(-(2**63), 2**63 - 1),
    "size": st.floats(allow_infinity=False),
    "word": st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
    "on": st.booleans(),
    "when": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
}
rows_of_all_types = st.lists(
    st.fixed_dictionaries({name: values | st.none() for name, values in VALUES.items()}), max_size=20
)


def rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & MASK


def accumulated(lane: int, word: int) -> int:
    return rotated((lane + word * P2) & MASK, 31) * P1 & MASK


def slow_hash(data: bytes, seed: int) -> int:
    """XXH64 of the specification, byte by byte in Python's own integers."""
    at, state = 0, (seed + P5) & MASK
    if len(data) >= 32:
        lanes = [(seed + start) & MASK for start in (P1 + P2, P2, 0, -P1)]
        while at + 32 <= len(data):
            words = struct.unpack_from("<4Q", data, at)
            lanes = [accumulated(lane, word) for lane, word in zip(lanes, words, strict=True)]
            at += 32
        state = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            state = ((state ^ accumulated(0, lane)) * P1 + P4) & MASK
    state = (state + len(data)) & MASK
    while at + 8 <= len(data):
        [word] = struct.unpack_from("<Q", data, at)
        state = (rotated(state ^ accumulated(0, word), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        [half] = struct.unpack_from("<I", data, at)
        state = (rotated(state ^ half * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        state = rotated(state ^ byte * P5 & MASK, 11) * P1 & MASK
    state = (state ^ state >> 33) * P2 & MASK
    state = (state ^ state >> 29) * P3 & MASK
    return state ^ state >> 32


def spark_bytes(value: Any, kind: str) -> bytes:
    """The bytes that stand for a value in Spark's hash."""
    match kind:
        case "string":
            return bytes(value, "utf-8")
        case "bool":
            return struct.pack("<i", value)
        case "float":
            return struct.pack("<d", np.nan if np.isnan(value) else value + 0.0)
        case "timestamp":
            since = value - datetime(1970, 1, 1, tzinfo=UTC)
            return struct.pack("<q", (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds)
        case _:
            return struct.pack("<q", value)


def slow_row_hash(row: dict[str, Any]) -> int:
    state = 42
    for column in COLUMNS:
        if row[column.name] is not None:
            state = slow_hash(spark_bytes(row[column.name], column.kind), state)
    return state


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, arrow_schema(COLUMNS))


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
    ],
)
def test_the_hash_gives_published_values(data: bytes, seed: int, expected: int) -> None:
    """Both the slow hash and the one of whole arrays give the hashes that xxHash's own libraries publish."""
    bytes_, offsets = np.frombuffer(data, np.uint8), np.array([0, len(data)])
    assert slow_hash(data, seed) == expected
    assert hash_bytes(bytes_, offsets, np.array([seed], np.uint64)).tolist() == [expected]


@given(st.lists(st.tuples(st.binary(max_size=150), st.integers(0, MASK)), max_size=30))
def test_byte_strings_of_all_lengths_are_hashed_at_once(inputs: list[tuple[bytes, int]]) -> None:
    """Each of many byte strings of different lengths has the hash that it has alone, under its own seed."""
    data = np.frombuffer(b"".join(text for text, _ in inputs), np.uint8)
    offsets = np.cumsum([0, *(len(text) for text, _ in inputs)])
    seeds = np.array([seed for _, seed in inputs], np.uint64)
    assert hash_bytes(data, offsets, seeds).tolist() == [slow_hash(text, seed) for text, seed in inputs]


@given(rows_of_all_types)
def test_rows_of_all_types_have_the_slow_hash(rows: list[dict[str, Any]]) -> None:
    """Whatever the values and whichever are missing, a row's hash is that of its columns one after the other."""
    assert row_hashes(table_of(rows), COLUMNS).tolist() == [slow_row_hash(row) for row in rows]


@given(rows_of_all_types, st.integers(0, 20), st.integers(-(2**63), 2**63 - 1), st.floats(0, 1, exclude_max=True))
def test_slices_and_chunks_hold_out_the_same_rows(
    rows: list[dict[str, Any]], cut: int, seed: int, share: float
) -> None:
    """A table of slices holds out what the whole one does; by the slow hash, below the share of a million parts."""
    holdout = Holdout(share=share, seed=seed)
    whole = held_out(table_of(rows), COLUMNS, holdout)
    parted = pa.concat_tables([table_of(rows).slice(0, cut), table_of(rows).slice(cut)])
    assert held_out(parted, COLUMNS, holdout).tolist() == whole.tolist()
    assert held_out(table_of(rows).slice(cut), COLUMNS, holdout).tolist() == whole[cut:].tolist()
    assert whole.tolist() == [is_held_out(row, seed, share) for row in rows]


def is_held_out(row: dict[str, Any], seed: int, share: float) -> bool:
    state = slow_hash(struct.pack("<q", seed), slow_row_hash(row))
    signed = state - 2**64 if state >= 2**63 else state
    return signed % 1_000_000 < round(share * 1_000_000)


def test_about_the_share_is_held_out() -> None:
    """Of many rows about the share is held out, other ones under another seed, and none where the share is 0."""
    table = pa.table({"count": range(50_000)})
    first, second, none = (
        held_out(table, COLUMNS[:1], Holdout(share=share, seed=seed)) for share, seed in ((0.2, 1), (0.2, 2), (0.0, 1))
    )
    assert first.mean() == pytest.approx(0.2, abs=0.01)
    assert (first & second).mean() == pytest.approx(0.04, abs=0.01)
    assert none.shape == (50_000,)
    assert not none.any()


def test_zero_has_no_sign_and_further_columns_do_not_count() -> None:
    """-0.0 is held out as 0.0 is, and columns that aren't declared change nothing."""
    sizes = np.concatenate([np.zeros(1), -np.zeros(1)])
    hashes = row_hashes(pa.table({"size": sizes, "other": [1, 2]}), COLUMNS[1:2])
    assert hashes[0] == hashes[1]
