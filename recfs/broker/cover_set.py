"""Cover set: fragments of one journal, none of which is contained in another.

Ordered by begin and by end at once, so all begins are distinct and all ends are distinct.
Fragments may overlap. The rules are those of Gazette's `fragment/cover_set.go`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from recfs.journal.model import Fragment


class CoverSet:
    """An ordered set of fragments. Its invariant is kept by `add`, the only way in."""

    __slots__ = ("_begins", "_ends", "_members")

    def __init__(self, fragments: Iterable[Fragment] = ()) -> None:
        self._members: list[Fragment] = []
        self._begins: list[int] = []
        self._ends: list[int] = []
        for fragment in fragments:
            self.add(fragment)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Fragment]:
        return iter(self._members)

    def __getitem__(self, index: int) -> Fragment:
        return self._members[index]

    @property
    def begin(self) -> int:
        """Offset of the first byte covered; 0 when empty."""
        return self._begins[0] if self._begins else 0

    @property
    def end(self) -> int:
        """Offset behind the last byte covered; 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def add(self, fragment: Fragment) -> bool:
        """Add `fragment`, replacing what it covers; False when it changed nothing.

        An empty fragment and one that a larger member covers are refused. One of equal extent
        replaces the member.
        """
        if fragment.begin == fragment.end:
            return False
        # Members contained in the new one are a run: begin >= its begin and end <= its end.
        first = bisect_left(self._begins, fragment.begin)
        last = bisect_right(self._ends, fragment.end)
        if last < first:
            return False  # the member before begins earlier and ends later
        if last == first and first < len(self._begins) and self._begins[first] == fragment.begin:
            return False  # the member that begins here ends later
        if first > 0 and self._ends[first - 1] == fragment.end:
            return False  # the member before begins earlier and ends here
        self._members[first:last] = [fragment]
        self._begins[first:last] = [fragment.begin]
        self._ends[first:last] = [fragment.end]
        return True

    def lookup(self, offset: int) -> tuple[int, bool]:
        """Find the member that covers `offset` and reaches furthest.

        Returns its index and True, or, when none covers it, the index of the next member (or the
        length of the set) and False.
        """
        index = bisect_right(self._begins, offset)
        if index and self._ends[index - 1] > offset:
            return index - 1, True
        return index, False

    def difference(self, other: CoverSet) -> CoverSet:
        """The members of this set that no contiguous run of members of `other` covers."""
        return CoverSet(member for member in self._members if not other.covers(member))

    def covers(self, fragment: Fragment) -> bool:
        """Whether every byte of `fragment` is in some member."""
        offset = fragment.begin
        while offset < fragment.end:
            index, found = self.lookup(offset)
            if not found:
                return False
            offset = self._ends[index]
        return True
