"""Spool: the open or complete, not yet persisted fragment of a journal, as one local file.

Nothing here waits for anybody: `prepare` says what to write where, `write_commit` writes it (in a
thread that may block), and `take` makes it visible.
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
from recfs.broker.spool_file import SCAN_BYTES, ZERO_STEP, SpoolFile, read_header
from recfs.errors import DamageError
from recfs.journal.model import Buffer, LabelSet

_JOIN_BELOW = 4096


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
        self._file = SpoolFile(path, os.O_RDWR if writable else os.O_RDONLY, header.salt)
        self.zeroed = self._file.length()

    @classmethod
    def open(cls, path: Path, journal: str, *, writable: bool) -> Spool:
        """Open a spool file; its commits are found by `scan`.

        Raises DamageError when the header is not what was written, UsageError when it is of a newer
        format, OSError.
        """
        header = read_header(path)
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
        self._file.close()

    # -- finding what is there --

    def scan(self, limit: int | None, acknowledged: int) -> None:
        """Take the commits that stand behind `position`, up to journal offset `limit`.

        `acknowledged` is the offset up to which commits are known to have been acknowledged. An
        invalid commit below it, or with a valid one behind it, is damage: the table keeps the range
        as damaged, and reading it raises DamageError. Any other is a torn tail and is dropped.
        """
        while limit is None or self.end < limit:
            found = self._file.commit_at(self.position)
            if found is not None and found[0].begin == self.end:
                header, registers = found
                if limit is not None and header.end > limit:
                    break  # not the commit that was acknowledged
                self._add(header.begin, self.position, header.end, header.total_length, registers)
                continue
            later = self._file.search(self.position + 8, self.end)
            if later is not None and (limit is None or later[1] < limit):
                self._add_damage(later[1], later[0] - self.position)
                continue
            break
        if self.end < acknowledged:
            self._add_damage(acknowledged, 0)

    def check_identity(self) -> None:
        """Raise SpoolReplacedError when the file has become another spool's."""
        self._file.check_identity()

    @property
    def damage(self) -> DamageError | None:
        """The first damage that `scan` found."""
        return self._damage_error(min(self._damaged)) if self._damaged else None

    def _add_damage(self, end: int, length: int) -> None:
        self._file.check_identity()
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
            span=(self._begins[index], end),
        )

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
        self._file.write(pending.parts, pending.total_length, pending.position)

    def rewrite(self, begin: int) -> None:
        """Write the commits from journal offset `begin` on again, and sync. Blocks; raises OSError.

        Makes durable what another process left in the page cache: after a failed sync the kernel
        may take such pages for clean.
        """
        for index in range(bisect_right(self._begins, begin - 1), len(self._begins)):
            start = self._positions[index]
            stop = self._positions[index + 1] if index + 1 < len(self._begins) else self.position
            self._file.rewrite(start, stop)
        self._file.sync()

    def take(self, pending: PendingCommit) -> None:
        """Make visible what `write_commit` has written."""
        end = self.end + pending.content_length
        self._add(self.end, pending.position, end, pending.total_length, pending.registers)

    def grow(self, capacity: int) -> None:
        """Write zeros ahead, one step, up to `capacity` bytes of file. Blocks; raises OSError."""
        step = min(ZERO_STEP, capacity - self.zeroed)
        self._file.write_zeros(self.zeroed, step)
        self._file.sync()
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
        file = self._file  # kept open for the length of this call
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
        block = os.pread(file.fileno, stop - start, start)
        file.check_identity()
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
            found = self._file.commit_at(position)
            if found is None or found[0].begin != begin:
                self._file.check_identity()
                raise self._damage_error(index)
            stop = min(found[0].end, end)
            while begin < stop:
                piece = self.read(begin, min(SCAN_BYTES, stop - begin))
                yield piece
                begin += len(piece)


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
