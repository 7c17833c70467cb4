"""Several real processes on one root: killed, stopped and racing writers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from recfs.broker import journal_lock
from recfs.clients.embedded import EmbeddedClient
from recfs.errors import Fenced, JournalUnavailable, OffsetNotYetAvailable
from recfs.journal.model import JournalClient, JournalSpec, Selector

JOURNAL = "db1/log"
WRITER = Path(__file__).with_name("writer.py")

class Writer:
    """A process running `writer.py`, which says to a file what it has done."""

    def __init__(self, root: Path, said: Path, author: str, fragment_length: int) -> None:
        self._said = said
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(WRITER), str(root), JOURNAL, author, str(fragment_length)],
                stdout=output,
            )

    async def wait_ready(self) -> None:
        with trio.fail_after(30):
            while True:
                if self._said.read_bytes().startswith(b"ready\n"):
                    return
                await trio.sleep(0.005)

    async def wait_ended(self) -> int:
        with trio.fail_after(30):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def acknowledged(self) -> list[tuple[int, int]]:
        """(index, end offset) of each append whose commit had returned."""
        lines = [line.split() for line in self._said.read_bytes().splitlines(keepends=True)]
        return [(int(line[0]), int(line[1])) for line in lines if len(line) == 2]


Start = Callable[..., Awaitable[Writer]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts writers on `tmp_path / "root"`; none outlives its test."""
    started: list[Writer] = []

    async def run(author: str = "-", fragment_length: int = 64 << 10) -> Writer:
        said = tmp_path / f"said-{len(started)}"
        started.append(Writer(tmp_path / "root", said, author, fragment_length))
        await started[-1].wait_ready()
        return started[-1]

    yield run
    for writer in started:
        writer.kill()


async def read_all(client: JournalClient) -> bytes:
    content = b""
    while True:
        try:
            chunk = await client.read(JOURNAL, len(content), block=False)
        except OffsetNotYetAvailable:
            return content
        assert chunk.offset == len(content)
        content += chunk.content


def indices(content: bytes, author: str) -> list[int]:
    """Indices of the lines that `author` appended, in order; every line has to be whole."""
    found = []
    for line in content.splitlines():
        name, index, *padding = line.split(b" ")
        assert not padding or set(padding[0]) <= {ord("x")}
        if name == author.encode() and index != b"fence":
            found.append(int(index))
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    tmp_path: Path, start: Start, seed: int
) -> None:
    rng = random.Random(seed)
    expected = 0
    for _ in range(3):
        writer = await start()
        await trio.sleep(rng.uniform(0.0, 0.25))
        writer.kill()
        said = writer.acknowledged()
        client = EmbeddedClient(tmp_path / "root", read_only=bool(rng.randrange(2)))
        content = await read_all(client)
        found = indices(content, "-")[expected:]
        # The one append that was under way may have landed.
        assert found == list(range(len(found)))
        assert len(said) <= len(found) <= len(said) + 1
        if said:
            end = said[-1][1]
            assert content[:end].endswith(b"\n")
            assert indices(content[:end], "-")[-1] == said[-1][0]
        await client.aclose()
        client = EmbeddedClient(tmp_path / "root")  # adopts what was left, and only that
        head = await client.append(JOURNAL, [])
        assert len(content) <= head.end
        expected = len(indices(await read_all(client), "-"))
        await client.aclose()


async def test_of_two_processes_the_last_to_fence_goes_on_alone(
    tmp_path: Path, start: Start
) -> None:
    for round_number in range(4):
        old, new = f"old{round_number}", f"new{round_number}"
        first = await start(old)
        await trio.sleep(0.1)
        second = await start(new)  # ready is said after its fence has been committed
        assert await first.wait_ended() == 0  # it says "fenced" and ends
        await trio.sleep(0.1)
        assert second.process.poll() is None
        second.kill()
        client = EmbeddedClient(tmp_path / "root", read_only=True)
        content = await read_all(client)
        await client.aclose()
        before, behind = content.split(f"{new} fence\n".encode())
        assert indices(behind, old) == []
        assert indices(before, old) == list(range(len(first.acknowledged())))
        said = len(second.acknowledged())
        assert said > 0
        assert said <= len(indices(behind, new)) <= said + 1


async def test_a_stopped_writer_that_wakes_up_is_fenced_and_overwrites_nothing(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await start("old")
    client = EmbeddedClient(tmp_path / "root", spec=JournalSpec(64 << 10))
    monkeypatch.setattr(journal_lock, "WAIT_SECONDS", 0.05)
    while True:
        await trio.sleep(random.uniform(0.01, 0.03))
        old.process.send_signal(signal.SIGSTOP)
        try:
            await client.append(JOURNAL, [b"new fence\n"], union={"author": ("new",)})
            break
        except JournalUnavailable:  # it was stopped in the middle of a commit, with the lock
            old.process.send_signal(signal.SIGCONT)
    check = Selector(include={"author": ("new",)})
    mine = b""
    for index in range(200):
        line = f"new {index} {'x' * (index * 7)}\n".encode()
        await client.append(JOURNAL, [line], check=check)
        mine += line
    old.process.send_signal(signal.SIGCONT)
    for index in range(200, 300):
        line = f"new {index} x\n".encode()
        await client.append(JOURNAL, [line], check=check)
        mine += line
    assert await old.wait_ended() == 0
    content = await read_all(client)
    assert content.split(b"new fence\n")[1] == mine
    assert indices(content, "old") == [index for index, _ in old.acknowledged()]
    await client.aclose()


async def test_two_clients_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    clients = [EmbeddedClient(tmp_path / "root", spec=JournalSpec(8 << 10)) for _ in range(2)]
    await clients[0].create(JOURNAL)
    placed: dict[int, bytes] = {}

    async def append(number: int) -> None:
        for index in range(150):
            line = f"w{number} {index} {'x' * (index % 90)}\n".encode()
            commit = await clients[number].append(JOURNAL, [line])
            placed[commit.begin] = line

    async with trio.open_nursery() as nursery:
        nursery.start_soon(append, 0)
        nursery.start_soon(append, 1)
    whole = b"".join(placed[offset] for offset in sorted(placed))
    for client in clients:
        assert await read_all(client) == whole
        await client.aclose()
    reader = EmbeddedClient(tmp_path / "root", read_only=True)
    assert await read_all(reader) == whole
    await reader.aclose()


async def test_a_race_of_fences_has_one_winner(tmp_path: Path) -> None:
    for round_number in range(20):
        clients = [EmbeddedClient(tmp_path / "root") for _ in range(3)]
        await clients[0].create(JOURNAL)
        before = await clients[0].append(
            JOURNAL, [b"start"], union={"author": (f"start{round_number}",)}
        )
        won: list[int] = []

        async def fence(
            number: int,
            clients: list[EmbeddedClient] = clients,
            check: Selector = Selector(include=dict(before.registers)),  # noqa: B008
            won: list[int] = won,
        ) -> None:
            try:
                await clients[number].append(
                    JOURNAL, [b"fence"], check=check, union={"author": (f"winner{number}",)}
                )
            except Fenced:
                return
            won.append(number)

        async with trio.open_nursery() as nursery:
            for number in random.sample(range(3), 3):
                nursery.start_soon(fence, number)
        assert len(won) == 1
        for client in clients:
            registers = (await client.head(JOURNAL)).registers
            assert registers == {"author": (f"winner{won[0]}",)}
            await client.aclose()


async def test_a_lock_that_cannot_be_had_names_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_lock, "WAIT_SECONDS", 0.05)
    client = EmbeddedClient(tmp_path / "root")
    await client.create(JOURNAL)
    await client.append(JOURNAL, [b"x"])
    other = journal_lock.JournalLock(tmp_path / "root/.broker" / JOURNAL / "@lock")
    await trio.to_thread.run_sync(other.acquire, JOURNAL)
    with pytest.raises(JournalUnavailable, match=f"process {os.getpid()} on "):
        await client.append(JOURNAL, [b"y"])
    assert (await client.read(JOURNAL, 0, block=False)).content == b"x"  # readers need no lock
    other.release()
    other.close()
    assert (await client.append(JOURNAL, [b"y"])).begin == 1
    await client.aclose()
