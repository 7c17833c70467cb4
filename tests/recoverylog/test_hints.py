"""Hints: consistency, and their three forms."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfs.errors import DamageError
from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.hints import FnodeSegments, FSMHints, build, decode, parse
from recfs.recoverylog.segment import Segment

from .logs import LOG

FEW = settings(max_examples=50, deadline=None, database=None)

OLD = "old/log"


def hints() -> FSMHints:
    return FSMHints(
        LOG,
        [
            FnodeSegments(
                2,
                [Segment(10, 2, 100, 0xA, 4, 400, OLD), Segment(11, 7, 50, 0xB, 9, 0)],
            ),
            FnodeSegments(3, [Segment(10, 3, 200, 0xC, 4, 400, OLD)]),
        ],
        {b"/IDENTITY": b"x", b"/\xff": b"\xfe"},
    )


def test_flattening_merges_segments_and_fills_in_the_log() -> None:
    fnodes, segments = hints().flatten()
    assert fnodes == [2, 3]
    assert list(segments) == [
        Segment(10, 2, 100, 0xA, 4, 400, OLD),
        Segment(11, 7, 50, 0xB, 9, 0, LOG),
    ]


def bad_last_log(each: FSMHints) -> None:
    each.live_nodes[0].segments.pop()


def bad_first_segment(each: FSMHints) -> None:
    each.live_nodes[0].fnode = 1


def bad_no_segment(each: FSMHints) -> None:
    each.live_nodes[0].segments.clear()


def bad_checksum(each: FSMHints) -> None:
    each.live_nodes[1].segments[0] = Segment(99, 3, 200, 0xC, 4, 400, OLD)


def bad_order(each: FSMHints) -> None:
    each.live_nodes.reverse()


def bad_log(each: FSMHints) -> None:
    each.log = ""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (bad_last_log, "last segment is of log"),
        (bad_first_segment, "no segment that begins with it"),
        (bad_no_segment, "no segment that begins with it"),
        (bad_checksum, "authors differ"),
        (bad_order, "stands behind"),
        (bad_log, "no log"),
    ],
)
def test_inconsistent_hints_are_refused(spoil: Any, reason: str) -> None:
    spoiled = hints()
    spoil(spoiled)
    with pytest.raises(DamageError, match=reason) as caught:
        spoiled.flatten()
    assert caught.value.attempt


def test_an_fsm_refuses_inconsistent_hints() -> None:
    spoiled = hints()
    bad_order(spoiled)
    with pytest.raises(DamageError):
        FSM(LOG, spoiled)


def test_validation_refuses_a_segment_that_repeats_the_hints_log() -> None:
    hints().validate()
    repeated = hints()
    repeated.live_nodes[0].segments[1] = replace(repeated.live_nodes[0].segments[1], log=LOG)
    repeated.flatten()
    with pytest.raises(DamageError, match="repeats"):
        repeated.validate()


def test_validation_refuses_a_log_that_is_no_journal_name() -> None:
    with pytest.raises(DamageError, match="name"):
        FSMHints("a b").validate()


def test_an_fsm_goes_over_the_logs_of_its_hints() -> None:
    fsm = FSM(LOG, hints())
    assert [segment.log for segment in fsm.hinted] == [OLD, LOG]
    assert (fsm.next_seq_no, fsm.next_checksum, fsm.last_author) == (2, 0xA, 10)


def test_protobuf_is_gazettes() -> None:
    """Tags and order of the reference: log 0a; live_nodes 12; fnode 08, segments 12; fixed32s."""
    small = FSMHints("a/log", [FnodeSegments(1, [Segment(0x04D2, 1, 2, 0xA, 3, 4)])])
    assert small.to_message().SerializeToString().hex() == (
        "0a05" + b"a/log".hex() + "1216" + "0801" + "1212"
        "0dd2040000" + "1001" + "1802" + "250a000000" + "2803" + "3004"
    )


def test_protobuf_goes_both_ways() -> None:
    data = hints().to_message().SerializeToString()
    assert FSMHints.from_message(pb.FSMHints.FromString(data)) == hints()
    assert decode(data) == hints()


def test_json_has_gazettes_keys_and_plain_numbers() -> None:
    document = json.loads(hints().to_json())
    assert list(document) == ["log", "live_nodes", "properties"]
    assert document["live_nodes"][1] == {
        "fnode": 3,
        "segments": [
            {
                "author": 10,
                "first_seq_no": 3,
                "first_offset": 200,
                "first_checksum": 12,
                "last_seq_no": 4,
                "last_offset": 400,
                "log": OLD,
            }
        ],
    }
    assert "log" not in document["live_nodes"][0]["segments"][1]
    assert "last_offset" not in document["live_nodes"][0]["segments"][1]
    assert json.loads(FSMHints(LOG).to_json()) == {"log": LOG, "live_nodes": [], "properties": []}


def test_json_goes_both_ways_with_names_that_are_not_utf_8() -> None:
    assert FSMHints.from_json(hints().to_json()) == hints()
    assert decode(hints().to_json().encode()) == hints()


@pytest.mark.parametrize(
    "text",
    [
        '{"log": "a/log", "live_nodes": null, "properties": null}',
        '{"log": "a/log"}',
        '{"log": "a/log", "live_nodes": [], "extra": 1}',
    ],
)
def test_absent_and_null_lists_are_empty(text: str) -> None:
    assert FSMHints.from_json(text) == FSMHints("a/log")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '{"log": 5}',
        '{"live_nodes": {}}',
        '{"live_nodes": [5]}',
        '{"live_nodes": [{"fnode": "1"}]}',
        '{"live_nodes": [{"fnode": true}]}',
        '{"live_nodes": [{"fnode": 1, "segments": [{"author": -1}]}]}',
        '{"live_nodes": [{"fnode": 1, "segments": [{"author": 4294967296}]}]}',
        '{"live_nodes": [{"fnode": 9223372036854775808}]}',
        '{"properties": [{"path": 1}]}',
        '{"properties": [{"path": "\\ud800"}]}',
        "[" * 100_000,
    ],
)
def test_json_that_is_no_hints_is_refused(text: str) -> None:
    with pytest.raises(DamageError):
        FSMHints.from_json(text)


@pytest.mark.parametrize("data", [b"\xff", b"{\xff}", b"\x0a\x01\xff"])
def test_bytes_that_are_no_hints_are_refused(data: bytes) -> None:
    with pytest.raises(DamageError):
        decode(data)


@FEW
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_hints_or_damage(data: bytes) -> None:
    for read in (decode, parse, FSMHints.from_json):
        with suppress(DamageError):
            read(data)


def test_building_leaves_out_a_last_offset_behind_one_that_is_not_known() -> None:
    """As after recording, then playing on: the later offset is known, the earlier one is not."""
    built = build(LOG, [(7, [Segment(2, 7, 70, 0, 7, 80, LOG)]), (1, [Segment(1, 1, 0, 0, 3)])], {})
    assert [each.fnode for each in built.live_nodes] == [1, 7]
    assert [each.segments[0].last_offset for each in built.live_nodes] == [0, 0]
    built.validate()
