"""From a complete spool to a persisted fragment, and back to verified bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile

from recfs.broker import codec
from recfs.broker.fragment import fragment_name
from recfs.broker.spool import Spool
from recfs.broker.stores import Store, StoredObject
from recfs.errors import DamageError
from recfs.journal.model import Fragment

_PIECE = 1 << 20


def persist(spool: Spool, journal: str, codec_name: str, store: Store) -> Fragment:
    """Store the content of a complete spool as a fragment; return it as the store lists it.

    Each commit is verified while it is read, so that damage does not get a sum of its own. Blocks.
    Raises DamageError, SpoolReplacedError, OSError.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for piece in spool.verified(spool.end):
        digest.update(piece)
    fragment = Fragment(journal, spool.begin, spool.end, digest.digest(), codec_name)
    return store.put(fragment, codec.compress(codec_name, spool.verified(spool.end)))


class OpenFragment:
    """A persisted fragment whose SHA-1 has been verified; its bytes can be read at any offset.

    A compressed one is expanded into an unnamed temporary file. Memory is bounded by one piece.
    """

    def __init__(self, store: Store, fragment: Fragment) -> None:
        """Open and verify. Blocks; raises DamageError, FileNotFoundError, OSError."""
        self.fragment = fragment
        self._expanded = -1
        self._stored: StoredObject = store.open(fragment)
        try:
            if fragment.codec != "none" and not self._served_uncompressed():
                self._expand()
            self._verify()
        except BaseException:
            self.close()
            raise

    def _served_uncompressed(self) -> bool:
        return (
            self.fragment.codec == "gzip-offload" and self._stored.read(0, 2) != b"\x1f\x8b"
        )

    def _expand(self) -> None:
        with tempfile.TemporaryFile() as compressed:
            position = 0
            while piece := self._stored.read(position, _PIECE):
                compressed.write(piece)
                position += len(piece)
            compressed.flush()
            with tempfile.TemporaryFile() as expanded:
                codec.expand(
                    self.fragment.codec, compressed.fileno(), expanded.fileno(), self._where
                )
                self._expanded = os.dup(expanded.fileno())

    def _verify(self) -> None:
        digest = hashlib.sha1(usedforsecurity=False)
        length = self.fragment.end - self.fragment.begin
        position = 0
        while position <= length and (piece := self._read(position, _PIECE)):
            digest.update(piece)
            position += len(piece)
        if position != length or digest.digest() != self.fragment.sum:
            raise DamageError(
                f"{self._where}: the bytes of journal offsets {self.fragment.begin} to "
                f"{self.fragment.end} are not what was written",
                "put a good copy of the file in its place; its name holds the SHA-1",
                where=self._where,
                offset=0,
            )

    @property
    def _where(self) -> str:
        store = self.fragment.store.removeprefix("file://")
        return f"{store}{self.fragment.journal}/{fragment_name(self.fragment)}"

    def _read(self, position: int, length: int) -> bytes:
        if self._expanded >= 0:
            return os.pread(self._expanded, length, position)
        return self._stored.read(position, length)

    def read(self, offset: int, length: int) -> bytes:
        """Return 1 to `length` bytes from journal offset `offset`. Blocks; raises OSError."""
        assert self.fragment.begin <= offset < self.fragment.end
        content = self._read(
            offset - self.fragment.begin, min(length, self.fragment.end - offset)
        )
        if not content:
            raise DamageError(
                f"{self._where}: was cut while it was read", where=self._where, offset=0
            )
        return content

    def close(self) -> None:
        self._stored.close()
        if self._expanded >= 0:
            os.close(self._expanded)
            self._expanded = -1
