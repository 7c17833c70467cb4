"""The bytes of a volume's log, read and written through the journal as any client does it."""

from __future__ import annotations

import time

import trio

from recfs.clients import open_client
from recfs.errors import OffsetNotYetAvailable
from recfs.journal.model import JournalSpec
from recfs.recoverylog.events import Op
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.player import Player
from recfs.recoverylog.recorder import handoff
from recfs.recoverylog.recoverylog_pb2 import Mark
from recfs.volume import parse_volume


def read_log(url: str) -> bytes:
    """The whole log of a volume."""
    return trio.run(_read, url)


async def _read(url: str) -> bytes:
    volume = parse_volume(url)
    client = open_client(volume, read_only=True)
    content = bytearray()
    try:
        while True:
            try:
                chunk = await client.read(volume.log, len(content), block=False)
            except OffsetNotYetAvailable:
                return bytes(content)
            assert chunk.offset == len(content)
            content += chunk.content
    finally:
        await client.aclose()


def append_log(url: str, content: bytes) -> None:
    """Append to the log of a volume, which is made if there is none, without asking who owns it."""
    trio.run(_append, url, content)


async def _append(url: str, content: bytes) -> None:
    volume = parse_volume(url)
    client = open_client(volume, spec=JournalSpec())
    try:
        await client.create(volume.log)
        await client.append(volume.log, [content])
    finally:
        await client.aclose()


def operations(content: bytes) -> tuple[FSM, list[Op]]:
    """What a log holds: the state at its end, and its operations in order."""
    fsm = FSM("log")
    player = Player(fsm, trace=True)
    found = [event for event in player.feed(content) if isinstance(event, Op)]
    player.finish()
    return fsm, found


def append_owner(url: str, text: str) -> None:
    """Record an owner mark of any text, next in sequence, as a hand-off does it."""
    fsm, _ = operations(read_log(url))
    append_log(url, handoff(fsm, 77, kind=Mark.OWNER, text=text, at=time.time_ns()))
