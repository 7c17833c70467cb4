"""Disks that are full or read-only: below the tree, below the journal, and where a restore goes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .calls import fill, small_disk
from .volumes import Host, ServedMount, check_restores_to_backing


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
    while True:  # names need room as well, sooner or later
        try:
            (mount.mountpoint / f"dir-{os.urandom(100).hex()}").mkdir()
            (mount.mountpoint / f"file-{os.urandom(100).hex()}").write_bytes(bytes(4096))
            os.sync()
        except OSError as error:
            assert error.errno == errno.ENOSPC
            break
        if len(os.listdir(mount.mountpoint)) > 500:
            break
    assert mount.status()["state"] == "serving"
    ballast.unlink()
    write_synced(mount.mountpoint / "large", content)
    write_synced(mount.mountpoint / "after", b"after")
    mount.unmount()
    check_restores_to_backing(mount, host.place / "check")
    assert (mount.backing / "tree" / "large").read_bytes() == content
