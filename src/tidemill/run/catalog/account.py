"""The account of a partition: how many rows went through it, and a digest of all of them in their order. Pure.

Producer and collector keep one each, and compare them at the end of the stream. The digest is a chain of SHA-256 over
blocks of a fixed number of bytes, so that it doesn't depend on how the rows are grouped, and can be stored and resumed:
what it needs is one hash and less than a block of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

BLOCK_BYTES = 2048
EMPTY_CHAIN = bytes(32)


@dataclass(frozen=True)
class Account:
    """The rows of one partition, from its first on.

    ``chain`` is the hash of all whole blocks, ``pending`` the bytes after them. ``newest`` is the newest timestamp of
    the messages (milliseconds since 1970; None before the first): it is no part of the digest.
    """

    rows: int = 0
    chain: bytes = EMPTY_CHAIN
    pending: bytes = b""
    newest: int | None = None

    def add(self, values: Sequence[bytes]) -> Account:
        """The account with these rows, each as it goes over the wire, behind those it has."""
        if not values:
            return self
        text = b"\n".join([self.pending + values[0], *values[1:], b""])
        whole = len(text) // BLOCK_BYTES * BLOCK_BYTES
        chain, view = self.chain, memoryview(text)
        for start in range(0, whole, BLOCK_BYTES):
            chain = sha256(chain + view[start : start + BLOCK_BYTES]).digest()
        return Account(self.rows + len(values), chain, text[whole:], self.newest)

    @property
    def digest(self) -> str:
        """The digest of all rows, in hexadecimal."""
        return sha256(self.chain + self.pending + self.rows.to_bytes(8, "big")).hexdigest()


def total_digest(accounts: Mapping[int, Account]) -> str:
    """One digest, in hexadecimal, over the accounts of all partitions."""
    lines = [f"{partition} {account.digest}\n" for partition, account in sorted(accounts.items())]
    return sha256("".join(lines).encode()).hexdigest()
