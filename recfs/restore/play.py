"""Drive a Player from a journal: read, feed, apply the effects, watch the marks."""

from __future__ import annotations

from collections.abc import Callable

import trio

from recfs.errors import DataLossError, JournalUnavailable, OffsetNotYetAvailable
from recfs.journal.model import Chunk, JournalClient
from recfs.recoverylog.events import Garbage, Marked, Op
from recfs.recoverylog.player import Player

from .owner import Ownership
from .staging import StagingTree

READ_BYTES = 1 << 20

#: Waits in seconds between tries while the journal is away; then the error is the caller's.
RETRY_WAITS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0)


class LogReader:
    """Plays one journal into `player`, and its effects into `staging` (None: only the state).

    `ownership` follows the marks, `warnings` gathers what was tolerated, `watched` the operations
    of the authors in `player.watch`. `advance` is called with the bytes of each chunk played.
    """

    def __init__(
        self,
        client: JournalClient,
        journal: str,
        player: Player,
        staging: StagingTree | None,
        advance: Callable[[int], None],
    ) -> None:
        self.client = client
        self.journal = journal
        self.player = player
        self.staging = staging
        self.ownership = Ownership()
        self.warnings: list[str] = []
        self.watched: list[Op] = []
        self.bytes_played = 0
        #: Called with the bytes of each chunk played; replaced once nobody looks any more.
        self.advance = advance

    async def to_head(self, end: int | None = None) -> None:
        """Play what is there, at most up to offset `end`.

        Raise DamageError for bytes that are not what was written, DataLossError when the log's
        beginning is gone, JournalUnavailable when the journal stays away.
        """
        player = self.player
        while end is None or player.offset < end:
            try:
                chunk = await self._read(player.offset)
            except OffsetNotYetAvailable:
                return
            if chunk.offset > player.offset:
                if player.fsm.next_seq_no == 1:
                    raise DataLossError(
                        f"journal {self.journal}: its first bytes are gone; it begins at offset "
                        f"{chunk.offset}",
                        "put the missing fragments back, or restore from a copy of the journal",
                    )
                self.warnings.append(f"offset jumps from {player.offset} to {chunk.offset}")
                player.jump(chunk.offset)
            content = memoryview(chunk.content)
            if end is not None and chunk.offset + len(content) > end:
                content = content[: max(0, end - chunk.offset)]
                if not content:
                    return
            self._apply(content)
            self.bytes_played += len(content)
            self.advance(len(content))

    async def _read(self, offset: int) -> Chunk:
        for wait in RETRY_WAITS:
            try:
                return await self.client.read(self.journal, offset, block=False, length=READ_BYTES)
            except JournalUnavailable:
                await trio.sleep(wait)
        return await self.client.read(self.journal, offset, block=False, length=READ_BYTES)

    def _apply(self, content: memoryview) -> None:
        staging = self.staging
        for event in self.player.feed(content):
            if isinstance(event, Marked):
                self.ownership.note(event)
            elif isinstance(event, Op):
                self.watched.append(event)
            elif isinstance(event, Garbage):
                self.warnings.append(
                    f"skipped {event.end - event.begin} bytes at offset {event.begin} that are no "
                    "operation"
                )
            elif staging is not None:
                staging.apply(event)
