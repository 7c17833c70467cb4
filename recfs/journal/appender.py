"""The appender: group commit to one journal.

Callers add groups of bytes to the open batch; one task, `run`, sends batches one after another.
While an append is in flight the next batch fills: that is the group commit. A batch is sent when

    a barrier waits for it, or
    it has reached `batch_bytes`, or
    its first byte is `delay` seconds old.

Invariants, and where they are kept:

1. A group never straddles an append: `add` puts all its buffers into one batch, and a batch is
   closed only between two calls of `add`.
2. Batches reach the journal in the order in which they were opened, each at least once: a batch
   is dropped only when its append has returned.
3. The verdict reaches everybody: once FENCED or FAILED the state stays, every waiter is woken at
   once, and every later call raises the same error.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from recfs.errors import Fenced, JournalFailed, JournalUnavailable, RecfsError
from recfs.journal.model import Buffer, Commit, JournalClient, Selector
from recfs.journal.retry import retry_delay

#: Upper bounds, in seconds, of the commit latency histogram; a last bucket takes the rest.
LATENCY_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip


class AppenderState(enum.Enum):
    OPEN = "open"
    FENCED = "fenced"  # another author has taken the journal over
    FAILED = "failed"  # an error that no retry mends, or `run` was stopped before all was committed
    CLOSED = "closed"  # everything is committed and nothing more may be added


@dataclass(frozen=True, slots=True)
class AppendLimits:
    """Bounds of an appender, in bytes and seconds."""

    batch_bytes: int = 1 << 20
    batch_bytes_max: int = 4 << 20  # of a batch that fills while another is in flight
    delay: float = 0.1
    backlog_bytes: int = 48 << 20


@dataclass(slots=True)
class AppendStatistics:
    """What an appender has done. Times are those of its clock, in seconds; 0.0 is never."""

    committed_offset: int = 0  # end of the last commit known of
    backlog_bytes: int = 0  # added and not yet committed
    appends: int = 0
    appended_bytes: int = 0
    retries: int = 0
    last_error: str = ""
    last_error_at: float = 0.0
    retrying_since: float = 0.0  # 0.0: not retrying
    latency_seconds: float = 0.0  # sum over all appends, each from its first send to its commit
    latency_buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    batch_bytes_largest: int = 0


class _Batch:
    """The content of one append, and the tasks that wait for its commit."""

    __slots__ = ("buffers", "committed", "opened_at", "size", "waiters", "wanted")

    def __init__(self, opened_at: float) -> None:
        self.buffers: list[Buffer] = []
        self.size = 0
        self.opened_at = opened_at
        self.wanted = False
        self.committed = False
        self.waiters = trio.lowlevel.ParkingLot()


class Appender:
    """Appends to one journal through `client`, each append under the register check `check`.

    `on_commit` is called in the sending task with each Commit, before the waiters go on.
    `committed_offset` is up to where the journal is committed already.
    """

    def __init__(
        self,
        client: JournalClient,
        journal: str,
        *,
        check: Selector | None,
        limits: AppendLimits | None = None,
        clock: Callable[[], float] = trio.current_time,
        on_commit: Callable[[Commit], None] | None = None,
        committed_offset: int = 0,
    ) -> None:
        self.journal = journal
        self.state = AppenderState.OPEN
        self.error: RecfsError | None = None
        self._client = client
        self._check = check
        self._limits = limits or AppendLimits()
        self._clock = clock
        self._on_commit = on_commit
        self._open: _Batch | None = None  # takes the next add
        self._closed: deque[_Batch] = deque()  # full, not yet sent
        self._in_flight: _Batch | None = None
        self._closing = False
        self._backlog = 0
        self._room = trio.lowlevel.ParkingLot()
        self._sleeper = trio.lowlevel.ParkingLot()  # holds `run` while nothing is due
        self._alarm: trio.CancelScope | None = None  # ends that sleep when the batch is old enough
        self._stats = AppendStatistics(committed_offset=committed_offset)

    # -- adding: synchronous, so that the caller's order of effects is the order of the log --

    @property
    def batch_is_open(self) -> bool:
        """False: the next `add` begins an append."""
        return self._open is not None

    @property
    def has_room(self) -> bool:
        return self._backlog < self._limits.backlog_bytes

    def add(self, *buffers: Buffer) -> None:
        """Add one group to the open batch. Keeps references: the caller changes no buffer later.

        Accepts a group even without room (a group is never split or refused); callers ask
        `has_room` before they begin. Raises the appender's error once it is FENCED or FAILED.
        """
        if self.state is not AppenderState.OPEN or self._closing:
            raise self._verdict()
        batch = self._open
        if batch is None:
            batch = self._open = _Batch(self._clock())
            if self._alarm is not None:
                self._alarm.deadline = batch.opened_at + self._limits.delay
        size = 0
        for buffer in buffers:
            size += buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
        batch.buffers += buffers
        batch.size += size
        self._backlog += size
        if batch.size >= self._limits.batch_bytes:
            if batch.size >= self._limits.batch_bytes_max:
                self._closed.append(batch)
                self._open = None
            self._sleeper.unpark_all()

    # -- waiting --

    async def wait_room(self) -> None:
        """Return when the backlog is below its bound. Raises the appender's error."""
        while True:
            if self.state is not AppenderState.OPEN:
                raise self._verdict()
            if self.has_room:
                return
            await self._room.park()

    async def barrier(self) -> None:
        """Return when everything added before this call is committed; at once if it is already.

        Raises the appender's error. A cancelled caller leaves its bytes in the batch.
        """
        if self.error is not None:
            raise self._verdict()
        batch = self._open
        if batch is not None:
            if not batch.wanted:
                batch.wanted = True
                self._sleeper.unpark_all()
        elif self._closed:
            batch = self._closed[-1]
        else:
            batch = self._in_flight
            if batch is None:
                return
        await batch.waiters.park()
        if not batch.committed:
            raise self._verdict()

    async def drain(self) -> None:
        """The same as `barrier`."""
        await self.barrier()

    async def close(self) -> None:
        """Take nothing more, return when everything added is committed; `run` then returns.

        Raises the appender's error. Idempotent.
        """
        if self.state is AppenderState.CLOSED:
            return
        self._closing = True
        await self.barrier()
        if self.state is AppenderState.OPEN:
            self.state = AppenderState.CLOSED
        self._sleeper.unpark_all()
        self._room.unpark_all()

    def statistics(self) -> AppendStatistics:
        """The live record (not a copy): read it, do not keep it."""
        self._stats.backlog_bytes = self._backlog
        return self._stats

    # -- sending --

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Send batches until the appender is closed, fenced or failed. Start it once."""
        task_status.started()
        try:
            while (batch := await self._next_batch()) is not None:
                await self._send(batch)
        finally:
            if self.state is AppenderState.OPEN:
                self._end(
                    AppenderState.FAILED,
                    JournalFailed(
                        f"journal {self.journal}: the appender was stopped before it was closed"
                    ),
                )

    async def _next_batch(self) -> _Batch | None:
        """Wait for a batch that is due and take it; None when there will be none."""
        limits = self._limits
        while True:
            if self.state is not AppenderState.OPEN:
                return None
            if self._closed:
                return self._closed.popleft()
            batch = self._open
            age_limit = math.inf if batch is None else batch.opened_at + limits.delay
            if batch is not None and (
                batch.wanted
                or self._closing
                or batch.size >= limits.batch_bytes
                or self._clock() >= age_limit
            ):
                self._open = None
                return batch
            # `add` moves the deadline, so that a first add needs no switch to this task.
            with trio.CancelScope(deadline=age_limit) as self._alarm:
                await self._sleeper.park()
            self._alarm = None

    async def _send(self, batch: _Batch) -> None:
        """Append `batch`, retrying for as long as a retry may help, and wake its waiters."""
        stats = self._stats
        self._in_flight = batch
        started = self._clock()
        failures = 0
        while True:
            try:
                commit = await self._client.append(self.journal, batch.buffers, check=self._check)
                break
            except JournalUnavailable as error:
                failures += 1
                stats.retries += 1
                stats.last_error = error.what
                stats.last_error_at = self._clock()
                stats.retrying_since = stats.retrying_since or started
                await trio.sleep(retry_delay(failures))
            except Fenced as error:
                self._end(AppenderState.FENCED, error)
                return
            except RecfsError as error:
                failed = JournalFailed(error.what, error.attempt)
                failed.exit_code = error.exit_code  # the cause decides what the user is told
                failed.__cause__ = error
                self._end(AppenderState.FAILED, failed)
                return
        self._in_flight = None
        batch.committed = True
        self._backlog -= batch.size
        latency = self._clock() - started
        stats.retrying_since = 0.0
        stats.committed_offset = commit.end
        stats.appends += 1
        stats.appended_bytes += batch.size
        stats.latency_seconds += latency
        stats.latency_buckets[_bucket(latency)] += 1
        stats.batch_bytes_largest = max(stats.batch_bytes_largest, batch.size)
        if self._on_commit is not None:
            self._on_commit(commit)
        batch.waiters.unpark_all()
        if self._room and self.has_room:
            self._room.unpark_all()

    def _end(self, state: AppenderState, error: RecfsError) -> None:
        """Enter a final state and wake everybody who waits."""
        self.state = state
        self.error = error
        stats = self._stats
        stats.last_error = error.what
        stats.last_error_at = self._clock()
        for batch in (self._in_flight, *self._closed, self._open):
            if batch is not None:
                batch.waiters.unpark_all()
        self._in_flight = self._open = None
        self._closed.clear()
        self._room.unpark_all()
        self._sleeper.unpark_all()

    def _verdict(self) -> RecfsError:
        if self.error is None:
            return JournalFailed(f"journal {self.journal}: the appender is closed")
        return self.error.with_traceback(None)  # one instance: do not pile up tracebacks


def _bucket(seconds: float) -> int:
    for index, bound in enumerate(LATENCY_BOUNDS):
        if seconds <= bound:
            return index
    return len(LATENCY_BOUNDS)
