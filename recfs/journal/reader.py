"""Two readers of a journal: an honest one and a patient one."""

from __future__ import annotations

from collections.abc import Callable

import trio

from recfs.errors import JournalUnavailable, OffsetNotYetAvailable
from recfs.journal.model import Chunk, JournalClient
from recfs.journal.retry import retry_delay

CHUNK_BYTES = 1 << 20


class Reader:
    """Iterates over the content of `journal` from `offset` (-1: the write head), in order.

    Each Chunk begins where the one before ended, unless bytes are missing: then its offset is
    larger, which the caller has to see (`Chunk.offset`). With `block` the iteration waits at the
    write head for ever, without it ends there; it also ends at `end`, if given. Whatever the client
    raises comes through, and the reader may be asked again: it goes on at `offset`.
    """

    def __init__(
        self,
        client: JournalClient,
        journal: str,
        offset: int = 0,
        *,
        block: bool = False,
        end: int | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.journal = journal
        self.offset = offset  # of the next byte to be returned
        self.write_head = 0  # as of the last answer
        self._client = client
        self._block = block
        self._end = end
        self._chunk_bytes = chunk_bytes

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Chunk:
        length = self._chunk_bytes
        if self._end is not None:
            length = min(length, self._end - self.offset)
            if length <= 0:
                raise StopAsyncIteration
        try:
            chunk = await self._client.read(
                self.journal, self.offset, block=self._block, length=length
            )
        except OffsetNotYetAvailable as error:
            self.write_head = error.write_head
            if error.write_head < self.offset:
                raise  # the journal is shorter than where the caller stands: not its end
            raise StopAsyncIteration from None
        self.write_head = chunk.write_head
        if self._end is not None and chunk.offset >= self._end:
            self.offset = self._end
            raise StopAsyncIteration  # the bytes up to the end are missing
        self.offset = chunk.offset + len(chunk.content)
        return chunk


class RetryingReader:
    """A Reader that waits while the journal service is away.

    It hides JournalUnavailable, and nothing else: each wait is bounded (`retry_delay`), and after
    `attempts` failures in a row (None: never) the last one is raised. It does NOT hide

        JournalNotFound, NotAuthorised, UsageError      asking again would not help
        DamageError, DataLossError                      never to be read over silently
        an offset jump                                  seen in Chunk.offset
        the write head, without `block`                 the end of the iteration
        cancellation

    `on_retry` is told of each failure before the wait.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        attempts: int | None = None,
        on_retry: Callable[[JournalUnavailable], None] | None = None,
    ) -> None:
        self.reader = reader
        self._attempts = attempts
        self._on_retry = on_retry

    @property
    def offset(self) -> int:
        return self.reader.offset

    @property
    def write_head(self) -> int:
        return self.reader.write_head

    def __aiter__(self) -> RetryingReader:
        return self

    async def __anext__(self) -> Chunk:
        failures = 0
        while True:
            try:
                return await self.reader.__anext__()
            except JournalUnavailable as error:
                failures += 1
                if self._attempts is not None and failures >= self._attempts:
                    raise
                if self._on_retry is not None:
                    self._on_retry(error)
                await trio.sleep(retry_delay(failures))
