"""The log of a database's life, cut anywhere, restores to a database that opens clean.

A load runs on a mount and notes each transaction outside of it as soon as it is acknowledged. Its
log is then cut, and what stands before the cut is restored: the state that a host would have left
had it been lost at that moment. A transaction counts as committed before a cut when it was noted
before the append was opened that holds the first operation cut off: an operation is recorded before
its system call returns, so all that such a transaction needs stands in earlier appends.
"""

from __future__ import annotations

import random
import shutil
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from recfs.clients import open_client
from recfs.config import RestoreSettings
from recfs.journal.reader import Reader
from recfs.node.restoring import restore
from recfs.observe.progress import SilentProgress
from recfs.recoverylog.events import Garbage, Marked, Op
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.player import Player
from recfs.restore.report import RestoreReport
from recfs.restore.staging import StagingTree
from recfs.testing.databases import postgres, sqlite
from recfs.testing.databases.notes import acknowledged
from recfs.testing.databases.scratch import Scratch
from recfs.testing.databases.server import Server
from recfs.testing.databases.sqlite import JOURNAL_MODES, JournalMode
from recfs.volume import Volume, parse_volume

from .volumes import Host, describe_tree

pytestmark = pytest.mark.mount


@dataclass(frozen=True, slots=True)
class Cut:
    """The first `offset` bytes of a log are kept; `boundary` ends the last whole group in them.

    `opened_ns` (Unix ns) is when the append was opened that holds the first operation behind
    `boundary`; None when there is none.
    """

    offset: int
    boundary: int
    opened_ns: int | None


class Recording:
    """The log of a volume that is not written any more, and the notes of the load on it."""

    def __init__(self, volume: str, notes: Path) -> None:
        self.volume = parse_volume(volume)
        self.notes = notes
        self.log = trio.run(_read_log, self.volume)
        player = Player(FSM(self.volume.log), trace=True)
        self.ops = [event for event in player.feed(self.log) if isinstance(event, Op)]
        player.finish()
        self.final = acknowledged(notes)
        self._ends: list[int] = []
        self._opened: list[int] = []
        opened_ns = 0
        for op in self.ops:
            opened_ns = op.op.recorded_at or opened_ns
            if not op.op.more:
                self._ends.append(op.last_offset)
                self._opened.append(opened_ns)
        assert self._ends[-1] == len(self.log)

    def cut(self, offset: int) -> Cut:
        groups = bisect_right(self._ends, offset)
        boundary = self._ends[groups - 1] if groups else 0
        return Cut(offset, boundary, self._opened[groups] if groups < len(self._ends) else None)

    def committed_before(self, cut: Cut) -> dict[int, int]:
        return acknowledged(self.notes, cut.opened_ns)

    def play(self, offset: int, staging: StagingTree) -> Player:
        """Publish in `staging` what the first `offset` bytes of the log say."""
        player = Player(FSM(self.volume.log))
        for event in player.feed(memoryview(self.log)[:offset]):
            assert not isinstance(event, Garbage), event
            if not isinstance(event, Marked):
                staging.apply(event)
        staging.publish(player.fsm.namespace)
        return player

    def restore(self, offset: int, output: Path) -> RestoreReport:
        """As `recfs restore --offset` does it."""
        settings = RestoreSettings(volume=self.volume, output=output, offset=offset)

        async def run() -> RestoreReport:
            return await restore(settings, progress=SilentProgress())

        return trio.run(run)


async def _read_log(volume: Volume) -> bytes:
    client = open_client(volume, read_only=True)
    try:
        return b"".join([bytes(chunk.content) async for chunk in Reader(client, volume.log)])
    finally:
        await client.aclose()


@pytest.fixture
def place() -> Iterator[Host]:
    """A host in a directory that other users may enter: PostgreSQL runs as `postgres`."""
    with Scratch() as scratch:
        host = Host(scratch.path)
        try:
            yield host
        finally:
            host.close()


def record_sqlite(host: Host, journal_mode: JournalMode, cache: str, rows: int) -> Recording:
    """`rows` transactions; the writer is killed halfway, and another one goes on."""
    mount = host.mount(f"--cache={cache}")
    notes = host.place / "notes"
    for until in (rows // 2, rows):
        load = sqlite.start_load(
            mount.mountpoint / "rows.db", notes, journal_mode=journal_mode, seed=3
        )
        load.wait_rows(until)
        if until < rows:
            load.kill()
    load.stop()
    mount.unmount()
    return Recording(host.volume, notes)


@pytest.mark.parametrize(("cache", "rows"), [("writeback", 24), ("through", 10)])
@pytest.mark.parametrize("journal_mode", JOURNAL_MODES)
def test_sqlite_opens_clean_on_every_prefix_and_has_what_was_committed_before_the_cut(
    place: Host, journal_mode: JournalMode, cache: str, rows: int
) -> None:
    recording = record_sqlite(place, journal_mode, cache, rows)
    owed, recovered = [], []
    for op in recording.ops:
        cut = recording.cut(op.last_offset)
        staging = StagingTree(place.place / "prefix")
        assert recording.play(cut.offset, staging).settled_offset == cut.boundary
        committed = recording.committed_before(cut)
        report = sqlite.check(
            staging.tree / "rows.db", committed, seed=3, attempted=recording.final
        )
        staging.close()
        assert report.clean, f"{cut}: {report}"
        owed.append(committed[0])
        recovered.append(report.recovered)
    # What a database once had it has at every later cut, and each transaction is the last one
    # somewhere: the cuts meet the load in all its states.
    assert recovered == sorted(recovered)
    assert sorted(set(recovered)) == list(range(recovered[-1] + 1))
    assert recovered[-1] == recording.final[0] >= rows
    assert len(set(owed)) > rows // 2


def test_whatever_byte_a_log_ends_at_a_whole_number_of_groups_is_applied(place: Host) -> None:
    # In this journal mode every commit is a truncation to zero: a group of two operations.
    recording = record_sqlite(place, "truncate", "writeback", 12)
    assert any(op.op.more for op in recording.ops)
    log = memoryview(recording.log)
    player = Player(FSM(recording.volume.log))
    for offset in range(0, len(log), 61):
        for _ in player.feed(log[offset : offset + 61]):
            pass
        assert player.settled_offset == recording.cut(player.offset).boundary


def test_a_cut_within_a_frame_a_payload_or_a_group_restores_what_stands_before_the_group(
    place: Host,
) -> None:
    recording = record_sqlite(place, "truncate", "writeback", 12)
    rng = random.Random(5)
    ops = recording.ops
    frames = [op.first_offset + rng.randrange(1, 8 + len(op.body)) for op in ops]
    payloads = [
        op.last_offset - rng.randint(1, op.op.write.length) for op in ops if op.op.write.length
    ]
    groups = [op.last_offset for op in ops if op.op.more]
    ends = [0, len(recording.log)]
    for offset in [*rng.sample(frames, 25), *rng.sample(payloads, 25), *groups[:15], *ends]:
        cut = recording.cut(offset)
        assert offset in ends or cut.boundary < offset
        output = place.place / "restored"
        assert recording.restore(offset, output).end_offset == cut.boundary
        staging = StagingTree(place.place / "boundary")
        recording.play(cut.boundary, staging)
        # A time that the log has not told yet is that of the restore.
        assert describe_tree(output, times=False) == describe_tree(staging.tree, times=False), cut
        staging.close()
        report = sqlite.check(
            output / "rows.db",
            recording.committed_before(cut),
            seed=3,
            attempted=recording.final,
        )
        assert report.clean, f"{cut}: {report}"
        shutil.rmtree(output)


def record_postgres(host: Host, rows: int) -> tuple[Recording, int]:
    """A server's life with a checkpoint, a crash and a recovery; and when initdb was done (ns)."""
    mount = host.mount()
    notes = host.place / "notes"
    server = Server(mount.mountpoint / "data", host.place / "server")
    try:
        server.initdb()
        initialised_ns = time.time_ns()
        server.start()
        load = postgres.start_load(server, notes, seed=3)
        load.wait_rows(rows // 3)
        server.query("CHECKPOINT")
        load.wait_rows(rows * 2 // 3)
        server.kill()
        load.kill()
        server.start()
        load = postgres.start_load(server, notes, seed=3)
        load.wait_rows(rows)
        load.stop()
        server.stop()
    finally:
        server.close()
    mount.unmount()
    return Recording(host.volume, notes), initialised_ns


@pytest.mark.postgres
def test_postgres_starts_clean_on_prefixes_and_has_what_was_committed_before_the_cut(
    place: Host,
) -> None:
    recording, initialised_ns = record_postgres(place, 300)
    first = next(op.first_offset for op in recording.ops if op.op.recorded_at > initialised_ns)
    rng = random.Random(11)
    boundaries = [op.last_offset for op in recording.ops if op.first_offset >= first]
    bytes_within = [rng.randrange(first, len(recording.log)) for _ in range(4)]
    recovered = []
    for offset in sorted(rng.sample(boundaries, 8) + bytes_within):
        cut = recording.cut(offset)
        output = place.place / "restored"
        assert recording.restore(offset, output).end_offset == cut.boundary
        server = Server(output / "data", place.place / "check")
        try:
            report = postgres.check(
                server, recording.committed_before(cut), seed=3, attempted=recording.final
            )
        finally:
            server.close()
        assert report.clean, f"{cut}: {report}"
        recovered.append(report.recovered)
        shutil.rmtree(output)
    assert recovered == sorted(recovered)
    assert recovered[-1] > recovered[0]
