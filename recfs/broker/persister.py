"""Persister: takes the complete spools of a journal to the fragment store, oldest first.

A spool is given up only when its fragment is durable in the store (`_persist_one`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import trio

from recfs.broker import codec
from recfs.broker.journal_files import JournalFiles
from recfs.broker.spool import Spool
from recfs.broker.spool_file import SpoolReplacedError
from recfs.broker.stores import Store
from recfs.errors import JournalUnavailable, RecfsError
from recfs.journal.model import Fragment
from recfs.journal.retry import retry_delay

#: Complete spools that may wait to be persisted before appends are refused.
COMPLETE_SPOOLS_MAX = 8
#: Seconds that an append waits for the persister before it is refused.
PERSIST_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PersisterStatistics:
    """`complete_spools` wait to be persisted; `persist_error` is "" unless the last try failed."""

    complete_spools: int = 0
    persist_failures: int = 0
    persist_error: str = ""


class Persister:
    """Persists the complete spools of `files` in a task of its own, while this process writes."""

    def __init__(self, files: JournalFiles) -> None:
        self._files = files
        self._room = trio.lowlevel.ParkingLot()  # appends that wait for it
        self._running: tuple[trio.CancelScope, trio.Event] | None = None
        self._failures = 0
        self._error = ""

    @property
    def statistics(self) -> PersisterStatistics:
        complete = max(0, len(self._files.spools) - 1)
        return PersisterStatistics(complete, self._failures, self._error)

    def start(self) -> None:
        """Have complete spools persisted, if there are any."""
        if len(self._files.spools) > 1 and self._running is None:
            self._running = (trio.CancelScope(), trio.Event())
            # A client is no context manager and has no nursery; `finish` ends this task.
            trio.lowlevel.spawn_system_task(self._persist_all, *self._running)

    async def _persist_all(self, scope: trio.CancelScope, ended: trio.Event) -> None:
        failures = 0
        try:
            with scope:
                while len(self._files.spools) > 1 and self._files.writing:
                    try:
                        await self._persist_one()
                        failures = 0
                        self._error = ""
                    except (RecfsError, OSError, SpoolReplacedError) as error:
                        failures += 1
                        self._failures += 1
                        self._error = str(error) or type(error).__name__
                        if self._files.own_page() is None:
                            return  # its new writer persists what there is
                        await trio.sleep(max(0.05, retry_delay(failures)))
        finally:
            self._running = None
            ended.set()

    async def _persist_one(self) -> None:
        """Persist the oldest complete spool, and give its file back."""
        files = self._files
        spool = files.spools[0]
        stored = None
        if spool.end > spool.begin:
            stored = await trio.to_thread.run_sync(
                persist, spool, files.journal, files.spec.codec, files.store
            )
        try:
            async with files.turn_and_lock():
                await files.retire(spool, stored)
        finally:
            self._room.unpark_all()

    def must_wait(self) -> bool:
        """Whether an append needs a new spool while too many are waiting to be persisted."""
        files = self._files
        return (
            files.writing
            and len(files.spools) > COMPLETE_SPOOLS_MAX
            and (files.spools[-1].suspect or files.is_full(files.spools[-1]))
        )

    async def wait_room(self) -> None:
        """Wait, outside of the turn, until there is room for a complete spool.

        Raises JournalUnavailable when there is none after PERSIST_WAIT_SECONDS.
        """
        files = self._files
        files.turn.end()
        try:
            with trio.move_on_after(PERSIST_WAIT_SECONDS):
                while self.must_wait():
                    await self._room.park()
        finally:
            with trio.CancelScope(shield=True):
                await files.turn.begin()
        if self.must_wait():
            raise JournalUnavailable(
                f"journal {files.journal}: {len(files.spools) - 1} spools wait to be persisted: "
                f"{self._error or 'the fragment store is slow'}",
                f"see whether {files.store.url} is in order and has room; recfs goes on by itself",
            )

    async def finish(self) -> None:
        """End the task, and persist what is complete if the store lets us."""
        if self._running is not None:
            scope, ended = self._running
            scope.cancel()
            await ended.wait()
        try:
            while len(self._files.spools) > 1 and self._files.writing:
                await self._persist_one()
        except (RecfsError, OSError, SpoolReplacedError) as error:
            self._error = str(error)  # the spools stay; the next writer persists them


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
