"""Replica: one journal on this host; appends to it.

What a commit costs is: one `flock`, one read of the lock page, one `pwritev` with sync, in the
event loop or in the disk thread, and one write of the lock page.

Invariants, and where they are kept (see `journal_files` and `persister` for more):

1. Registers are checked and a spool is written only after `JournalFiles.enter_writer` (`append`).
2. What is acknowledged is on disk; until it is, no reader sees it (`_commit`).
3. After a failed write the spool is suspect: the journal goes on in a new one, at the end of what
   was acknowledged.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import trio

from recfs.broker import registers as register_rules
from recfs.broker.disk_thread import DiskThread, WorkTime
from recfs.broker.journal_files import JournalFiles
from recfs.broker.persister import Persister, PersisterStatistics
from recfs.broker.replica_reader import ReplicaReader
from recfs.broker.spool_directory import SpoolDirectory
from recfs.broker.spool_file import ZERO_STEP
from recfs.broker.stores import Store
from recfs.errors import Fenced, WrongAppendOffset
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

#: A commit of up to so many bytes is written in the event loop while commits of late took less than
#: so many seconds. Handing one to the disk thread and back costs a good part of that; a disk that
#: grows slow is waited for in the thread again after a few slow commits.
INLINE_BYTES_MAX = 256 << 10
INLINE_SECONDS = 0.000_4
#: Inline commits in a row without a task switch: a caller in a loop would let nobody else run.
INLINE_COMMITS_MAX = 16


class Replica:
    """The journal of `directory`, which exists; persisted fragments go to `store`."""

    def __init__(self, directory: SpoolDirectory, store: Store, spec: JournalSpec) -> None:
        self.journal = directory.journal
        self._files = JournalFiles(directory, store, spec)
        self._reader = ReplicaReader(self._files)
        self._persister = Persister(self._files)
        self._disk = DiskThread(f"commits of {self.journal}")
        self._inline_commits = 0
        self._commit_time = WorkTime(limit=3 * INLINE_SECONDS)

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
        files = self._files
        await files.turn.begin()
        finish = files.turn.end  # runs once, at the end of the turn
        try:
            if self._persister.must_wait():
                await self._persister.wait_room()
            await files.take_lock()
            finish = files.leave
            if await files.enter_writer():
                self._persister.start()
            head, registers = files.head(), files.registers()
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
            commit = await self._commit(head, content, size, after)
            if self._needs_zeros():
                self._grow()  # goes on in the disk thread, and ends the turn then
                finish = _nothing
            return commit
        except OSError as error:
            raise files.directory.unavailable("cannot write", error) from error
        finally:
            finish()

    def _check_index(self, offset: int) -> None:
        """Refuse to write offsets that persisted fragments hold already, unless told so."""
        files = self._files
        if files.spools and files.index.end > files.spools[-1].end and not offset:
            raise WrongAppendOffset(
                f"journal {self.journal}: fragments reach to {files.index.end}, but the last "
                f"commit known here ends at {files.spools[-1].end}",
                "if no other broker writes this journal, append once with the former offset",
            )

    async def _commit(
        self, begin: int, content: Sequence[Buffer], size: int, registers: LabelSet | None
    ) -> Commit:
        files = self._files
        spool = files.spools[-1] if files.spools else None
        if spool is None or spool.suspect or spool.end != begin or files.is_full(spool):
            spool = await files.begin_spool(begin)
            self._persister.start()
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
            files.acknowledge(spool)
        except OSError:
            spool.suspect = True
            raise
        self._reader.wake()
        return Commit(begin, spool.end, spool.registers)

    def _needs_zeros(self) -> bool:
        spool, capacity = self._files.spools[-1], self._files.capacity
        return spool.zeroed - spool.position < ZERO_STEP // 2 and spool.zeroed < capacity

    def _grow(self) -> None:
        """Write zeros ahead while nobody waits, still in this turn and under the lock."""
        files = self._files
        spool = files.spools[-1]

        def done(error: BaseException | None) -> None:
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                spool.suspect = True
            files.leave()
            if error is not None and not isinstance(error, OSError):
                raise error

        self._disk.submit(lambda: spool.grow(files.capacity), done)

    # -- the rest --

    async def read(self, offset: int, *, block: bool, length: int) -> Chunk:
        """See `JournalClient.read`."""
        return await self._reader.read(offset, block=block, length=length)

    async def head(self) -> Head:
        await self._files.refresh()
        return Head(self._files.head(), self._files.registers())

    async def fragments(self) -> list[Fragment]:
        await self._files.refresh()
        return self._files.index.fragments()

    async def delete_fragments(self, fragments: Sequence[Fragment]) -> None:
        """Remove persisted fragments from the store. Local ones are not touched."""
        try:
            async with self._files.turn_and_lock():
                if await self._files.enter_writer():
                    self._persister.start()
                await self._files.remove(fragments)
        except OSError as error:
            raise self._files.directory.unavailable("cannot delete fragments", error) from error

    @property
    def statistics(self) -> PersisterStatistics:
        return self._persister.statistics

    async def close(self) -> None:
        """Persist complete spools if the store lets us, and let go of all files."""
        await self._persister.finish()
        await self._files.turn.begin()
        self._disk.close()
        await self._reader.aclose()
        self._files.close()
        self._files.turn.end()


def _nothing() -> None:
    pass


def _in_words(registers: LabelSet) -> str:
    return ", ".join(f"{name}={'|'.join(values)}" for name, values in registers.items()) or "none"
