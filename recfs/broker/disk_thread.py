"""One thread that writes to disk for the event loop, in order.

A commit is the hottest wait of recfs. Handing it to a thread of its own costs less than
`trio.to_thread`, and its writes keep their order. The thread touches nothing but the file.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable

import trio

_Job = tuple[Callable[[], None], Callable[[BaseException | None], None], trio.lowlevel.TrioToken]


class WorkTime:
    """How long work of one kind takes: `recent` seconds, weighted towards the last few times.

    Infinite until it was measured. A single time counts as at most `limit` seconds, so that one
    that was held up does not speak for a disk that is fast as a rule.
    """

    def __init__(self, limit: float) -> None:
        self.recent = math.inf
        self._limit = limit

    def timed(self, work: Callable[[], None]) -> Callable[[], None]:
        def measured() -> None:
            started = time.perf_counter()
            work()
            took = min(time.perf_counter() - started, self._limit)
            self.recent = took if self.recent == math.inf else self.recent * 0.8 + took * 0.2

        return measured


class DiskThread:
    """Starts with the first job; `close` lets it end after the last one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = False

    async def run(self, work: Callable[[], None]) -> None:
        """Return, or raise what it raised, when `work` is done. It cannot be cancelled."""
        task = trio.lowlevel.current_task()
        failure: BaseException | None = None

        def done(error: BaseException | None) -> None:
            nonlocal failure
            failure = error
            trio.lowlevel.reschedule(task)

        self.submit(work, done)
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        if failure is not None:
            raise failure

    def submit(
        self, work: Callable[[], None], done: Callable[[BaseException | None], None]
    ) -> None:
        """Have `work` done, then `done` called in the event loop with what it raised, or None."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._jobs.put((work, done, trio.lowlevel.current_trio_token()))

    def close(self) -> None:
        if self._started:
            self._started = False
            self._jobs.put(None)
            self._jobs = queue.SimpleQueue()

    def _work(self) -> None:
        jobs = self._jobs
        while (job := jobs.get()) is not None:
            work, done, token = job
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:  # handed over, whatever it is
                failure = error
            del job, work  # nothing here keeps a file open once the event loop goes on
            try:
                token.run_sync_soon(done, failure)
            except trio.RunFinishedError:
                pass  # nobody waits any more
            del done, failure
