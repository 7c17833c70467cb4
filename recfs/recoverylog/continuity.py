"""What counts as damage in a log, and what a log may hold besides its chain.

A log may hold, and is passed over:

* duplicates of what was accepted (an append is made at least once): sequence numbers that are past;
* operations of other authors that do not continue the chain (a fenced writer, a lost race);
* garbage between frames, if an operation that continues the chain comes behind it.

Damage is:

* a gap: the author whose turn it is goes on with a later sequence number than the next one;
* the next sequence number of that author with a checksum that is not the chain's;
* a gap in the operations of an author whose turn is over: whoever lost its turn to another goes on
  from the number that the other took, so the one missing was altered into the other's;
* an operation that continues the chain but makes no sense on the state: nobody recorded it so;
* a payload whose checksum is not the recorded one;
* at the end of the log: an incomplete frame, payload or group; garbage, or operations of an author
  who never had a turn, that nothing accepted follows (it is the hand-off that was lost there).
"""

from __future__ import annotations

from recfs.errors import DamageError
from recfs.recoverylog.framing import Frame, Garbage
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.recoverylog_pb2 import RecordedOp

_FORMER_AUTHORS_MAX = 4096
_ANY = 1 << 63  # above all sequence numbers
_ATTEMPT = (
    "see what stands there: recfs log; put another copy of these bytes back, if the journal has "
    "one; else restore what stands before them: recfs restore --offset"
)


class Continuity:
    """Judges what a Player meets on the way; each method that finds damage raises DamageError."""

    __slots__ = ("_former", "_fsm", "_garbage", "_garbage_last", "_stranger")

    def __init__(self, fsm: FSM) -> None:
        self._fsm = fsm
        self._former: dict[int, int] = {}  # who had a turn, oldest first: their last number seen
        self._garbage: Garbage | None = None  # that nothing accepted follows so far
        self._garbage_last: Garbage | None = None  # named with later damage
        self._stranger: Frame[RecordedOp] | None = None  # by an author who never had a turn

    def accepted(self, author: int, before: int) -> None:
        """`author` continued the chain, whose last author was `before` (0: none)."""
        self._garbage = None
        self._stranger = None
        if before and before != author:
            self._former.pop(author, None)
            self._former[before] = self._fsm.next_seq_no - 2
            if len(self._former) > _FORMER_AUTHORS_MAX:
                del self._former[next(iter(self._former))]

    def jumped(self) -> None:
        """Bytes of the log are gone: nobody knows any more what former authors left there."""
        self._former = dict.fromkeys(self._former, _ANY)

    def skipped(self, garbage: Garbage) -> None:
        self._garbage = self._garbage_last = garbage

    def off_chain(self, frame: Frame[RecordedOp], expected: int) -> None:
        """An operation does not continue the chain, where sequence number `expected` is next."""
        op = frame.message
        turn = self._fsm.last_author
        if op.author == turn or turn == 0:
            if op.seq_no > expected:
                raise self.damage(frame, f"is number {op.seq_no} where {expected} is next")
            if op.seq_no == expected:
                raise self.damage(frame, "does not continue the checksum chain")
        elif op.author in self._former:
            last = self._former[op.author]
            if op.seq_no > last + 1 and not self._fsm.hinted:
                raise self.damage(
                    frame,
                    f"is number {op.seq_no} of author {op.author:08x}, whose number {last + 1} is "
                    "not there",
                )
            self._former[op.author] = max(last, op.seq_no)
        elif op.seq_no > expected and self._stranger is None:
            self._stranger = frame

    def refused(self, frame: Frame[RecordedOp], outcome: Outcome) -> None:
        """An operation continues the chain, but the FSM does not take it.

        No writer records one on the whole state. On a state that hints left incomplete it may be
        right, and is passed over, as at Gazette.
        """
        if not self._fsm.partial:
            action = frame.message.WhichOneof("action") or "no-op"
            raise self.damage(frame, f"cannot be: {action}: {outcome.value}")

    def end(self, frame: Frame[RecordedOp] | None, cut: str, begin: int, end: int) -> None:
        """The log ends at `end`. `frame` is an operation that still misses something (`cut`), and
        from `begin` on there are bytes that are no whole frame."""
        if frame is not None:
            raise self.damage(frame, f"is cut off: the log ends at {end} {cut}")
        if begin < end:
            raise self._place(
                begin, f"ends at offset {end} with {end - begin} bytes that are no whole operation"
            )
        if self._garbage is not None:
            raise self._place(
                self._garbage.begin,
                f"has no operation in the bytes {self._garbage.begin} to {self._garbage.end}, "
                "and nothing behind them continues it",
            )
        if self._stranger is not None:
            raise self.damage(self._stranger, "is by an author whose hand-off is not in the log")

    def content(self, frame: Frame[RecordedOp]) -> DamageError:
        """The payload of a write does not have the recorded checksum."""
        node = self._fsm.nodes.get(frame.message.write.fnode)
        paths = [path.decode("utf-8", "backslashreplace") for path in node.paths()] if node else []
        return self.damage(
            frame, f"writes bytes that have not the recorded checksum: {' = '.join(paths)}"
        )

    def damage(self, frame: Frame[RecordedOp], what: str) -> DamageError:
        place = ""
        if self._garbage_last is not None:
            begin, end = self._garbage_last.begin, self._garbage_last.end
            place = f" (no operation in the bytes {begin} to {end})"
        return self._place(
            frame.begin, f"is damaged: the operation at offset {frame.begin} {what}{place}"
        )

    def _place(self, offset: int, what: str) -> DamageError:
        log = self._fsm.log
        return DamageError(f"journal {log} {what}", _ATTEMPT, where=log, offset=offset)
