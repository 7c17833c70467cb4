"""Index: which fragment, persisted or local, holds an offset of a journal.

The query rules are those of Gazette's `fragment/index.go`.
"""

from __future__ import annotations

from collections.abc import Iterable

from recfs.broker.cover_set import CoverSet
from recfs.journal.model import Fragment

#: Age, in seconds, at which a gap is taken for final: nobody uploads what is missing any more.
GAP_SETTLED_SECONDS = 6 * 3600


class Index:
    """The persisted and the local fragments of one journal.

    Fragments are told apart by `mod_time`: 0 while only local. `gap_settled` is the age in seconds
    from which a read jumps over missing bytes; 0 where the listing is known to be complete.
    """

    def __init__(self, *, gap_settled: float = GAP_SETTLED_SECONDS) -> None:
        self._gap_settled = gap_settled
        self._persisted = CoverSet()
        self._local = CoverSet()
        self._all = CoverSet()

    @property
    def begin(self) -> int:
        return self._all.begin

    @property
    def end(self) -> int:
        return self._all.end

    @property
    def persisted(self) -> CoverSet:
        return self._persisted

    def fragments(self) -> list[Fragment]:
        return list(self._all)

    def replace_persisted(self, fragments: Iterable[Fragment]) -> None:
        """Take a new listing of the stores; local fragments that it covers are dropped."""
        self._persisted = CoverSet(fragments)
        self._combine()

    def replace_local(self, fragments: Iterable[Fragment]) -> None:
        self._local = CoverSet(fragments)
        self._combine()

    def extend_local(self, fragment: Fragment) -> None:
        """Add a local fragment, or a longer form of the last one: the cheap way for each commit."""
        self._local.add(fragment)
        self._all.add(fragment)

    def add_persisted(self, fragment: Fragment) -> None:
        """Add one that was just stored, in place of the local one of the same extent."""
        self._persisted.add(fragment)
        self._local = self._local.difference(self._persisted)
        self._all.add(fragment)

    def _combine(self) -> None:
        self._local = self._local.difference(self._persisted)
        self._all = CoverSet((*self._persisted, *self._local))

    def query(
        self, offset: int, *, now: float, begin_mod_time: int = 0
    ) -> tuple[int, Fragment | None]:
        """Find the fragment to read `offset` (-1: the write head) from.

        Returns the offset to go on at, which is larger than asked after a jump, and the fragment,
        or None when the reader has to wait. A jump over missing bytes is made only to a persisted
        fragment that is the first of the journal or old enough (`gap_settled`), because a younger
        gap may still be filled; with `gap_settled` 0 every gap is final. Persisted fragments
        older than `begin_mod_time` (Unix seconds) are skipped.
        """
        members = self._all
        if offset == -1:
            offset = members.end
        while True:
            index, found = members.lookup(offset)
            if not found:
                if index == len(members):
                    return offset, None
                fragment = members[index]
                if self._gap_settled > 0 and (
                    fragment.mod_time == 0
                    or (index > 0 and fragment.mod_time > now - self._gap_settled)
                ):
                    return offset, None
                offset = fragment.begin
            fragment = members[index]
            if fragment.mod_time == 0 or fragment.mod_time >= begin_mod_time:
                return offset, fragment
            offset = fragment.end
