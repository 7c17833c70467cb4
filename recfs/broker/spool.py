"""Spool: the open or complete, not yet persisted fragment of a journal, as one local file.

The file is written ahead with zeros, so that the sync of a commit finds its blocks in place and
writes no metadata. Nothing here waits for anybody: `Spool` says what to write where, `write_commit`
writes it (in a thread that may block), and `take` makes it visible.

A spool file may be used again once its content is persisted. Readers without a lock therefore
check, after they have read, that the file's salt is still the one they know: its next user writes
the new header before anything else.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recfs.broker import record
from recfs.broker import registers as register_rules
from recfs.errors import DamageError
from recfs.journal.model import Buffer, LabelSet

_SCAN_BYTES = 1 << 20
_IOV_MAX = 1000
_JOIN_BELOW = 4096
ZERO_STEP = 1 << 20
_ZEROS = bytes(ZERO_STEP)


class SpoolReplacedError(Exception):
    """The file is in use for another spool by now: look where the content has gone."""


class _Descriptor:
    """A file descriptor that is closed with its last user, also when that is a reading thread."""

    __slots__ = ("fileno",)

    def __init__(self, path: Path, flags: int) -> None:
        self.fileno = -1
        self.fileno = os.open(path, flags | os.O_CLOEXEC)

    def close(self) -> None:
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1

    __del__ = close


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """A commit on its way to the file: where it stands and what `Spool.take` will make of it."""

    position: int
    parts: list[Buffer]
    content_length: int
    total_length: int
    registers: LabelSet | None


class Spool:
    """One spool file and the table of its commits.

    Invariants: `begin + sum of content lengths == end`, `position` is where the next commit goes;
    what the table holds is on disk and was acknowledged or may be.
    """

    def __init__(self, path: Path, header: record.SpoolHeader, *, writable: bool) -> None:
        self.path = path
        self.number = header.number
        self.salt = header.salt
        self.begin = header.begin
        self.end = header.begin
        self.previous_end = header.previous_end
        self.registers: LabelSet = header.registers
        self.position = header.length
        self.suspect = False  # a write or sync failed: what the file holds behind `end` is in doubt
        self._begins = array("Q")  # of commits, as journal offsets
        self._positions = array("Q")  # of commits in the file; 0: damaged
        self._damaged: dict[int, int] = {}  # where in the file the damaged entries stand
        self._descriptor = _Descriptor(path, os.O_RDWR if writable else os.O_RDONLY)
        self.zeroed = os.fstat(self._descriptor.fileno).st_size

    @classmethod
    def open(cls, path: Path, journal: str, *, writable: bool) -> Spool:
        """Open a spool file; its commits are found by `scan`.

        Raises DamageError when the header is not what was written, UsageError when it is of a newer
        format, OSError.
        """
        descriptor = _Descriptor(path, os.O_RDONLY)
        head = os.pread(descriptor.fileno, record.HEADER_ALIGN, 0)
        more = record.header_length(head)
        if more > len(head):
            head = os.pread(descriptor.fileno, more, 0)
        header = record.decode_header(head, str(path))
        if header.journal != journal:
            raise DamageError(
                f"{path}: is a spool of journal {header.journal}, not {journal}",
                "was the directory moved? put it back",
                where=str(path),
                offset=0,
            )
        return cls(path, header, writable=writable)

    def close(self) -> None:
        """Close the file now, and not with its last user. Nobody may be using it."""
        self._descriptor.close()

    # -- finding what is there --

    def scan(self, limit: int | None, acknowledged: int) -> None:
        """Take the commits that stand behind `position`, up to journal offset `limit`.

        `acknowledged` is the offset up to which commits are known to have been acknowledged. An
        invalid commit below it, or with a valid one behind it, is damage: the table keeps the range
        as damaged, and reading it raises DamageError. Any other is a torn tail and is dropped.
        """
        while limit is None or self.end < limit:
            found = self._commit_at(self.position)
            if found is not None and found[0].begin == self.end:
                header, registers = found
                if limit is not None and header.end > limit:
                    break  # not the commit that was acknowledged
                self._add(header.begin, self.position, header.end, header.total_length, registers)
                continue
            later = self._search(self.position + 8)
            if later is not None and (limit is None or later[1] < limit):
                self._add_damage(later[1], later[0] - self.position)
                continue
            break
        if self.end < acknowledged:
            self._add_damage(acknowledged, 0)

    @property
    def damage(self) -> DamageError | None:
        """The first damage that `scan` found."""
        return self._damage_error(min(self._damaged)) if self._damaged else None

    def _add_damage(self, end: int, length: int) -> None:
        self.check_identity()
        self._damaged[len(self._begins)] = self.position
        self._add(self.end, 0, end, length, None)

    def _damage_error(self, index: int) -> DamageError:
        end = self._begins[index + 1] if index + 1 < len(self._begins) else self.end
        return DamageError(
            f"{self.path}: the bytes of journal offsets {self._begins[index]} to {end} are not "
            "what was written",
            "keep a copy of the directory; what precedes and follows can still be read",
            where=str(self.path),
            offset=self._damaged.get(index, self._positions[index]),
        )

    def _commit_at(self, position: int) -> tuple[record.CommitHeader, LabelSet | None] | None:
        """The commit at `position` with the registers it sets, or None when none is valid there."""
        fileno = self._descriptor.fileno
        head = os.pread(fileno, record.COMMIT_HEADER, position)
        header = record.decode_commit(self.salt, position, head)
        if header is None:
            return None
        crc, at = 0, position + record.COMMIT_HEADER
        content_end = at + header.content_length
        while at < content_end:
            piece = os.pread(fileno, min(_SCAN_BYTES, content_end - at), at)
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

    def _search(self, position: int) -> tuple[int, int] | None:
        """Find a valid commit behind `position`: its position and its begin."""
        fileno = self._descriptor.fileno
        while block := os.pread(fileno, _SCAN_BYTES, position):
            at = block.find(record.COMMIT_MAGIC)
            while at >= 0:
                found = self._commit_at(position + at) if at % 8 == 0 else None
                if found is not None and found[0].begin > self.end:
                    return position + at, found[0].begin
                at = block.find(record.COMMIT_MAGIC, at + 1)
            position += len(block) if len(block) < _SCAN_BYTES else _SCAN_BYTES
        return None

    def check_identity(self) -> None:
        """Raise SpoolReplacedError when the file has become another spool's."""
        head = os.pread(self._descriptor.fileno, 32, 0)
        if head[16:32] != self.salt:
            raise SpoolReplacedError

    # -- committing --

    def prepare(
        self, content: Sequence[Buffer], size: int, registers: LabelSet | None
    ) -> PendingCommit:
        """Lay out a commit of `content` (`size` bytes), which sets `registers` unless None."""
        encoded = b"" if registers is None else register_rules.encode(registers)
        head, tail = record.encode_commit(
            self.salt, self.position, self.end, content, size, encoded
        )
        parts = _joined(head, content, tail)
        total = record.COMMIT_HEADER + size + len(tail)
        return PendingCommit(self.position, parts, size, total, registers)

    def write_commit(self, pending: PendingCommit) -> None:
        """Write `pending` and wait until it is on disk. Blocks; raises OSError."""
        fileno = self._descriptor.fileno
        parts, position = pending.parts, pending.position
        if len(parts) <= _IOV_MAX:
            try:
                # One system call: each one is a hand-over of the interpreter lock.
                if os.pwritev(fileno, parts, position, os.RWF_DSYNC) == pending.total_length:
                    return
            except OSError as error:
                if error.errno not in (95, 22, 38):  # EOPNOTSUPP, EINVAL, ENOSYS: not known here
                    raise
        flat = b"".join(parts)
        _write_all(fileno, flat, position)
        os.fdatasync(fileno)

    def rewrite(self, begin: int) -> None:
        """Write the commits from journal offset `begin` on again, and sync. Blocks; raises OSError.

        Makes durable what another process left in the page cache: after a failed sync the kernel
        may take such pages for clean.
        """
        fileno = self._descriptor.fileno
        for index in range(bisect_right(self._begins, begin - 1), len(self._begins)):
            start = self._positions[index]
            stop = self._positions[index + 1] if index + 1 < len(self._begins) else self.position
            while start < stop:
                piece = os.pread(fileno, min(_SCAN_BYTES, stop - start), start)
                _write_all(fileno, piece, start)
                start += len(piece)
        os.fdatasync(fileno)

    def take(self, pending: PendingCommit) -> None:
        """Make visible what `write_commit` has written."""
        end = self.end + pending.content_length
        self._add(self.end, pending.position, end, pending.total_length, pending.registers)

    def grow(self, capacity: int) -> None:
        """Write zeros ahead, one step, up to `capacity` bytes of file. Blocks; raises OSError."""
        step = min(ZERO_STEP, capacity - self.zeroed)
        _write_all(self._descriptor.fileno, _ZEROS[:step], self.zeroed)
        os.fdatasync(self._descriptor.fileno)
        self.zeroed += step

    def _add(
        self, begin: int, position: int, end: int, length: int, registers: LabelSet | None
    ) -> None:
        # Readers in other threads look at `end` first, so it moves last.
        self._begins.append(begin)
        self._positions.append(position)
        self.position += length
        self.zeroed = max(self.zeroed, self.position)
        if registers is not None:
            self.registers = registers
        self.end = end

    # -- reading --

    def read(self, offset: int, length: int) -> bytes:
        """Return 1 to `length` bytes from journal offset `offset`, begin <= offset < end.

        Raises DamageError, SpoolReplacedError, OSError. Blocks.
        """
        descriptor = self._descriptor  # keeps the file open for the length of this call
        end = min(self.end, offset + length)
        assert self.begin <= offset < end
        first = bisect_right(self._begins, offset) - 1
        last = bisect_right(self._begins, end - 1) - 1
        if 0 in self._positions[first : last + 1]:
            if self._positions[first] == 0:
                raise self._damage_error(first)
            last = first + self._positions[first : last + 1].index(0) - 1
            end = self._begins[last + 1]
        start = self._positions[first] + record.COMMIT_HEADER + offset - self._begins[first]
        stop = self._positions[last] + record.COMMIT_HEADER + end - self._begins[last]
        block = os.pread(descriptor.fileno, stop - start, start)
        self.check_identity()
        if len(block) != stop - start:
            raise DamageError(
                f"{self.path}: is shorter than it was written",
                "keep a copy of the directory; what precedes can still be read",
                where=str(self.path),
                offset=start + len(block),
            )
        if first == last:
            return block
        view = memoryview(block)
        pieces = [view[: self._begins[first + 1] - offset]]
        for index in range(first + 1, last + 1):
            at = self._positions[index] + record.COMMIT_HEADER - start
            following = self._begins[index + 1] if index < last else end
            pieces.append(view[at : at + following - self._begins[index]])
        return b"".join(pieces)

    def verified(self, end: int) -> Iterator[bytes]:
        """The content from `begin` to `end`, each commit checked as it is read.

        Raises DamageError when a commit is not valid any more, SpoolReplacedError. Blocks.
        """
        for index in range(bisect_right(self._begins, end - 1)):
            position, begin = self._positions[index], self._begins[index]
            if position == 0:
                raise self._damage_error(index)
            found = self._commit_at(position)
            if found is None or found[0].begin != begin:
                self.check_identity()
                raise self._damage_error(index)
            stop = min(found[0].end, end)
            while begin < stop:
                piece = self.read(begin, min(_SCAN_BYTES, stop - begin))
                yield piece
                begin += len(piece)


def write_new(path: Path, header: record.SpoolHeader, size: int) -> None:
    """Write a spool file (new, or used before) with `header`, `size` bytes at least, and sync it.

    Blocks; raises OSError. The header goes in and is on disk before anything else may.
    """
    descriptor = _Descriptor(path, os.O_RDWR | os.O_CREAT)
    encoded = record.encode_header(header)
    _write_all(descriptor.fileno, encoded, 0)
    length = os.fstat(descriptor.fileno).st_size
    while length < size:
        step = min(ZERO_STEP, size - length)
        _write_all(descriptor.fileno, _ZEROS[:step], length)
        length += step
    os.fsync(descriptor.fileno)


def _write_all(fileno: int, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fileno, view, position)
        view = view[written:]
        position += written


def _joined(head: bytes, content: Sequence[Buffer], tail: bytes) -> list[Buffer]:
    """The parts of one pwritev: runs of small buffers joined, because each part has its price."""
    if len(content) <= 4:
        return [head, *content, tail] if tail else [head, *content]
    parts: list[Buffer] = []
    run: list[Buffer] = [head]
    for buffer in content:
        if len(buffer) < _JOIN_BELOW:
            run.append(buffer)
            continue
        if run:
            parts.append(b"".join(run) if len(run) > 1 else run[0])
            run = []
        parts.append(buffer)
    if tail:
        run.append(tail)
    if run:
        parts.append(b"".join(run) if len(run) > 1 else run[0])
    return parts
