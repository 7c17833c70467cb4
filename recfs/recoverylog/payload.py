"""Payload: the bytes behind a write's frame, where they are not taken whole."""

from __future__ import annotations

from collections.abc import Iterator

from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.events import Data
from recfs.recoverylog.framing import Frame, Unframer
from recfs.recoverylog.namespace import File
from recfs.recoverylog.recoverylog_pb2 import RecordedOp


class Payload:
    """The payload of `frame`, taken in pieces: what is still to come, and its checksum so far.

    `file` is where it goes, None: nowhere. `applied` says whether its write is. `rest` is in bytes.
    """

    __slots__ = ("_checksum", "_offset", "applied", "file", "frame", "rest")

    def __init__(self, frame: Frame[RecordedOp]) -> None:
        self.frame = frame
        self.file: File | None = None
        self.applied = False
        self.rest = payload_length(frame.message)
        self._offset = frame.message.write.offset
        self._checksum = 0

    def take(self, unframer: Unframer[RecordedOp]) -> Iterator[Data]:
        """Take what `unframer` holds of it, and give it if it goes anywhere."""
        while self.rest:
            piece = unframer.take_some(self.rest)
            if not piece:
                return
            self.rest -= len(piece)
            if self.file is not None:
                self._checksum = crc32c(piece, self._checksum)
                self._offset += len(piece)
                yield Data(self.file.id, self._offset - len(piece), memoryview(piece))

    def is_intact(self) -> bool:
        """Whether what was given, all of it, has the checksum that its write says, if any."""
        write = self.frame.message.write
        return (
            self.file is None
            or not write.HasField("content_crc32c")
            or bool(write.content_crc32c == self._checksum)
        )


def payload_length(op: RecordedOp) -> int:
    return max(0, op.write.length) if op.HasField("write") else 0
