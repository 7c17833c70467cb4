"""The two readers: what each shows and what it hides."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from recfs.clients.embedded import EmbeddedClient
from recfs.errors import DamageError, JournalNotFound, JournalUnavailable, OffsetNotYetAvailable
from recfs.journal.model import JournalSpec
from recfs.journal.reader import Reader, RetryingReader
from recfs.testing.faults import FaultyClient

JOURNAL = "db1/log"
AWAY = JournalUnavailable("the journal is away", "wait")


async def _journal(root: Path, content: bytes = b"0123456789") -> EmbeddedClient:
    client = EmbeddedClient(root, spec=JournalSpec(fragment_length=1024))
    await client.create(JOURNAL)
    if content:
        await client.append(JOURNAL, [content])
    return client


async def test_a_reader_returns_everything_up_to_the_head_and_ends(tmp_path: Path) -> None:
    client = await _journal(tmp_path)
    reader = Reader(client, JOURNAL, 2, chunk_bytes=3)
    chunks = [(chunk.offset, bytes(chunk.content)) async for chunk in reader]
    assert chunks == [(2, b"234"), (5, b"567"), (8, b"89")]
    assert (reader.offset, reader.write_head) == (10, 10)
    await client.append(JOURNAL, [b"more"])
    assert [bytes(chunk.content) async for chunk in reader] == [b"mor", b"e"]
    await client.aclose()


async def test_a_reader_stops_at_its_end_offset(tmp_path: Path) -> None:
    client = await _journal(tmp_path)
    reader = Reader(client, JOURNAL, 0, block=True, end=7, chunk_bytes=4)
    assert [bytes(chunk.content) async for chunk in reader] == [b"0123", b"456"]
    await client.aclose()


async def test_a_blocking_reader_waits_for_more(tmp_path: Path) -> None:
    client = await _journal(tmp_path, b"")
    reader = Reader(client, JOURNAL, 0, block=True, end=6)
    got: list[bytes] = []

    async def follow() -> None:
        async for chunk in reader:
            got.append(bytes(chunk.content))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            for piece in (b"abc", b"def"):
                await trio.testing.wait_all_tasks_blocked()
                await client.append(JOURNAL, [piece])
    assert b"".join(got) == b"abcdef"
    await client.aclose()


async def test_missing_bytes_are_seen_as_an_offset_jump(tmp_path: Path) -> None:
    client = await _journal(tmp_path, b"a" * 1100)
    await client.append(JOURNAL, [b"b" * 1100])
    await client.append(JOURNAL, [b"c" * 1100])
    with trio.fail_after(30):
        while True:
            if (await client.fragments(JOURNAL))[1].mod_time:
                break
            await trio.sleep(0.01)
    first, second = (await client.fragments(JOURNAL))[:2]
    await client.delete_fragments(JOURNAL, [second])
    chunks = [(item.offset, len(item.content)) async for item in Reader(client, JOURNAL)]
    assert chunks == [(first.begin, 1100), (second.end, 1100)]
    await client.aclose()


async def test_a_journal_that_is_shorter_than_the_offset_is_not_its_end(tmp_path: Path) -> None:
    client = await _journal(tmp_path)
    with pytest.raises(OffsetNotYetAvailable):
        await Reader(client, JOURNAL, 11).__anext__()
    await client.aclose()


async def test_the_honest_reader_raises_what_happens_and_goes_on(tmp_path: Path) -> None:
    client = await _journal(tmp_path)
    faulty = FaultyClient(client)
    faulty.fail("read", AWAY)
    reader = Reader(faulty, JOURNAL)
    with pytest.raises(JournalUnavailable):
        await reader.__anext__()
    assert bytes((await reader.__anext__()).content) == b"0123456789"
    with pytest.raises(JournalNotFound):
        await Reader(client, "no/such/journal").__anext__()
    await client.aclose()


async def test_the_patient_reader_hides_an_absence_only(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    client = await _journal(tmp_path)
    faulty = FaultyClient(client)
    faulty.fail("read", *[AWAY] * 10)
    told: list[JournalUnavailable] = []
    reader = RetryingReader(Reader(faulty, JOURNAL), on_retry=told.append)
    assert [bytes(chunk.content) async for chunk in reader] == [b"0123456789"]
    assert told == [AWAY] * 10
    assert (reader.offset, reader.write_head) == (10, 10)

    damage = DamageError("a flipped byte", where="fragment", offset=7)
    faulty.fail("read", AWAY, damage)
    with pytest.raises(DamageError):
        await RetryingReader(Reader(faulty, JOURNAL)).__anext__()
    with pytest.raises(JournalNotFound):
        await RetryingReader(Reader(client, "no/such/journal")).__anext__()
    await client.aclose()


async def test_the_patient_reader_gives_up_after_the_given_attempts(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    client = await _journal(tmp_path)
    faulty = FaultyClient(client)
    faulty.fail("read", *[AWAY] * 3)
    with pytest.raises(JournalUnavailable):
        await RetryingReader(Reader(faulty, JOURNAL), attempts=3).__anext__()
    assert faulty.calls == ["read"] * 3
    await client.aclose()
