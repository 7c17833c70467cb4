"""Segments: runs of sequence numbers by one author, and where they stand in a log.

After Gazette's consumer/recoverylog/segment.go. (A segment is not a fragment: a fragment is a range
of a journal's bytes.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from recfs.errors import DamageError


@lru_cache(maxsize=64)
def check_journal_name(name: str) -> str | None:
    """Return what is wrong with a journal's name, None if nothing is.

    Gazette's rule: 4 to 512 bytes; letters, digits and "-_+/.=%"; a clean relative path.
    """
    if not 4 <= len(name.encode("utf-8", "surrogateescape")) <= 512:
        return "is not of 4 to 512 bytes"
    if not all(char.isalnum() or char in "-_+/.=%" for char in name):
        return "has characters other than letters, digits and -_+/.=%"
    if any(element in ("", ".", "..") for element in name.split("/")):
        return "is not a clean path"
    return None


@dataclass(slots=True)
class Segment:
    """Operations `first_seq_no` to `last_seq_no` (both included) of `author` in `log`.

    They stand in the bytes [first_offset, last_offset); first_offset is a lower bound, and
    last_offset is 0 while it is not known. `first_checksum` is the chain value before the first.
    """

    author: int
    first_seq_no: int
    first_offset: int
    first_checksum: int
    last_seq_no: int
    last_offset: int = 0
    log: str = ""

    def copy(self) -> Segment:
        """As dataclasses.replace, ten times as fast: hints have one segment and more per file."""
        return Segment(
            self.author,
            self.first_seq_no,
            self.first_offset,
            self.first_checksum,
            self.last_seq_no,
            self.last_offset,
            self.log,
        )

    def validate(self) -> None:
        """Raise DamageError if this cannot be a segment."""
        if self.author == 0:
            raise _invalid("the author is 0", self)
        if self.first_seq_no <= 0:
            raise _invalid("first_seq_no is not above 0", self)
        if self.first_offset < 0:
            raise _invalid("first_offset is below 0", self)
        if self.last_seq_no < self.first_seq_no:
            raise _invalid("last_seq_no is below first_seq_no", self)
        if self.last_offset != 0 and self.last_offset <= self.first_offset:
            raise _invalid("last_offset is not above first_offset", self)
        wrong = check_journal_name(self.log)
        if wrong is not None:
            raise _invalid(f"the log's name {wrong}", self)


def reduce(a: Segment, b: Segment) -> Segment | None:
    """Return the one segment that covers both, or None when they are apart (or merely neighbours).

    Symmetric. Raises DamageError where the two cannot both be true of one history. The order of
    the checks is Gazette's, so that the same pair is refused for the same reason.
    """
    if (a.first_seq_no, -a.last_seq_no) > (b.first_seq_no, -b.last_seq_no):
        a, b = b, a
    # Now `a` begins first, or both begin together and `a` is at least as long.
    earlier = a.first_seq_no < b.first_seq_no
    same_log = a.log == b.log

    if earlier and same_log and a.first_offset > b.first_offset:
        raise _invalid("first offsets do not ascend", a, b)
    if earlier and a.last_offset == 0 and b.last_offset != 0:
        raise _invalid("the preceding segment has no last_offset", a, b)
    if a.last_offset == 0 and not same_log:
        raise _invalid("a segment without last_offset precedes one in another log", a, b)
    if same_log and (
        (a.last_seq_no <= b.last_seq_no and 0 != b.last_offset < a.last_offset)
        or (a.last_seq_no >= b.last_seq_no and 0 != a.last_offset < b.last_offset)
    ):
        raise _invalid("last offsets do not ascend", a, b)
    if a.first_seq_no == b.first_seq_no and a.first_checksum != b.first_checksum:
        raise _invalid("first checksums differ", a, b)

    gap = b.first_seq_no - a.last_seq_no
    if gap > 1 or (gap == 1 and (a.author != b.author or not same_log)):
        return None
    if a.author != b.author:
        raise _invalid("authors differ in an overlap", a, b)
    if not same_log:
        raise _invalid("logs differ in an overlap", a, b)

    merged = a.copy()
    if a.first_seq_no == b.first_seq_no:
        merged.first_offset = max(a.first_offset, b.first_offset)  # the tighter lower bound
    if a.last_seq_no == b.last_seq_no and a.last_offset == 0:
        merged.last_offset = b.last_offset
    if a.last_seq_no < b.last_seq_no:
        merged.last_seq_no = b.last_seq_no
        merged.last_offset = b.last_offset
    return merged


class SegmentSet:
    """Segments in order, merged where they touch. Kept by `add`:

    1. Sequence numbers strictly ascend and no two segments overlap.
    2. Within one log, first offsets ascend, and so do last offsets.
    3. Only a suffix has no last_offset.
    """

    __slots__ = ("_segments",)

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self._segments: list[Segment] = []
        for segment in segments:
            self.add(segment)

    def add(self, segment: Segment) -> None:
        """Take `segment` in. Raises DamageError, with the set unchanged, if it does not fit."""
        segment.validate()
        segments = self._segments
        begin = bisect_left(segments, segment.first_seq_no, key=attrgetter("first_seq_no"))
        merged = segment.copy()
        if begin > 0:
            reduced = reduce(segments[begin - 1], merged)
            if reduced is not None:
                merged = reduced
                begin -= 1
        end = begin
        while end < len(segments):
            reduced = reduce(segments[end], merged)
            if reduced is None:
                break
            merged = reduced
            end += 1
        segments[begin:end] = [merged]

    def intersect(self, log: str, first: int, last: int) -> list[Segment]:
        """Return the segments that overlap the bytes [first, last). All must be of `log`."""
        assert first <= last
        assert all(segment.log == log for segment in self._segments)
        segments = self._segments
        end = bisect_left(segments, last, key=attrgetter("first_offset"))
        begin = end
        while begin > 0 and (
            segments[begin - 1].last_offset == 0 or segments[begin - 1].last_offset > first
        ):
            begin -= 1
        return segments[begin:end]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, index: int) -> Segment:
        return self._segments[index]


def _invalid(reason: str, *segments: Segment) -> DamageError:
    shown = " and ".join(
        f"[author {segment.author:#x}, seq {segment.first_seq_no}..{segment.last_seq_no}, "
        f"offset {segment.first_offset}..{segment.last_offset}, log {segment.log!r}]"
        for segment in segments
    )
    return DamageError(
        f"hints are not consistent: {reason}: {shown}",
        "restore without hints: the log itself is enough",
        where=segments[0].log,
        offset=segments[0].first_offset,
    )
