"""ReplicaReader: reads a journal from its spools and its persisted fragments, without the lock."""

from __future__ import annotations

import time

import trio

from recfs.broker.journal_files import JournalFiles
from recfs.broker.open_fragment import OpenFragments
from recfs.broker.spool_file import SpoolReplacedError
from recfs.errors import JournalUnavailable, OffsetNotYetAvailable
from recfs.journal.model import Chunk, Fragment

#: Seconds between looks for what another process has committed, while a reader is blocked.
POLL_SECONDS = 0.02
_READ_ATTEMPTS = 20


class ReplicaReader:
    """Reads what `files` hold. Sees nothing that is not acknowledged: see `JournalFiles`."""

    def __init__(self, files: JournalFiles) -> None:
        self._files = files
        self._fragments = OpenFragments(files.store, files.index)
        self._waiting = trio.lowlevel.ParkingLot()  # readers at the write head

    def wake(self) -> None:
        """Tell readers at the write head that there is more."""
        self._waiting.unpark_all()

    async def read(self, offset: int, *, block: bool, length: int) -> Chunk:
        """See `JournalClient.read`."""
        assert offset >= -1
        assert length > 0
        files = self._files
        attempts = 0
        fresh = files.loaded and offset != -1  # what is known already does not change
        while True:
            if not fresh:
                await files.refresh()
            offset, fragment = files.index.query(offset, now=time.time())
            if fragment is None:
                if fresh:
                    fresh = False
                    continue
                if not block:
                    raise OffsetNotYetAvailable(files.journal, files.head())
                with trio.move_on_after(POLL_SECONDS):
                    await self._waiting.park()
                continue
            try:
                content = await self._read_fragment(fragment, offset, length)
            except (SpoolReplacedError, FileNotFoundError) as error:
                # Persisted or deleted meanwhile: look where it is now.
                files.loaded = fresh = False
                attempts += 1
                if attempts == _READ_ATTEMPTS:
                    raise JournalUnavailable(
                        f"journal {files.journal}: offset {offset} cannot be read: {error}"
                    ) from error
                continue
            except OSError as error:
                raise files.directory.unavailable("cannot read", error) from error
            return Chunk(offset, content, files.write_head())

    async def _read_fragment(self, fragment: Fragment, offset: int, length: int) -> bytes:
        if fragment.mod_time == 0:
            for spool in self._files.spools:
                if spool.begin <= offset < spool.end:
                    return await trio.to_thread.run_sync(spool.read, offset, length)
            raise SpoolReplacedError
        return await self._fragments.read(fragment, offset, length)

    async def aclose(self) -> None:
        """Let go of all fragments. In the turn of `files`."""
        await self._fragments.aclose()
