"""Bringing a volume's tree up on this host: from what is in the log and what is on disk.

The story of a start, told by `bring_up`: look at the log and at the backing directory; decide;
play the log as far as needed; refuse a live writer; take the log over; put the tree in place.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from recfs.errors import DataLossError, OffsetNotYetAvailable
from recfs.journal.model import JournalClient
from recfs.observe.logs import logger
from recfs.observe.progress import Progress
from recfs.recoverylog.author import new_author
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.player import Player
from recfs.recoverylog.state import decode_state

from .backing import BackingDirectory, Identity, Start, decide
from .handoff import take_over, unchanged
from .owner import Owner, Ownership, here
from .play import LogReader
from .staging import StagingTree
from .tail import first_owner, last_owner

log = logger("restore")


@dataclass(slots=True)
class BroughtUp:
    """A tree in place and, unless the mount is read-only, the right to record to the log."""

    fsm: FSM
    author: int
    owner: Owner
    start: Start
    end_offset: int
    warnings: list[str]


async def bring_up(
    client: JournalClient,
    journal: str,
    backing: BackingDirectory,
    *,
    heartbeat_seconds: float,
    force: bool,
    read_only: bool,
    progress: Progress,
) -> BroughtUp:
    """Raise what the parts raise; nothing that was on disk is lost by a failure.

    The caller imports the tree when `start` is IMPORT, and drops what was set aside once it serves.
    """
    begin = await client.head(journal)
    head = begin.offset
    volume = await first_owner(client, journal, head)
    author = new_author()
    me = here(volume, author, heartbeat_seconds)
    if not force and not read_only:
        tail = await last_owner(client, journal, head)
        tail.refuse_live_writer(journal, me, time.time_ns())
    identity = backing.identity()
    clean = backing.clean_state() if identity is not None else None
    start = decide(
        holds_files=backing.holds_files(),
        identity=identity,
        clean=clean is not None,
        log_empty=head == 0,
        volume=volume,
    )
    log.info("starting", start=start.name.lower(), journal=journal, head=head)
    reader = None
    if start is Start.RESUME:
        assert clean is not None
        reader = await _resume(client, journal, clean, head)
        if reader is None:
            start = Start.REBUILD
            log.info("another host has written since; rebuilding from the log", journal=journal)
    staging = StagingTree(backing.restoring) if start is Start.REBUILD else None
    try:
        if reader is None:
            reader = LogReader(client, journal, Player(FSM(journal)), staging, progress.advance)
            if head:
                progress.start("restoring", head)
                await reader.to_head()
                progress.finish()
            reader.advance = _ignore
        _refuse_unfinished_import(reader.ownership, start, journal)
        if not read_only:
            if not force:
                reader.ownership.refuse_live_writer(journal, me, time.time_ns())
            reader.player.finish()
            await take_over(reader, author, me, check=None if force else unchanged(begin.registers))
        else:
            reader.player.finish()
        fsm = reader.player.fsm
        backing.claim(Identity(me.volume, journal, importing=start is Start.IMPORT))
        backing.unmark_clean()
        if staging is not None:
            staging.publish(fsm.namespace, fsm.properties)
            backing.swap_in(staging.tree)
            reader.warnings += staging.warnings
    finally:
        if staging is not None:
            staging.close()
    for warning in reader.warnings:
        log.warning(warning, journal=journal)
    return BroughtUp(fsm, author, me, start, reader.player.offset, reader.warnings)


async def _resume(client: JournalClient, journal: str, clean: bytes, head: int) -> LogReader | None:
    """The state of the clean unmount, played to the head; None when files changed since then."""
    fsm, offset = decode_state(clean)
    if offset > head:
        raise DataLossError(
            f"journal {journal} ends at offset {head}, but this backing directory was recorded up "
            f"to {offset}: the journal has lost its tail",
            "put the journal back; the tree in the backing directory is the newest copy",
        )
    reader = LogReader(client, journal, Player(fsm, offset=offset, trace=True), None, _ignore)
    while True:
        before = reader.player.offset
        try:
            await reader.to_head(before + (1 << 20))
        except OffsetNotYetAvailable:
            break
        if any(not op.op.HasField("mark") for op in reader.watched):
            return None
        reader.watched.clear()
        if reader.player.offset == before:
            break
    reader.player.trace = False
    return reader


def _ignore(_: int) -> None:
    pass


def _refuse_unfinished_import(ownership: Ownership, start: Start, journal: str) -> None:
    if ownership.importing and start is not Start.IMPORT:
        raise DataLossError(
            f"journal {journal} holds an import that never finished: part of the directory is "
            "missing",
            "mount it again with the backing directory that was being imported, on its host",
        )
