"""The FSM: Gazette's checklist first, then what the extensions add."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.hints import FnodeSegments, FSMHints
from recfs.recoverylog.namespace import Directory, File, Special, Symlink
from recfs.recoverylog.segment import Segment

from .logs import (
    AUTHOR,
    LOG,
    OTHER,
    Scribe,
    create,
    everything,
    link,
    links_of,
    mkdir,
    prop,
    segments_of,
    unlink,
    write,
)

OK = Outcome.OK
NOT_TRACKED = Outcome.FNODE_NOT_TRACKED


def start() -> tuple[FSM, Scribe]:
    return FSM(LOG), Scribe()


# Gazette's rules.


def test_a_fresh_fsm_accepts_from_seq_1_and_checksum_0_and_notes_the_log() -> None:
    fsm, scribe = start()
    for wrong in (pb.RecordedOp(seq_no=2, author=AUTHOR), pb.RecordedOp(author=AUTHOR)):
        assert fsm.apply(wrong, b"", first_offset=0, last_offset=1) is Outcome.WRONG_SEQ_NO
    bad = pb.RecordedOp(seq_no=1, checksum=5, author=AUTHOR)
    assert fsm.apply(bad, b"", first_offset=0, last_offset=1) is Outcome.CHECKSUM_MISMATCH
    op = scribe.op(**create(b"/a"))
    body = op.SerializeToString()
    assert fsm.apply(op, body, first_offset=0, last_offset=9, log="other/log") is OK
    assert (fsm.next_seq_no, fsm.last_log, fsm.last_author) == (2, "other/log", AUTHOR)
    assert fsm.end_offset == 9


def test_a_create_of_an_existing_path_does_not_advance_and_a_retry_works() -> None:
    fsm, scribe = start()
    assert scribe.apply(fsm, 10, 20, **create(b"/a")) is OK
    before = everything(fsm)
    assert scribe.apply(fsm, 20, 30, **create(b"/a")) is Outcome.LINK_EXISTS
    assert everything(fsm) == before
    assert scribe.apply(fsm, 20, 30, **create(b"/b")) is OK
    assert links_of(fsm) == {b"/a": 1, b"/b": 2}
    assert segments_of(fsm, 1) == [(AUTHOR, 1, 1, 10, 20)]
    assert segments_of(fsm, 2) == [(AUTHOR, 2, 2, 20, 30)]


def test_a_create_or_link_at_the_path_of_a_property_is_refused() -> None:
    fsm, scribe = start()
    assert scribe.apply(fsm, **prop(b"/p", b"x")) is OK
    assert scribe.apply(fsm, **create(b"/p")) is Outcome.PROPERTY_EXISTS
    assert scribe.apply(fsm, **create(b"/a")) is OK
    assert scribe.apply(fsm, **link(2, b"/p")) is Outcome.PROPERTY_EXISTS
    assert links_of(fsm) == {b"/a": 2}


def test_a_link_to_an_existing_path_is_refused_even_for_an_unknown_fnode() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a"))
    assert scribe.apply(fsm, **link(1, b"/a")) is Outcome.LINK_EXISTS
    assert scribe.apply(fsm, **link(99, b"/a")) is Outcome.LINK_EXISTS


def test_a_link_of_an_unknown_fnode_advances_without_effect() -> None:
    fsm, scribe = start()
    assert scribe.apply(fsm, **link(99, b"/a")) is NOT_TRACKED
    assert (fsm.next_seq_no, links_of(fsm)) == (2, {})


def test_a_new_author_begins_a_segment_and_the_same_one_extends_it() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, 10, 20, **create(b"/a"))
    scribe.apply(fsm, 20, 30, **link(1, b"/b"))
    scribe.author = OTHER
    checksum = fsm.next_checksum
    scribe.apply(fsm, 30, 40, **link(1, b"/c"))
    scribe.apply(fsm, 40, 50, **link(1, b"/d"))
    assert segments_of(fsm, 1) == [(AUTHOR, 1, 2, 10, 30), (OTHER, 3, 4, 30, 50)]
    node = fsm.nodes[1]
    assert isinstance(node, File)
    assert node.segments[1].first_checksum == checksum


def test_an_unlink_of_a_wrong_path_or_fnode_is_refused() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a"))
    scribe.apply(fsm, **create(b"/b"))
    before = everything(fsm)
    assert scribe.apply(fsm, **unlink(1, b"/c")) is Outcome.NO_SUCH_LINK
    assert scribe.apply(fsm, **unlink(1, b"/b")) is Outcome.NO_SUCH_LINK
    assert everything(fsm) == before


def test_an_unlink_of_an_unknown_fnode_advances_without_effect() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a"))
    assert scribe.apply(fsm, **unlink(99, b"/a")) is NOT_TRACKED
    assert links_of(fsm) == {b"/a": 1}
    assert fsm.next_seq_no == 3


def test_a_file_lives_until_its_last_link_and_hints_shrink_to_nothing() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a"))
    scribe.apply(fsm, **link(1, b"/b"))
    scribe.apply(fsm, **unlink(1, b"/a"))
    assert links_of(fsm) == {b"/b": 1}
    assert len(fsm.build_hints().live_nodes) == 1
    scribe.apply(fsm, **unlink(1, b"/b"))
    assert links_of(fsm) == {}
    assert fsm.nodes == {}
    assert fsm.build_hints() == FSMHints(LOG)
    assert scribe.apply(fsm, **write(1, 0, 5)) is NOT_TRACKED


def test_properties_are_added_and_overwritten_but_not_over_a_file() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a"))
    assert scribe.apply(fsm, **prop(b"/a", b"x")) is Outcome.LINK_EXISTS
    assert scribe.apply(fsm, **prop(b"/p", b"x")) is OK
    assert scribe.apply(fsm, **prop(b"/p", b"y")) is OK
    assert fsm.properties == {b"/p": b"y"}


def test_writes_extend_segments_and_size_and_unknown_ones_advance() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, 10, 20, **create(b"/a"))
    assert scribe.apply(fsm, 20, 30, **write(1, 100, 50)) is OK
    assert scribe.apply(fsm, 30, 40, **write(1, 0, 50)) is OK
    assert scribe.apply(fsm, 40, 50, **write(1, 500, 0)) is OK
    assert scribe.apply(fsm, 50, 60, **write(7, 0, 50)) is NOT_TRACKED
    node = fsm.nodes[1]
    assert isinstance(node, File)
    assert node.size == 150
    assert segments_of(fsm, 1) == [(AUTHOR, 1, 4, 10, 50)]
    assert fsm.next_seq_no == 6


def test_an_operation_without_action_is_a_sequenced_no_op() -> None:
    fsm, scribe = start()
    assert scribe.apply(fsm) is OK
    assert fsm.next_seq_no == 2


def test_an_unknown_field_is_part_of_the_chain() -> None:
    """What a newer recfs or Gazette adds must not break the chain here."""
    fsm, scribe = start()
    body = scribe.op(**create(b"/a")).SerializeToString() + bytes([0x98, 0x06, 0x01])  # field 99
    op = pb.RecordedOp.FromString(body)
    assert fsm.apply(op, body, first_offset=0, last_offset=1) is OK
    assert fsm.next_checksum == crc32c(body)


# Hints.


def segment(
    author: int, first: int, last: int, offset: int, checksum: int = 0, log: str = ""
) -> Segment:
    return Segment(author, first, offset, checksum, last, 0, log)


def test_an_fsm_from_hints_begins_at_their_first_segment() -> None:
    hints = FSMHints(
        LOG,
        [
            FnodeSegments(42, [segment(AUTHOR, 42, 43, 100, 0xABCD)]),
            FnodeSegments(44, [segment(AUTHOR, 44, 44, 300, 0xEF)]),
        ],
        {b"/p": b"x"},
    )
    fsm = FSM(LOG, hints)
    assert (fsm.next_seq_no, fsm.next_checksum, fsm.properties) == (42, 0xABCD, {b"/p": b"x"})
    early = pb.RecordedOp(seq_no=41, checksum=0, author=AUTHOR)
    assert fsm.apply(early, b"", first_offset=0, last_offset=1) is Outcome.WRONG_SEQ_NO
    scribe = Scribe(seq_no=42, checksum=0xABCD)
    assert scribe.apply(fsm, 110, 140, **create(b"/a")) is OK
    assert scribe.apply(fsm, 140, 160, **write(42, 0, 5)) is OK
    # Observed offsets replace the hinted bounds.
    assert segments_of(fsm, 42) == [(AUTHOR, 42, 43, 110, 160)]


def test_a_create_behind_the_hinted_ones_is_not_made_before_the_hints_end() -> None:
    hints = FSMHints(LOG, [FnodeSegments(2, [segment(AUTHOR, 2, 4, 0)])])
    fsm = FSM(LOG, hints)
    scribe = Scribe(seq_no=2)
    assert scribe.apply(fsm, **create(b"/hinted")) is OK
    assert scribe.apply(fsm, **create(b"/dead")) is NOT_TRACKED
    assert scribe.apply(fsm, **write(2, 0, 5)) is OK
    assert not fsm.hinted
    assert scribe.apply(fsm, **create(b"/behind")) is OK
    assert links_of(fsm) == {b"/hinted": 2, b"/behind": 5}


def test_a_create_that_is_not_hinted_advances_and_a_later_hinted_one_is_made() -> None:
    recorded, scribe = start()
    scribe.apply(recorded, **create(b"/1"))
    scribe.apply(recorded, **create(b"/2"))
    hints = FSMHints(
        LOG,
        [
            FnodeSegments(1, [segment(AUTHOR, 1, 2, 0)]),
            FnodeSegments(3, [segment(AUTHOR, 3, 3, 0, recorded.next_checksum)]),
        ],
    )
    fsm, scribe = FSM(LOG, hints), Scribe()
    assert scribe.apply(fsm, **create(b"/1")) is OK
    assert scribe.apply(fsm, **create(b"/2")) is NOT_TRACKED
    assert scribe.apply(fsm, **create(b"/3")) is OK
    assert links_of(fsm) == {b"/1": 1, b"/3": 3}


def test_another_operation_where_a_hinted_fnode_should_be_created_is_refused() -> None:
    fsm = FSM(LOG, FSMHints(LOG, [FnodeSegments(1, [segment(AUTHOR, 1, 1, 0)])]))
    scribe = Scribe()
    for action in (write(1, 0, 1), link(1, b"/a"), unlink(1, b"/a"), prop(b"/p", b""), {}):
        before = everything(fsm)
        assert scribe.apply(fsm, **action) is Outcome.EXPECTED_HINTED_FNODE
        assert everything(fsm) == before
    assert scribe.apply(fsm, **create(b"/a")) is OK


def test_hinted_authors_choose_the_branch_and_gaps_are_skipped() -> None:
    """Segments by three authors with gaps; the rebuilt hints equal the ones given."""
    hints = FSMHints(
        LOG,
        [
            FnodeSegments(
                1,
                [
                    Segment(100, 1, 10, 0, 2, 20),
                    Segment(200, 7, 70, 0xA, 8, 80),
                    Segment(300, 20, 200, 0xB, 20, 210),
                ],
            )
        ],
    )
    fsm = FSM(LOG, hints)
    first = Scribe(100)
    rogue = Scribe(999)
    assert rogue.apply(fsm, **create(b"/rogue")) is Outcome.NOT_HINTED_AUTHOR
    assert first.apply(fsm, 10, 15, **create(b"/a")) is OK
    assert first.apply(fsm, 15, 20, **write(1, 0, 5)) is OK
    # In the gap: neither the first author nor the next one can go on at sequence number 3.
    assert first.apply(fsm, 20, 25, **write(1, 5, 5)) is Outcome.NOT_HINTED_AUTHOR
    assert Scribe(200, seq_no=6, checksum=9).apply(fsm, **write(1)) is Outcome.WRONG_SEQ_NO
    assert Scribe(200, seq_no=7, checksum=9).apply(fsm, **write(1)) is Outcome.CHECKSUM_MISMATCH
    second = Scribe(200, seq_no=7, checksum=0xA)
    assert second.apply(fsm, 70, 75, **write(1, 0, 5)) is OK
    assert second.apply(fsm, 75, 80, **write(1, 5, 5)) is OK
    third = Scribe(300, seq_no=20, checksum=0xB)
    assert third.apply(fsm, 200, 210, **write(1, 10, 5)) is OK
    assert fsm.build_hints() == hints
    # Behind the hints anyone may go on.
    anyone = Scribe(999, seq_no=21, checksum=fsm.next_checksum)
    assert anyone.apply(fsm, **link(1, b"/b")) is OK


def test_segments_of_another_log_keep_its_name_in_hints() -> None:
    fsm, scribe = start()
    op = scribe.op(**create(b"/a"))
    fsm.apply(op, op.SerializeToString(), first_offset=5, last_offset=9, log="old/log")
    scribe = Scribe(OTHER, seq_no=2, checksum=fsm.next_checksum)
    scribe.apply(fsm, 0, 7, **write(1, 0, 5))
    hints = fsm.build_hints()
    assert [each.log for each in hints.live_nodes[0].segments] == ["old/log", ""]
    hints.validate()
    _, segments = hints.flatten()
    assert [each.log for each in segments] == ["old/log", LOG]


# Extensions.


def with_tree() -> tuple[FSM, Scribe]:
    """/dir (with /dir/file, fnode 2), /empty, /link (4), /fifo (5), /file (6)."""
    fsm, scribe = start()
    for action in (
        mkdir(b"/dir", 0o750),
        create(b"/dir/file"),
        mkdir(b"/empty"),
        {"symlink": pb.Symlink(path=b"/link", target=b"dir/file", uid=1, gid=2)},
        {"mknod": pb.Mknod(path=b"/fifo", mode=stat.S_IFIFO | 0o600, uid=1, gid=2)},
        {"create": pb.Create(path=b"/file", mode=0o100640, uid=3, gid=4)},
    ):
        assert scribe.apply(fsm, **action) is OK
    return fsm, scribe


def rename(source: bytes, target: bytes, exchange: bool = False) -> dict[str, Any]:
    return {"rename": pb.Rename(source=source, target=target, exchange=exchange)}


def test_the_nodes_of_the_extensions_have_type_and_attributes() -> None:
    fsm, _ = with_tree()
    resolve = fsm.namespace.resolve
    directory, symlink = resolve(b"/dir"), resolve(b"/link")
    fifo, file, plain = resolve(b"/fifo"), resolve(b"/file"), resolve(b"/dir/file")
    assert isinstance(directory, Directory)
    assert (directory.id, directory.mode, directory.implied) == (0, stat.S_IFDIR | 0o750, False)
    assert isinstance(symlink, Symlink)
    assert (symlink.id, symlink.target, symlink.mode) == (4, b"dir/file", stat.S_IFLNK | 0o777)
    assert isinstance(fifo, Special)
    assert (fifo.id, fifo.mode, fifo.uid) == (5, stat.S_IFIFO | 0o600, 1)
    assert isinstance(file, File)
    assert (file.id, file.mode, file.uid, file.gid) == (6, stat.S_IFREG | 0o640, 3, 4)
    assert isinstance(plain, File)
    assert (plain.mode, plain.uid, plain.gid) == (None, None, None)


def test_only_files_are_hinted() -> None:
    """A stock player would find no create at the number of a symlink."""
    fsm, _ = with_tree()
    assert [each.fnode for each in fsm.build_hints().live_nodes] == [2, 6]


def test_a_directory_rename_takes_everything_beneath_along() -> None:
    fsm, scribe = with_tree()
    assert scribe.apply(fsm, **rename(b"/dir", b"/empty/moved")) is OK
    assert links_of(fsm)[b"/empty/moved/file"] == 2
    assert fsm.namespace.resolve(b"/dir") is None


def test_a_directory_rename_replaces_an_empty_directory() -> None:
    fsm, scribe = with_tree()
    assert scribe.apply(fsm, **rename(b"/dir", b"/empty")) is OK
    assert links_of(fsm)[b"/empty/file"] == 2


def test_an_exchange_swaps_nodes_of_any_kind() -> None:
    fsm, scribe = with_tree()
    assert scribe.apply(fsm, **rename(b"/dir/file", b"/link", exchange=True)) is OK
    assert links_of(fsm) == {b"/dir/file": 4, b"/link": 2, b"/fifo": 5, b"/file": 6}
    assert scribe.apply(fsm, **rename(b"/dir", b"/file", exchange=True)) is OK
    assert links_of(fsm) == {b"/file/file": 4, b"/link": 2, b"/fifo": 5, b"/dir": 6}


def test_attributes_are_set_one_by_one() -> None:
    fsm, scribe = with_tree()
    for change in (
        pb.SetAttr(fnode=6, mode=0o600, mtime_ns=-5),
        pb.SetAttr(fnode=6, uid=0),
        pb.SetAttr(path=b"/dir", gid=9, atime_ns=7),
        pb.SetAttr(path=b"/", mode=0o700),
    ):
        assert scribe.apply(fsm, set_attr=change) is OK
    file, directory = fsm.nodes[6], fsm.namespace.resolve(b"/dir")
    assert (file.mode, file.uid, file.gid, file.mtime_ns) == (stat.S_IFREG | 0o600, 0, 4, -5)
    assert isinstance(directory, Directory)
    assert (directory.mode, directory.gid, directory.atime_ns) == (stat.S_IFDIR | 0o750, 9, 7)
    assert fsm.namespace.root.mode == stat.S_IFDIR | 0o700


def test_xattrs_truncation_and_allocation_have_their_effect() -> None:
    fsm, scribe = with_tree()
    file = fsm.nodes[6]
    assert isinstance(file, File)
    xattr = pb.SetXattr(fnode=6, name=b"user.\xff", value=b"\0")
    assert scribe.apply(fsm, set_xattr=xattr) is OK
    assert file.xattrs == {b"user.\xff": b"\0"}
    assert scribe.apply(fsm, remove_xattr=pb.RemoveXattr(fnode=6, name=b"user.\xff")) is OK
    assert file.xattrs == {}
    assert scribe.apply(fsm, truncate=pb.Truncate(fnode=6, size=100)) is OK
    assert file.size == 100
    allocate = pb.Allocate(fnode=6, offset=50, length=100)
    assert scribe.apply(fsm, allocate=allocate) is OK
    assert file.size == 150
    allocate.mode, allocate.length = 1, 1000
    assert scribe.apply(fsm, allocate=allocate) is OK
    assert file.size == 150
    assert segments_of(fsm, 6)[0][:3] == (AUTHOR, 6, scribe.seq_no - 1)


def test_an_owner_mark_gives_the_volume_and_other_marks_give_nothing() -> None:
    fsm, scribe = start()
    for kind, text, volume in (
        (pb.Mark.OWNER, '{"volume": "v1"}', "v1"),
        (pb.Mark.HEARTBEAT, '{"volume": "v2"}', "v1"),
        (pb.Mark.OWNER, "not JSON", "v1"),
        (pb.Mark.OWNER, '{"volume": 5}', "v1"),
        (pb.Mark.OWNER, "[" * 100_000, "v1"),
        (pb.Mark.OWNER, '{"volume": "v3"}', "v3"),
    ):
        assert scribe.apply(fsm, mark=pb.Mark(kind=kind, text=text)) is OK
        assert fsm.volume == volume


REJECTED: list[tuple[dict[str, Any], Outcome]] = [
    (create(b"/file"), Outcome.LINK_EXISTS),
    (create(b"/dir"), Outcome.LINK_EXISTS),
    (create(b"/file/x"), Outcome.NOT_A_DIRECTORY),
    (create(b"relative"), Outcome.BAD_PATH),
    (create(b"/a//b"), Outcome.BAD_PATH),
    (create(b"/a/../b"), Outcome.BAD_PATH),
    (create(b"/./b"), Outcome.BAD_PATH),
    (create(b"/a/"), Outcome.BAD_PATH),
    (create(b"/a\0"), Outcome.BAD_PATH),
    (create(b"/" + b"x" * 256), Outcome.BAD_PATH),
    (create(b"/"), Outcome.BAD_PATH),
    (create(b""), Outcome.BAD_PATH),
    (link(6, b"/dir"), Outcome.LINK_EXISTS),
    (link(6, b"//"), Outcome.BAD_PATH),
    (unlink(6, b"/dir"), Outcome.NO_SUCH_LINK),
    (unlink(6, b""), Outcome.NO_SUCH_LINK),
    (write(4, 0, 5), Outcome.BAD_OPERATION),
    (write(6, -1, 5), Outcome.BAD_OPERATION),
    (write(6, 0, -1), Outcome.BAD_OPERATION),
    (write(6, 2**63 - 1, 1), Outcome.BAD_OPERATION),
    (prop(b"/dir", b""), Outcome.LINK_EXISTS),
    (prop(b"", b""), Outcome.BAD_PATH),
    (mkdir(b"/dir"), Outcome.LINK_EXISTS),
    (mkdir(b"/file/x"), Outcome.NOT_A_DIRECTORY),
    (mkdir(b"/"), Outcome.BAD_PATH),
    ({"rmdir": pb.Rmdir(path=b"/dir")}, Outcome.NOT_EMPTY),
    ({"rmdir": pb.Rmdir(path=b"/none")}, Outcome.NO_SUCH_NODE),
    ({"rmdir": pb.Rmdir(path=b"/file")}, Outcome.NOT_A_DIRECTORY),
    ({"rmdir": pb.Rmdir(path=b"/")}, Outcome.BAD_PATH),
    ({"symlink": pb.Symlink(path=b"/file", target=b"x")}, Outcome.LINK_EXISTS),
    ({"symlink": pb.Symlink(path=b"/new", target=b"")}, Outcome.BAD_OPERATION),
    ({"symlink": pb.Symlink(path=b"/new", target=b"\0")}, Outcome.BAD_OPERATION),
    ({"mknod": pb.Mknod(path=b"/file", mode=stat.S_IFIFO)}, Outcome.LINK_EXISTS),
    ({"mknod": pb.Mknod(path=b"/new", mode=stat.S_IFREG)}, Outcome.BAD_OPERATION),
    (rename(b"/none", b"/new"), Outcome.NO_SUCH_NODE),
    (rename(b"/dir", b"/none/new"), Outcome.NO_SUCH_NODE),
    (rename(b"/dir", b"/dir"), Outcome.BAD_OPERATION),
    (rename(b"/dir", b"/dir/inside"), Outcome.BAD_OPERATION),
    (rename(b"/dir", b"/file"), Outcome.NOT_A_DIRECTORY),
    (rename(b"/empty", b"/dir"), Outcome.NOT_EMPTY),
    (rename(b"/file", b"/new"), Outcome.NOT_A_DIRECTORY),
    (rename(b"/dir", b"new"), Outcome.BAD_PATH),
    (rename(b"/", b"/new"), Outcome.BAD_PATH),
    (rename(b"/dir", b"/none", exchange=True), Outcome.NO_SUCH_NODE),
    (rename(b"/dir", b"/dir/file", exchange=True), Outcome.BAD_OPERATION),
    (rename(b"/dir/file", b"/dir", exchange=True), Outcome.BAD_OPERATION),
    ({"truncate": pb.Truncate(fnode=6, size=-1)}, Outcome.BAD_OPERATION),
    ({"truncate": pb.Truncate(fnode=4, size=1)}, Outcome.BAD_OPERATION),
    ({"allocate": pb.Allocate(fnode=6, offset=0, length=0)}, Outcome.BAD_OPERATION),
    ({"allocate": pb.Allocate(fnode=6, offset=0, length=1, mode=8)}, Outcome.BAD_OPERATION),
    ({"allocate": pb.Allocate(fnode=4, offset=0, length=1)}, Outcome.BAD_OPERATION),
    ({"set_attr": pb.SetAttr(path=b"/file", mode=1)}, Outcome.NOT_A_DIRECTORY),
    ({"set_attr": pb.SetAttr(path=b"/none", mode=1)}, Outcome.NO_SUCH_NODE),
    ({"set_attr": pb.SetAttr(path=b"/dir", fnode=6)}, Outcome.BAD_OPERATION),
    ({"set_attr": pb.SetAttr(mode=1)}, Outcome.BAD_PATH),
    ({"set_xattr": pb.SetXattr(fnode=6, name=b"")}, Outcome.BAD_OPERATION),
    ({"remove_xattr": pb.RemoveXattr(fnode=6, name=b"user.none")}, Outcome.NO_SUCH_NODE),
    ({"author": 0}, Outcome.BAD_OPERATION),
    ({"author": 0, **create(b"/new")}, Outcome.BAD_OPERATION),
]


@pytest.mark.parametrize(
    ("action", "outcome"), REJECTED, ids=[f"{n}-{case[1].name}" for n, case in enumerate(REJECTED)]
)
def test_on_a_rejection_nothing_happened(action: dict[str, Any], outcome: Outcome) -> None:
    fsm, scribe = with_tree()
    before = everything(fsm)
    assert scribe.apply(fsm, **action) is outcome
    assert everything(fsm) == before


@pytest.mark.parametrize(
    "action",
    [
        {"truncate": pb.Truncate(fnode=99, size=1)},
        {"allocate": pb.Allocate(fnode=99, length=1)},
        {"set_attr": pb.SetAttr(fnode=99, mode=1)},
        {"set_xattr": pb.SetXattr(fnode=99, name=b"user.x")},
        {"remove_xattr": pb.RemoveXattr(fnode=99, name=b"user.x")},
        link(99, b"/new"),
        unlink(99, b"/file"),
        write(99, 0, 1),
    ],
)
def test_an_unknown_fnode_advances_the_chain_only(action: dict[str, Any]) -> None:
    fsm, scribe = with_tree()
    before = everything(fsm)
    assert scribe.apply(fsm, **action) is NOT_TRACKED
    after = everything(fsm)
    assert after.pop("chain") != before.pop("chain")
    assert after == before


def partial() -> tuple[FSM, Scribe]:
    """An FSM behind its hints: it knows /known/file (fnode 10), and no other node that exists."""
    fsm = FSM(LOG, FSMHints(LOG, [FnodeSegments(10, [segment(AUTHOR, 10, 10, 0)])]))
    scribe = Scribe(seq_no=10)
    assert scribe.apply(fsm, **create(b"/known/file")) is OK
    assert not fsm.hinted
    return fsm, scribe


@pytest.mark.parametrize(
    "action",
    [
        {"rmdir": pb.Rmdir(path=b"/unknown")},
        {"rmdir": pb.Rmdir(path=b"/known")},
        {"rmdir": pb.Rmdir(path=b"/known/file")},
        rename(b"/unknown", b"/new"),
        rename(b"/known", b"/unknown/new"),
        rename(b"/known", b"/unknown", exchange=True),
        mkdir(b"/known/file"),
        mkdir(b"/known/file/x"),
        {"symlink": pb.Symlink(path=b"/known/file", target=b"x")},
        {"mknod": pb.Mknod(path=b"/known/file", mode=stat.S_IFIFO)},
        {"set_attr": pb.SetAttr(path=b"/unknown", mode=1)},
        {"set_attr": pb.SetAttr(path=b"/known/file", mode=1)},
        {"set_xattr": pb.SetXattr(path=b"/unknown", name=b"user.x")},
        {"remove_xattr": pb.RemoveXattr(fnode=10, name=b"user.x")},
    ],
)
def test_behind_hints_what_is_not_known_advances_the_chain_only(action: dict[str, Any]) -> None:
    fsm, scribe = partial()
    before = everything(fsm)
    assert scribe.apply(fsm, **action) is NOT_TRACKED
    after = everything(fsm)
    assert after.pop("chain") != before.pop("chain")
    assert after == before


def test_behind_hints_what_is_known_has_its_effect() -> None:
    fsm, scribe = partial()
    assert scribe.apply(fsm, **rename(b"/known", b"/new")) is OK
    assert scribe.apply(fsm, **mkdir(b"/deep/er/dir")) is OK
    assert scribe.apply(fsm, **mkdir(b"/new/dir")) is OK
    assert links_of(fsm) == {b"/new/file": 10}
    assert isinstance(fsm.namespace.resolve(b"/deep/er/dir"), Directory)


def test_while_hints_are_replayed_nodes_of_the_extensions_are_not_made() -> None:
    """They may have died in a gap, and would then stand in the way of a hinted file."""
    fsm = FSM(LOG, FSMHints(LOG, [FnodeSegments(1, [segment(AUTHOR, 1, 3, 0)])]))
    scribe = Scribe()
    assert scribe.apply(fsm, **create(b"/a")) is OK
    assert scribe.apply(fsm, symlink=pb.Symlink(path=b"/b", target=b"a")) is NOT_TRACKED
    assert scribe.apply(fsm, **mkdir(b"/c")) is NOT_TRACKED
    assert links_of(fsm) == {b"/a": 1}


# Implied directories.


def test_parents_that_were_never_made_are_implied() -> None:
    fsm, scribe = start()
    assert scribe.apply(fsm, **create(b"/a/b/c")) is OK
    for path in (b"/a", b"/a/b"):
        directory = fsm.namespace.resolve(path)
        assert isinstance(directory, Directory)
        assert (directory.implied, directory.mode) == (True, stat.S_IFDIR | 0o755)


def test_an_implied_directory_gives_way_once_no_file_is_in_it() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a/b/c"))
    assert scribe.apply(fsm, **create(b"/a")) is Outcome.LINK_EXISTS
    scribe.apply(fsm, **unlink(1, b"/a/b/c"))
    assert scribe.apply(fsm, **create(b"/a")) is OK
    assert links_of(fsm) == {b"/a": 3}


def test_mkdir_makes_an_implied_directory_explicit_and_keeps_what_is_in_it() -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a/b/c"))
    scribe.apply(fsm, **unlink(1, b"/a/b/c"))
    assert scribe.apply(fsm, **mkdir(b"/a", 0o700)) is OK
    directory = fsm.namespace.resolve(b"/a")
    assert isinstance(directory, Directory)
    assert (directory.implied, directory.mode) == (False, stat.S_IFDIR | 0o700)
    assert isinstance(fsm.namespace.resolve(b"/a/b"), Directory)
    assert scribe.apply(fsm, **create(b"/a")) is Outcome.LINK_EXISTS


@pytest.mark.parametrize(
    "change",
    [
        {"set_attr": pb.SetAttr(path=b"/a", mode=0o700)},
        {"set_xattr": pb.SetXattr(path=b"/a", name=b"user.x")},
    ],
)
def test_attributes_make_an_implied_directory_explicit(change: dict[str, Any]) -> None:
    fsm, scribe = start()
    scribe.apply(fsm, **create(b"/a/b"))
    scribe.apply(fsm, **unlink(1, b"/a/b"))
    assert scribe.apply(fsm, **change) is OK
    assert scribe.apply(fsm, **create(b"/a")) is Outcome.LINK_EXISTS


def test_names_need_not_be_utf_8() -> None:
    fsm, scribe = start()
    assert scribe.apply(fsm, **mkdir(b"/\xff\xfe")) is OK
    assert scribe.apply(fsm, **create(b"/\xff\xfe/\x80\n")) is OK
    assert scribe.apply(fsm, **rename(b"/\xff\xfe", b"/\xc3")) is OK
    assert links_of(fsm) == {b"/\xc3/\x80\n": 2}
