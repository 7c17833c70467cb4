"""The appender: batching, barriers, its final states, back-pressure and retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from recfs.clients.embedded import EmbeddedClient
from recfs.errors import (
    DamageError,
    Fenced,
    JournalFailed,
    JournalUnavailable,
    OffsetNotYetAvailable,
    RecfsError,
)
from recfs.journal.appender import Appender, AppenderState, AppendLimits
from recfs.journal.model import Commit, Selector
from recfs.testing.faults import FaultyClient

JOURNAL = "db1/log"
AWAY = JournalUnavailable("the journal is away", "wait")


class Bench:
    """A journal, a client that can be told to fail, and what has been committed through it."""

    def __init__(self, root: Path) -> None:
        self.embedded = EmbeddedClient(root)
        self.client = FaultyClient(self.embedded)
        self.commits: list[Commit] = []

    @asynccontextmanager
    async def appender(
        self, limits: AppendLimits | None = None, check: Selector | None = None
    ) -> AsyncIterator[Appender]:
        await self.embedded.create(JOURNAL)
        async with trio.open_nursery() as nursery:
            appender = Appender(
                self.client, JOURNAL, check=check, limits=limits, on_commit=self.commits.append
            )
            await nursery.start(appender.run)
            yield appender
            nursery.cancel_scope.cancel()
        await self.embedded.aclose()

    async def content(self) -> bytes:
        content = b""
        while True:
            try:
                chunk = await self.embedded.read(JOURNAL, len(content), block=False)
            except OffsetNotYetAvailable:
                return content
            content += chunk.content


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


#: No batch is sent by its age or size: what is sent is sent by a barrier.
LAZY = AppendLimits(batch_bytes=1 << 30, batch_bytes_max=1 << 30, delay=3600.0)


async def test_groups_added_before_a_barrier_land_in_one_append(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        assert not appender.batch_is_open
        appender.add(b"one", b"two")
        assert appender.batch_is_open
        appender.add(bytearray(b"three"), memoryview(b"four"))
        await appender.barrier()
        assert not appender.batch_is_open
        assert bench.commits == [Commit(0, 15, {})]
        assert await bench.content() == b"onetwothreefour"


async def test_a_barrier_with_nothing_pending_returns_at_once(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        with trio.CancelScope() as scope:
            scope.cancel()  # any wait would end here
            await appender.barrier()
            assert not scope.cancelled_caught
        appender.add(b"x")
        await appender.barrier()
        await appender.barrier()
        assert bench.client.calls == ["append"]


async def test_a_batch_is_sent_when_it_is_large_enough(bench: Bench) -> None:
    limits = AppendLimits(batch_bytes=100, batch_bytes_max=100, delay=3600.0)
    async with bench.appender(limits) as appender:
        appender.add(b"x" * 99)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.client.calls == []
        appender.add(b"y" * 500)  # one group is never split
        assert not appender.batch_is_open
        await appender.barrier()
        assert bench.commits == [Commit(0, 599, {})]


async def test_a_batch_is_sent_when_it_is_old_enough(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    async with bench.appender() as appender:
        appender.add(b"first")
        await trio.sleep(0.05)
        appender.add(b"second")
        assert bench.client.calls == []
        await trio.sleep(0.06)
        assert bench.client.calls == ["append"]
        await appender.barrier()
        assert bench.client.calls == ["append"]
        assert bench.commits == [Commit(0, 11, {})]


async def test_the_next_batch_fills_while_one_is_in_flight(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        gate = bench.client.hang("append")
        async with trio.open_nursery() as nursery:
            appender.add(b"1")
            nursery.start_soon(appender.barrier)
            await bench.client.wait_called("append")
            for digit in b"23456":
                appender.add(bytes([digit]))
                nursery.start_soon(appender.barrier)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert bench.commits == [Commit(0, 1, {}), Commit(1, 6, {})]
        assert await bench.content() == b"123456"


async def test_a_batch_that_waits_is_closed_at_its_bound(bench: Bench) -> None:
    limits = AppendLimits(batch_bytes=10, batch_bytes_max=20, delay=3600.0)
    async with bench.appender(limits) as appender:
        gate = bench.client.hang("append")
        appender.add(b"a" * 10)
        await bench.client.wait_called("append")
        opened = []
        for _ in range(5):
            opened.append(appender.batch_is_open)
            appender.add(b"b" * 10)
        assert opened == [False, True, False, True, False]
        gate.set()
        await appender.barrier()
        assert [commit.end for commit in bench.commits] == [10, 30, 50, 60]


async def test_back_pressure_holds_callers_until_a_commit(bench: Bench) -> None:
    limits = AppendLimits(batch_bytes=10, batch_bytes_max=10, delay=3600.0, backlog_bytes=30)
    async with bench.appender(limits) as appender:
        gate = bench.client.hang("append")
        for _ in range(3):
            assert appender.has_room
            appender.add(b"x" * 10)
        assert not appender.has_room
        assert appender.statistics().backlog_bytes == 30
        went_on = trio.Event()

        async def wait() -> None:
            await appender.wait_room()
            went_on.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not went_on.is_set()
            gate.set()
        await appender.barrier()
        assert appender.statistics().backlog_bytes == 0
        await appender.wait_room()



@pytest.mark.parametrize(
    ("error", "state", "verdict"),
    [
        (Fenced("another author"), AppenderState.FENCED, Fenced),
        (DamageError("bad spool", where="spool"), AppenderState.FAILED, JournalFailed),
    ],
)
async def test_a_final_error_reaches_every_waiter_and_stays(
    bench: Bench, error: RecfsError, state: AppenderState, verdict: type[RecfsError]
) -> None:
    limits = AppendLimits(batch_bytes=1 << 30, delay=3600.0, backlog_bytes=2)
    async with bench.appender(limits) as appender:
        gate = bench.client.hang("append")
        bench.client.fail("append", error)
        raised: list[RecfsError] = []

        async def collect(wait: Callable[[], Awaitable[None]]) -> None:
            try:
                await wait()
            except RecfsError as caught:
                raised.append(caught)

        async with trio.open_nursery() as nursery:
            appender.add(b"in flight")
            nursery.start_soon(collect, appender.barrier)
            await bench.client.wait_called("append")
            appender.add(b"in the open batch")
            for wait in (appender.barrier, appender.barrier, appender.wait_room, appender.drain):
                nursery.start_soon(collect, wait)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert [type(item) for item in raised] == [verdict] * 5
        assert appender.state is state
        assert appender.error is not None
        assert appender.error.exit_code == error.exit_code
        for wait in (appender.barrier, appender.wait_room, appender.drain, appender.close):
            with pytest.raises(verdict):
                await wait()
        with pytest.raises(verdict):
            appender.add(b"more")
        assert bench.commits == []


async def test_a_register_check_that_fails_fences_the_appender(bench: Bench) -> None:
    check = Selector(include={"author": ("mine",)})
    async with bench.appender(LAZY, check) as appender:
        await bench.embedded.append(JOURNAL, [b"fence"], union={"author": ("mine",)})
        appender.add(b"mine")
        await appender.barrier()
        await bench.embedded.append(JOURNAL, [b"fence"], union={"author": ("other",)})
        appender.add(b"too late")
        with pytest.raises(Fenced):
            await appender.barrier()
        assert await bench.content() == b"fenceminefence"


async def test_an_append_is_retried_until_the_journal_is_back(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    async with bench.appender() as appender:
        await trio.sleep(1)  # away from time 0.0, which stands for never
        bench.client.fail("append", *[AWAY] * 12)
        appender.add(b"patience")
        retrying = []

        async def watch() -> None:
            await bench.client.wait_called("append", 6)
            statistics = appender.statistics()
            retrying.append((statistics.retrying_since > 0, statistics.last_error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await appender.barrier()
        assert retrying == [(True, "the journal is away")]
        statistics = appender.statistics()
        assert statistics.retries == 12
        assert statistics.retrying_since == 0
        assert statistics.committed_offset == 8
        assert await bench.content() == b"patience"


async def test_a_retry_after_a_lost_answer_lands_twice_and_in_order(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        bench.client.lose_answer("append")
        appender.add(b"first;")
        await appender.barrier()
        appender.add(b"second;")
        await appender.barrier()
        assert await bench.content() == b"first;first;second;"


async def test_a_waiter_that_is_cancelled_loses_nothing(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        gate = bench.client.hang("append")
        appender.add(b"kept")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(appender.barrier)
                await bench.client.wait_called("append")
                scope.cancel()
        gate.set()
        await appender.barrier()
        assert await bench.content() == b"kept"


async def test_closing_commits_what_was_added_and_takes_nothing_more(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        appender.add(b"last words")
        await appender.close()
        await appender.close()
        assert appender.state is AppenderState.CLOSED
        with pytest.raises(JournalFailed):
            appender.add(b"more")
        assert await bench.content() == b"last words"


async def test_stopping_the_appender_wakes_its_waiters_with_an_error(bench: Bench) -> None:
    await bench.embedded.create(JOURNAL)
    bench.client.hang("append")
    appender = Appender(bench.client, JOURNAL, check=None, limits=LAZY)
    failed: list[RecfsError] = []

    async def wait() -> None:
        try:
            await appender.barrier()
        except JournalFailed as error:
            failed.append(error)

    async with trio.open_nursery() as nursery, trio.open_nursery() as inner:
        await inner.start(appender.run)
        appender.add(b"never sent")
        nursery.start_soon(wait)
        await bench.client.wait_called("append")
        inner.cancel_scope.cancel()
    assert len(failed) == 1
    assert appender.state is AppenderState.FAILED
    await bench.embedded.aclose()


async def test_statistics_count_every_append(bench: Bench) -> None:
    async with bench.appender(LAZY) as appender:
        for index in range(1, 4):
            appender.add(b"x" * index)
            await appender.barrier()
        statistics = appender.statistics()
        assert statistics.appends == 3
        assert statistics.appended_bytes == 6
        assert statistics.batch_bytes_largest == 3
        assert statistics.committed_offset == 6
        assert sum(statistics.latency_buckets) == 3
        assert statistics.latency_seconds > 0
