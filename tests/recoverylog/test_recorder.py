"""The Recorder: which operations a change becomes, and that a mistake changes nothing."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.describe import describe
from recfs.recoverylog.framing import Frame, Unframer
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.namespace import Directory, File
from recfs.recoverylog.recorder import WRITE_MAX, Recorder, RecorderError, handoff

from .logs import AUTHOR, LOG, OTHER, everything, links_of, segments_of

FEW = settings(max_examples=60, deadline=None, database=None)


class Recording:
    """A Recorder, and a place to make mistakes on: /dir, /dir/b (fnode 2), /a (3), /link (4)."""

    def __init__(self) -> None:
        self.now = 0
        self.recorder = Recorder(FSM(LOG), AUTHOR, lambda: self.now)
        self.fsm = self.recorder.fsm
        self.recorder.mkdir(b"/dir", 0o755, 1, 2)
        self.b = self.recorder.create(b"/dir/b", 0o644, 1, 2)[1]
        self.a = self.recorder.create(b"/a", 0o644, 1, 2)[1]
        self.symlink = self.recorder.symlink(b"/link", b"a", 1, 2)[1]


@pytest.fixture
def on() -> Recording:
    return Recording()


def ops(frames: bytes) -> list[pb.RecordedOp]:
    unframer = Unframer(pb.RecordedOp.FromString)
    unframer.feed(frames)
    found = []
    while (frame := unframer.next()) is not None:
        assert isinstance(frame, Frame)
        found.append(frame.message)
    assert unframer.held == 0
    return found


def words(frames: bytes) -> list[str]:
    return [describe(op) for op in ops(frames)]


def test_new_files_are_creates_in_one_chain(on: Recording) -> None:
    frames, file = on.recorder.create(b"/new", 0o100600, 3, 4)
    [op] = ops(frames)
    assert describe(op) == "create path /new mode 600 uid 3 gid 4"
    assert (op.seq_no, op.author, op.more) == (5, AUTHOR, False)
    assert (file.id, file.mode, file.size) == (5, stat.S_IFREG | 0o600, 0)
    assert on.fsm.namespace.resolve(b"/new") is file


def test_the_first_offset_follows_what_is_committed(on: Recording) -> None:
    on.recorder.committed(500)
    _, file = on.recorder.create(b"/new", 0o600, 0, 0)
    on.recorder.committed(800)
    on.recorder.write(file, 0, b"x")
    assert segments_of(on.fsm, file.id) == [(AUTHOR, 5, 6, 500, 0)]
    with pytest.raises(AssertionError):
        on.recorder.committed(799)


def test_a_recorder_goes_on_from_where_the_log_was_played_to(on: Recording) -> None:
    on.fsm.end_offset = 12345
    recorder = Recorder(on.fsm, OTHER, lambda: 0)
    _, file = recorder.create(b"/new", 0o600, 0, 0)
    assert segments_of(on.fsm, file.id) == [(OTHER, 5, 5, 12345, 0)]


def test_removed_files_leave_no_hints(on: Recording) -> None:
    assert words(on.recorder.unlink(on.a, b"/a")) == ["unlink fnode 3 path /a"]
    on.recorder.unlink(on.b, b"/dir/b")
    assert on.fsm.build_hints().live_nodes == []


def test_truncation_on_open_is_one_group_of_unlink_and_create(on: Recording) -> None:
    frames, fresh = on.recorder.recreate(on.a, b"/a", 0o600, 1, 2)
    assert words(frames) == ["unlink fnode 3 path /a", "create path /a mode 600 uid 1 gid 2"]
    assert [op.more for op in ops(frames)] == [True, False]
    assert (fresh.id, fresh.size) == (6, 0)
    assert [each.fnode for each in on.fsm.build_hints().live_nodes] == [2, 6]


def test_a_rename_onto_a_file_is_unlink_link_unlink(on: Recording) -> None:
    frames = on.recorder.rename(b"/a", b"/dir/b")
    assert words(frames) == [
        "unlink fnode 2 path /dir/b",
        "link fnode 3 path /dir/b",
        "unlink fnode 3 path /a",
    ]
    assert [op.more for op in ops(frames)] == [True, True, False]
    assert links_of(on.fsm) == {b"/dir/b": 3, b"/link": 4}


def test_a_rename_to_a_new_path_is_link_unlink(on: Recording) -> None:
    frames = on.recorder.rename(b"/link", b"/dir/l")
    assert words(frames) == ["link fnode 4 path /dir/l", "unlink fnode 4 path /link"]
    assert [op.more for op in ops(frames)] == [True, False]


def test_a_rename_between_links_of_one_file_records_nothing(on: Recording) -> None:
    on.recorder.link(on.a, b"/a2")
    before = everything(on.fsm)
    assert on.recorder.rename(b"/a", b"/a2") == b""
    assert on.recorder.rename(b"/a", b"/a") == b""
    assert everything(on.fsm) == before


def test_a_directory_rename_and_an_exchange_are_one_operation(on: Recording) -> None:
    assert words(on.recorder.rename(b"/dir", b"/dir2")) == ["rename source /dir target /dir2"]
    assert words(on.recorder.rename(b"/a", b"/dir2", exchange=True)) == [
        "rename source /a target /dir2 exchange True"
    ]
    assert links_of(on.fsm) == {b"/a/b": 2, b"/dir2": 3, b"/link": 4}


def test_sequential_writes_carry_offset_length_and_the_content_checksum(on: Recording) -> None:
    for offset, data in ((0, b"hello"), (5, b""), (5, b"world")):
        [op] = ops(on.recorder.write(on.a, offset, data))
        assert (op.write.fnode, op.write.offset, op.write.length) == (3, offset, len(data))
        assert op.write.content_crc32c == crc32c(data)
    assert on.a.size == 10
    assert on.fsm.next_seq_no == 8


@FEW
@given(
    st.integers(1, 2**40),
    st.integers(0, 2**62),
    st.binary(max_size=20),
    st.integers(0, 2**63),
    st.integers(0, 2**32 - 1),
)
def test_the_frame_of_a_write_is_the_one_that_protobuf_makes(
    seq_no: int, offset: int, data: bytes, at: int, checksum: int
) -> None:
    """The message that the Recorder uses again for each write keeps nothing of the last one."""
    fsm = FSM(LOG)
    recorder = Recorder(fsm, AUTHOR, lambda: at)
    _, file = recorder.create(b"/a", 0, 0, 0)
    recorder.write(file, 1, b"before")
    fsm.next_seq_no, fsm.next_checksum = seq_no, checksum
    fresh = pb.RecordedOp(
        seq_no=seq_no,
        checksum=checksum,
        author=AUTHOR,
        write=pb.Write(fnode=1, offset=offset, length=len(data), content_crc32c=crc32c(data)),
        recorded_at=at,
    )
    frame = recorder.write(file, offset, memoryview(data))
    assert frame[8:] == fresh.SerializeToString()
    assert fsm.next_checksum == crc32c(frame[8:], checksum)


def test_the_time_is_on_the_first_operation_of_a_group_only(on: Recording) -> None:
    on.now = 1_700_000_000_000_000_000
    assert [op.recorded_at for op in ops(on.recorder.rename(b"/a", b"/dir/b"))] == [on.now, 0, 0]


def test_all_other_changes_are_one_operation_each(on: Recording) -> None:
    recorder = on.recorder
    directory = on.fsm.namespace.resolve(b"/dir")
    assert isinstance(directory, Directory)
    fifo_mode = stat.S_IFIFO | 0o600
    assert words(recorder.mkdir(b"/d", 0o40700, 1, 2)[0]) == ["mkdir path /d mode 700 uid 1 gid 2"]
    assert words(recorder.rmdir(b"/d")) == ["rmdir path /d"]
    assert words(recorder.mknod(b"/f", fifo_mode, 0, 1, 2)[0]) == [
        "mknod path /f mode 10600 uid 1 gid 2"
    ]
    assert words(recorder.truncate(on.a, 7)) == ["truncate fnode 3 size 7"]
    assert words(recorder.set_attr(on.a, mode=0o100400, mtime_ns=-1)) == [
        "set_attr fnode 3 mode 400 mtime_ns -1"
    ]
    assert words(recorder.set_attr(directory, uid=5)) == ["set_attr path /dir uid 5"]
    assert words(recorder.set_attr(on.fsm.namespace.root, gid=5)) == ["set_attr path / gid 5"]
    assert words(recorder.set_xattr(on.a, b"user.x", b"v")) == [
        "set_xattr fnode 3 name user.x value v"
    ]
    assert words(recorder.remove_xattr(on.a, b"user.x")) == ["remove_xattr fnode 3 name user.x"]
    assert words(recorder.allocate(on.a, 0, 100, 1)) == [
        "allocate fnode 3 offset 0 length 100 mode 1"
    ]
    assert words(recorder.mark(pb.Mark.CHECKPOINT, "v1")) == ["mark kind checkpoint text v1"]


def test_the_hand_off_continues_the_chain_and_changes_nothing(on: Recording) -> None:
    before = everything(on.fsm)
    frame = handoff(on.fsm, OTHER, kind=pb.Mark.OWNER, text="{}", at=7)
    assert everything(on.fsm) == before
    [op] = ops(frame)
    assert (op.seq_no, op.checksum, op.author) == (5, on.fsm.next_checksum, OTHER)
    assert (op.mark.kind, op.mark.text, op.recorded_at) == (pb.Mark.OWNER, "{}", 7)


DEAD = File(99)

MISTAKES: dict[str, Callable[[Recording], object]] = {
    "create at an existing path": lambda on: on.recorder.create(b"/a", 0, 0, 0),
    "create without a parent": lambda on: on.recorder.create(b"/none/x", 0, 0, 0),
    "create with a dirty path": lambda on: on.recorder.create(b"/dir//x", 0, 0, 0),
    "mkdir at an existing path": lambda on: on.recorder.mkdir(b"/a", 0, 0, 0),
    "symlink at an existing path": lambda on: on.recorder.symlink(b"/a", b"x", 0, 0),
    "symlink to nothing": lambda on: on.recorder.symlink(b"/x", b"", 0, 0),
    "mknod at an existing path": lambda on: on.recorder.mknod(b"/a", stat.S_IFIFO, 0, 0, 0),
    "mknod of a file": lambda on: on.recorder.mknod(b"/x", stat.S_IFREG, 0, 0, 0),
    "recreate at a wrong path": lambda on: on.recorder.recreate(on.a, b"/dir/b", 0, 0, 0),
    "write to a dead file": lambda on: on.recorder.write(DEAD, 0, b"x"),
    "write of too much": lambda on: on.recorder.write(on.a, 0, bytes(WRITE_MAX + 1)),
    "write before the beginning": lambda on: on.recorder.write(on.a, -1, b"x"),
    "write past the end of offsets": lambda on: on.recorder.write(on.a, 2**63 - 1, b"x"),
    "link of a dead file": lambda on: on.recorder.link(DEAD, b"/x"),
    "link at an existing path": lambda on: on.recorder.link(on.a, b"/dir"),
    "unlink of a wrong path": lambda on: on.recorder.unlink(on.a, b"/dir/b"),
    "rmdir of what is not empty": lambda on: on.recorder.rmdir(b"/dir"),
    "rmdir of a file": lambda on: on.recorder.rmdir(b"/a"),
    "rmdir of the root": lambda on: on.recorder.rmdir(b"/"),
    "rename of nothing": lambda on: on.recorder.rename(b"/none", b"/x"),
    "rename of a file over a directory": lambda on: on.recorder.rename(b"/a", b"/dir"),
    "rename of a directory over a file": lambda on: on.recorder.rename(b"/dir", b"/a"),
    "rename of a directory into itself": lambda on: on.recorder.rename(b"/dir", b"/dir/x"),
    "rename to a missing parent": lambda on: on.recorder.rename(b"/a", b"/none/x"),
    "rename of a directory to one": lambda on: on.recorder.rename(b"/dir", b"/none/x"),
    "exchange with nothing": lambda on: on.recorder.rename(b"/a", b"/x", exchange=True),
    "exchange with what is inside": lambda on: on.recorder.rename(b"/dir", b"/dir/b", True),
    "exchange with what is around": lambda on: on.recorder.rename(b"/dir/b", b"/dir", True),
    "truncate below zero": lambda on: on.recorder.truncate(on.a, -1),
    "truncate of a dead file": lambda on: on.recorder.truncate(DEAD, 1),
    "allocate nothing": lambda on: on.recorder.allocate(on.a, 0, 0, 0),
    "allocate by collapsing": lambda on: on.recorder.allocate(on.a, 0, 1, 8),
    "set_attr of a dead file": lambda on: on.recorder.set_attr(DEAD, mode=1),
    "set_attr of a dead directory": lambda on: on.recorder.set_attr(Directory(), mode=1),
    "set_xattr without a name": lambda on: on.recorder.set_xattr(on.a, b"", b""),
    "remove_xattr of what is not there": lambda on: on.recorder.remove_xattr(on.a, b"user.x"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_of_the_caller_is_told_and_changes_nothing(
    on: Recording, mistake: Callable[[Recording], object]
) -> None:
    before = everything(on.fsm)
    with pytest.raises(RecorderError):
        mistake(on)
    assert everything(on.fsm) == before


def test_recreating_a_file_with_two_links_is_a_mistake(on: Recording) -> None:
    on.recorder.link(on.a, b"/a2")
    before = everything(on.fsm)
    with pytest.raises(RecorderError):
        on.recorder.recreate(on.a, b"/a", 0, 0, 0)
    assert everything(on.fsm) == before


def test_a_recorder_needs_an_author_and_a_log_that_was_played() -> None:
    with pytest.raises(AssertionError):
        Recorder(FSM(LOG), 0, lambda: 0)
