"""Whose turn it is to read the next request: the same rule as pyfuse3's, at a lower price.

pyfuse3 lets one of its worker tasks wait for the FUSE descriptor under a lock. The lock and the
wait come from the module that its name `trio` stands for (its asyncio support replaces that module,
too). trio's own cost a scheduler pass and three system calls a request, also when the next one is
there already. These make them only when there is something to wait for, and every few requests, so
that other tasks have their turn.
"""

from __future__ import annotations

import select
from types import SimpleNamespace, TracebackType
from typing import Any

import pyfuse3
import trio

#: Requests answered in a row without a scheduler pass.
REQUESTS_IN_A_ROW = 8


class Lock:
    """trio.Lock without a checkpoint where nobody holds it. Fair: the longest waiter is next."""

    def __init__(self) -> None:
        self._held = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        if self._held:
            await self._waiting.park()  # woken with the lock in hand
        self._held = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._waiting:
            self._waiting.unpark()
        else:
            self._held = False


class Turns:
    def __init__(self) -> None:
        self._in_a_row = 0
        self._polls: dict[int, select.poll] = {}

    async def wait_readable(self, fileno: int) -> None:
        poll = self._polls.get(fileno)
        if poll is None:
            poll = self._polls[fileno] = select.poll()
            poll.register(fileno, select.POLLIN)
        self._in_a_row += 1
        if self._in_a_row < REQUESTS_IN_A_ROW and poll.poll(0):
            return
        self._in_a_row = 0
        await trio.lowlevel.wait_readable(fileno)


def install() -> None:
    """Have pyfuse3 wait in this way. Before `pyfuse3.init`, once or again."""
    turns = Turns()
    lowlevel: Any = SimpleNamespace(
        wait_readable=turns.wait_readable,
        notify_closing=trio.lowlevel.notify_closing,
        current_trio_token=trio.lowlevel.current_trio_token,
        current_task=trio.lowlevel.current_task,
    )
    pyfuse3.trio = SimpleNamespace(  # type: ignore[attr-defined]
        Lock=Lock,
        lowlevel=lowlevel,
        open_nursery=trio.open_nursery,
        ClosedResourceError=trio.ClosedResourceError,
    )
