"""Persisted fragments that are open for reading, and verified."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import OrderedDict

import trio

from recfs.broker import codec
from recfs.broker.fragment import fragment_name
from recfs.broker.index import Index
from recfs.broker.stores import Store, StoredObject
from recfs.errors import DamageError, RecfsError
from recfs.journal.model import Fragment

_PIECE = 1 << 20
_OPEN_FRAGMENTS_MAX = 4


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


class OpenFragments:
    """The fragments of one journal that were read last, of those that `index` lists in `store`."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index
        self._opened: OrderedDict[tuple[int, int], OpenFragment] = OrderedDict()
        self._ahead: tuple[tuple[int, int], trio.Event] | None = None  # being verified

    async def read(self, fragment: Fragment, offset: int, length: int) -> bytes:
        """Return 1 to `length` bytes of `fragment` from journal offset `offset`.

        Raises DamageError, FileNotFoundError, OSError.
        """
        key = (fragment.begin, fragment.end)
        if self._ahead is not None and self._ahead[0] == key:
            await self._ahead[1].wait()
        opened = self._opened.pop(key, None)
        if offset == fragment.begin:
            self._open_ahead(fragment.end)
        try:
            if opened is None:
                opened = await trio.to_thread.run_sync(OpenFragment, self._store, fragment)
            content = await trio.to_thread.run_sync(opened.read, offset, length)
        except BaseException:
            if opened is not None:
                opened.close()
            raise
        self._keep(opened)
        return content

    def _keep(self, opened: OpenFragment) -> None:
        key = (opened.fragment.begin, opened.fragment.end)
        replaced = self._opened.pop(key, None)
        if replaced is not None:
            replaced.close()
        self._opened[key] = opened
        while len(self._opened) > _OPEN_FRAGMENTS_MAX:
            self._opened.popitem(last=False)[1].close()

    def _open_ahead(self, offset: int) -> None:
        """Have the fragment at `offset` verified while the one before is being read."""
        _, fragment = self._index.query(offset, now=time.time())
        if fragment is None or fragment.mod_time == 0 or self._ahead is not None:
            return
        key = (fragment.begin, fragment.end)
        if key in self._opened:
            return
        ready = trio.Event()
        self._ahead = (key, ready)

        async def open_fragment() -> None:
            try:
                self._keep(await trio.to_thread.run_sync(OpenFragment, self._store, fragment))
            except (RecfsError, OSError):
                pass  # whoever reads it will be told
            finally:
                self._ahead = None
                ready.set()

        trio.lowlevel.spawn_system_task(open_fragment)

    async def aclose(self) -> None:
        if self._ahead is not None:
            await self._ahead[1].wait()
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()
