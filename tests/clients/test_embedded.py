"""The embedded client over real directories: restarts, damage, full and read-only file systems."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from recfs.broker import persister
from recfs.broker.fragment import parse_fragment_name
from recfs.broker.stores.file import FileStore
from recfs.clients.embedded import EmbeddedClient
from recfs.errors import (
    DamageError,
    DataLossError,
    Fenced,
    JournalNotFound,
    JournalUnavailable,
    OffsetNotYetAvailable,
    UsageError,
    WrongAppendOffset,
)
from recfs.journal.model import Fragment, JournalClient, JournalSpec, Selector

JOURNAL = "db1/log"
SMALL = JournalSpec(fragment_length=4096)
AUTHOR = {"author": ("a",)}


async def read_all(client: JournalClient, offset: int = 0) -> bytes:
    content = b""
    while True:
        try:
            chunk = await client.read(JOURNAL, offset + len(content), block=False)
        except OffsetNotYetAvailable:
            return content
        assert chunk.offset == offset + len(content)
        content += chunk.content


async def fill(client: JournalClient, size: int, *, piece: int = 1000) -> bytes:
    """Append `size` random bytes in pieces; return them."""
    content = os.urandom(size)
    for begin in range(0, size, piece):
        await client.append(JOURNAL, [content[begin : begin + piece]])
    return content


async def wait_persisted(client: JournalClient, local: int = 1) -> list[Fragment]:
    """Return the fragments when no more than `local` of them are only local."""
    with trio.fail_after(30):
        while True:
            fragments = await client.fragments(JOURNAL)
            if sum(item.mod_time == 0 for item in fragments) <= local:
                return fragments
            await trio.sleep(0.01)


async def fill_until_refused(client: JournalClient, content: bytearray, size: int) -> None:
    """Append pieces of `size` bytes, adding to `content` what was acknowledged, for ever."""
    while True:
        piece = os.urandom(size)
        await client.append(JOURNAL, [piece[:100], piece[100:]])
        content += piece


def remount(mountpoint: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(mountpoint)], check=True)


def times(root: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))


def spool_files(root: Path) -> list[Path]:
    return sorted((root / ".broker" / JOURNAL).glob("@spool-*"))


async def test_content_and_registers_survive_a_restart(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"fence"], union=AUTHOR)
    content = b"fence" + await fill(client, 20_000)
    await client.aclose()

    client = EmbeddedClient(tmp_path)
    head = await client.head(JOURNAL)
    assert (head.offset, head.registers) == (len(content), AUTHOR)
    assert await read_all(client) == content
    with pytest.raises(Fenced):
        await client.append(JOURNAL, [b"x"], check=Selector(include={"author": ("b",)}))
    commit = await client.append(JOURNAL, [b"more"], check=Selector(include=AUTHOR))
    assert (commit.begin, commit.registers) == (len(content), AUTHOR)
    await client.aclose()
    assert await read_all(EmbeddedClient(tmp_path, read_only=True)) == content + b"more"


async def test_the_description_given_at_creation_is_kept(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path)
    await client.create(JOURNAL, JournalSpec(fragment_length=2048, codec="zstd"))
    await client.aclose()
    client = EmbeddedClient(tmp_path)
    content = await fill(client, 10_000)
    fragments = await wait_persisted(client)
    assert {item.codec for item in fragments} == {"zstd"}
    assert all(2048 < item.end - item.begin < 4096 for item in fragments[:-1])
    assert await read_all(client) == content
    await client.aclose()


async def test_persisted_fragments_lie_as_a_gazette_file_store_has_them(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    content = await fill(client, 30_000)
    fragments = await wait_persisted(client)
    for path in (tmp_path / JOURNAL).iterdir():
        parsed = parse_fragment_name(JOURNAL, path.name)
        assert parsed is not None
        assert path.read_bytes() == content[parsed.begin : parsed.end]
        assert hashlib.sha1(path.read_bytes()).digest() == parsed.sum
    assert len(list((tmp_path / JOURNAL).iterdir())) == len(fragments) - 1
    await client.aclose()


async def test_a_copied_store_without_private_state_is_a_journal(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path / "old", spec=SMALL)
    await client.create(JOURNAL)
    content = await fill(client, 30_000)
    fragments = await wait_persisted(client)
    await client.aclose()
    (tmp_path / "new/db1").mkdir(parents=True)
    (tmp_path / "old" / JOURNAL).rename(tmp_path / "new" / JOURNAL)
    (tmp_path / "new" / JOURNAL / ".partial-1").write_bytes(b"skipped")
    (tmp_path / "new" / JOURNAL / "README").write_bytes(b"skipped")

    persisted = fragments[-2].end
    client = EmbeddedClient(tmp_path / "new", read_only=True)
    assert await client.journals() == [JOURNAL]
    assert await read_all(client) == content[:persisted]
    await client.aclose()
    assert not (tmp_path / "new/.broker").exists()
    client = EmbeddedClient(tmp_path / "new")
    assert (await client.append(JOURNAL, [b"more"])).begin == persisted
    assert await read_all(client, persisted - 10) == content[persisted - 10 : persisted] + b"more"
    await client.aclose()


async def test_fragments_beyond_the_last_commit_are_not_written_over(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"0123456789"])
    await client.aclose()
    (tmp_path / JOURNAL).mkdir(parents=True)
    digest = hashlib.sha1(b"x" * 90).hexdigest()
    (tmp_path / JOURNAL / f"{10:016x}-{100:016x}-{digest}.raw").write_bytes(b"x" * 90)

    client = EmbeddedClient(tmp_path, spec=SMALL)
    with pytest.raises(WrongAppendOffset):
        await client.append(JOURNAL, [b"more"])
    with pytest.raises(WrongAppendOffset):
        await client.append(JOURNAL, [b"more"], offset=10)
    assert (await client.append(JOURNAL, [b"more"], offset=100)).end == 104
    assert (await client.append(JOURNAL, [b"!"])).end == 105
    assert await read_all(client) == b"0123456789" + b"x" * 90 + b"more!"
    await client.aclose()
    client = EmbeddedClient(tmp_path, spec=SMALL)
    assert (await client.append(JOURNAL, [b"?"])).begin == 105
    await client.aclose()


async def test_a_flipped_byte_in_a_fragment_is_named_and_never_served(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    content = await fill(client, 20_000)
    first, second, third = (await wait_persisted(client))[:3]
    await client.aclose()
    path = next((tmp_path / JOURNAL).glob(f"{second.begin:016x}-*"))
    bad = bytearray(path.read_bytes())
    bad[77] ^= 4
    path.write_bytes(bad)

    client = EmbeddedClient(tmp_path, read_only=True)
    chunk = await client.read(JOURNAL, 0, block=False)
    assert chunk.content == content[: first.end]
    for offset in (second.begin, second.end - 1):
        with pytest.raises(DamageError, match=f"{second.begin} to {second.end}") as caught:
            await client.read(JOURNAL, offset, block=False)
        assert caught.value.where == str(path)
    chunk = await client.read(JOURNAL, third.begin, block=False)
    assert chunk.content == content[third.begin : third.end]
    path.write_bytes(bad[:-1])
    with pytest.raises(DamageError):
        await client.read(JOURNAL, second.begin, block=False)
    await client.aclose()


async def test_a_flipped_byte_in_a_spool_is_named_and_stops_writers(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path)
    await client.create(JOURNAL)
    for piece in (b"first", b"second", b"third"):
        await client.append(JOURNAL, [piece])
    await client.aclose()
    (path,) = spool_files(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"second", b"sEcond"))

    client = EmbeddedClient(tmp_path)
    with pytest.raises(DamageError) as caught:
        await client.append(JOURNAL, [b"more"])
    assert caught.value.where == str(path)
    assert (await client.read(JOURNAL, 0, block=False)).content == b"first"
    with pytest.raises(DamageError, match="5 to 11"):
        await client.read(JOURNAL, 5, block=False)
    assert (await client.read(JOURNAL, 11, block=False)).content == b"third"
    await client.aclose()


async def test_acknowledged_bytes_that_are_gone_are_reported(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    await fill(client, 20_000)
    await wait_persisted(client)
    await client.aclose()
    for path in spool_files(tmp_path):
        path.unlink()
    for read_only in (True, False):
        client = EmbeddedClient(tmp_path, read_only=read_only)
        with pytest.raises(DataLossError):
            await client.head(JOURNAL)
        if not read_only:
            with pytest.raises(DataLossError):
                await client.append(JOURNAL, [b"more"])
        await client.aclose()


async def test_a_truncated_spool_is_reported(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path)
    await client.create(JOURNAL)
    content = await fill(client, 20_000)
    await client.aclose()
    (path,) = spool_files(tmp_path)
    os.truncate(path, 12_000)
    client = EmbeddedClient(tmp_path)
    with pytest.raises(DamageError):
        await client.append(JOURNAL, [b"more"])
    chunk = await client.read(JOURNAL, 0, block=False)
    assert content.startswith(bytes(chunk.content))
    with pytest.raises(DamageError):
        await client.read(JOURNAL, len(chunk.content), block=False)
    await client.aclose()


async def test_a_damaged_lock_page_loses_nothing(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    content = await fill(client, 10_000)
    await client.aclose()
    lock = tmp_path / ".broker" / JOURNAL / "@lock"
    for bad in (b"", b"garbage", bytes(4096), os.urandom(4096)):
        lock.write_bytes(bad)
        client = EmbeddedClient(tmp_path, read_only=True)
        assert await read_all(client) == content
        await client.aclose()
        client = EmbeddedClient(tmp_path)
        content += await fill(client, 100)
        assert await read_all(client) == content
        await client.aclose()


async def test_a_root_that_is_missing_or_no_directory_is_said_clearly(tmp_path: Path) -> None:
    for read_only in (True, False):
        client = EmbeddedClient(tmp_path / "missing", read_only=read_only)
        with pytest.raises(JournalNotFound, match="missing"):
            await client.head(JOURNAL)
        assert await client.journals() == []
        assert not (tmp_path / "missing").exists()
    client = EmbeddedClient(tmp_path / "missing")
    await client.create(JOURNAL)
    assert (await client.append(JOURNAL, [b"x"])).end == 1
    await client.aclose()

    (tmp_path / "file").write_bytes(b"")
    client = EmbeddedClient(tmp_path / "file")
    with pytest.raises(UsageError, match="not a directory"):
        await client.create(JOURNAL)


async def test_names_that_a_directory_cannot_hold_are_refused(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path)
    for name in (".broker/db1/log", "db1/.hidden", "db1/" + "x" * 256):
        with pytest.raises(UsageError):
            await client.create(name)
        with pytest.raises(UsageError):
            await client.head(name)


async def test_a_client_opened_to_read_writes_nothing(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path)
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"x"])
    await client.aclose()
    before = times(tmp_path)
    reader = EmbeddedClient(tmp_path, read_only=True)
    assert await read_all(reader) == b"x"
    with pytest.raises(UsageError):
        await reader.append(JOURNAL, [b"y"])
    with pytest.raises(UsageError):
        await reader.create("other/log")
    with pytest.raises(UsageError):
        await reader.delete_fragments(JOURNAL, [])
    await reader.aclose()
    assert times(tmp_path) == before


async def test_a_reader_follows_a_writer_through_rolls_and_persists(tmp_path: Path) -> None:
    writer = EmbeddedClient(tmp_path, spec=SMALL)
    reader = EmbeddedClient(tmp_path, read_only=True)
    await writer.create(JOURNAL)
    size = 300_000
    got = bytearray()

    async def follow() -> None:
        while len(got) < size:
            chunk = await reader.read(JOURNAL, len(got), block=True, length=5000)
            assert chunk.offset == len(got)
            got.extend(chunk.content)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            content = await fill(writer, size, piece=777)
    assert bytes(got) == content
    assert await reader.head(JOURNAL) == await writer.head(JOURNAL)
    await writer.aclose()
    await reader.aclose()


class RacingStore(FileStore):
    """A listing during which others write: of what they add, only the newest fragment shows."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    def fragments(self, journal: str) -> list[Fragment]:
        before = super().fragments(journal)
        if self.meanwhile is None:
            return before
        meanwhile, self.meanwhile = self.meanwhile, None
        trio.from_thread.run(meanwhile)
        newest = max(super().fragments(journal), key=lambda item: item.begin)
        return [*before, newest]


async def test_a_reader_sees_no_hole_where_its_listing_has_one(tmp_path: Path) -> None:
    writer = EmbeddedClient(tmp_path, spec=SMALL)
    await writer.create(JOURNAL)
    content = await fill(writer, 20_000)
    await wait_persisted(writer)
    store = RacingStore(tmp_path)

    async def meanwhile() -> None:
        nonlocal content
        content += await fill(writer, 20_000)
        await wait_persisted(writer)

    store.meanwhile = meanwhile
    reader = EmbeddedClient(tmp_path, read_only=True, store=store)
    assert await read_all(reader) == content
    assert len(content) == 40_000
    await writer.aclose()
    await reader.aclose()


async def test_a_missing_spool_in_the_middle_is_reported(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    (tmp_path / "db1").write_bytes(b"in the way of fragments")
    await fill(client, 20_000)
    await client.aclose()
    spool_files(tmp_path)[1].unlink()
    client = EmbeddedClient(tmp_path)
    with pytest.raises(DataLossError):
        await client.head(JOURNAL)
    with pytest.raises(DataLossError):
        await client.append(JOURNAL, [b"more"])
    await client.aclose()


async def test_spools_that_were_left_are_persisted_by_the_next_writer(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    # Where the fragments should go stands a file: nothing can be persisted.
    (tmp_path / "db1").write_bytes(b"in the way")
    content = await fill(client, 20_000)
    assert len(spool_files(tmp_path)) > 3
    await client.aclose()
    assert len(spool_files(tmp_path)) > 3
    client = EmbeddedClient(tmp_path, spec=SMALL)
    assert await read_all(client) == content
    (tmp_path / "db1").unlink()
    await client.append(JOURNAL, [b"more"])
    await wait_persisted(client)
    assert await read_all(client) == content + b"more"
    await client.aclose()
    assert len(spool_files(tmp_path)) == 1


async def test_appends_are_refused_while_too_many_spools_wait_and_go_on_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persister, "PERSIST_WAIT_SECONDS", 0.05)
    client = EmbeddedClient(tmp_path, spec=SMALL)
    await client.create(JOURNAL)
    (tmp_path / "db1").write_bytes(b"in the way")
    content = bytearray()
    with pytest.raises(JournalUnavailable, match="wait to be persisted"):
        await fill_until_refused(client, content, 1000)
    assert len(spool_files(tmp_path)) == persister.COMPLETE_SPOOLS_MAX + 1
    assert await read_all(client) == content
    (tmp_path / "db1").unlink()
    with trio.fail_after(30):
        while True:
            try:
                await client.append(JOURNAL, [b"more"])
                break
            except JournalUnavailable:
                await trio.sleep(0.01)
    assert await read_all(client) == content + b"more"
    await client.aclose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB (needs root)."""
    mountpoint = tmp_path / "disk"
    mountpoint.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mountpoint)], check=True
    )
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=True)


@pytest.mark.parametrize("fragment_length", [16 << 10, 32 << 20])
async def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, fragment_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persister, "PERSIST_WAIT_SECONDS", 0.05)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    client = EmbeddedClient(small_disk / "root", spec=JournalSpec(fragment_length))
    await client.create(JOURNAL)
    acknowledged = bytearray()
    with pytest.raises(JournalUnavailable, match="No space left") as caught:
        await fill_until_refused(client, acknowledged, 10_000)
    assert "room" in caught.value.attempt
    for _ in range(3):
        with pytest.raises(JournalUnavailable):
            await client.append(JOURNAL, [bytes(100_000)])
    assert await read_all(client) == acknowledged
    ballast.unlink()
    with trio.fail_after(30):
        while len(acknowledged) % 100_000 != 50_000:
            piece = os.urandom(10_000)
            try:
                await client.append(JOURNAL, [piece])
            except JournalUnavailable:  # the persister has not noticed yet
                await trio.sleep(0.01)
            else:
                acknowledged += piece
    assert await read_all(client) == acknowledged
    await client.aclose()
    client = EmbeddedClient(small_disk / "root")
    assert await read_all(client) == acknowledged
    await client.append(JOURNAL, [b"more"])
    await client.aclose()


async def test_a_read_only_file_system_is_readable_and_says_why_it_is_not_writable(
    small_disk: Path,
) -> None:
    client = EmbeddedClient(small_disk / "root")
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"content"])
    await client.aclose()
    remount(small_disk, "ro")
    client = EmbeddedClient(small_disk / "root")
    assert await read_all(client) == b"content"
    with pytest.raises(JournalUnavailable, match="Read-only file system"):
        await client.append(JOURNAL, [b"more"])
    with pytest.raises(JournalUnavailable, match="Read-only file system"):
        await client.create("other/log")
    remount(small_disk, "rw")
    await client.append(JOURNAL, [b" and more"])
    assert await read_all(client) == b"content and more"
    await client.aclose()


async def test_a_failed_sync_is_never_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = EmbeddedClient(tmp_path)
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"before;"])
    real = os.pwritev

    def fails(fileno: int, parts: list[bytes], position: int, flags: int = 0) -> int:
        real(fileno, parts, position)  # the bytes are in the page cache, as after a failed sync
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fails)
        with pytest.raises(JournalUnavailable, match="Input/output error"):
            await client.append(JOURNAL, [b"in doubt;"])
    reader = EmbeddedClient(tmp_path, read_only=True)
    assert await read_all(reader) == b"before;"  # not even while it may still be adopted
    assert await read_all(client) == b"before;"
    await client.append(JOURNAL, [b"after;"])
    assert len(list((tmp_path / ".broker" / JOURNAL).glob("@spool-*"))) == 2
    assert await read_all(client) == b"before;after;"
    assert await read_all(reader) == b"before;after;"
    await client.aclose()
    await reader.aclose()
    client = EmbeddedClient(tmp_path)
    assert await read_all(client) == b"before;after;"
    await client.aclose()


async def test_what_a_dead_writer_left_unacknowledged_is_adopted_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = EmbeddedClient(tmp_path)
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"before;"])
    real = os.pwritev

    def fails(fileno: int, parts: list[bytes], position: int, flags: int = 0) -> int:
        real(fileno, parts, position)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fails)
        with pytest.raises(JournalUnavailable):
            await client.append(JOURNAL, [b"in doubt;"], union=AUTHOR)
    await client.aclose()  # and the process is gone
    client = EmbeddedClient(tmp_path)
    commit = await client.append(JOURNAL, [])
    assert (commit.end, commit.registers) == (16, AUTHOR)
    assert await read_all(client) == b"before;in doubt;"
    await client.aclose()
