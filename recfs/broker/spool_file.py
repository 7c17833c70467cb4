"""SpoolFile: the bytes of a spool on disk. How they are laid out, `record` says.

The file is written ahead with zeros, so that the sync of a commit finds its blocks in place and
writes no metadata.

A spool file may be used again once its content is persisted. Readers without a lock therefore
check, after they have read, that the file's salt is still the one they know: its next user writes
the new header before anything else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from recfs.broker import record
from recfs.broker import registers as register_rules
from recfs.journal.model import Buffer, LabelSet

#: Bytes that are read at a time where the length is not bounded otherwise.
SCAN_BYTES = 1 << 20
#: Bytes of zeros that are written ahead at a time.
ZERO_STEP = 1 << 20
_ZEROS = bytes(ZERO_STEP)
_IOV_MAX = 1000


class SpoolReplacedError(Exception):
    """The file is in use for another spool by now: look where the content has gone."""


class SpoolFile:
    """An open spool file, closed with its last user, also when that is a reading thread.

    All methods block and raise OSError. `salt` is that of the spool it is known to hold.
    """

    __slots__ = ("fileno", "path", "salt")

    def __init__(self, path: Path, flags: int, salt: bytes = b"") -> None:
        self.fileno = -1
        self.path = path
        self.salt = salt
        self.fileno = os.open(path, flags | os.O_CLOEXEC)

    def close(self) -> None:
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1

    __del__ = close

    def length(self) -> int:
        return os.fstat(self.fileno).st_size

    def check_identity(self) -> None:
        """Raise SpoolReplacedError when the file has become another spool's."""
        head = os.pread(self.fileno, 32, 0)
        if head[16:32] != self.salt:
            raise SpoolReplacedError

    def commit_at(self, position: int) -> tuple[record.CommitHeader, LabelSet | None] | None:
        """The commit at `position` with the registers it sets, or None when none is valid there."""
        fileno = self.fileno
        head = os.pread(fileno, record.COMMIT_HEADER, position)
        header = record.decode_commit(self.salt, position, head)
        if header is None:
            return None
        crc, at = 0, position + record.COMMIT_HEADER
        content_end = at + header.content_length
        while at < content_end:
            piece = os.pread(fileno, min(SCAN_BYTES, content_end - at), at)
            if not piece:
                return None
            crc = record.crc32c(crc, piece)
            at += len(piece)
        encoded = os.pread(fileno, header.registers_length, at) if header.registers_length else b""
        if record.crc32c(crc, encoded) != header.crc:
            return None
        if not encoded:
            return header, None
        return header, register_rules.decode(encoded, str(self.path))

    def search(self, position: int, end: int) -> tuple[int, int] | None:
        """Find a valid commit from `position` on that begins behind journal offset `end`.

        Returns its position and its begin.
        """
        fileno = self.fileno
        while block := os.pread(fileno, SCAN_BYTES, position):
            at = block.find(record.COMMIT_MAGIC)
            while at >= 0:
                found = self.commit_at(position + at) if at % 8 == 0 else None
                if found is not None and found[0].begin > end:
                    return position + at, found[0].begin
                at = block.find(record.COMMIT_MAGIC, at + 1)
            position += len(block) if len(block) < SCAN_BYTES else SCAN_BYTES
        return None

    def write(self, parts: Sequence[Buffer], total: int, position: int) -> None:
        """Write `parts`, of `total` bytes, and wait until they are on disk."""
        if len(parts) <= _IOV_MAX:
            try:
                # One system call: each one is a hand-over of the interpreter lock.
                if os.pwritev(self.fileno, parts, position, os.RWF_DSYNC) == total:
                    return
            except OSError as error:
                if error.errno not in (95, 22, 38):  # EOPNOTSUPP, EINVAL, ENOSYS: not known here
                    raise
        self._write_all(b"".join(parts), position)
        self.sync()

    def rewrite(self, start: int, stop: int) -> None:
        """Write the bytes from `start` to `stop` once more; `sync` makes them durable."""
        while start < stop:
            piece = os.pread(self.fileno, min(SCAN_BYTES, stop - start), start)
            self._write_all(piece, start)
            start += len(piece)

    def write_zeros(self, position: int, length: int) -> None:
        """Write up to ZERO_STEP bytes of zeros; `sync` makes them durable."""
        self._write_all(_ZEROS[:length], position)

    def sync(self) -> None:
        os.fdatasync(self.fileno)

    def write_header(self, header: record.SpoolHeader) -> None:
        self._write_all(record.encode_header(header), 0)

    def _write_all(self, content: bytes, position: int) -> None:
        view = memoryview(content)
        while view:
            written = os.pwrite(self.fileno, view, position)
            view = view[written:]
            position += written


def read_header(path: Path) -> record.SpoolHeader:
    """The header of the spool file at `path`.

    Blocks. Raises DamageError when the header is not what was written, UsageError when it is of a
    newer format, OSError.
    """
    file = SpoolFile(path, os.O_RDONLY)
    head = os.pread(file.fileno, record.HEADER_ALIGN, 0)
    more = record.header_length(head)
    if more > len(head):
        head = os.pread(file.fileno, more, 0)
    return record.decode_header(head, str(path))


def write_new(path: Path, header: record.SpoolHeader, size: int) -> None:
    """Write a spool file (new, or used before) with `header`, `size` bytes at least, and sync it.

    Blocks; raises OSError. The header goes in and is on disk before anything else may.
    """
    file = SpoolFile(path, os.O_RDWR | os.O_CREAT)
    file.write_header(header)
    length = file.length()
    while length < size:
        step = min(ZERO_STEP, size - length)
        file.write_zeros(length, step)
        length += step
    os.fsync(file.fileno)
