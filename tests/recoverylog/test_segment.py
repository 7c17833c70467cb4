"""Segments and segment sets, case for case those that Gazette's segment_test.go covers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from recfs.errors import DamageError
from recfs.recoverylog.segment import Segment, SegmentSet, check_journal_name, reduce

A, B = "log/A", "log/B"


def seg(
    author: int, seqs: tuple[int, int], offsets: tuple[int, int], checksum: int = 0, log: str = A
) -> Segment:
    return Segment(author, seqs[0], offsets[0], checksum, seqs[1], offsets[1], log)


def model() -> list[Segment]:
    return [
        seg(0xA, (5, 10), (500, 1001)),
        seg(0xB, (11, 11), (1100, 1101)),
        seg(0xB, (13, 15), (1300, 1501)),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"author": 0}, "author is 0"),
        ({"first_seq_no": 0}, "first_seq_no"),
        ({"first_seq_no": -1}, "first_seq_no"),
        ({"first_offset": -1}, "first_offset"),
        ({"last_seq_no": 9}, "last_seq_no"),
        ({"first_offset": 100, "last_offset": 99}, "last_offset"),
        ({"log": ""}, "name"),
    ],
)
def test_a_segment_with_a_wrong_field_is_refused(change: dict[str, int], reason: str) -> None:
    good = Segment(0xFEFE, 10, 0, 0xABAB, 10, 1, "a/log")
    good.validate()
    with pytest.raises(DamageError, match=reason):
        replace(good, **change).validate()  # type: ignore[arg-type]


def test_a_segment_may_lack_its_last_offset() -> None:
    Segment(0xFEFE, 10, 0, 0xABAB, 10, 0, "a/log").validate()


@pytest.mark.parametrize(
    "name", ["db1", "", "/a/log", "a/log/", "a//log", "a/../log", "a b/c", "x" * 513]
)
def test_a_journal_name_that_gazette_refuses_is_refused(name: str) -> None:
    assert check_journal_name(name) is not None


@pytest.mark.parametrize("name", ["db1/log", "a/b-c_d+e.f=g%20", "größe/log", "x" * 512])
def test_a_journal_name_that_gazette_takes_is_taken(name: str) -> None:
    assert check_journal_name(name) is None


REDUCTIONS: list[tuple[str, Segment, Segment, Segment | str | None]] = [
    (
        "overlap",
        seg(1, (2, 7), (200, 700), 0x22),
        seg(1, (4, 9), (400, 901), 0x44),
        seg(1, (2, 9), (200, 901), 0x22),
    ),
    (
        "overlap, first offsets descend",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (4, 9), (100, 901), 0x44),
        "first offsets",
    ),
    (
        "overlap, last offsets descend",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (4, 9), (400, 700), 0x44),
        "last offsets",
    ),
    (
        "overlap, the preceding one has no last offset",
        seg(1, (2, 7), (200, 0), 0x22),
        seg(1, (4, 9), (400, 901), 0x44),
        "preceding segment has no last_offset",
    ),
    (
        "overlap of different authors",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(2, (4, 9), (400, 901), 0x44),
        "authors differ",
    ),
    (
        "overlap in different logs",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (4, 9), (400, 901), 0x44, B),
        "logs differ",
    ),
    (
        "covered",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (3, 6), (300, 0), 0x33),
        seg(1, (2, 7), (200, 701), 0x22),
    ),
    ("disjoint", seg(1, (2, 4), (200, 401), 0x22), seg(1, (6, 7), (600, 0), 0x66), None),
    (
        "equal on the right: a known last offset is preferred",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (4, 7), (400, 0), 0x44),
        seg(1, (2, 7), (200, 701), 0x22),
    ),
    (
        "equal on the right, last offsets conflict",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (4, 7), (400, 702), 0x44),
        "last offsets",
    ),
    (
        "equal on the left: the larger first offset is kept",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (2, 9), (210, 901), 0x22),
        seg(1, (2, 9), (210, 901), 0x22),
    ),
    (
        "equal on the left, checksums conflict",
        seg(1, (2, 7), (200, 701), 0x22),
        seg(1, (2, 9), (210, 901), 0xBAD),
        "first checksums differ",
    ),
    (
        "identity",
        seg(1, (2, 7), (190, 701), 0x22),
        seg(1, (2, 7), (200, 0), 0x22),
        seg(1, (2, 7), (200, 701), 0x22),
    ),
    (
        "adjacent",
        seg(1, (2, 4), (200, 401), 0x22),
        seg(1, (5, 7), (500, 701), 0x55),
        seg(1, (2, 7), (200, 701), 0x22),
    ),
    (
        "adjacent, different authors",
        seg(1, (2, 4), (200, 401), 0x22),
        seg(2, (5, 7), (500, 701), 0x55),
        None,
    ),
    (
        "adjacent, different logs",
        seg(1, (2, 4), (200, 401), 0x22),
        seg(1, (5, 7), (500, 701), 0x55, B),
        None,
    ),
    (
        "adjacent, different logs, no last offset",
        seg(1, (2, 4), (200, 0), 0x22),
        seg(1, (5, 7), (500, 0), 0x55, B),
        "in another log",
    ),
]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [case[1:] for case in REDUCTIONS],
    ids=[case[0] for case in REDUCTIONS],
)
def test_two_segments_are_reduced_alike_in_both_orders(
    a: Segment, b: Segment, expected: Segment | str | None
) -> None:
    for one, other in ((a, b), (b, a)):
        if isinstance(expected, str):
            with pytest.raises(DamageError, match=expected):
                reduce(one, other)
        else:
            assert reduce(one, other) == expected


def test_there_are_seventeen_reductions() -> None:
    assert len(REDUCTIONS) == 17


@pytest.mark.parametrize("seed", range(24))
class TestInsertionInRandomOrder:
    def insert(self, seed: int, into: list[Segment], segments: list[Segment]) -> list[Segment]:
        result = SegmentSet(into)
        random.Random(seed).shuffle(segments)
        for segment in segments:
            result.add(segment)
        return list(result)

    def test_of_the_model_gives_the_model(self, seed: int) -> None:
        assert self.insert(seed, [], model()) == model()

    def test_of_what_does_not_overlap_interleaves(self, seed: int) -> None:
        added = [
            seg(0xF, (1, 4), (100, 401)),
            seg(0xF, (12, 12), (1200, 1201)),
            seg(0xF, (16, 18), (1600, 1801)),
            seg(0xF, (19, 20), (20, 21), log=B),
        ]
        a, b, c = model()
        expected = [added[0], a, b, added[1], c, added[2], added[3]]
        assert self.insert(seed, model(), list(added)) == expected

    def test_of_what_overlaps_extends(self, seed: int) -> None:
        added = [
            seg(0xA, (1, 4), (100, 401)),
            seg(0xB, (12, 12), (1200, 1201)),
            seg(0xB, (16, 18), (1600, 0)),
        ]
        assert self.insert(seed, model(), added) == [
            seg(0xA, (1, 10), (100, 1001)),
            seg(0xB, (11, 18), (1100, 0)),
        ]

    def test_of_what_is_covered_changes_nothing(self, seed: int) -> None:
        added = [
            seg(0xA, (5, 9), (500, 0)),
            seg(0xA, (6, 10), (600, 0)),
            seg(0xB, (11, 11), (1100, 0)),
            seg(0xB, (13, 14), (1300, 0)),
            seg(0xB, (14, 15), (1400, 0)),
        ]
        assert self.insert(seed, model(), added) == model()

    def test_of_points_extends_by_points(self, seed: int) -> None:
        added = [
            seg(0xB, (16, 16), (1600, 1601)),
            seg(0xB, (17, 17), (1700, 1701)),
            seg(0xB, (18, 18), (1800, 1801)),
            seg(0xC, (19, 19), (1900, 0)),
            seg(0xC, (20, 20), (2000, 0)),
        ]
        a, b, _ = model()
        assert self.insert(seed, model(), added) == [
            a,
            b,
            seg(0xB, (13, 18), (1300, 1801)),
            seg(0xC, (19, 20), (1900, 0)),
        ]


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (seg(0xC, (4, 5), (400, 501)), "authors differ"),
        (seg(0xA, (10, 11), (1000, 1101)), "authors differ"),
        (seg(0xB, (10, 11), (1000, 1101)), "authors differ"),
        (seg(0xC, (15, 15), (1500, 1501)), "authors differ"),
        (seg(0xA, (4, 5), (400, 501), log="wrong"), "logs differ"),
        (seg(0xB, (12, 12), (1200, 0)), "preceding segment has no last_offset"),
        (seg(0xB, (12, 12), (1050, 1200)), "first offsets"),
        (seg(0xA, (3, 3), (300, 1050)), "last offsets"),
    ],
)
def test_a_segment_that_contradicts_the_set_is_refused_and_the_set_stays(
    segment: Segment, reason: str
) -> None:
    segments = SegmentSet(model())
    with pytest.raises(DamageError, match=reason):
        segments.add(segment)
    assert list(segments) == model()


INTERSECTIONS = [
    (0, 100000, 0, 3),
    (0, 500, 0, 0),
    (0, 501, 0, 1),
    (1000, 1001, 0, 1),
    (1000, 1100, 0, 1),
    (1000, 1101, 0, 2),
    (1000, 1300, 0, 2),
    (1000, 1301, 0, 3),
    (1000, 100000, 0, 3),
    (1001, 1001, 1, 1),
    (1001, 1100, 1, 1),
    (1001, 1101, 1, 2),
    (1100, 1101, 1, 2),
    (1101, 1101, 2, 2),
    (1101, 1300, 2, 2),
    (1101, 1301, 2, 3),
    (1300, 1301, 2, 3),
    (1300, 100000, 2, 3),
    (1500, 100000, 2, 3),
    (1501, 100000, 3, 3),
    (10000, 100000, 3, 3),
]


@pytest.mark.parametrize(("first", "last", "begin", "end"), INTERSECTIONS)
def test_an_intersection_is_half_open(first: int, last: int, begin: int, end: int) -> None:
    assert SegmentSet(model()).intersect(A, first, last) == model()[begin:end]


def test_there_are_twenty_one_intersections() -> None:
    assert len(INTERSECTIONS) == 21


def test_a_segment_without_last_offset_reaches_to_the_end() -> None:
    open_ended = seg(0xC, (20, 20), (2000, 0))
    segments = SegmentSet([*model(), open_ended])
    assert segments.intersect(A, 10**9, 10**9 + 1) == [open_ended]


def test_an_intersection_with_another_log_or_a_reversed_range_is_a_programmer_error() -> None:
    segments = SegmentSet(model())
    with pytest.raises(AssertionError):
        segments.intersect(B, 0, 1)
    with pytest.raises(AssertionError):
        segments.intersect(A, 1, 0)
