"""What every journal client and every fragment store must do, as checks to be run over each.

    await check_client(make_client)     make_client() returns a fresh client over no journals
    check_store(make_store)             make_store() returns a store without fragments
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from recfs.broker.stores import Store
from recfs.errors import (
    Fenced,
    JournalNotFound,
    OffsetNotYetAvailable,
    UsageError,
    WrongAppendOffset,
)
from recfs.journal.model import Commit, Fragment, JournalClient, JournalSpec, Selector

MakeClient = Callable[[], JournalClient]

_JOURNAL = "volume/log"


def _author(name: str) -> Selector:
    return Selector(include={"author": (name,)})


async def check_client(make_client: MakeClient) -> None:
    """Run every check below, each over a fresh client."""
    for check in _CLIENT_CHECKS:
        client = make_client()
        try:
            await check(client)
        finally:
            await client.aclose()
            await client.aclose()  # idempotent


async def _a_journal_that_was_not_created_is_not_found(client: JournalClient) -> None:
    with pytest.raises(JournalNotFound):
        await client.append(_JOURNAL, [b"x"])
    with pytest.raises(JournalNotFound):
        await client.read(_JOURNAL, 0, block=False)
    with pytest.raises(JournalNotFound):
        await client.head(_JOURNAL)
    with pytest.raises(JournalNotFound):
        await client.fragments(_JOURNAL)
    assert await client.journals() == []


async def _names_against_the_rules_are_refused(client: JournalClient) -> None:
    for name in ("abc", "/abs/olute", "a//b/c", "a/../b", "behind/", "sp ace", "x" * 513, "a;bcd"):
        with pytest.raises(UsageError):
            await client.create(name)


async def _creating_twice_changes_nothing(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    await client.append(_JOURNAL, [b"kept"])
    await client.create(_JOURNAL, JournalSpec(fragment_length=4096))
    assert (await client.head(_JOURNAL)).offset == 4
    assert await client.journals() == [_JOURNAL]
    await client.create("volume/hints")
    assert await client.journals("volume/h") == ["volume/hints"]


async def _appends_follow_one_another_and_can_be_read(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    assert await client.append(_JOURNAL, [b"one", bytearray(b"two")]) == Commit(0, 6, {})
    assert await client.append(_JOURNAL, [memoryview(b"three")]) == Commit(6, 11, {})
    chunk = await client.read(_JOURNAL, 0, block=False)
    assert (chunk.offset, chunk.write_head) == (0, 11)
    assert bytes(chunk.content) == b"onetwothree"
    for offset in range(11):
        chunk = await client.read(_JOURNAL, offset, block=False, length=4)
        assert bytes(chunk.content) == b"onetwothree"[offset : offset + 4]


async def _an_append_without_content_is_a_barrier(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    assert await client.append(_JOURNAL, []) == Commit(0, 0, {})
    await client.append(_JOURNAL, [b"x"], union={"author": ("a",)})
    assert await client.append(_JOURNAL, [b""]) == Commit(1, 1, {"author": ("a",)})
    with pytest.raises(Fenced):
        await client.append(_JOURNAL, [], check=_author("b"))
    with pytest.raises(UsageError):
        await client.append(_JOURNAL, [], union={"author": ("b",)})
    assert (await client.head(_JOURNAL)).registers == {"author": ("a",)}


async def _registers_are_checked_and_changed_with_the_append(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    # Empty registers pass every check.
    commit = await client.append(
        _JOURNAL, [b"1"], check=_author("nobody"), union={"author": ("a",), "zone": ("x", "y")}
    )
    assert commit.registers == {"author": ("a",), "zone": ("x", "y")}
    with pytest.raises(Fenced):
        await client.append(_JOURNAL, [b"2"], check=_author("b"), union={"author": ("b",)})
    with pytest.raises(Fenced):
        await client.append(_JOURNAL, [b"2"], check=Selector(exclude={"zone": ("x",)}))
    assert (await client.head(_JOURNAL)).offset == 1
    commit = await client.append(
        _JOURNAL,
        [b"2"],
        check=Selector(include={"author": ("",)}, exclude={"zone": ("z",)}),
        union={"author": ("b",)},
        subtract={"zone": ("x",)},  # not its whole value set: nothing is removed
    )
    assert commit.registers == {"author": ("b",), "zone": ("x", "y")}
    commit = await client.append(_JOURNAL, [b"3"], subtract={"zone": ("x", "y")})
    assert commit.registers == {"author": ("b",)}
    assert (await client.head(_JOURNAL)).registers == {"author": ("b",)}


async def _the_offset_of_an_append_is_checked(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    with pytest.raises(WrongAppendOffset):
        await client.append(_JOURNAL, [b"x"], offset=1)
    await client.append(_JOURNAL, [b"x"])
    assert (await client.append(_JOURNAL, [b"y"], offset=1)).end == 2
    with pytest.raises(WrongAppendOffset):
        await client.append(_JOURNAL, [b"y"], offset=1)
    assert (await client.append(_JOURNAL, [b"z"], offset=0)).end == 3


async def _a_read_at_the_write_head_waits_or_says_so(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    for offset in (0, -1, 5):
        with pytest.raises(OffsetNotYetAvailable) as caught:
            await client.read(_JOURNAL, offset, block=False)
        assert caught.value.write_head == 0
    got: list[bytes] = []

    async def follow() -> None:
        chunk = await client.read(_JOURNAL, 0, block=True)
        got.append(bytes(chunk.content))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            await client.append(_JOURNAL, [b"news"])
    assert got == [b"news"]


async def _concurrent_appends_are_whole_and_in_some_order(client: JournalClient) -> None:
    await client.create(_JOURNAL)
    commits: list[tuple[Commit, bytes]] = []

    async def append(index: int) -> None:
        content = bytes([index]) * (index * 97 + 1)
        commits.append((await client.append(_JOURNAL, [content[:5], content[5:]]), content))

    async with trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(append, index)
    whole = await _read_all(client)
    for commit, content in commits:
        assert whole[commit.begin : commit.end] == content
    assert sorted(commit.begin for commit, _ in commits) == sorted(
        [0, *(commit.end for commit, _ in commits)]
    )[:-1]


async def _fragments_cover_the_journal_and_can_be_deleted(client: JournalClient) -> None:
    await client.create(_JOURNAL, JournalSpec(fragment_length=1024, codec="gzip"))
    for index in range(12):
        await client.append(_JOURNAL, [bytes([index]) * 600])
    await _wait_persisted(client, 5)
    fragments = await client.fragments(_JOURNAL)
    assert fragments[0].begin == 0
    assert fragments[-1].end == 12 * 600
    for fragment, following in itertools.pairwise(fragments):
        assert fragment.end == following.begin
    whole = await _read_all(client)
    assert whole == b"".join(bytes([index]) * 600 for index in range(12))
    persisted = [fragment for fragment in fragments if fragment.mod_time]
    for fragment in persisted:
        assert hashlib.sha1(whole[fragment.begin : fragment.end]).digest() == fragment.sum
    await client.delete_fragments(_JOURNAL, persisted[:2])
    remaining = await client.fragments(_JOURNAL)
    assert persisted[0] not in remaining
    assert persisted[1] not in remaining
    chunk = await client.read(_JOURNAL, 0, block=False)
    assert chunk.offset == persisted[1].end  # the jump is visible


async def _wait_persisted(client: JournalClient, count: int) -> None:
    with trio.fail_after(30):
        while True:
            if sum(item.mod_time > 0 for item in await client.fragments(_JOURNAL)) >= count:
                return
            await trio.sleep(0.01)


async def _read_all(client: JournalClient) -> bytes:
    content = b""
    while True:
        try:
            chunk = await client.read(_JOURNAL, len(content), block=False, length=1000)
        except OffsetNotYetAvailable:
            return content
        assert chunk.offset == len(content)
        assert 1 <= len(chunk.content) <= 1000
        content += chunk.content


_CLIENT_CHECKS: list[Callable[[JournalClient], Awaitable[None]]] = [
    _a_journal_that_was_not_created_is_not_found,
    _names_against_the_rules_are_refused,
    _creating_twice_changes_nothing,
    _appends_follow_one_another_and_can_be_read,
    _an_append_without_content_is_a_barrier,
    _registers_are_checked_and_changed_with_the_append,
    _the_offset_of_an_append_is_checked,
    _a_read_at_the_write_head_waits_or_says_so,
    _concurrent_appends_are_whole_and_in_some_order,
    _fragments_cover_the_journal_and_can_be_deleted,
]


def check_store(make_store: Callable[[], Store]) -> None:
    """Check what the persister and the readers rely on."""
    store = make_store()
    assert store.fragments("app/db1") == []
    assert store.journals() == []

    content = [b"some ", b"content"]
    digest = hashlib.sha1(b"".join(content)).digest()
    first = Fragment("app/db1", 0, 12, digest)
    stored = store.put(first, content)
    assert (stored.begin, stored.end, stored.sum, stored.codec) == (0, 12, digest, "none")
    assert stored.mod_time > 0
    assert stored.store == store.url
    assert store.fragments("app/db1") == [stored]

    # Storing it again, as two hosts may, leaves it as it is.
    store.put(first, content)
    assert store.fragments("app/db1") == [stored]

    opened = store.open(stored)
    assert opened.size == 12
    assert opened.read(0, 100) == b"some content"
    assert opened.read(5, 3) == b"con"
    assert opened.read(12, 10) == b""
    opened.close()

    # Journals whose names nest do not see each other's fragments.
    nested = store.put(Fragment("app/db1/log", 5, 9, bytes(20), "gzip"), [b"zzzz"])
    assert store.fragments("app/db1") == [stored]
    assert store.fragments("app/db1/log") == [nested]
    assert store.journals() == ["app/db1", "app/db1/log"]

    # Content that fails half-way leaves nothing.
    def broken() -> list[bytes]:
        raise OSError(5, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        store.put(Fragment("app/db1", 12, 20, bytes(20)), (piece for piece in broken()))
    assert store.fragments("app/db1") == [stored]

    store.remove(stored)
    store.remove(stored)  # no error when it is gone
    assert store.fragments("app/db1") == []
    with pytest.raises(FileNotFoundError):
        store.open(stored)
    assert store.journals() == ["app/db1/log"]
