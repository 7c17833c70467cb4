"""JournalFiles: what the files of one journal hold, as far as this process has read them.

The files are the lock file with its page, the spools, and the fragments in the store. All state
belongs to the event loop and changes only in the turn of one task; threads do nothing but read and
write files.

Invariants, and where they are kept:

1. Nobody writes a spool but under the journal's lock and with this process as the writer in the
   lock page (`enter_writer`): whoever was stopped or fenced in between reads the journal again
   before it checks registers.
2. Readers see a commit only once it is on disk: the index and the lock page learn of it in
   `acknowledge`, and never lose it again (`_check_complete`).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from recfs.broker.index import Index
from recfs.broker.journal_lock import JournalLock, LockPage, boot_identity
from recfs.broker.record import SALT_BYTES, SpoolHeader
from recfs.broker.spool import Spool
from recfs.broker.spool_directory import SpoolDirectory
from recfs.broker.stores import Store
from recfs.broker.turn import Turn
from recfs.errors import DataLossError
from recfs.journal.model import Fragment, JournalSpec, LabelSet


class JournalFiles:
    """The files of the journal of `directory`; persisted fragments are in `store`.

    `spools` are in order: the last one is open, the others are complete. `writing` says whether
    they are open for writing, `loaded` whether anything here can be believed without a look at the
    lock page. What reads or writes files raises OSError, and what `SpoolDirectory.load` raises.
    """

    def __init__(self, directory: SpoolDirectory, store: Store, spec: JournalSpec) -> None:
        self.journal = directory.journal
        self.spec = spec
        self.directory = directory
        self.store = store
        self.capacity = spec.fragment_length + spec.fragment_length // 8 + 8192  # of a spool file
        self.turn = Turn()
        self.spools: list[Spool] = []
        self.index = Index(gap_settled=0)  # the listing of a local store is complete
        self.loaded = False
        self.writing = False
        self._lock = JournalLock(directory.lock_path)
        self._identity = secrets.randbits(63) | 1
        self._page: LockPage | None = None  # as of which the state above was read

    def head(self) -> int:
        return max(self.spools[-1].end if self.spools else 0, self.index.end)

    def write_head(self) -> int:
        """The write head as far as a look at the lock page tells; at least `head`."""
        page = self._lock.read()
        return self.head() if page is None else max(self.head(), page.committed)

    def registers(self) -> LabelSet:
        return self.spools[-1].registers if self.spools else {}

    def is_full(self, spool: Spool) -> bool:
        """Gazette's rule: a fragment exceeds its length by its last commit. Small commits, whose
        headers outweigh them, end a spool by the size of its file."""
        return (
            spool.end - spool.begin > self.spec.fragment_length
            or spool.position > 2 * self.capacity
        )

    # -- the lock and its page --

    async def take_lock(self) -> None:
        if not self._lock.try_acquire():
            await trio.to_thread.run_sync(self._lock.acquire, self.journal)

    def leave(self) -> None:
        """Let go of the lock and end the turn."""
        self._lock.release()
        self.turn.end()

    @asynccontextmanager
    async def turn_and_lock(self) -> AsyncIterator[None]:
        await self.turn.begin()
        try:
            await self.take_lock()
            try:
                yield
            finally:
                self._lock.release()
        finally:
            self.turn.end()

    def own_page(self) -> LockPage | None:
        """The lock page, or None when this process is not the writer in it."""
        page = self._lock.read()
        return page if page is not None and page.writer == self._identity else None

    def _write_page(self, *, structure_changed: bool, base: LockPage | None) -> None:
        generation = (base.generation if base else 0) + structure_changed
        committed = self.spools[-1].end if self.spools else 0
        page = LockPage(self._identity, generation, committed, boot_identity())
        self._lock.write(page)
        self._page = page

    # -- reading --

    async def enter_writer(self) -> bool:
        """Make this process the writer; on return the state is that of the disk. Under the lock.

        Returns whether it had to: False when this process is the writer already.
        """
        page = self._lock.read()
        if self.writing and page is not None and page.writer == self._identity:
            return False
        known = self.spools if self.writing else ()

        def load() -> tuple[list[Spool], list[Fragment]]:
            spools = self.directory.load(page, known, writable=True)
            for spool in spools:
                if spool.damage is not None:
                    raise spool.damage
            if spools and (page is None or page.is_current):
                # Not acknowledged, perhaps not even on disk, but the truth from now on.
                acknowledged = 0 if page is None else page.committed
                if spools[-1].end > acknowledged:
                    spools[-1].rewrite(acknowledged)
            return spools, self.store.fragments(self.journal)

        spools, fragments = await trio.to_thread.run_sync(load)
        self._lock.write_holder()
        self._adopt(spools, fragments)
        self._check_complete(page)
        self.writing = True
        self._write_page(structure_changed=True, base=page)
        return True

    async def refresh(self) -> None:
        """Learn what has been committed, also by other processes. Without the lock."""
        page = self._lock.read()
        if self.loaded and page == self._page:
            return
        await self.turn.begin()
        try:
            page = self._lock.read()
            if self.loaded and page == self._page:
                return
            same_files = (
                self.loaded
                and page is not None
                and self._page is not None
                and page.generation == self._page.generation
            )
            self._adopt(*await trio.to_thread.run_sync(self._load_changes, page, same_files))
            self._check_complete(page)
            self._page = page
            if page is None or page.writer != self._identity:
                self.writing = False
        except OSError as error:
            raise self.directory.unavailable("cannot read", error) from error
        finally:
            self.turn.end()

    def _load_changes(
        self, page: LockPage | None, same_files: bool
    ) -> tuple[list[Spool], list[Fragment] | None]:
        """The spools as of `page`, and the fragments, or None with the `same_files`. Blocks."""
        known = [item.number for item in self.spools]
        # Spools before fragments: what leaves the former is in the latter by then.
        spools = self.directory.load(page, self.spools, writable=False)
        if same_files and [item.number for item in spools] == known:
            return spools, None
        fragments = self.store.fragments(self.journal)
        now = self._lock.read()
        if spools and (now.generation if now else 0) != (page.generation if page else 0):
            # A listing is no snapshot: of fragments made meanwhile, the older may be
            # missing where the younger shows, which would look like a hole.
            fragments = [item for item in fragments if item.end <= spools[-1].end]
        return spools, fragments

    def _adopt(self, spools: list[Spool], fragments: list[Fragment] | None) -> None:
        """Take what was read from disk; `fragments` None: no file has come or gone."""
        self.spools = spools
        if fragments is None and spools:
            self.index.extend_local(self._local_fragment(spools[-1]))
        elif fragments is not None:
            self.index.replace_persisted(fragments)
            self.index.replace_local(self._local_fragment(spool) for spool in spools)
        self.loaded = True

    def _check_complete(self, page: LockPage | None) -> None:
        if page is not None and page.committed > self.head():
            self.loaded = False
            raise DataLossError(
                f"journal {self.journal}: commits up to offset {page.committed} were acknowledged, "
                f"but what is in {self.directory.path} ends at {self.head()}",
                "put the missing spool or fragment files back",
            )

    def _local_fragment(self, spool: Spool) -> Fragment:
        return Fragment(self.journal, spool.begin, spool.end, bytes(20), self.spec.codec)

    # -- what comes and goes; under the lock --

    def acknowledge(self, spool: Spool) -> None:
        """Let readers see the last commit in the open spool, which is on disk."""
        self.index.extend_local(self._local_fragment(spool))
        self._write_page(structure_changed=False, base=self._page)

    async def begin_spool(self, begin: int) -> Spool:
        """Complete the open spool and begin another one at `begin`."""
        previous = self.spools[-1] if self.spools else None
        header = SpoolHeader(
            journal=self.journal,
            salt=secrets.token_bytes(SALT_BYTES),
            number=previous.number + 1 if previous else 1,
            begin=begin,
            previous_end=previous.end if previous else begin,
            registers=self.registers(),
        )
        spool = await trio.to_thread.run_sync(self.directory.create, header, self.capacity)
        self.spools = [*self.spools, spool]
        self._write_page(structure_changed=True, base=self._page)
        return spool

    async def retire(self, spool: Spool, stored: Fragment | None) -> None:
        """Give up `spool`, whose content, if it has any, is durable in the store as `stored`."""
        page = self.own_page()
        if page is None:
            self.writing = False  # what comes next is its new writer's business
            return
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.directory.retire, spool)
        self.spools = [item for item in self.spools if item is not spool]
        if stored is not None:
            self.index.add_persisted(stored)
        self._write_page(structure_changed=True, base=page)

    async def remove(self, fragments: Sequence[Fragment]) -> None:
        """Remove persisted fragments from the store. Local ones are not touched."""

        def remove() -> list[Fragment]:
            for fragment in fragments:
                if fragment.mod_time:
                    self.store.remove(fragment)
            return self.store.fragments(self.journal)

        self._adopt(self.spools, await trio.to_thread.run_sync(remove))
        self._write_page(structure_changed=True, base=self._page)

    def close(self) -> None:
        for spool in self.spools:
            spool.close()
        self.spools = []
        self.loaded = self.writing = False
        self._lock.close()
