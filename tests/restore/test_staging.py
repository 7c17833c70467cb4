"""The staging tree: content by fnode, names at the end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recfs.errors import BackingError
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.player import Player
from recfs.recoverylog.recorder import Recorder
from recfs.restore.staging import StagingTree


class Recording:
    """A log in memory, and its replay into a staging tree."""

    def __init__(self) -> None:
        self.recorder = Recorder(FSM("db1/log"), 1234, lambda: 0)
        self.log = bytearray()

    def write(self, file, offset: int, content: bytes) -> None:  # type: ignore[no-untyped-def]
        self.log += self.recorder.write(file, offset, content) + content

    def replay(self, staging: StagingTree) -> Player:
        player = Player(FSM("db1/log"))
        for event in player.feed(bytes(self.log)):
            staging.apply(event)
        staging.publish(player.fsm.namespace, player.fsm.properties)
        return player


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def staging(tmp_path: Path) -> StagingTree:
    return StagingTree(tmp_path / "staging")


def test_a_tree_is_built_with_all_its_attributes(
    recording: Recording, staging: StagingTree
) -> None:
    recorder = recording.recorder
    me = (os.geteuid(), os.getegid())
    recording.log += recorder.mkdir(b"/dir", 0o2750, *me)[0]
    frames, file = recorder.create(b"/dir/file", 0o4755, *me)
    recording.log += frames
    recording.write(file, 100_000, b"island")
    recording.log += recorder.link(file, b"/second")
    recording.log += recorder.set_attr(file, atime_ns=1_000_000_001, mtime_ns=2_000_000_002)
    recording.log += recorder.symlink(b"/link", b"\xff/nowhere", *me)[0]
    recording.log += recorder.mknod(b"/fifo", stat.S_IFIFO | 0o600, 0, *me)[0]
    recording.replay(staging)
    about = (staging.tree / "dir" / "file").stat()
    assert stat.S_IMODE(about.st_mode) == 0o4755
    assert (about.st_size, about.st_nlink) == (100_006, 2)
    assert (about.st_atime_ns, about.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    assert about.st_blocks * 512 < 65536  # the hole is a hole
    assert (staging.tree / "second").read_bytes()[100_000:] == b"island"
    assert stat.S_IMODE((staging.tree / "dir").stat().st_mode) == 0o2750
    assert os.readlink(os.fsencode(staging.tree / "link")) == b"\xff/nowhere"
    assert stat.S_ISFIFO((staging.tree / "fifo").stat().st_mode)
    staging.close()
    assert not staging.directory.exists()


def test_a_tree_deeper_than_a_path_can_name(recording: Recording, staging: StagingTree) -> None:
    recorder = recording.recorder
    me = (os.geteuid(), os.getegid())
    path = b""
    for _ in range(40):
        path += b"/" + b"d" * 200
        recording.log += recorder.mkdir(path, 0o755, *me)[0]
    recording.log += recorder.create(path + b"/leaf", 0o644, *me)[0]
    recording.replay(staging)
    assert staging.directories == 40
    at = os.open(staging.tree, os.O_RDONLY)
    for _ in range(40):
        deeper = os.open(b"d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    assert os.listdir(at) == ["leaf"]
    os.close(at)
    staging.close()
    assert not staging.directory.exists()


def test_more_files_than_descriptors_are_staged(recording: Recording, staging: StagingTree) -> None:
    me = (os.geteuid(), os.getegid())
    files = []
    for number in range(1500):
        frames, file = recording.recorder.create(b"/%d" % number, 0o644, *me)
        recording.log += frames
        files.append(file)
    for turn in range(2):
        for number, file in enumerate(files):
            recording.write(file, turn * 4, b"%04d" % number)
    recording.replay(staging)
    for number in (0, 700, 1499):
        assert (staging.tree / str(number)).read_bytes() == b"%04d" % number * 2
    staging.close()


def test_files_that_died_in_the_log_leave_nothing(
    recording: Recording, staging: StagingTree
) -> None:
    me = (os.geteuid(), os.getegid())
    frames, file = recording.recorder.create(b"/dead", 0o644, *me)
    recording.log += frames
    recording.write(file, 0, b"x" * 1000)
    recording.log += recording.recorder.unlink(file, b"/dead")
    recording.replay(staging)
    assert list(staging.tree.iterdir()) == []
    assert list((staging.directory / "fnodes").iterdir()) == []
    staging.close()


def test_a_staging_directory_that_cannot_be_written_is_a_clear_error(
    recording: Recording, staging: StagingTree
) -> None:
    frames, file = recording.recorder.create(b"/file", 0o644, 0, 0)
    recording.log += frames
    recording.write(file, 0, b"content")
    os.close(staging._fnodes)
    staging._fnodes = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(BackingError, match="cannot write below") as caught:
        recording.replay(staging)
    assert caught.value.exit_code == 16
    staging.close()
