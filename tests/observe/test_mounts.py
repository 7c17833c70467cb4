"""The kernel's table of mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recfs.errors import MountError
from recfs.observe import mounts


def test_a_table_line_gives_mount_point_type_and_source() -> None:
    table = (
        b"36 35 98:0 /mnt1 /mnt/a\\040b\\134\\012\xff rw,noatime master:1 shared:2 - fuse.recfs "
        b"file:///srv/db1 rw,user_id=0\n"
        b"37 35 0:3 / /proc rw - proc proc rw\n"
        b"not a line\n"
    )
    first, second = mounts.parse(table)
    assert os.fsencode(first.mountpoint) == b"/mnt/a b\\\n\xff"
    assert (first.type, first.source, first.device) == (mounts.TYPE, "file:///srv/db1", "98:0")
    assert second.mountpoint == Path("/proc")


@given(st.binary())
def test_any_table_is_read(table: bytes) -> None:
    mounts.parse(table)


def test_what_the_kernel_has_mounted_is_found(tmp_path: Path) -> None:
    proc = mounts.mounted(Path("/proc"))
    assert proc is not None
    assert proc.type == "proc"
    assert mounts.mounted(tmp_path) is None


def test_a_directory_without_a_mount_is_not_disconnected_and_cannot_be_detached(
    tmp_path: Path,
) -> None:
    assert not mounts.is_disconnected(tmp_path)
    assert not mounts.is_disconnected(tmp_path / "missing")
    with pytest.raises(MountError, match="cannot detach"):
        mounts.detach(tmp_path)


def test_dirty_pages_are_handed_over_or_the_error_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 4096)
    mounts.write_back(tmp_path)
    with pytest.raises(FileNotFoundError):
        mounts.write_back(tmp_path / "missing")
