"""Disks that are full or read-only: below the tree, below the journal, and where a restore goes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recfs.testing.databases.mounted import run_recfs

from .calls import assert_fails, call, fill, small_disk
from .volumes import Host, ServedMount, check_restores_to_backing, describe_tree


def write_synced(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "16m") as disk:
        yield disk


@pytest.fixture
def host(tmp_path: Path, disk: Path) -> Iterator[Host]:
    """Unmounted before the disk goes. Tests check by themselves what their log restores to."""
    host = Host(tmp_path)
    try:
        yield host
    finally:
        host.close()


def make_names(directory: Path) -> None:
    """Directories and small files, until there is no room for one more."""
    for number in range(5000):
        (directory / f"dir-{number}").mkdir()
        write_synced(directory / f"file-{number}", bytes(4096))


# -- the disk below the tree ----------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["writeback", "through", "none"])
def test_a_full_backing_disk_is_the_applications_to_hear_and_nothing_of_it_is_recorded(
    host: Host, disk: Path, cache: str
) -> None:
    mount = ServedMount(host.volume, host.place / "mnt-a", disk / "backing", ["--cache", cache])
    host.mounts.append(mount)
    mount.start()
    write_synced(mount.mountpoint / "before", b"before")
    ballast = fill(disk, leave=200_000)
    content = os.urandom(1 << 20)
    with (mount.mountpoint / "large").open("wb", buffering=0) as file:
        refused = None
        try:
            written = 0
            while written < len(content):
                written += file.write(content[written:])
            os.fsync(file.fileno())
        except OSError as error:
            refused = error
    assert refused is not None, "the disk took more than it holds"
    assert refused.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        make_names(mount.mountpoint)
    assert mount.status()["state"] == "serving"
    ballast.unlink()
    write_synced(mount.mountpoint / "large", content)
    write_synced(mount.mountpoint / "after", b"after")
    mount.unmount()
    check_restores_to_backing(mount, host.place / "check")
    assert (mount.backing / "tree" / "large").read_bytes() == content


def test_a_rebuild_that_does_not_fit_leaves_what_was_there(host: Host, disk: Path) -> None:
    mount = ServedMount(host.volume, host.place / "mnt-a", disk / "backing")
    host.mounts.append(mount)
    mount.start()
    write_synced(mount.mountpoint / "large", os.urandom(6 << 20))
    before = describe_tree(mount.mountpoint)
    mount.kill()
    mount.detach()
    ballast = fill(disk, leave=3 << 20)  # for the half of it
    for _ in range(2):
        done = call("mount", host.volume, mount.mountpoint, "--backing", mount.backing)
        assert_fails(done, 16, f"{mount.backing}/restoring", "No space left", attempt="make room")
        assert not (mount.backing / "restoring").exists()
        assert describe_tree(mount.backing / "tree") == before
    ballast.unlink()
    mount.start()
    assert describe_tree(mount.mountpoint) == before
    mount.unmount()


def test_a_backing_disk_without_room_for_a_clean_marker_ends_well_all_the_same(
    host: Host, disk: Path
) -> None:
    mount = ServedMount(host.volume, host.place / "mnt-a", disk / "backing")
    host.mounts.append(mount)
    mount.start()
    for number in range(20):
        write_synced(mount.mountpoint / f"file-{number}", b"content")
    before = describe_tree(mount.mountpoint)
    ballast = fill(disk)
    mount.unmount()
    assert not list((mount.backing / "state").glob("clean*"))
    assert "will rebuild the tree" in mount.log.read_text()
    check_restores_to_backing(mount, host.place / "check")
    # Not even the mount's own small files fit now.
    done = call("mount", host.volume, mount.mountpoint, "--backing", mount.backing)
    assert_fails(done, 16, "No space left", attempt="make room")
    ballast.unlink()
    mount.start()
    assert describe_tree(mount.mountpoint) == before
    mount.unmount()


# -- the disk that a restore goes to --------------------------------------------------------------


def test_a_restore_to_a_full_disk_leaves_nothing_there(host: Host, disk: Path) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "large", os.urandom(6 << 20))
    (disk / "out").mkdir()
    (disk / "out" / "old").write_text("old")
    ballast = fill(disk, leave=3 << 20)
    for name, options in (("new", []), ("out", ["--force"])):
        done = call("restore", host.volume, "-o", disk / name, *options)
        assert_fails(done, 16, f"{disk}/.{name}", "No space left", attempt="make room")
        assert sorted(os.listdir(disk)) == ["ballast", "out"]
        assert os.listdir(disk / "out") == ["old"]
    fill(disk)
    assert_fails(call("restore", host.volume, "-o", disk / "new"), 16, "No space left")
    ballast.unlink()
    run_recfs("restore", host.volume, "-o", str(disk / "out"), "--force")
    assert describe_tree(disk / "out") == describe_tree(mount.mountpoint)


# -- the disk below the journal -------------------------------------------------------------------


class Syncing:
    """A process that writes `length` bytes to a file and syncs it.

    A process, because whoever forks has the file open too for a moment, and closing it would wait
    for the journal as well.
    """

    SCRIPT = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
print("open", flush=True)
try:
    rest = bytes(int(sys.argv[2]))
    while rest:
        rest = rest[os.write(fd, rest[: 1 << 20]) :]
    os.fsync(fd)
except OSError as error:
    print(error.strerror)
else:
    print("synced")
"""

    def __init__(self, path: Path, length: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, path, str(length)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "open\n"

    @property
    def waits(self) -> bool:
        return self._process.poll() is None

    def result(self) -> str:
        """What the fsync came to: "synced", or the error in words."""
        said, _ = self._process.communicate(timeout=60)
        return str(said.strip())


#: Bytes that a journal which is away has no room for, and a backlog has.
MORE = 6 << 20


@dataclass(frozen=True)
class Away:
    """A way to take the journal away: `take` returns how to give it back.

    `words` are what the system then says of `place`. A write of `length` bytes is more than the
    journal takes meanwhile and, where the disks have room for it later, than a backlog holds.
    """

    take: Callable[[], Callable[[], None]]
    words: str
    place: Path
    length: int


@pytest.fixture(params=["full", "unwritable"])
def away(request: pytest.FixtureRequest, host: Host, disk: Path) -> Iterator[Away]:
    if request.param == "full":
        host.volume = f"file://{disk}/journal/vol1"
        yield Away(lambda: fill(disk).unlink, "No space left on device", disk, MORE)
        return
    journal = host.place / "journal"

    def change(flag: str) -> None:
        # Not even who has a file open may write to it then: chattr(1).
        subprocess.run(["chattr", "-R", flag, journal], check=True)

    def take() -> Callable[[], None]:
        change("+i")
        return lambda: change("-i")

    yield Away(take, "Operation not permitted", journal, 90 << 20)
    change("-i")


def test_while_the_journal_takes_nothing_writers_wait_and_then_go_on_by_themselves(
    host: Host, away: Away
) -> None:
    mount = host.mount()
    write_synced(mount.mountpoint / "before", b"before")
    relieve = away.take()
    syncing = Syncing(mount.mountpoint / "file", away.length)
    wait_until(lambda: mount.status()["retrying_since"] is not None)
    found = mount.status()
    assert found["state"] == "serving"
    assert away.words in found["last_error"]
    assert str(away.place) in found["last_error"]
    assert found["retrying_since"] <= time.time()
    assert 0 < found["backlog_bytes"] <= 66 << 20
    done = call("sync", mount.mountpoint, "--timeout", "1s")
    assert_fails(done, 10, str(mount.mountpoint), away.words, attempt="goes on trying by itself")
    assert away.words in call("status", mount.mountpoint).stdout
    assert (mount.mountpoint / "before").read_bytes() == b"before"
    assert mount.status()["appends"] == found["appends"]
    assert syncing.waits  # an fsync does not lie
    relieve()
    assert syncing.result() == "synced"
    assert mount.status()["retrying_since"] is None
    mount.unmount()
    check_restores_to_backing(mount, host.place / "check")


def test_a_stop_waits_for_the_journal_and_then_ends_well(host: Host, away: Away) -> None:
    mount = host.mount()
    relieve = away.take()
    (mount.mountpoint / "unsynced").write_bytes(os.urandom(MORE))
    os.kill(mount.pid, signal.SIGTERM)
    wait_until(lambda: mount.status()["retrying_since"] is not None)
    done = call("umount", mount.mountpoint, "--timeout", "1s")
    assert_fails(done, 10, "still has", away.words, attempt="unmounts when all is committed")
    assert mount.status()["state"] == "stopping"
    relieve()
    assert mount._daemon is not None
    assert mount._daemon.wait(60) == 0, mount.last_words()
    assert (mount.backing / "tree" / "unsynced").stat().st_size == MORE
    check_restores_to_backing(mount, host.place / "check")


@pytest.mark.parametrize("blocked", ["unmounting", "in-fsync"])
def test_a_second_stop_gives_up_and_the_next_mount_has_all_that_was_synced(
    host: Host, away: Away, blocked: str
) -> None:
    mount = host.mount()
    for number in range(10):
        write_synced(mount.mountpoint / f"synced-{number}", b"%d" % number)
    relieve = away.take()
    syncing = None
    if blocked == "in-fsync":
        syncing = Syncing(mount.mountpoint / "lost", away.length)
        wait_until(lambda: mount.status()["retrying_since"] is not None)
    else:
        (mount.mountpoint / "lost").write_bytes(os.urandom(MORE))
    os.kill(mount.pid, signal.SIGTERM)
    wait_until(lambda: mount.status()["state"] == "stopping")
    wait_until(lambda: mount.status()["retrying_since"] is not None)
    os.kill(mount.pid, signal.SIGTERM)
    assert mount._daemon is not None
    assert mount._daemon.wait(60) == 128 + signal.SIGTERM, mount.last_words()
    if syncing is not None:
        assert syncing.result() in (
            "Input/output error",
            "Software caused connection abort",
            "Transport endpoint is not connected",
        )
    assert "before everything was committed" in mount.last_words()
    assert not os.path.ismount(mount.mountpoint)
    relieve()
    mount.start()
    names = set(os.listdir(mount.mountpoint)) - {"lost"}
    assert names == {f"synced-{number}" for number in range(10)}
    for number in range(10):
        assert (mount.mountpoint / f"synced-{number}").read_bytes() == b"%d" % number
    # As much of it as was committed has come back, perhaps without its time.
    (mount.mountpoint / "lost").unlink(missing_ok=True)
    mount.unmount()
    check_restores_to_backing(mount, host.place / "check")
