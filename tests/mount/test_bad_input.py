"""Wrong calls, wrong places and files of other versions: two lines, an exit code, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recfs.testing.databases.mounted import recfs_command, run_recfs

from .calls import assert_fails, call, remount, small_disk
from .logs import append_owner
from .volumes import Host, describe_tree


def write_synced(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with a mount point `mnt` and a file `file`, and no mount at the end."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "file").write_text("a file")
    yield tmp_path
    assert not os.path.ismount(tmp_path / "mnt")
    assert (tmp_path / "file").read_text() == "a file"


def mount(place: Path, volume: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
    """A mount in the background, so that one which succeeds by mistake returns as well."""
    backing = place / "backing"
    done = call("mount", volume, place / "mnt", "--backing", backing, "--detach", *more)
    if done.returncode == 0:
        run_recfs("umount", str(place / "mnt"))
    return done


@pytest.fixture
def left(host: Host) -> Host:
    """A host whose volume was mounted at `a`, filled, and unmounted in order."""
    first = host.mount()
    write_synced(first.mountpoint / "file", b"content")
    (first.mountpoint / "dir").mkdir()
    write_synced(first.mountpoint / "dir" / "other", b"other" * 1000)
    first.unmount()
    return host


# -- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volume", "code", "what", "attempt"),
    [
        ("file:///proc/nowhere/db1", 10, "/proc/nowhere/", "can be written"),
        ("file://{place}/file/db1", 2, "{place}/file is not a directory", "directory"),
        ("file://{place}/file/deeper/db1", 10, "Not a directory", "can be written"),
        ("http://host:1/db1", 2, "no client for http://", "file://"),
        ("https://host/db1", 2, "no client for https://", "file://"),
        ("gazette://host/db1", 2, "no client for gazette://", "file://"),
        ("s3://bucket/db1", 2, "no client for s3://", "file://"),
        ("file://host/db1", 2, "no host", "file:///"),
        ("file:///srv/../db1", 2, "'..'", "without"),
        ("file:///srv/d b1", 2, "' ' cannot stand", "letters"),
        ("file:///", 2, "no path", "/srv"),
        ("", 2, "'' is not a volume URL", "file:///"),
    ],
)
def test_a_volume_that_cannot_be_reached_says_where_and_why(
    place: Path, volume: str, code: int, what: str, attempt: str
) -> None:
    volume, what = volume.format(place=place), what.format(place=place)
    assert_fails(mount(place, volume), code, what, attempt=attempt)
    assert call("restore", volume, "-o", place / "out").returncode in (2, 11)
    assert not (place / "out").exists()


def test_a_journal_directory_that_cannot_be_written_is_said_at_the_start(place: Path) -> None:
    with small_disk(place / "disk", "1m") as disk:
        remount(disk, "ro")
        assert_fails(
            mount(place, f"file://{disk}/db1"), 10, f"{disk}/.broker", "Read-only", attempt="writ"
        )


def test_a_journal_that_takes_nothing_is_unreachable_and_not_damaged(left: Host) -> None:
    journal = left.place / "journal"
    subprocess.run(["mount", "--bind", journal, journal], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", journal], check=True)
        done = call(
            *("mount", left.volume, left.place / "mnt-a"),
            *("--backing", left.place / "backing-a"),
        )
        assert_fails(done, 10, "cannot write", "Read-only", attempt="read-write")
    finally:
        subprocess.run(["umount", journal], check=True)
    left.mounts[0].start()
    assert (left.mounts[0].mountpoint / "file").read_bytes() == b"content"


def test_without_dev_fuse_nothing_is_taken_over(left: Host) -> None:
    before = call("log", left.volume).stdout
    arguments = ("mount", left.volume, left.place / "mnt-a", "--backing", left.place / "backing-a")
    for device in ("true", "touch /dev/fuse", "mknod /dev/fuse c 0 0"):
        script = f'mount -t tmpfs none /dev && {device} && exec "$@"'
        done = call(*arguments, within=("unshare", "-m", "sh", "-c", script, "sh"))
        assert_fails(done, 15, "/dev/fuse", attempt="--device /dev/fuse")
    assert call("log", left.volume).stdout == before


@pytest.mark.parametrize(
    ("name", "what", "attempt"),
    [("missing", "does not exist", "mkdir -p"), ("file", "not a directory", "name a directory")],
)
def test_a_mount_point_that_is_none_is_refused(
    place: Path, name: str, what: str, attempt: str
) -> None:
    done = call("mount", f"file://{place}/j/db1", place / name, "--backing", place / "backing")
    assert_fails(done, 15, str(place / name), what, attempt=attempt)
    assert not (place / "j").exists()  # refused before anything was made


def test_a_mount_point_that_serves_already_is_refused(host: Host) -> None:
    first = host.mount()
    done = call(
        *("mount", f"file://{host.place}/journal/vol2", first.mountpoint),
        *("--backing", host.place / "backing-2"),
    )
    assert_fails(done, 15, "is in use", host.volume, attempt="recfs umount")
    again = call("mount", host.volume, host.place / "mnt-b", "--backing", first.backing)
    assert_fails(again, 15, "mnt-b does not exist")
    (host.place / "mnt-b").mkdir()
    again = call("mount", host.volume, host.place / "mnt-b", "--backing", first.backing)
    assert_fails(again, 16, "in use by another recfs", attempt="recfs status")
    write_synced(first.mountpoint / "file", b"undisturbed")


@pytest.mark.parametrize("obstacle", [".", "tree", "state", "state/lock", "control"])
def test_a_backing_directory_with_a_file_in_the_way_is_refused(place: Path, obstacle: str) -> None:
    path = place / "backing" / obstacle
    if obstacle == "state/lock":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("in the way")
    done = call("mount", f"file://{place}/j/db1", place / "mnt", "--backing", place / "backing")
    assert_fails(done, 16, str(path.parent if obstacle == "state/lock" else path))


def test_a_command_that_is_not_there_ends_the_mount(place: Path) -> None:
    done = call(
        *("mount", f"file://{place}/j/db1", place / "mnt"),
        *("--backing", place / "backing", "--", "no-such-command", "-x"),
    )
    assert_fails(done, 2, "cannot start no-such-command", attempt="after --")


def test_a_log_file_and_a_registry_that_cannot_be_made_are_named(place: Path) -> None:
    volume = f"file://{place}/j/db1"
    assert_fails(mount(place, volume, "--log-file", place / "file" / "log"), 2, "file/log")
    assert_fails(mount(place, volume, "--runtime", place / "file"), 2, str(place / "file"))


# -- where a restore goes -------------------------------------------------------------------------


def test_a_restore_never_replaces_its_volume_a_backing_or_a_mount_point(left: Host) -> None:
    journal, backing = left.place / "journal", left.place / "backing-a"
    before = describe_tree(left.place)
    for output, what in (
        (journal, "around the volume's directory"),
        (journal / "vol1", "is the volume's directory"),
        (journal / "vol1" / "log" / "out", "around the volume's directory"),
        (journal / ".broker", "is the volume's directory"),
        (left.place, "around the volume's directory"),
        (backing, f"{backing} is a backing directory"),
        (backing / "tree", f"{backing} is a backing directory"),
    ):
        done = call("restore", left.volume, "-o", output, "--force")
        assert_fails(done, 2, what)
    assert describe_tree(left.place) == before
    with small_disk(left.place / "disk", "1m") as disk:
        done = call("restore", left.volume, "-o", disk)
        assert_fails(done, 2, f"{disk} is a mount point", attempt=f"-o {disk}/restored")


def test_a_restore_to_where_nothing_can_be_made_says_so(left: Host) -> None:
    (left.place / "file").write_text("x")
    for output, code in (
        ("/proc/out", 16),
        (left.place / "none" / "out", 2),
        (left.place / "file", 2),
        (left.place / "file" / "out", 2),
    ):
        assert_fails(call("restore", left.volume, "-o", output), code, str(output).split("/out")[0])
    assert_fails(
        call("restore", left.volume, "-o", left.place / "out", "--offset", "999999999"),
        19,
        "999999999 is not in the log",
        attempt="recfs log",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_restore_leaves_nothing_but_what_the_next_one_removes(
    host: Host, number: signal.Signals
) -> None:
    mounted = host.mount()
    for each in range(24):
        write_synced(mounted.mountpoint / f"file-{each}", os.urandom(4 << 20))
    output = host.place / "out"
    with subprocess.Popen(
        _restore(host, output),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as restoring:
        _wait_for(lambda: bool(list(host.place.glob(".out.recfs-*/fnodes/*"))))
        restoring.send_signal(number)
        code = restoring.wait(60)
    assert code == (-number if number == signal.SIGKILL else 130)
    assert not output.exists()
    assert bool(list(host.place.glob(".out.recfs-*"))) == (number == signal.SIGKILL)
    run_recfs("restore", host.volume, "-o", str(output))
    assert describe_tree(output) == describe_tree(mounted.mountpoint)
    assert not list(host.place.glob(".out.recfs-*"))


# -- files of other versions, and damaged ones -----------------------------------------------------


def spool_of(host: Host) -> Path:
    (spool,) = (host.place / "journal" / ".broker" / "vol1" / "log").glob("@spool-*")
    return spool


def newer_spool(host: Host) -> Path:
    spool = spool_of(host)
    content = bytearray(spool.read_bytes())
    struct.pack_into("<I", content, 8, 2)
    spool.write_bytes(content)
    return spool


def newer_lock(host: Host) -> Path:
    lock = host.place / "journal" / ".broker" / "vol1" / "log" / "@lock"
    content = bytearray(lock.read_bytes())
    struct.pack_into("<I", content, 8, 2)
    lock.write_bytes(content)
    return lock


def newer_description(host: Host) -> Path:
    spec = host.place / "journal" / ".broker" / "vol1" / "log" / "@spec"
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "version": 2, "tiers": []}))
    return spec


def test_a_journal_of_a_newer_format_is_left_to_a_newer_recfs(left: Host) -> None:
    for change in (newer_spool, newer_lock, newer_description):
        kept = left.place / "kept"
        shutil.copytree(left.place / "journal", kept)
        path = change(left)
        before = path.read_bytes()
        for arguments in (
            ("mount", left.volume, left.place / "mnt-a", "--backing", left.place / "backing-a"),
            ("restore", left.volume, "-o", left.place / "out"),
            ("log", left.volume),
        ):
            assert_fails(call(*arguments), 2, str(path), "newer recfs", attempt="upgrade")
        assert path.read_bytes() == before
        assert not (left.place / "out").exists()
        shutil.rmtree(left.place / "journal")
        kept.rename(left.place / "journal")


def test_a_log_with_an_owner_of_a_newer_format_is_left_to_a_newer_recfs(left: Host) -> None:
    text = json.dumps({"format": 2, "volume": "x", "tier": "gold"})
    append_owner(left.volume, text)
    backing = left.place / "backing-a"
    before = describe_tree(backing)
    for arguments in (
        ("mount", left.volume, left.place / "mnt-a", "--backing", backing),
        ("restore", left.volume, "-o", left.place / "out"),
    ):
        assert_fails(call(*arguments), 2, "newer recfs (format 2", attempt="upgrade")
    assert describe_tree(backing) == before
    assert not (left.place / "out").exists()
    assert "newer" not in call("log", left.volume).stderr  # which reads whatever it can


def test_owner_marks_that_make_no_sense_are_nobodys(left: Host) -> None:
    for text in ('{"pid": "x", "heartbeat": []}', "[]", "null", "{", '{"format": "1.5"}', "\0"):
        append_owner(left.volume, text)
    again = left.mounts[0]
    again.start()
    assert (again.mountpoint / "file").read_bytes() == b"content"


def test_a_damaged_identity_is_refused_and_the_tree_kept(left: Host) -> None:
    backing = left.place / "backing-a"
    tree = describe_tree(backing / "tree")
    for content in (
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"volume": "x"}'),
        *(b'{"volume": 7, "journal": "x"}', b'{"volume": "x", "journal": "y", "format": "z"}'),
    ):
        (backing / "state" / "volume.json").write_bytes(content)
        done = call("mount", left.volume, left.place / "mnt-a", "--backing", backing)
        assert_fails(done, 16, "volume.json is damaged", attempt=f"move {backing} away")
        assert describe_tree(backing / "tree") == tree
    # What it says to try works.
    backing.rename(left.place / "moved")
    left.mounts[0].start()
    assert describe_tree(left.mounts[0].mountpoint) == tree


def test_a_backing_of_a_newer_format_is_refused(left: Host) -> None:
    backing = left.place / "backing-a"
    path = backing / "state" / "volume.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "tier": "gold"}))
    done = call("mount", left.volume, left.place / "mnt-a", "--backing", backing)
    assert_fails(done, 16, f"{backing} was written by a newer recfs", attempt="upgrade")


def damaged_markers(content: bytes) -> Iterator[bytes]:
    """Cut short, and with one bit flipped in each of its parts."""
    yield from (b"", content[:7], content[:20], content[:60], content[:-1])
    for position in (0, 12, 16, 47, 48, len(content) // 2, len(content) - 1):
        yield content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]


def test_a_damaged_clean_marker_is_refused_until_it_is_removed(left: Host) -> None:
    backing = left.place / "backing-a"
    marker = backing / "state" / "clean"
    tree = describe_tree(backing / "tree")
    for content in damaged_markers(marker.read_bytes()):
        marker.write_bytes(content)
        done = call("mount", left.volume, left.place / "mnt-a", "--backing", backing)
        assert_fails(done, 16, f"{marker} is damaged", attempt="remove that file")
        assert describe_tree(backing / "tree") == tree
    marker.unlink()
    left.mounts[0].start()
    assert describe_tree(left.mounts[0].mountpoint) == tree


def test_a_tree_that_is_gone_is_rebuilt_whatever_the_clean_marker_says(left: Host) -> None:
    backing = left.place / "backing-a"
    tree = describe_tree(backing / "tree")
    shutil.rmtree(backing / "tree")
    left.mounts[0].start()
    assert describe_tree(left.mounts[0].mountpoint) == tree


# -- names ----------------------------------------------------------------------------------------


def test_long_names_and_deep_paths_come_back_by_every_way(host: Host) -> None:
    """From a restore, from a clean unmount, after the loss of the host."""
    mounted = host.mount()
    for name in (b"n" * 255, b"\xc3\xa4" * 127, b"\xff" * 255, b"new\nline"):
        with open(os.fsencode(mounted.mountpoint) + b"/" + name, "wb") as file:
            file.write(name)
    with pytest.raises(OSError, match="too long") as caught:
        (mounted.mountpoint / ("n" * 256)).touch()
    assert caught.value.errno == errno.ENAMETOOLONG
    fd = os.open(mounted.mountpoint, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=fd)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(leaf, b"deep")
    os.fsync(leaf)
    os.close(leaf)
    os.link("leaf", "link", src_dir_fd=fd, dst_dir_fd=fd)
    os.fsync(fd)
    os.close(fd)
    expected = deep(mounted.mountpoint)
    assert len(expected) == 4 + 20 + 2
    run_recfs("restore", host.volume, "-o", str(host.place / "out"))
    assert deep(host.place / "out") == expected
    mounted.unmount()
    mounted.start()
    assert deep(mounted.mountpoint) == expected
    host.crash(mounted)
    elsewhere = host.mount(name="b")
    assert deep(elsewhere.mountpoint) == expected
    for root in (elsewhere.mountpoint, host.place / "out"):  # what checks a tree goes by paths
        subprocess.run(["rm", "-rf", "--", root / ("d" * 250)], check=True)


def deep(root: Path) -> list[tuple[str, str, bytes]]:
    """(end of the directory, name, content) of everything below `root`, by descriptors."""
    found = []
    for top, directories, files, fd in os.fwalk(root):
        for name in (*directories, *files):
            content = b""
            if name in files:
                with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as file:
                    content = file.read()
            found.append((str(len(top) - len(str(root))), name, content))
    return sorted(found)


def _restore(host: Host, output: Path) -> list[str]:

    return [recfs_command(), "restore", host.volume, "-o", str(output)]


def _wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)
