"""The life of a mount point: checks before, the request loop, and the ways to take it away."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3

from recfs.errors import MountError
from recfs.observe.mounts import TYPE, detach, is_disconnected, mounted

from . import turns
from .operations import Operations

_LIBC = ctypes.CDLL(None, use_errno=True)
_DEVICE = "/dev/fuse"

#: Requests in flight at most. An fsync holds one while it waits for its commit.
REQUESTS_MAX = 256


def prepare(mountpoint: Path) -> None:
    """Check that `mountpoint` can be mounted on; detach a stale mount of ours.

    Raise MountError (exit 15).
    """
    _check_device()
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is not installed", "install the package fuse3")
    if is_disconnected(mountpoint):
        entry = mounted(Path(os.path.abspath(mountpoint)))
        if entry is not None and entry.type == TYPE:
            detach(entry.mountpoint)
    try:
        mode = os.stat(mountpoint).st_mode
    except FileNotFoundError:
        raise MountError(
            f"mount point {mountpoint} does not exist", f"create it: mkdir -p {mountpoint}"
        ) from None
    except OSError as error:
        raise MountError(
            f"mount point {mountpoint} cannot be used: {error.strerror}",
            f"look at it: findmnt {mountpoint}",
        ) from error
    if not stat.S_ISDIR(mode):
        raise MountError(f"mount point {mountpoint} is not a directory", "name a directory")
    entry = mounted(Path(os.path.abspath(mountpoint)))
    if entry is not None and entry.type.startswith("fuse"):
        raise MountError(
            f"mount point {mountpoint} is in use: {entry.source} is mounted there",
            f"unmount it first: recfs umount {mountpoint}",
        )


def _check_device() -> None:
    """Before anything is taken over: a host that cannot serve must not fence one that can."""
    try:
        if not stat.S_ISCHR(os.stat(_DEVICE).st_mode):
            raise FileNotFoundError
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise MountError(
            f"there is no {_DEVICE} on this host"
            if isinstance(error, FileNotFoundError)
            else f"{_DEVICE} cannot be opened: {error.strerror}",
            "load the module (modprobe fuse), or in a container pass --device /dev/fuse "
            "--cap-add SYS_ADMIN",
        ) from None


def unmount(mountpoint: Path) -> bool:
    """Unmount; False when the mount is busy. Blocks: call it from a worker thread.

    Raise MountError when the kernel refuses for another reason than use.
    """
    path = os.path.abspath(mountpoint)
    if os.geteuid() == 0:
        if _LIBC.umount2(os.fsencode(path), 0) == 0:
            return True
        code = ctypes.get_errno()
    else:
        command = ["fusermount3", "-u", "--", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return True
        code = errno.EBUSY if "busy" in done.stderr.lower() else errno.EINVAL
    if code == errno.EBUSY:
        return False
    if code == errno.EINVAL:  # not a mount point: someone was faster
        return True
    raise MountError(f"cannot unmount {path}: {os.strerror(code)}", f"see: findmnt {path}")


class Mount:
    """One FUSE session. pyfuse3 allows one per process."""

    def __init__(self, operations: Operations, mountpoint: Path, options: set[str]) -> None:
        self._operations = operations
        self._mountpoint = mountpoint
        self._options = options

    @contextmanager
    def session(self) -> Iterator[None]:
        """Mounted on entry; on exit let go of the kernel's side, whatever happened."""
        turns.install()
        try:
            pyfuse3.init(self._operations, str(self._mountpoint), self._options)
        except RuntimeError as error:
            raise MountError(
                f"mounting on {self._mountpoint} failed: {error}",
                "as an ordinary user --allow-other needs user_allow_other in /etc/fuse.conf; "
                "in a container --device /dev/fuse and --cap-add SYS_ADMIN",
            ) from error
        try:
            yield
        finally:
            pyfuse3.close(unmount=mounted(Path(os.path.abspath(self._mountpoint))) is not None)

    async def serve(self) -> None:
        """Answer requests until the kernel ends the session."""
        await pyfuse3.main(min_tasks=2, max_tasks=REQUESTS_MAX)
