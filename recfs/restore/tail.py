"""Quick looks at both ends of a log, before anything is played.

Advice only: the marks found here are not checked against the chain. The start is where a volume's
identity stands; the tail is where a live writer shows, so that a mount which would be refused is
refused before it has played a long log.
"""

from __future__ import annotations

from collections.abc import Iterator

from recfs.errors import OffsetNotYetAvailable
from recfs.journal.model import JournalClient
from recfs.recoverylog.events import Marked
from recfs.recoverylog.framing import Frame, Unframer
from recfs.recoverylog.recoverylog_pb2 import RecordedOp

from .owner import Owner, Ownership

LOOK_BYTES = 64 << 10


async def first_owner(client: JournalClient, journal: str, head: int) -> str:
    """The volume's identity from its first owner mark, "" when there is none in the first bytes."""
    for event in await _marks(client, journal, 0, head):
        owner = Owner.from_text(event.text)
        if owner is not None:
            return owner.volume
    return ""


async def last_owner(client: JournalClient, journal: str, head: int) -> Ownership:
    """What the last marks say; an Ownership without owner when there are none in the tail."""
    ownership = Ownership()
    for event in await _marks(client, journal, max(0, head - LOOK_BYTES), head):
        ownership.note(event)
    return ownership


async def _marks(client: JournalClient, journal: str, begin: int, head: int) -> list[Marked]:
    content = bytearray()
    while begin + len(content) < head and len(content) < LOOK_BYTES:
        try:
            chunk = await client.read(
                journal, begin + len(content), block=False, length=LOOK_BYTES - len(content)
            )
        except OffsetNotYetAvailable:
            break
        if chunk.offset != begin + len(content):
            break  # a jump: the player will say what is gone
        content += chunk.content
    return list(_scan(bytes(content)))


def _scan(content: bytes) -> Iterator[Marked]:
    unframer = Unframer(RecordedOp.FromString)
    unframer.feed(content)
    at = 0
    while (found := unframer.next()) is not None:
        if not isinstance(found, Frame):
            continue
        op = found.message
        at = op.recorded_at or at
        if op.HasField("write") and unframer.take(max(0, op.write.length)) is None:
            return
        if op.HasField("mark"):
            yield Marked(op.mark.kind, op.mark.text, op.author, at, found.begin)
