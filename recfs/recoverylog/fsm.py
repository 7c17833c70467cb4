"""The state machine of a recovery log: operation in, outcome out. Recorder and Player share it.

An operation is accepted only as the next of the chain (author, sequence number, checksum), as in
Gazette's consumer/recoverylog/fsm.go, whose order of checks is kept. Then:

    outcome            chain      state
    OK                 advances   changes
    FNODE_NOT_TRACKED  advances   stays: the operation is of something that hints left out, or
                                  that has died; actions.py has the whole table
    any other          stays      stays ("on an error, nothing happened")
"""

from __future__ import annotations

from google_crc32c import extend

from recfs.recoverylog import hints as hinting
from recfs.recoverylog.actions import ACTIONS
from recfs.recoverylog.hints import FSMHints
from recfs.recoverylog.namespace import File
from recfs.recoverylog.node_actions import OFFSET_MAX, is_range
from recfs.recoverylog.outcome import Outcome
from recfs.recoverylog.recoverylog_pb2 import RecordedOp
from recfs.recoverylog.segment import Segment
from recfs.recoverylog.tree import Tree

__all__ = ["FSM", "OFFSET_MAX", "Outcome"]

_OK = Outcome.OK
_NOT_TRACKED = Outcome.FNODE_NOT_TRACKED


class FSM(Tree):
    """Where a log stands: the chain, the tree of names and the files.

    `log` is the journal being recorded to. `next_seq_no` and `next_checksum` are what the next
    operation must carry; `last_author` (0: none yet) recorded the last one accepted, or, while
    hints are replayed, is expected to record the next. `end_offset` is a lower bound of where in
    the log the next one can stand (bytes). See Tree for the rest.
    """

    __slots__ = (
        "end_offset",
        "last_author",
        "last_log",
        "log",
        "next_checksum",
        "next_seq_no",
    )

    def __init__(self, log: str, hints: FSMHints | None = None) -> None:
        """Start before the first operation, or where `hints` begin.

        Raises DamageError if the hints are not consistent.
        """
        super().__init__()
        self.log = log
        self.last_log = log
        self.last_author = 0
        self.end_offset = 0
        self.next_seq_no = 1
        self.next_checksum = 0
        if hints is not None:
            assert hints.log == log
            fnodes, segments = hints.flatten()
            self.hinted_fnodes.extend(fnodes)
            self.hinted.extend(segments)
            self.properties.update(hints.properties)
            if self.hinted:
                self.partial = True
                self._begin_hinted()

    def apply(
        self,
        op: RecordedOp,
        body: bytes,
        *,
        first_offset: int,
        last_offset: int,
        log: str | None = None,
    ) -> Outcome:
        """Apply `op`, whose bytes in the log are `body`, standing at [first_offset, last_offset).

        `last_offset` is 0 while it is not known, as it is when recording. `log` is the journal it
        stands in, by default the one being recorded to.
        """
        seq_no = op.seq_no
        author = op.author
        if self.hinted and author != self.hinted[0].author:
            return Outcome.NOT_HINTED_AUTHOR
        if seq_no != self.next_seq_no:
            return Outcome.WRONG_SEQ_NO
        checksum = op.checksum
        if checksum != self.next_checksum:
            return Outcome.CHECKSUM_MISMATCH
        if author == 0:
            return Outcome.BAD_OPERATION
        if log is None:
            log = self.log

        action = op.WhichOneof("action")
        if self.hinted_fnodes and self.hinted_fnodes[0] == seq_no and action != "create":
            return Outcome.EXPECTED_HINTED_FNODE
        if action == "write":  # most operations are: no dispatch, no segment made in vain
            write = op.write
            node = self.nodes.get(write.fnode)
            if node is None:
                outcome = _NOT_TRACKED
            else:
                offset, length = write.offset, write.length
                if not is_range(offset, length) or not isinstance(node, File):
                    return Outcome.BAD_OPERATION
                self.wrote(node, author, offset, length, body, first_offset, last_offset, log)
                return _OK
        elif action is None:
            outcome = _OK
        else:
            here = Segment(author, seq_no, first_offset, checksum, seq_no, last_offset, log)
            outcome = ACTIONS[action](self, op, here)
            if outcome is not _OK and outcome is not _NOT_TRACKED:
                return outcome
        self._advance(author, body, log, last_offset)
        return outcome

    def wrote(
        self,
        file: File,
        author: int,
        offset: int,
        length: int,
        body: bytes,
        first_offset: int,
        last_offset: int,
        log: str,
    ) -> None:
        """Apply a write of a live file that is the next operation of the chain.

        The Recorder comes here directly: what `apply` checks holds for what it has just made.
        """
        seq_no = self.next_seq_no
        last = file.segments[-1]
        if last.author == author and last.log == log:
            last.last_seq_no = seq_no
            last.last_offset = last_offset
        else:
            file.segments.append(
                Segment(author, seq_no, first_offset, self.next_checksum, seq_no, last_offset, log)
            )
        if offset + length > file.size and length:
            file.size = offset + length
        self.next_seq_no = seq_no + 1
        self.next_checksum = extend(self.next_checksum, body)
        self.last_author = author
        self.last_log = log
        if last_offset:
            self.end_offset = last_offset
        if self.hinted:
            self._end_hinted()

    def skip(self, op: RecordedOp, body: bytes) -> None:
        """Go on behind `op` as if it had been the next one. For listings of a damaged log only:
        from then on this is no longer the state of any log."""
        self.next_seq_no = op.seq_no
        self.next_checksum = op.checksum
        self.partial = True
        self._advance(op.author, body, self.log, 0)

    def build_hints(self) -> FSMHints:
        """Return hints of the live files, for `log`."""
        files = [
            (fnode, node.segments) for fnode, node in self.nodes.items() if isinstance(node, File)
        ]
        return hinting.build(self.log, files, self.properties)

    def _advance(self, author: int, body: bytes, log: str, last_offset: int) -> None:
        self.next_seq_no += 1
        self.next_checksum = extend(self.next_checksum, body)
        self.last_author = author
        self.last_log = log
        if last_offset:
            self.end_offset = last_offset
        if self.hinted:
            self._end_hinted()

    def _end_hinted(self) -> None:
        """Leave the hinted segment once it is replayed; jump to where the next one begins."""
        if self.hinted[0].last_seq_no < self.next_seq_no:
            self.hinted.popleft()
            if self.hinted:
                self._begin_hinted()

    def _begin_hinted(self) -> None:
        self.next_seq_no = self.hinted[0].first_seq_no
        self.next_checksum = self.hinted[0].first_checksum
        self.last_author = self.hinted[0].author
