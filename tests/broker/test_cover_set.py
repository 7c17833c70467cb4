"""Cover set and index: which fragment holds an offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recfs.broker.cover_set import CoverSet
from recfs.broker.index import Index
from recfs.journal.model import Fragment


def fragment(begin: int, end: int, *, mod_time: int = 0, store: str = "") -> Fragment:
    return Fragment("a/journal", begin, end, bytes(20), "none", mod_time, store)


def cover(*ranges: tuple[int, int]) -> CoverSet:
    return CoverSet(fragment(*item) for item in ranges)


def ranges(members: CoverSet) -> list[tuple[int, int]]:
    return [(item.begin, item.end) for item in members]


BASE = ((100, 150), (149, 201), (200, 250), (250, 300))


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        # at the end: behind, exactly behind, with an overlap, replacing by a longer one
        ((350, 400), [*BASE, (350, 400)]),
        ((300, 400), [*BASE, (300, 400)]),
        ((299, 400), [*BASE, (299, 400)]),
        ((250, 400), [*BASE[:3], (250, 400)]),
        ((250, 300), [*BASE]),
        ((249, 300), [*BASE[:3], (249, 300)]),
        ((200, 300), [*BASE[:2], (200, 300)]),
        ((199, 300), [*BASE[:2], (199, 300)]),
        ((50, 400), [(50, 400)]),
        # in the middle
        ((150, 200), None),
        ((149, 200), None),
        ((150, 201), None),
        ((149, 201), [*BASE]),
        ((148, 202), [BASE[0], (148, 202), *BASE[2:]]),
        ((120, 230), [BASE[0], (120, 230), *BASE[2:]]),
        ((100, 250), [(100, 250), BASE[3]]),
        ((99, 251), [(99, 251), BASE[3]]),
        # at the start
        ((50, 80), [(50, 80), *BASE]),
        ((50, 100), [(50, 100), *BASE]),
        ((50, 149), [(50, 149), *BASE]),
        ((50, 150), [(50, 150), *BASE[1:]]),
        ((100, 149), None),
        ((101, 150), None),
        # empty
        ((50, 50), None),
        ((400, 400), None),
    ],
)
def test_adding_replaces_what_is_covered_and_refuses_what_covers_nothing_new(
    added: tuple[int, int], expected: list[tuple[int, int]] | None
) -> None:
    members = cover(*BASE)
    assert members.add(fragment(*added)) is (expected is not None)
    assert ranges(members) == (list(BASE) if expected is None else expected)


def test_one_of_equal_extent_replaces_the_member() -> None:
    members = cover((0, 10))
    assert members.add(fragment(0, 10, mod_time=5))
    assert [item.mod_time for item in members] == [5]


def test_begin_and_end_are_those_of_the_whole_set() -> None:
    assert (CoverSet().begin, CoverSet().end) == (0, 0)
    members = cover(*BASE)
    assert (members.begin, members.end) == (100, 300)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0, (0, False)),
        (99, (0, False)),
        (100, (0, True)),
        (148, (0, True)),
        (149, (1, True)),  # of two that cover it, the one that reaches further
        (200, (2, True)),
        (299, (3, True)),
        (300, (4, False)),
        (10_000, (4, False)),
    ],
)
def test_lookup_finds_the_member_that_reaches_furthest(
    offset: int, expected: tuple[int, bool]
) -> None:
    assert cover(*BASE).lookup(offset) == expected


def test_lookup_in_a_hole_finds_the_next_member() -> None:
    assert cover((0, 10), (20, 30)).lookup(15) == (1, False)


def test_difference_keeps_what_no_run_covers() -> None:
    left = cover((0, 100), (100, 200), (210, 290), (300, 400), (500, 600))
    right = cover((0, 50), (50, 120), (150, 250), (240, 300), (300, 399), (450, 700))
    assert ranges(left.difference(right)) == [(100, 200), (300, 400)]
    assert ranges(left.difference(CoverSet())) == ranges(left)
    assert ranges(CoverSet().difference(left)) == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12))))
def test_a_cover_set_covers_what_was_added_and_contains_no_member_twice(
    items: list[tuple[int, int]],
) -> None:
    members = CoverSet()
    added: set[int] = set()
    for begin, length in items:
        members.add(fragment(begin, begin + length))
        added.update(range(begin, begin + length))
    assert {offset for item in members for offset in range(item.begin, item.end)} == added
    for before, after in zip(members, list(members)[1:], strict=False):
        assert before.begin < after.begin
        assert before.end < after.end
    for offset in range(54):
        index, found = members.lookup(offset)
        covering = [item for item in members if item.begin <= offset < item.end]
        assert found == bool(covering)
        if found:
            assert members[index].end == max(item.end for item in covering)


NOW = 1_000_000.0
HOUR = 3600


def persisted(begin: int, end: int, age: float = 0) -> Fragment:
    return fragment(begin, end, mod_time=int(NOW - age), store="file:///s/")


def test_an_index_finds_local_and_persisted_fragments() -> None:
    index = Index()
    index.replace_persisted([persisted(0, 100)])
    index.replace_local([fragment(100, 150)])
    index.extend_local(fragment(100, 160))
    assert (index.begin, index.end) == (0, 160)
    assert index.query(50, now=NOW) == (50, persisted(0, 100))
    assert index.query(155, now=NOW) == (155, fragment(100, 160))
    assert index.query(-1, now=NOW) == (160, None)
    assert index.query(160, now=NOW) == (160, None)


def test_persisted_fragments_replace_local_ones_that_they_cover() -> None:
    index = Index()
    index.replace_local([fragment(0, 100), fragment(100, 200)])
    index.replace_persisted([persisted(0, 100)])
    assert [item.mod_time > 0 for item in index.fragments()] == [True, False]
    index.add_persisted(persisted(100, 200))
    assert [item.mod_time > 0 for item in index.fragments()] == [True, True]
    index.replace_persisted([persisted(100, 200)])
    assert index.fragments() == [persisted(100, 200)]


def test_a_journal_without_its_first_bytes_is_read_from_what_is_left() -> None:
    index = Index()
    index.replace_persisted([persisted(100, 200)])
    assert index.query(0, now=NOW) == (100, persisted(100, 200))
    local = Index()
    local.replace_local([fragment(100, 200)])
    assert local.query(0, now=NOW) == (0, None)  # it may not be the first one persisted


@pytest.mark.parametrize(
    ("age", "jumps"), [(0.0, False), (6 * HOUR - 1, False), (6 * HOUR + 1, True)]
)
def test_a_hole_is_jumped_over_only_when_it_is_old(age: float, jumps: bool) -> None:
    index = Index()
    behind = persisted(200, 300, age)
    index.replace_persisted([persisted(0, 100, age), behind])
    assert index.query(150, now=NOW) == ((200, behind) if jumps else (150, None))


def test_every_hole_is_final_where_the_listing_is_complete() -> None:
    index = Index(gap_settled=0)
    index.replace_persisted([persisted(0, 100), persisted(200, 300)])
    index.replace_local([fragment(400, 500)])
    assert index.query(100, now=NOW) == (200, persisted(200, 300))
    assert index.query(300, now=NOW) == (400, fragment(400, 500))


def test_fragments_older_than_asked_for_are_skipped() -> None:
    index = Index()
    index.replace_persisted([persisted(0, 100, 50), persisted(100, 200, 10)])
    index.replace_local([fragment(200, 300)])
    since = int(NOW - 20)
    assert index.query(0, now=NOW, begin_mod_time=since) == (100, persisted(100, 200, 10))
    since = int(NOW)
    assert index.query(0, now=NOW, begin_mod_time=since) == (200, fragment(200, 300))
