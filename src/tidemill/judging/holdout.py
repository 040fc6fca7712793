"""Which rows of a batch are held out: a pure function of their values, so the same in every generation.

A row is held out if Spark's ``xxhash64`` of all declared columns in their order, and then of the seed as a 64-bit
integer, taken modulo 1,000,000 (``pmod``), is below the share of 1,000,000. Equal rows are held out together.

The hash is XXH64 (Yann Collet, 2012, xxHash fast digest algorithm, specification of XXH64) as Spark's ``xxhash64``
applies it to a row (``XxHash64Function`` and ``XXH64`` of Spark's Catalyst): it starts with the seed 42, the hash of a
column's value is the seed of the next column, and a missing value leaves the seed as it is.

All sums and products are of whole arrays of uint64, which wrap around modulo 2**64 without a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.pipeline import Column, Holdout
from tidemill.types import COLUMN_TYPES

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

FIRST_SEED = 42
HOLDOUT_PARTS = 1_000_000
STRIPE = 32  # bytes that XXH64 reads at once, as four words of 64 bits

PRIME_1 = 0x9E3779B185EBCA87
PRIME_2 = 0xC2B2AE3D27D4EB4F
PRIME_3 = 0x165667B19E3779F9
PRIME_4 = 0x85EBCA77C2B2AE63
PRIME_5 = 0x27D4EB2F165667C5
LANES = np.array([(PRIME_1 + PRIME_2) % 2**64, PRIME_2, 0, 2**64 - PRIME_1], np.uint64)


def held_out(table: pa.Table, columns: Sequence[Column], holdout: Holdout) -> NDArray[np.bool_]:
    """Whether each row is held out: (n,).

    Args:
        table: the n rows; it has all of ``columns``, and may have others.
        columns: all declared columns, in the declared order.

    Raises:
        KeyError: the table lacks a column.
    """
    if holdout.share == 0:
        return np.zeros(table.num_rows, np.bool_)
    seeds = np.full(table.num_rows, holdout.seed, np.int64).view(np.uint64)
    hashes = hash_words(seeds, row_hashes(table, columns))
    buckets = hashes.view(np.int64) % HOLDOUT_PARTS  # never negative, as in Spark's pmod
    return buckets < round(holdout.share * HOLDOUT_PARTS)


def row_hashes(table: pa.Table, columns: Sequence[Column]) -> Hashes:
    """Spark's ``xxhash64`` of these columns in their order: (n,), one for each row of the table.

    Raises:
        KeyError: the table lacks a column.
    """
    hashes = np.full(table.num_rows, FIRST_SEED, np.uint64)
    if not len(hashes):
        return hashes
    for column in columns:
        values = table.column(column.name).cast(COLUMN_TYPES[column.kind].arrow)
        missing = values.is_null().to_numpy()
        hashes = np.where(missing, hashes, hash_values(values, column.kind, hashes))
    return hashes


def hash_values(values: pa.ChunkedArray, kind: str, seeds: Hashes) -> Hashes:
    """The hash of each value under its own seed. The hash of a missing value means nothing."""
    match kind:
        case "string":
            return hash_strings(values, seeds)
        case "bool":
            return hash_bits(values.fill_null(False).to_numpy().astype(np.uint64), seeds)
        case "float":
            return hash_words(double_words(values.fill_null(0.0).to_numpy()), seeds)
        case _:  # whole numbers, and timestamps as microseconds since 1970 in UTC
            return hash_words(values.cast(pa.int64()).fill_null(0).to_numpy().view(np.uint64), seeds)


def double_words(values: NDArray[np.float64]) -> Hashes:
    """Java's ``doubleToLongBits``, which has one NaN; as in Spark -0.0 is 0.0."""
    values = np.where(np.isnan(values), np.nan, values)
    values[values == 0] = 0.0
    return values.view(np.uint64)


def hash_strings(values: pa.ChunkedArray, seeds: Hashes) -> Hashes:
    """The hash of each string's UTF-8 bytes under its own seed."""
    array = values.cast(pa.large_binary()).combine_chunks()  # large: all bytes are in one buffer, whatever their number
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    return hash_bytes(data, offsets - offsets[0], seeds)


def hash_words(words: Hashes, seeds: Hashes) -> Hashes:
    """XXH64 of n inputs of eight bytes each, every one under its own seed."""
    return avalanche(mix_words(seeds + np.uint64((PRIME_5 + 8) % 2**64), words))


def hash_bits(bits: Hashes, seeds: Hashes) -> Hashes:
    """XXH64 of n inputs of four bytes each, which have the value 0 or 1: so Spark hashes a boolean."""
    return avalanche(mix_half_words(seeds + np.uint64((PRIME_5 + 4) % 2**64), bits))


def hash_bytes(data: NDArray[np.uint8], offsets: Offsets, seeds: Hashes) -> Hashes:
    """XXH64 of n byte strings, every one under its own seed.

    Args:
        data: the bytes of all strings, one string after the other.
        offsets: (n + 1,) where each string begins, and where the last one ends.
        seeds: (n,).
    """
    padded = np.concatenate([data, np.zeros(STRIPE, np.uint8)])  # so that windows begin at each byte of the data
    words = np.ndarray((data.size + 1,), "<u8", padded, strides=(1,))
    halves = np.ndarray((data.size + 1,), "<u4", padded, strides=(1,))
    at, ends = offsets[:-1].copy(), offsets[1:]
    hashes = hash_stripes(padded, at, ends - at, seeds) + (ends - at).view(np.uint64)
    at += (ends - at) // STRIPE * STRIPE
    for _ in range(STRIPE // 8 - 1):
        rows = np.flatnonzero(at + 8 <= ends)
        hashes[rows] = mix_words(hashes[rows], words[at[rows]])
        at[rows] += 8
    rows = np.flatnonzero(at + 4 <= ends)
    hashes[rows] = mix_half_words(hashes[rows], halves[at[rows]].astype(np.uint64))
    at[rows] += 4
    for _ in range(3):
        rows = np.flatnonzero(at < ends)
        hashes[rows] = rotate(hashes[rows] ^ padded[at[rows]] * np.uint64(PRIME_5), 11) * np.uint64(PRIME_1)
        at[rows] += 1
    return avalanche(hashes)


def hash_stripes(padded: NDArray[np.uint8], starts: Offsets, lengths: Offsets, seeds: Hashes) -> Hashes:
    """The state of XXH64 after all whole stripes of each string, without the string's length.

    The strings are taken in descending order of their lengths, so that those which have a further stripe are the first
    ones: the number of steps is that of the longest string's stripes.
    """
    hashes = seeds + np.uint64(PRIME_5)
    order = np.argsort(-lengths, kind="stable")
    counts = lengths[order] // STRIPE
    order, counts = order[counts > 0], counts[counts > 0]
    if not len(order):
        return hashes
    windows = np.ndarray((padded.size - STRIPE + 1, 4), "<u8", padded, strides=(1, 8))
    lanes, at = seeds[order, np.newaxis] + LANES, starts[order]
    for stripe in range(counts[0]):
        active = np.searchsorted(-counts, -stripe)
        lanes[:active] = accumulate(lanes[:active], windows[at[:active] + stripe * STRIPE])
    hashes[order] = merge_lanes(lanes)
    return hashes


def merge_lanes(lanes: Hashes) -> Hashes:
    """One hash of the four lanes of each string: (n, 4) to (n,)."""
    one, two, three, four = lanes.T
    merged = rotate(one, 1) + rotate(two, 7) + rotate(three, 12) + rotate(four, 18)
    for lane in lanes.T:
        merged = (merged ^ accumulate(np.zeros_like(lane), lane)) * np.uint64(PRIME_1) + np.uint64(PRIME_4)
    return merged


def accumulate(lanes: Hashes, words: Hashes) -> Hashes:
    return rotate(lanes + words * np.uint64(PRIME_2), 31) * np.uint64(PRIME_1)


def mix_words(hashes: Hashes, words: Hashes) -> Hashes:
    mixed = hashes ^ accumulate(np.zeros_like(hashes), words)
    return rotate(mixed, 27) * np.uint64(PRIME_1) + np.uint64(PRIME_4)


def mix_half_words(hashes: Hashes, halves: Hashes) -> Hashes:
    return rotate(hashes ^ halves * np.uint64(PRIME_1), 23) * np.uint64(PRIME_2) + np.uint64(PRIME_3)


def avalanche(hashes: Hashes) -> Hashes:
    """The last steps, by which every bit of the input reaches every bit of the hash."""
    hashes = (hashes ^ hashes >> np.uint64(33)) * np.uint64(PRIME_2)
    hashes = (hashes ^ hashes >> np.uint64(29)) * np.uint64(PRIME_3)
    return hashes ^ hashes >> np.uint64(32)


def rotate(hashes: Hashes, bits: int) -> Hashes:
    """Rotate the 64 bits of each hash to the left."""
    return hashes << np.uint64(bits) | hashes >> np.uint64(64 - bits)
