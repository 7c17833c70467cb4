"""The Player: bytes of a log in, effects out. What counts as damage, continuity.py says.

The operations of a group are applied when the last of them is there, together with its payload: FSM
and effects always stand at a group boundary. (Two exceptions, for Gazette's logs: a payload above
1 MiB has effects as it arrives, and while hinted segments are replayed operations are applied one
by one, since segments need not end where groups do.)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from recfs.errors import DamageError
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.continuity import Continuity
from recfs.recoverylog.events import (
    Allocated,
    Data,
    Event,
    FileCreated,
    FileDropped,
    Garbage,
    Marked,
    Op,
    Truncated,
)
from recfs.recoverylog.framing import Frame, Unframer
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.namespace import File
from recfs.recoverylog.payload import Payload, payload_length
from recfs.recoverylog.recoverylog_pb2 import RecordedOp

#: Bytes of payload that are waited for, so that a write is applied whole.
PAYLOAD_WHOLE_MAX = 1 << 20

#: Operations of one group. recfs records at most three.
GROUP_MAX = 1024

_OK = Outcome.OK
_ADVANCED = (Outcome.OK, Outcome.FNODE_NOT_TRACKED)


class Player:
    """Plays a log into `fsm` from `offset` on.

    `offset` is the offset of the next byte to feed; `settled_offset` the end of the last group
    applied, which is how far FSM and effects stand. `recorded_at` is the newest time seen (Unix
    ns). Operations of the authors in `watch`, and all when `trace` is set, give Op events too.

    A DamageError of `feed` stays: it is raised again, unless `skip_damage` is called.
    """

    __slots__ = (
        "_continuity",
        "_damage",
        "_damaged",
        "_group",
        "_group_checksum",
        "_held",
        "_payload",
        "_unframer",
        "fsm",
        "offset",
        "recorded_at",
        "settled_offset",
        "trace",
        "watch",
    )

    def __init__(self, fsm: FSM, *, offset: int = 0, trace: bool = False) -> None:
        self.fsm = fsm
        self.trace = trace
        self.watch: set[int] = set()
        self.offset = offset
        self.settled_offset = offset
        self.recorded_at = 0
        self._continuity = Continuity(fsm)
        self._unframer: Unframer[RecordedOp] = Unframer(RecordedOp.FromString, offset=offset)
        self._group: list[Frame[RecordedOp]] = []  # in sequence, still without its last one
        self._group_checksum = 0  # chain value behind _group
        self._held: Frame[RecordedOp] | None = None  # next in sequence, waits for its payload
        self._payload: Payload | None = None
        self._damage: DamageError | None = None
        self._damaged: Frame[RecordedOp] | None = None  # the last frame, which damage is about

    @property
    def settled(self) -> bool:
        """Whether all that was fed is applied or passed over: no frame or group is incomplete."""
        return (
            not self._group
            and self._held is None
            and self._payload is None
            and self._unframer.held == 0
        )

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Take the next bytes; iterate over what they tell. What is left over comes the next time.

        The iterator raises DamageError, behind the events of what stands before the damage.
        """
        self.offset += data.nbytes if isinstance(data, memoryview) else len(data)
        self._unframer.feed(data)
        return self._play()

    def jump(self, offset: int) -> None:
        """Go on at `offset`: the bytes from self.offset to there are gone, or hold nothing wanted.

        An incomplete group is dropped. Whether something is missing, the chain will tell; but a
        payload that had effects already raises DamageError.
        """
        if self._payload is not None and self._payload.file is not None:
            self._continuity.end(
                self._payload.frame, "within its payload", self.offset, self.offset
            )
        self._continuity.jumped()
        if not self.settled:
            self._continuity.skipped(Garbage(self._unframer.offset, offset))
        self._group.clear()
        self._held = None
        self._payload = None
        self._unframer = Unframer(RecordedOp.FromString, offset=offset)
        self.offset = offset

    def finish(self) -> list[Event]:
        """Say that the log ends here, for now; return what could only be told with that.

        Raises DamageError if a log cannot end here. After it returned, feeding may go on.
        """
        events = list(self._play())
        unframer = self._unframer
        if self._held is None and self._payload is None:
            # A false magic may have announced more bytes than there are: look behind it.
            while unframer.give_up_frame():
                events += self._play()
            if unframer.held == 1 and unframer.tail() == b"\n":
                unframer.take_some(1)  # a newline may end a log, as at Gazette
        if self._group:
            self._continuity.end(self._group[0], "within its group", 0, self.offset)
        frame = self._payload.frame if self._payload is not None else self._held
        self._continuity.end(frame, "within its payload", unframer.offset, self.offset)
        return events

    def skip_damage(self) -> None:
        """Go on behind the operation that gave the last DamageError of `feed`.

        For listings only: from then on the FSM is no longer the state of any log. `feed(b"")`
        tells what follows.
        """
        if self._damage is not None:
            assert self._damaged is not None
            self._damage = None
            self._group.clear()
            self.fsm.skip(self._damaged.message, self._damaged.body)
            self._continuity = Continuity(self.fsm)

    def _play(self) -> Iterator[Event]:
        if self._damage is not None:
            raise self._damage
        try:
            yield from self._frames()
        except DamageError as error:
            self._damage = error
            raise

    def _frames(self) -> Iterator[Event]:
        fsm = self.fsm
        unframer = self._unframer
        while True:
            if self._payload is not None:
                yield from self._take_payload(self._payload)
                if self._payload is not None:
                    return
            frame = self._held
            if frame is None:
                found = unframer.next()
                if found is None:
                    return
                if isinstance(found, Garbage):
                    self._continuity.skipped(found)
                    yield found
                    continue
                frame = found
                self._damaged = frame
            else:
                self._held = None
            op = frame.message
            if not self._follows(op):
                yield from self._reject(frame)
                continue

            if not op.HasField("write"):
                # Hinted segments need not end where groups do; see the head of this file.
                if op.more and not fsm.hinted:
                    self._put_off(frame)
                    continue
                yield from self._apply_group()
                yield from self._apply(frame, frame.end)
                continue

            # A write is always the last operation of its group.
            write = op.write
            fnode = write.fnode
            length = write.length
            if length > PAYLOAD_WHOLE_MAX:
                self._payload = Payload(frame)
                yield from self._apply_group()
                outcome = yield from self._apply(frame, self.settled_offset)
                node = fsm.nodes.get(fnode)
                self._payload.applied = outcome in _ADVANCED
                if outcome is _OK and isinstance(node, File):
                    self._payload.file = node
                continue
            payload = b""
            if length > 0:
                taken = unframer.take(length)
                if taken is None:
                    self._held = frame
                    return
                payload = taken
                if write.content_crc32c != crc32c(payload) and self._is_checked(op):
                    raise self._continuity.content(frame)
            if self._group:
                yield from self._apply_group()
            before = fsm.last_author
            last = frame.end + len(payload)
            outcome = fsm.apply(op, frame.body, first_offset=frame.begin, last_offset=last)
            if outcome is _OK:
                self._accepted(op, before, last)
                if payload:
                    yield Data(fnode, write.offset, memoryview(payload))
                if self.trace or op.author in self.watch:
                    yield Op(op, frame.body, frame.begin, last, outcome)
            else:
                yield from self._without_effect(frame, outcome, before, last)

    def _follows(self, op: RecordedOp) -> bool:
        """Whether `op` continues the chain behind the group that waits, if any."""
        fsm = self.fsm
        if self._group:
            if (
                op.seq_no == self._next_seq_no()
                and op.checksum == self._group_checksum
                and op.author == self._group[0].message.author
            ):
                return True
            if op.seq_no == fsm.next_seq_no and op.checksum == fsm.next_checksum:
                # The group was never finished, and whoever goes on never saw it applied.
                self._group.clear()
                return True
            return False
        return (
            op.seq_no == fsm.next_seq_no
            and op.checksum == fsm.next_checksum
            and (not fsm.hinted or op.author == fsm.hinted[0].author)
        )

    def _next_seq_no(self) -> int:
        return self.fsm.next_seq_no + len(self._group)

    def _put_off(self, frame: Frame[RecordedOp]) -> None:
        """Let `frame` wait for the rest of its group."""
        if len(self._group) >= GROUP_MAX:
            raise self._continuity.damage(frame, f"is in a group of more than {GROUP_MAX}")
        before = self._group_checksum if self._group else self.fsm.next_checksum
        self._group_checksum = crc32c(frame.body, before)
        self._group.append(frame)

    def _apply_group(self) -> Iterator[Event]:
        group, self._group = self._group, []
        for frame in group:
            yield from self._apply(frame, self.settled_offset)

    def _apply(self, frame: Frame[RecordedOp], settled: int) -> Generator[Event, None, Outcome]:
        """Apply an operation and tell its effects, except for a write's data."""
        op = frame.message
        fsm = self.fsm
        before = fsm.last_author
        action = op.WhichOneof("action")
        last = frame.end + payload_length(op)
        dying = fsm.nodes.get(op.unlink.fnode) if action == "unlink" else None
        outcome = fsm.apply(op, frame.body, first_offset=frame.begin, last_offset=last)
        if outcome is not _OK:
            yield from self._without_effect(frame, outcome, before, settled)
            return outcome
        self._accepted(op, before, settled)
        if action == "create":
            yield FileCreated(op.seq_no)
        elif action == "unlink":
            if isinstance(dying, File) and not dying.links:
                yield FileDropped(dying.id)
        elif action == "truncate":
            yield Truncated(op.truncate.fnode, op.truncate.size)
        elif action == "allocate":
            range_ = op.allocate
            yield Allocated(range_.fnode, range_.offset, range_.length, range_.mode)
        elif action == "mark":
            mark = op.mark
            yield Marked(mark.kind, mark.text, op.author, self.recorded_at, frame.begin)
        if self.trace or op.author in self.watch:
            yield Op(op, frame.body, frame.begin, last, outcome)
        return outcome

    def _accepted(self, op: RecordedOp, before: int, settled: int) -> None:
        if op.recorded_at:
            self.recorded_at = op.recorded_at
        self._continuity.accepted(op.author, before)
        self.settled_offset = settled

    def _without_effect(
        self, frame: Frame[RecordedOp], outcome: Outcome, before: int, settled: int
    ) -> Iterator[Event]:
        op = frame.message
        if outcome in _ADVANCED:
            self._accepted(op, before, settled)
        if self.trace or op.author in self.watch:
            yield Op(op, frame.body, frame.begin, frame.end + payload_length(op), outcome)
        if outcome not in _ADVANCED:
            self._continuity.refused(frame, outcome)

    def _reject(self, frame: Frame[RecordedOp]) -> Iterator[Event]:
        """Pass over an operation that does not continue the chain."""
        op = frame.message
        fsm = self.fsm
        expected = self._next_seq_no()
        if fsm.hinted and op.author != fsm.hinted[0].author:
            outcome = Outcome.NOT_HINTED_AUTHOR
        elif op.seq_no != expected:
            outcome = Outcome.WRONG_SEQ_NO
        else:
            outcome = Outcome.CHECKSUM_MISMATCH
        if op.HasField("write"):
            self._payload = Payload(frame)
        if self.trace or op.author in self.watch:
            yield Op(op, frame.body, frame.begin, frame.end + payload_length(op), outcome)
        self._continuity.off_chain(frame, expected)

    def _take_payload(self, payload: Payload) -> Iterator[Event]:
        """Give or drop a payload as far as it is there; _payload is None when it is through."""
        yield from payload.take(self._unframer)
        if payload.rest:
            return
        self._payload = None
        if not payload.is_intact():
            raise self._continuity.content(payload.frame)
        if payload.applied:
            self.settled_offset = self._unframer.offset

    def _is_checked(self, op: RecordedOp) -> bool:
        """Whether the payload of `op` has a checksum, and a file that wants it."""
        write = op.write
        return write.HasField("content_crc32c") and (
            write.fnode in self.fsm.nodes
            or any(frame.message.seq_no == write.fnode for frame in self._group)
        )
