"""Replica: one journal on this host, its spools, index and registers.

All state belongs to the event loop and changes only in the turn of one task; threads do nothing
but read and write files. What a commit costs is: one `flock`, one read of the lock page, one
`pwritev` with sync in the disk thread, one write of the lock page.

Invariants, and where they are kept:

1. Nobody writes a spool but under the journal's lock and with this process as the writer in the
   lock page (`_enter_writer`): whoever was stopped or fenced in between reads the journal again
   before it checks registers.
2. What is acknowledged is on disk; until it is, no reader sees it (`_commit`, `_write_page`).
3. After a failed write the spool is suspect: the journal goes on in a new one, at the end of what
   was acknowledged.
4. A spool is given up only when its fragment is durable in the store (`_persist_one`).
"""

from __future__ import annotations

import errno
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import trio

from recfs.broker import registers as register_rules
from recfs.broker.disk_thread import DiskThread, WorkTime
from recfs.broker.index import Index
from recfs.broker.journal_lock import JournalLock, LockPage, boot_identity
from recfs.broker.persister import OpenFragment, persist
from recfs.broker.record import SALT_BYTES, SpoolHeader
from recfs.broker.spool import ZERO_STEP, Spool, SpoolReplacedError
from recfs.broker.spool_directory import SpoolDirectory
from recfs.broker.stores import Store
from recfs.errors import (
    DataLossError,
    Fenced,
    JournalUnavailable,
    OffsetNotYetAvailable,
    RecfsError,
    WrongAppendOffset,
)
from recfs.journal.model import (
    Buffer,
    Chunk,
    Commit,
    Fragment,
    Head,
    JournalSpec,
    LabelSet,
    Selector,
)
from recfs.journal.retry import retry_delay

#: Complete spools that may wait to be persisted before appends are refused.
COMPLETE_SPOOLS_MAX = 8
#: Seconds that an append waits for the persister before it is refused.
PERSIST_WAIT_SECONDS = 5.0
#: Seconds between looks for what another process has committed, while a reader is blocked.
POLL_SECONDS = 0.02
#: A commit of up to so many bytes is written in the event loop while commits of late took less than
#: so many seconds. Handing one to the disk thread and back costs a good part of that; a disk that
#: grows slow is waited for in the thread again after a few slow commits.
INLINE_BYTES_MAX = 256 << 10
INLINE_SECONDS = 0.000_4
#: Inline commits in a row without a task switch: a caller in a loop would let nobody else run.
INLINE_COMMITS_MAX = 16
_OPEN_FRAGMENTS_MAX = 4
_READ_ATTEMPTS = 20


class _Turn:
    """Lets one task at a time through, in order; may be ended by a callback of the event loop."""

    def __init__(self) -> None:
        self._busy = False
        self._queue = trio.lowlevel.ParkingLot()

    async def begin(self) -> None:
        if self._busy:
            await self._queue.park()
        self._busy = True

    def end(self) -> None:
        if self._queue:
            self._queue.unpark()
        else:
            self._busy = False


@dataclass(slots=True)
class ReplicaStatistics:
    """State of the persister. `complete_spools` wait for it."""

    complete_spools: int = 0
    persist_failures: int = 0
    persist_error: str = ""


class Replica:
    """The journal of `directory`, which exists; persisted fragments go to `store`."""

    def __init__(self, directory: SpoolDirectory, store: Store, spec: JournalSpec) -> None:
        self.journal = directory.journal
        self.spec = spec
        self._directory = directory
        self._store = store
        self._capacity = spec.fragment_length + spec.fragment_length // 8 + 8192
        self._lock = JournalLock(directory.lock_path)
        self._identity = secrets.randbits(63) | 1
        self._turn = _Turn()
        self._disk = DiskThread(f"commits of {self.journal}")
        self._inline_commits = 0
        self._commit_time = WorkTime(limit=3 * INLINE_SECONDS)
        self._page: LockPage | None = None  # as of which the state below was read
        self._loaded = False
        self._writing = False  # the spools are open for writing
        self._spools: list[Spool] = []  # the last one is open, the others are complete
        self._index = Index(gap_settled=0)  # the listing of a local store is complete
        self._opened: OrderedDict[tuple[int, int], OpenFragment] = OrderedDict()
        self._ahead: tuple[tuple[int, int], trio.Event] | None = None  # being verified
        self._commits = trio.lowlevel.ParkingLot()  # readers at the write head
        self._persisted = trio.lowlevel.ParkingLot()  # appends that wait for room
        self._persisting: tuple[trio.CancelScope, trio.Event] | None = None
        self._stats = ReplicaStatistics()

    # -- appending --

    async def append(
        self,
        content: Sequence[Buffer],
        *,
        check: Selector | None,
        union: LabelSet | None,
        subtract: LabelSet | None,
        offset: int,
    ) -> Commit:
        """See `JournalClient.append`. `union` and `subtract` come only with content."""
        size = 0
        for buffer in content:
            size += buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
        await self._turn.begin()
        finish = self._turn.end  # runs once, at the end of the turn
        try:
            if self._must_wait():
                await self._wait_persisted()
            await self._take_lock()
            finish = self._leave
            await self._enter_writer()
            head, registers = self._head(), self._registers()
            if not register_rules.check_passes(check, registers):
                raise Fenced(
                    f"journal {self.journal}: another writer has taken over "
                    f"(registers {_in_words(registers)})",
                    "the newer writer goes on; restore from the journal to read its state",
                )
            if offset and offset != head:
                raise WrongAppendOffset(
                    f"journal {self.journal}: the write head is {head}, not {offset}"
                )
            self._check_index(offset)
            if not size:
                return Commit(head, head, registers)
            after = (
                register_rules.changed(registers, union, subtract) if union or subtract else None
            )
            commit = await self._commit(content, size, after)
            if self._needs_zeros():
                self._grow()  # goes on in the disk thread, and ends the turn then
                finish = _nothing
            return commit
        except OSError as error:
            raise self._unavailable("cannot write", error) from error
        finally:
            finish()

    async def _take_lock(self) -> None:
        if not self._lock.try_acquire():
            await trio.to_thread.run_sync(self._lock.acquire, self.journal)

    async def _enter_writer(self) -> None:
        """Make this process the writer; on return the state is that of the disk. Under the lock."""
        page = self._lock.read()
        if self._writing and page is not None and page.writer == self._identity:
            return
        known = self._spools if self._writing else ()

        def load() -> tuple[list[Spool], list[Fragment]]:
            spools = self._directory.load(page, known, writable=True)
            for spool in spools:
                if spool.damage is not None:
                    raise spool.damage
            if spools and (page is None or page.is_current):
                # Not acknowledged, perhaps not even on disk, but the truth from now on.
                acknowledged = 0 if page is None else page.committed
                if spools[-1].end > acknowledged:
                    spools[-1].rewrite(acknowledged)
            return spools, self._store.fragments(self.journal)

        spools, fragments = await trio.to_thread.run_sync(load)
        self._lock.write_holder()
        self._adopt(spools, fragments)
        self._check_complete(page)
        self._writing = True
        self._write_page(structure_changed=True, base=page)
        self._start_persisting()

    def _check_complete(self, page: LockPage | None) -> None:
        if page is not None and page.committed > self._head():
            self._loaded = False
            raise DataLossError(
                f"journal {self.journal}: commits up to offset {page.committed} were acknowledged, "
                f"but what is in {self._directory.path} ends at {self._head()}",
                "put the missing spool or fragment files back",
            )

    def _check_index(self, offset: int) -> None:
        """Refuse to write offsets that persisted fragments hold already, unless told so."""
        if self._spools and self._index.end > self._spools[-1].end and not offset:
            raise WrongAppendOffset(
                f"journal {self.journal}: fragments reach to {self._index.end}, but the last "
                f"commit known here ends at {self._spools[-1].end}",
                "if no other broker writes this journal, append once with the former offset",
            )

    async def _commit(
        self, content: Sequence[Buffer], size: int, registers: LabelSet | None
    ) -> Commit:
        begin = self._head()
        spool = self._spools[-1] if self._spools else None
        if spool is None or spool.suspect or spool.end != begin or self._is_full(spool):
            spool = await self._roll(begin)
        pending = spool.prepare(content, size, registers)
        work = self._commit_time.timed(lambda: spool.write_commit(pending))
        try:
            if size <= INLINE_BYTES_MAX and self._commit_time.recent < INLINE_SECONDS:
                # The disk answers sooner than a thread would: see INLINE_SECONDS.
                work()
                self._inline_commits += 1
                if self._inline_commits % INLINE_COMMITS_MAX == 0:
                    await trio.lowlevel.checkpoint()  # the persister wants a turn too
            else:
                await self._disk.run(work)
            spool.take(pending)
            self._index.extend_local(self._local_fragment(spool))
            self._write_page(structure_changed=False, base=self._page)
        except OSError:
            spool.suspect = True
            raise
        self._commits.unpark_all()
        return Commit(begin, spool.end, spool.registers)

    def _is_full(self, spool: Spool) -> bool:
        """Gazette's rule: a fragment exceeds its length by its last commit. Small commits, whose
        headers outweigh them, end a spool by the size of its file."""
        return (
            spool.end - spool.begin > self.spec.fragment_length
            or spool.position > 2 * self._capacity
        )

    async def _roll(self, begin: int) -> Spool:
        """Complete the open spool and begin another one at `begin`. Under the lock."""
        previous = self._spools[-1] if self._spools else None
        header = SpoolHeader(
            journal=self.journal,
            salt=secrets.token_bytes(SALT_BYTES),
            number=previous.number + 1 if previous else 1,
            begin=begin,
            previous_end=previous.end if previous else begin,
            registers=self._registers(),
        )
        spool = await trio.to_thread.run_sync(self._directory.create, header, self._capacity)
        self._spools = [*self._spools, spool]
        self._write_page(structure_changed=True, base=self._page)
        self._start_persisting()
        return spool

    def _write_page(self, *, structure_changed: bool, base: LockPage | None) -> None:
        generation = (base.generation if base else 0) + structure_changed
        committed = self._spools[-1].end if self._spools else 0
        page = LockPage(self._identity, generation, committed, boot_identity())
        self._lock.write(page)
        self._page = page

    def _needs_zeros(self) -> bool:
        spool = self._spools[-1]
        return spool.zeroed - spool.position < ZERO_STEP // 2 and spool.zeroed < self._capacity

    def _grow(self) -> None:
        """Write zeros ahead while nobody waits, still in this turn and under the lock."""
        spool = self._spools[-1]

        def done(error: BaseException | None) -> None:
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                spool.suspect = True
            self._leave()
            if error is not None and not isinstance(error, OSError):
                raise error

        self._disk.submit(lambda: spool.grow(self._capacity), done)

    def _leave(self) -> None:
        self._lock.release()
        self._turn.end()

    # -- reading --

    async def read(self, offset: int, *, block: bool, length: int) -> Chunk:
        """See `JournalClient.read`."""
        assert offset >= -1
        assert length > 0
        attempts = 0
        fresh = self._loaded and offset != -1  # what is known already does not change
        while True:
            if not fresh:
                await self._refresh()
            offset, fragment = self._index.query(offset, now=time.time())
            if fragment is None:
                if fresh:
                    fresh = False
                    continue
                if not block:
                    raise OffsetNotYetAvailable(self.journal, self._head())
                with trio.move_on_after(POLL_SECONDS):
                    await self._commits.park()
                continue
            try:
                content = await self._read_fragment(fragment, offset, length)
            except (SpoolReplacedError, FileNotFoundError) as error:
                # Persisted or deleted meanwhile: look where it is now.
                self._loaded = fresh = False
                attempts += 1
                if attempts == _READ_ATTEMPTS:
                    raise JournalUnavailable(
                        f"journal {self.journal}: offset {offset} cannot be read: {error}"
                    ) from error
                continue
            except OSError as error:
                raise self._unavailable("cannot read", error) from error
            return Chunk(offset, content, self._write_head())

    async def _read_fragment(self, fragment: Fragment, offset: int, length: int) -> bytes:
        if fragment.mod_time == 0:
            for spool in self._spools:
                if spool.begin <= offset < spool.end:
                    return await trio.to_thread.run_sync(spool.read, offset, length)
            raise SpoolReplacedError
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
        self._keep_open(opened)
        return content

    def _keep_open(self, opened: OpenFragment) -> None:
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
                self._keep_open(
                    await trio.to_thread.run_sync(OpenFragment, self._store, fragment)
                )
            except (RecfsError, OSError):
                pass  # whoever reads it will be told
            finally:
                self._ahead = None
                ready.set()

        trio.lowlevel.spawn_system_task(open_fragment)

    async def head(self) -> Head:
        await self._refresh()
        return Head(self._head(), self._registers())

    async def fragments(self) -> list[Fragment]:
        await self._refresh()
        return self._index.fragments()

    async def _refresh(self) -> None:
        """Learn what has been committed, also by other processes. Without the lock."""
        page = self._lock.read()
        if self._loaded and page == self._page:
            return
        await self._turn.begin()
        try:
            page = self._lock.read()
            if self._loaded and page == self._page:
                return
            same_files = (
                self._loaded
                and page is not None
                and self._page is not None
                and page.generation == self._page.generation
            )
            known = [item.number for item in self._spools]

            def load() -> tuple[list[Spool], list[Fragment] | None]:
                # Spools before fragments: what leaves the former is in the latter by then.
                spools = self._directory.load(page, self._spools, writable=False)
                if same_files and [item.number for item in spools] == known:
                    return spools, None
                fragments = self._store.fragments(self.journal)
                now = self._lock.read()
                if spools and (now.generation if now else 0) != (page.generation if page else 0):
                    # A listing is no snapshot: of fragments made meanwhile, the older may be
                    # missing where the younger shows, which would look like a hole.
                    fragments = [item for item in fragments if item.end <= spools[-1].end]
                return spools, fragments

            self._adopt(*await trio.to_thread.run_sync(load))
            self._check_complete(page)
            self._page = page
            if page is None or page.writer != self._identity:
                self._writing = False
        except OSError as error:
            raise self._unavailable("cannot read", error) from error
        finally:
            self._turn.end()

    # -- state --

    def _adopt(self, spools: list[Spool], fragments: list[Fragment] | None) -> None:
        """Take what was read from disk; `fragments` None: no file has come or gone."""
        self._spools = spools
        if fragments is None and spools:
            self._index.extend_local(self._local_fragment(spools[-1]))
        elif fragments is not None:
            self._index.replace_persisted(fragments)
            self._index.replace_local(self._local_fragment(spool) for spool in spools)
        self._loaded = True
        self._stats.complete_spools = max(0, len(spools) - 1)

    def _local_fragment(self, spool: Spool) -> Fragment:
        return Fragment(self.journal, spool.begin, spool.end, bytes(20), self.spec.codec)

    def _head(self) -> int:
        return max(self._spools[-1].end if self._spools else 0, self._index.end)

    def _write_head(self) -> int:
        """The write head as far as a look at the lock page tells; at least `_head`."""
        page = self._lock.read()
        return self._head() if page is None else max(self._head(), page.committed)

    def _registers(self) -> LabelSet:
        return self._spools[-1].registers if self._spools else {}

    @property
    def statistics(self) -> ReplicaStatistics:
        return replace(self._stats)

    def _unavailable(self, what: str, error: OSError) -> JournalUnavailable:
        place = f" {error.filename}" if error.filename else f" in {self._directory.path}"
        attempt = {
            errno.ENOSPC: "make room on that file system; recfs goes on by itself",
            errno.EDQUOT: "raise the quota; recfs goes on by itself",
            errno.EROFS: "mount that file system read-write; recfs goes on by itself",
            errno.EACCES: "give this user access to that directory",
            errno.EPERM: "give this user access to that directory",
            errno.EIO: "look at the kernel log: the disk reports errors",
        }.get(error.errno or 0, "see whether the journal's directory is in order")
        return JournalUnavailable(
            f"journal {self.journal}: {what}{place}: {error.strerror or error}", attempt
        )

    # -- persisting --

    def _start_persisting(self) -> None:
        self._stats.complete_spools = max(0, len(self._spools) - 1)
        if len(self._spools) > 1 and self._persisting is None:
            self._persisting = (trio.CancelScope(), trio.Event())
            # A client is no context manager and has no nursery; `close` ends this task.
            trio.lowlevel.spawn_system_task(self._persist_all, *self._persisting)

    async def _persist_all(self, scope: trio.CancelScope, ended: trio.Event) -> None:
        failures = 0
        try:
            with scope:
                while len(self._spools) > 1 and self._writing:
                    try:
                        await self._persist_one()
                        failures = 0
                        self._stats.persist_error = ""
                    except (RecfsError, OSError, SpoolReplacedError) as error:
                        failures += 1
                        self._stats.persist_failures += 1
                        self._stats.persist_error = str(error) or type(error).__name__
                        page = self._lock.read()
                        if page is None or page.writer != self._identity:
                            return  # its new writer persists what there is
                        await trio.sleep(max(0.05, retry_delay(failures)))
        finally:
            self._persisting = None
            ended.set()

    async def _persist_one(self) -> None:
        """Persist the oldest complete spool, and give its file back."""
        spool = self._spools[0]
        stored = None
        if spool.end > spool.begin:
            stored = await trio.to_thread.run_sync(
                persist, spool, self.journal, self.spec.codec, self._store
            )
        await self._turn.begin()
        try:
            await self._take_lock()
            try:
                page = self._lock.read()
                if page is None or page.writer != self._identity:
                    self._writing = False  # what comes next is its new writer's business
                    return
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._directory.retire, spool)
                self._spools = [item for item in self._spools if item is not spool]
                if stored is not None:
                    self._index.add_persisted(stored)
                self._write_page(structure_changed=True, base=page)
            finally:
                self._lock.release()
        finally:
            self._turn.end()
            self._stats.complete_spools = max(0, len(self._spools) - 1)
            self._persisted.unpark_all()

    def _must_wait(self) -> bool:
        """Whether an append needs a new spool while too many are waiting to be persisted."""
        return (
            self._writing
            and len(self._spools) > COMPLETE_SPOOLS_MAX
            and (self._spools[-1].suspect or self._is_full(self._spools[-1]))
        )

    async def _wait_persisted(self) -> None:
        """Wait, outside of the turn, until there is room for a complete spool."""
        self._turn.end()
        try:
            with trio.move_on_after(PERSIST_WAIT_SECONDS):
                while self._must_wait():
                    await self._persisted.park()
        finally:
            with trio.CancelScope(shield=True):
                await self._turn.begin()
        if self._must_wait():
            raise JournalUnavailable(
                f"journal {self.journal}: {len(self._spools) - 1} spools wait to be persisted: "
                f"{self._stats.persist_error or 'the fragment store is slow'}",
                f"see whether {self._store.url} is in order and has room; recfs goes on by itself",
            )

    async def delete_fragments(self, fragments: Sequence[Fragment]) -> None:
        """Remove persisted fragments from the store. Local ones are not touched."""
        await self._turn.begin()
        try:
            await self._take_lock()
            try:
                await self._enter_writer()

                def remove() -> list[Fragment]:
                    for fragment in fragments:
                        if fragment.mod_time:
                            self._store.remove(fragment)
                    return self._store.fragments(self.journal)

                self._adopt(self._spools, await trio.to_thread.run_sync(remove))
                self._write_page(structure_changed=True, base=self._page)
            finally:
                self._lock.release()
        except OSError as error:
            raise self._unavailable("cannot delete fragments", error) from error
        finally:
            self._turn.end()

    async def close(self) -> None:
        """Persist complete spools if the store lets us, and let go of all files."""
        if self._persisting is not None:
            scope, ended = self._persisting
            scope.cancel()
            await ended.wait()
        try:
            while len(self._spools) > 1 and self._writing:
                await self._persist_one()
        except (RecfsError, OSError, SpoolReplacedError) as error:
            self._stats.persist_error = str(error)  # the spools stay; the next writer persists them
        if self._ahead is not None:
            await self._ahead[1].wait()
        await self._turn.begin()
        self._disk.close()
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()
        for spool in self._spools:
            spool.close()
        self._spools = []
        self._loaded = self._writing = False
        self._lock.close()
        self._turn.end()


def _nothing() -> None:
    pass


def _in_words(registers: LabelSet) -> str:
    return ", ".join(f"{name}={'|'.join(values)}" for name, values in registers.items()) or "none"
