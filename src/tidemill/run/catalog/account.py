"""The account of a partition: how many rows it has, and a digest of all of them in order. Pure.

Producer and collector each keep one, and they are compared at the end of the stream. The digest is a chain of SHA-256
over blocks of a fixed size, so it does not depend on how the rows are grouped. Its state is one hash and less than a
block of bytes, so it can be stored and resumed.
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
    the messages (milliseconds since 1970; None before the first); the digest does not cover it.
    """

    rows: int = 0
    chain: bytes = EMPTY_CHAIN
    pending: bytes = b""
    newest: int | None = None

    def add(self, values: Sequence[bytes]) -> Account:
        """The account after these rows, each in its wire format."""
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
