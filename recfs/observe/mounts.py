"""What is mounted where, as the kernel's /proc/self/mountinfo tells it (proc(5)).

The kernel answers from its own table: a mount whose daemon hangs or is gone cannot stop it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recfs.errors import MountError

#: The file-system type of our mounts: FUSE with the subtype that the mount names.
TYPE = "fuse.recfs"

_MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table. `source` is what the mount calls its device."""

    mountpoint: Path
    type: str
    source: str
    device: str


def mounted(mountpoint: Path) -> Mount | None:
    """What is mounted on `mountpoint` (canonical); with several on top of each other, the last."""
    found = [mount for mount in mounts() if mount.mountpoint == mountpoint]
    return found[-1] if found else None


def mounts() -> list[Mount]:
    """All mounts that this process can see."""
    return parse(Path("/proc/self/mountinfo").read_bytes())


def parse(table: bytes) -> list[Mount]:
    """Read a mountinfo table; a line that is not understood is left out."""
    found = []
    for line in table.splitlines():
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - type source options
        before, dash, after = line.partition(b" - ")
        left, right = before.split(b" "), after.split(b" ")
        if dash and len(left) >= 6 and len(right) >= 2:
            found.append(
                Mount(
                    Path(_unescape(left[4])),
                    _unescape(right[0]),
                    _unescape(right[1]),
                    left[2].decode(errors="replace"),
                )
            )
    return found


def is_disconnected(mountpoint: Path) -> bool:
    """Whether the daemon behind this FUSE mount is gone: the kernel then answers ENOTCONN.

    Asked with statfs, which the kernel passes on each time; stat it may answer from its cache.
    """
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def detach(mountpoint: Path) -> None:
    """Take a mount away, at once for those who open paths and later for those who have files open.

    Raises MountError when the kernel refuses.
    """
    if os.geteuid() == 0:
        if _LIBC.umount2(os.fsencode(mountpoint), _MNT_DETACH) == 0:
            return
        reason = os.strerror(ctypes.get_errno())
    elif (fusermount := shutil.which("fusermount3")) is not None:
        done = subprocess.run(
            [fusermount, "-uz", "--", os.fspath(mountpoint)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return
        reason = (done.stderr.strip().splitlines() or ["fusermount3 failed"])[-1]
    else:
        reason = "fusermount3 is not installed"
    raise MountError(f"cannot detach {mountpoint}: {reason}", f"as root: umount -l {mountpoint}")


def write_back(mountpoint: Path) -> None:
    """Hand all dirty pages of the file system at `mountpoint` to it: syncfs(2). Raises OSError."""
    number = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(number) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(mountpoint))
    finally:
        os.close(number)


def _unescape(text: bytes) -> str:
    # Space, tab, line end and backslash stand as three octal digits.
    plain = re.sub(rb"\\([0-3][0-7]{2})", lambda match: bytes([int(match[1], 8)]), text)
    return os.fsdecode(plain)
