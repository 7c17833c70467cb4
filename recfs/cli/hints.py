"""`recfs hints`: the newest hints of a volume."""

from __future__ import annotations

import json as json_form
from typing import Any

import click
import trio

from recfs.cli import options
from recfs.clients import open_client
from recfs.errors import DamageError, OffsetNotYetAvailable
from recfs.journal.model import JournalClient
from recfs.recoverylog.framing import Frame, Unframer
from recfs.recoverylog.hints import FSMHints
from recfs.recoverylog.recoverylog_pb2 import FSMHints as Message
from recfs.volume import Volume

#: Bytes of one frame of hints: what the names and attributes of a volume's files may take.
_BODY_MAX = 1 << 30


@click.command()
@options.argument("volume", type=options.VOLUME)
@options.as_json
@options.verb
def hints(volume: Volume, json: bool) -> None:
    """Print where the newest hints of VOLUME stand, and what they name."""
    found = trio.run(_newest, volume)
    if json:
        options.print_json(found and as_document(*found))
    elif found is None:
        options.print_text(f"{volume} has no hints yet: they are written every few minutes")
    else:
        options.print_text(_in_words(as_document(*found)))


async def _newest(volume: Volume) -> tuple[int, Message] | None:
    client = open_client(volume, read_only=True)
    try:
        return await newest(client, volume.hints)
    finally:
        await client.aclose()


async def newest(client: JournalClient, journal: str) -> tuple[int, Message] | None:
    """The last whole frame of a hints journal, with its offset; None when there is none.

    Reads as little as it can: the last fragment, then the one before it.
    """
    head = (await client.head(journal)).offset
    # Each append is one frame, and fragments hold whole appends. What no fragment lists is read
    # from where the fragments end.
    begins = {0, *(fragment.begin for fragment in await client.fragments(journal))}
    for begin in sorted((each for each in begins if each < head), reverse=True):
        found = await _last_frame(client, journal, begin)
        if found is not None:
            return found
    if head:
        raise DamageError(
            f"journal {journal}: {head} bytes, and no hints among them",
            "hints are advice only: restore and mount work without them",
            where=journal,
            offset=0,
        )
    return None


async def _last_frame(
    client: JournalClient, journal: str, offset: int
) -> tuple[int, Message] | None:
    unframer = Unframer(Message.FromString, offset=offset, body_max=_BODY_MAX)
    last = None
    while True:
        try:
            chunk = await client.read(journal, offset, block=False)
        except OffsetNotYetAvailable:
            return last
        if chunk.offset > offset:
            # A hole: nothing that began before it goes on behind it.
            unframer = Unframer(Message.FromString, offset=chunk.offset, body_max=_BODY_MAX)
        unframer.feed(chunk.content)
        offset = chunk.offset + len(chunk.content)
        while (found := unframer.next()) is not None:
            if isinstance(found, Frame):
                last = (found.begin, found.message)


def as_document(offset: int, message: Message) -> dict[str, Any]:
    """Hints as JSON: Gazette's keys, and recfs's `offset` (of the frame) and `state`."""
    document: dict[str, Any] = json_form.loads(FSMHints.from_message(message).to_json())
    document["offset"] = offset
    if message.HasField("state"):
        state = message.state
        document["state"] = {
            "offset": state.offset,
            "next_seq_no": state.next_seq_no,
            "next_checksum": state.next_checksum,
            "author": f"{state.author:08x}",
            "volume": state.volume,
            "nodes": len(state.nodes),
        }
    return document


def _in_words(document: dict[str, Any]) -> str:
    segments = [segment for node in document["live_nodes"] for segment in node["segments"]]
    rows = [
        ("log", document["log"]),
        ("written at", f"offset {document['offset']:,} of the hints"),
        ("live files", f"{len(document['live_nodes']):,}"),
        ("segments", f"{len(segments):,}"),
    ]
    if segments:
        first = min(segment.get("first_offset", 0) for segment in segments)
        # A recorder does not learn where its last operation ended: 0 stands for not known.
        last = max(segment.get("last_offset", 0) for segment in segments)
        rows.append(("of the log", f"from offset {first:,}" + (f" to {last:,}" if last else "")))
    if state := document.get("state"):
        rows += [
            ("state", f"as of offset {state['offset']:,}, {state['nodes']:,} nodes"),
            ("next", f"operation {state['next_seq_no']:,} after author {state['author']}"),
        ]
    return "\n".join(f"{name:<11} {text}" for name, text in rows)
