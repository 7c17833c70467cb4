"""Taking a log over: a hand-off operation that carries the owner mark and sets the fence.

Without force the append asks that the register is still what it was when this host began to look:
of two hosts that both found the volume free, the journal lets exactly one through, and the other is
told who it was. From the commit on, the old author's appends fail.
"""

from __future__ import annotations

import time

import trio

from recfs.errors import DataLossError, Fenced, JournalUnavailable, LiveWriterError
from recfs.journal.model import LabelSet, Selector
from recfs.recoverylog.author import REGISTER, fence
from recfs.recoverylog.fsm import Outcome
from recfs.recoverylog.recorder import handoff
from recfs.recoverylog.recoverylog_pb2 import Mark

from .owner import Owner
from .play import RETRY_WAITS, LogReader

#: Lost races in a row after which a take-over gives up.
ATTEMPTS_MAX = 20


def unchanged(registers: LabelSet) -> Selector:
    """The check that nobody has set a fence since `registers` were read."""
    if REGISTER in registers:
        return Selector(include={REGISTER: registers[REGISTER]})
    return Selector(exclude={REGISTER: ("",)})


async def take_over(
    reader: LogReader, author: int, owner: Owner, *, check: Selector | None
) -> None:
    """Play to the head, inject the hand-off, and read it back in sequence.

    On return the log's next operation is this author's, and reader.player stands behind the
    hand-off. Raise LiveWriterError when `check` (None: force) shows that another came first,
    JournalUnavailable when the journal takes nothing for about ten seconds.
    """
    player = reader.player
    player.watch.add(author)
    away: JournalUnavailable | None = None
    for _ in range(ATTEMPTS_MAX):
        await reader.to_head()
        frame = handoff(
            player.fsm, author, kind=Mark.OWNER, text=owner.to_text(), at=time.time_ns()
        )
        try:
            commit = await reader.client.append(
                reader.journal,
                [frame],
                check=check,
                union=fence(author),
            )
            end: int | None = commit.end
            away = None
            # Committed, but perhaps not next in sequence: a live writer that is being fenced was
            # faster. From here on the register is ours to keep.
            check = Selector(include=fence(author))
        except JournalUnavailable as error:
            end, away = None, error  # it may have landed: look
            await trio.sleep(RETRY_WAITS[3])
        except Fenced:
            await reader.to_head()
            if reader.watched and reader.watched[-1].outcome is Outcome.OK:
                return  # an earlier try had landed after all
            found = reader.ownership.owner
            who = f"host {found.host}, pid {found.pid}" if found else "another author"
            raise LiveWriterError(
                f"volume {reader.journal} was taken by {who} while this host was starting",
                "leave it there, or fence it with --take-over",
            ) from None
        await reader.to_head(end)
        if reader.watched and reader.watched[-1].outcome is Outcome.OK:
            return
    if away is not None:
        raise away
    raise DataLossError(
        f"journal {reader.journal}: the hand-off was committed {ATTEMPTS_MAX} times and never "
        "came next in sequence",
        "see what writes to the journal: recfs log",
    )
