"""The account of a partition: how many rows it has, and a digest of all of them in order. Pure.

Producer and collector each keep one, and they are compared at the end of the stream. The digest is a chain of SHA-256
over blocks of a fixed size, so it does not depend on how the rows are grouped. Its state is one hash and less than a
block of bytes, so it can be stored and resumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

BLOCK_BYTES = 2048
AT_ONCE_BYTES = 2016  # hashlib releases the interpreter's lock for 2048 bytes or more, and then has to wait for it
EMPTY_CHAIN = bytes(32)


@dataclass(frozen=True)
class Account:
    """The rows of one partition, from its first on: those of the source, and apart those that came by HTTP.

    ``chain`` is the hash of all whole blocks, ``pending`` the bytes after them; ``posted_rows``, ``posted_chain`` and
    ``posted_pending`` are the same of the rows by HTTP. ``newest`` is the newest timestamp of the messages
    (milliseconds since 1970; None before the first); the digests do not cover it. ``sent``: how many rows the source
    has in this partition, once its last one was read in a stream that stays open.
    """

    rows: int = 0
    chain: bytes = EMPTY_CHAIN
    pending: bytes = b""
    newest: int | None = None
    posted_rows: int = 0
    posted_chain: bytes = EMPTY_CHAIN
    posted_pending: bytes = b""
    sent: int | None = None

    def add(self, values: Sequence[bytes]) -> Account:
        """The account after these rows of the source, each in its wire format."""
        chain, pending = chained(self.chain, self.pending, values)
        return replace(self, rows=self.rows + len(values), chain=chain, pending=pending)

    def add_posted(self, values: Sequence[bytes]) -> Account:
        """The account after these rows by HTTP, each in its wire format."""
        chain, pending = chained(self.posted_chain, self.posted_pending, values)
        rows = self.posted_rows + len(values)
        return replace(self, posted_rows=rows, posted_chain=chain, posted_pending=pending)

    @property
    def digest(self) -> str:
        """The digest of the source's rows, in hexadecimal."""
        return digest(self.chain, self.pending, self.rows)

    @property
    def whole_digest(self) -> str:
        """The digest of all rows, in hexadecimal; :attr:`digest` where none came by HTTP."""
        if not self.posted_rows:
            return self.digest
        return f"{self.digest} {digest(self.posted_chain, self.posted_pending, self.posted_rows)}"


def chained(chain: bytes, pending: bytes, values: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The hash of all whole blocks and the bytes after them, once these values are added."""
    if not values:
        return chain, pending
    text = b"\n".join([pending + values[0], *values[1:], b""])
    whole = len(text) // BLOCK_BYTES * BLOCK_BYTES
    for start in range(0, whole, BLOCK_BYTES):
        block = sha256(chain)
        block.update(text[start : start + AT_ONCE_BYTES])
        block.update(text[start + AT_ONCE_BYTES : start + BLOCK_BYTES])
        chain = block.digest()
    return chain, text[whole:]


def digest(chain: bytes, pending: bytes, rows: int) -> str:
    return sha256(chain + pending + rows.to_bytes(8, "big")).hexdigest()


def posted_rows(accounts: Mapping[int, Account] | None) -> int:
    """How many rows by HTTP all partitions have; 0 where no accounts are kept."""
    return sum(account.posted_rows for account in (accounts or {}).values())


def total_digest(accounts: Mapping[int, Account]) -> str:
    """One digest, in hexadecimal, over the source's rows of all partitions."""
    return digest_over({partition: account.digest for partition, account in accounts.items()})


def whole_digest(accounts: Mapping[int, Account]) -> str:
    """One digest, in hexadecimal, over all rows of all partitions."""
    return digest_over({partition: account.whole_digest for partition, account in accounts.items()})


def digest_over(digests: Mapping[int, str]) -> str:
    lines = [f"{partition} {one_digest}\n" for partition, one_digest in sorted(digests.items())]
    return sha256("".join(lines).encode()).hexdigest()
