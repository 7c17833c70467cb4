"""Hints: the volume's state, written aside now and then and at unmount. Advice, never needed."""

from __future__ import annotations

import trio

from recfs.errors import RecfsError
from recfs.journal.model import JournalClient, Selector
from recfs.observe.logs import logger
from recfs.recoverylog.author import fence
from recfs.recoverylog.framing import pack
from recfs.recoverylog.state import encode_state
from recfs.vfs.durability import Durability

log = logger("hints")


class HintsWriter:
    """Appends one frame to the hints journal each time, under this author's fence there."""

    def __init__(
        self,
        client: JournalClient,
        journal: str,
        author: int,
        durability: Durability,
    ) -> None:
        self._client = client
        self._journal = journal
        self._fence = fence(author)
        self._durability = durability
        self._fenced_here = False
        self._written_at = -1

    async def run(self, interval_seconds: float) -> None:
        while True:
            await trio.sleep(interval_seconds)
            try:
                await self.write()
            except (RecfsError, OSError) as error:
                log.warning("hints were not written", reason=str(error))

    async def write(self) -> None:
        """Encode first, then wait for its commit: hints never name what is not there."""
        recorder = self._durability.recorder
        if recorder.fsm.next_seq_no == self._written_at:
            return
        written_at = recorder.fsm.next_seq_no
        # A lower bound: a player that starts there meets old operations first, and skips them.
        offset = self._durability.appender.statistics().committed_offset
        frame = pack(encode_state(recorder.fsm, offset=offset))
        if self._durability.appender.error is not None:
            raise self._durability.appender.error
        await self._durability.appender.barrier()
        check = Selector(include=self._fence) if self._fenced_here else None
        await self._client.append(self._journal, [frame], check=check, union=self._fence)
        self._fenced_here = True
        self._written_at = written_at
