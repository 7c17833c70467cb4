"""Turn: lets the tasks of one event loop through one at a time, in order."""

from __future__ import annotations

import trio


class Turn:
    """Like a lock, but not owned by a task: a callback of the event loop may end it as well."""

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
