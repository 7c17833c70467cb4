"""`recfs log`: the operations of a volume's log, in words."""

from __future__ import annotations

import json as json_form
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import trio

from recfs.cli import options
from recfs.clients import open_client
from recfs.errors import DamageError, OffsetNotYetAvailable, UsageError
from recfs.journal.model import Chunk, JournalClient
from recfs.recoverylog.describe import describe, to_json
from recfs.recoverylog.events import Garbage, Op
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.player import Player
from recfs.volume import Volume

#: Seconds between two looks for more, with --follow.
_FOLLOW_SECONDS = 0.5

Record = dict[str, Any]


@click.command()
@options.argument("volume", type=options.VOLUME)
@options.option("--offset", type=click.INT, default=0, metavar="N", help="Begin there, in bytes.")
@options.option("--limit", type=click.INT, metavar="N", help="End after N operations.")
@options.option("--follow", is_flag=True, help="Go on with what is appended.")
@options.option("--json", is_flag=True, help="Print JSON: one object per line.")
@options.verb
def log(volume: Volume, offset: int, limit: int | None, follow: bool, json: bool) -> None:
    """Print the operations of VOLUME's log: offset, number, author, time, and what was done.

    Damage is printed where it stands and ends in exit code 12; what can be read behind it is
    printed all the same.
    """
    if offset < 0 or (limit is not None and limit < 1):
        raise UsageError("--offset counts from 0 and --limit from 1", "give another number")
    listing = Listing(volume.log, offset, limit, _print_json if json else _print_text)
    trio.run(partial(_list, volume, listing, follow=follow))
    if listing.damage is not None:
        raise listing.damage


async def _list(volume: Volume, listing: Listing, *, follow: bool) -> None:
    client = open_client(volume, read_only=True)
    try:
        chunks = _chunks(client, volume.log, listing.offset, listing.note, follow=follow)
        async for chunk in chunks:
            listing.feed(chunk)
            if follow:
                sys.stdout.flush()
            if listing.is_full:
                return
        listing.finish()
    finally:
        await client.aclose()


async def _chunks(
    client: JournalClient,
    journal: str,
    offset: int,
    note: Callable[[DamageError, int], None],
    *,
    follow: bool,
) -> AsyncIterator[Chunk]:
    """What can be read of the journal; a damaged fragment is noted and left out."""
    while True:
        try:
            chunk = await client.read(journal, offset, block=False)
        except OffsetNotYetAvailable as end:
            if offset > end.write_head:
                raise UsageError(
                    f"offset {offset} is behind the end of journal {journal}, {end.write_head}",
                    "begin at a smaller --offset",
                ) from None
            if not follow:
                return
            # Looked for instead of waited for: another process appends, and the embedded journal
            # tells nobody else.
            await trio.sleep(_FOLLOW_SECONDS)
            continue
        except DamageError as damage:
            if damage.span is not None:
                stop = damage.span[1]
            else:
                known = await client.fragments(journal)
                stop = max((each.end for each in known if each.begin <= offset), default=0)
            if stop <= offset:
                raise
            note(damage, offset)
            offset = stop
            continue
        yield chunk
        offset = chunk.offset + len(chunk.content)


class Listing:
    """Makes records of a log's bytes: operations, damage, and bytes that are none.

    A record has `offset` and `end`, and either `operation` with what belongs to it, or `damage`,
    `garbage` or `gone`. `damage` keeps the first damage.
    """

    def __init__(
        self, journal: str, offset: int, limit: int | None, put: Callable[[Record], None]
    ) -> None:
        self.offset = offset
        self.damage: DamageError | None = None
        fsm = FSM(journal)
        # A log that is read from its middle has names and numbers from before: the first operation
        # is taken as it stands, and none is refused for a name that is not known.
        fsm.partial = offset > 0
        self._joins = offset > 0
        self._player = Player(fsm, offset=offset, trace=True)
        self._left = limit
        self._put = put

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self._left == 0

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes of the log."""
        if chunk.offset > self._player.offset:
            self._put({"offset": self._player.offset, "end": chunk.offset, "gone": True})
            self._guard(lambda: self._player.jump(chunk.offset))
        self._play(chunk.content)

    def finish(self) -> None:
        """The log ends here."""
        try:
            for event in self._player.finish():
                self._take(event)
        except DamageError as damage:
            if not self._joins:  # else no operation was found, and nothing is known to be wrong
                self.note(damage, damage.offset)

    def _play(self, content: bytes | memoryview) -> None:
        events = self._player.feed(content)
        while not self.is_full:
            try:
                for event in events:
                    self._take(event)
                    if self.is_full:
                        return
                return
            except DamageError as damage:
                if self._joins:
                    self._joins = False
                else:
                    self.note(damage, damage.offset)
                self._player.skip_damage()
                events = self._player.feed(b"")

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except DamageError as damage:
            self.note(damage, damage.offset)
            self._player.skip_damage()
            step()

    def note(self, damage: DamageError, offset: int) -> None:
        """Tell of damage where it was met, in the log."""
        self.damage = self.damage or damage
        self._put({"offset": offset, "damage": damage.what})

    def _take(self, event: object) -> None:
        if isinstance(event, Garbage):
            self._put({"offset": event.begin, "end": event.end, "garbage": True})
        elif isinstance(event, Op):
            if self._left is not None:
                self._left -= 1
            self._put(self._record(event))

    def _record(self, event: Op) -> Record:
        op = event.op
        # The first operation that a listing from the middle meets is where it joins.
        outcome = Outcome.OK if self._joins else event.outcome
        at = op.recorded_at or self._player.recorded_at
        return {
            "offset": event.first_offset,
            "end": event.last_offset,
            "seq_no": op.seq_no,
            "author": f"{op.author:08x}",
            "recorded_at": _moment(at) if at else None,
            "more": op.more,
            "outcome": outcome.value,
            "operation": to_json(op),
            "words": describe(op),
        }


def _moment(unix_ns: int) -> str:
    try:
        moment = datetime.fromtimestamp(unix_ns // 10**9, UTC)
    except (ValueError, OverflowError):
        return f"{unix_ns} ns"
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{unix_ns % 10**9 // 10**6:03d}Z"


def _print_json(record: Record) -> None:
    record.pop("words", None)
    print(json_form.dumps(record, ensure_ascii=True))


def _print_text(record: Record) -> None:
    place = f"{record['offset']:>14}"
    if "damage" in record:
        line = f"{place}  DAMAGE  {record['damage']}"
    elif "garbage" in record:
        line = f"{place}  {record['end'] - record['offset']} bytes that are no operation"
    elif "gone" in record:
        line = f"{place}  {record['end'] - record['offset']} bytes that are gone"
    else:
        line = (
            f"{place} {record['seq_no']:>10} {record['author']} "
            f"{record['recorded_at'] or '-':<24} {record['words']}"
        )
        if record["more"]:
            line += " …"
        if record["outcome"] not in (Outcome.OK.value, Outcome.FNODE_NOT_TRACKED.value):
            line += f"  (passed over: {record['outcome']})"
    options.print_text(line)
    if "damage" in record:
        sys.stdout.flush()  # before the line on stderr
