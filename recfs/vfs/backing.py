"""The backing directory: every system call on the plain tree, addressed by node.

A directory is reached through an O_PATH descriptor of its own, so that names stay short however
deep the tree is and a renamed directory needs no path rewritten. The descriptors are a cache with
a bound; a name is resolved and used within one synchronous section, so an evicted descriptor is
never in use.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from recfs.recoverylog.namespace import Directory, Leaf, Node

_libc = ctypes.CDLL(None, use_errno=True)

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

#: Bound on the cached directory descriptors.
DIRECTORY_FDS_MAX = 4096


def renameat2(source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> None:
    """The one call that `os` lacks. Raises OSError."""
    if _libc.renameat2(source_fd, source, target_fd, target, flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class BackingTree:
    """The plain tree at `root`. Methods raise OSError with the errno of the system call."""

    def __init__(self, root: Path, system: Any = None) -> None:
        self.root = root
        # `os` itself, not a wrapper, on the hot path; tests pass an object that fails on demand.
        self.os: Any = system if system is not None else os
        self._renameat2 = getattr(system, "renameat2", None) or renameat2
        self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        self._fds: OrderedDict[Directory, int] = OrderedDict()

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    # -- addressing --------------------------------------------------------------------------

    def directory_fd(self, directory: Directory) -> int:
        """An O_PATH descriptor of `directory`, valid until the next call of this method."""
        if directory.parent is None:
            return self._root_fd
        fd = self._fds.get(directory)
        if fd is not None:
            self._fds.move_to_end(directory)
            return fd
        # Iterative: a tree may be deeper than Python's stack.
        missing: list[Directory] = []
        at: Directory | None = directory
        while at is not None and at.parent is not None and at not in self._fds:
            missing.append(at)
            at = at.parent
        fd = self._root_fd if at is None or at.parent is None else self._fds[at]
        for step in reversed(missing):
            fd = self.os.open(
                step.name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd
            )
            self._fds[step] = fd
        while len(self._fds) > DIRECTORY_FDS_MAX:
            oldest, old_fd = next(iter(self._fds.items()))
            if oldest is directory:
                break
            del self._fds[oldest]
            os.close(old_fd)
        return fd

    def forget_directory(self, directory: Directory) -> None:
        fd = self._fds.pop(directory, None)
        if fd is not None:
            os.close(fd)

    def place(self, node: Node) -> tuple[int, bytes]:
        """(directory descriptor, name) that address `node`; ESTALE for an orphan."""
        if isinstance(node, Directory):
            if node.parent is None:
                return self._root_fd, b"."
            return self.directory_fd(node.parent), node.name
        assert isinstance(node, Leaf)
        for directory, name in node.links:
            return self.directory_fd(directory), name
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def proc_path(self, node: Node) -> bytes:
        """A path of `node` for calls that take no directory descriptor (extended attributes)."""
        fd, name = self.place(node)
        return b"/proc/self/fd/%d/%s" % (fd, name)

    # -- reading -----------------------------------------------------------------------------

    def stat(self, node: Node) -> os.stat_result:
        fd, name = self.place(node)
        result: os.stat_result = self.os.stat(name, dir_fd=fd, follow_symlinks=False)
        return result

    def readlink(self, node: Node) -> bytes:
        fd, name = self.place(node)
        result: bytes = self.os.readlink(name, dir_fd=fd)
        return result

    def open(self, node: Node, flags: int) -> int:
        fd, name = self.place(node)
        result: int = self.os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        return result

    def statvfs(self) -> os.statvfs_result:
        result: os.statvfs_result = self.os.statvfs(f"/proc/self/fd/{self._root_fd}")
        return result

    # -- changing ----------------------------------------------------------------------------
    # Each either takes effect whole or raises with nothing changed: a second step that fails is
    # followed by the undoing of the first.

    def create(self, directory: Directory, name: bytes, mode: int, uid: int, gid: int) -> int:
        """Create a regular file; return a descriptor open for reading and writing."""
        at = self.directory_fd(directory)
        fd: int = self.os.open(
            name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o777, dir_fd=at
        )
        try:
            self._own(fd, uid, gid, mode)
        except BaseException:
            os.close(fd)
            os.unlink(name, dir_fd=at)
            raise
        return fd

    def _own(self, fd: int, uid: int, gid: int, mode: int) -> None:
        # chown clears the set-id bits, so the mode comes second. Both only where they differ: a
        # set-gid parent on the backing file system and this process's umask have had their say.
        stat = os.fstat(fd)
        if (stat.st_uid, stat.st_gid) != (uid, gid):
            self.os.fchown(fd, uid, gid)
        if stat.st_mode & 0o7777 != mode:
            self.os.fchmod(fd, mode)

    def _own_at(self, at: int, name: bytes, uid: int, gid: int, mode: int | None) -> None:
        stat = os.stat(name, dir_fd=at, follow_symlinks=False)
        if (stat.st_uid, stat.st_gid) != (uid, gid):
            self.os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)
        if mode is not None and stat.st_mode & 0o7777 != mode:
            self.os.chmod(name, mode, dir_fd=at)

    def mkdir(self, directory: Directory, name: bytes, mode: int, uid: int, gid: int) -> None:
        at = self.directory_fd(directory)
        self.os.mkdir(name, mode, dir_fd=at)
        try:
            self._own_at(at, name, uid, gid, mode)
        except BaseException:
            os.rmdir(name, dir_fd=at)
            raise

    def mknod(
        self, directory: Directory, name: bytes, mode: int, rdev: int, uid: int, gid: int
    ) -> None:
        at = self.directory_fd(directory)
        self.os.mknod(name, mode, rdev, dir_fd=at)
        try:
            self._own_at(at, name, uid, gid, mode & 0o7777)
        except BaseException:
            os.unlink(name, dir_fd=at)
            raise

    def symlink(self, directory: Directory, name: bytes, target: bytes, uid: int, gid: int) -> None:
        at = self.directory_fd(directory)
        self.os.symlink(target, name, dir_fd=at)
        try:
            self._own_at(at, name, uid, gid, None)
        except BaseException:
            os.unlink(name, dir_fd=at)
            raise

    def link(self, node: Node, directory: Directory, name: bytes) -> None:
        source_fd, source = self.place(node)
        # A second directory_fd may evict the first one's descriptor only past the cache's bound of
        # thousands, and never the one looked up last; the pair stays valid.
        self.os.link(
            source,
            name,
            src_dir_fd=source_fd,
            dst_dir_fd=self.directory_fd(directory),
            follow_symlinks=False,
        )

    def unlink(self, directory: Directory, name: bytes) -> None:
        self.os.unlink(name, dir_fd=self.directory_fd(directory))

    def rmdir(self, directory: Directory, name: bytes) -> None:
        self.os.rmdir(name, dir_fd=self.directory_fd(directory))

    def rename(
        self,
        source: Directory,
        source_name: bytes,
        target: Directory,
        target_name: bytes,
        flags: int,
    ) -> None:
        source_fd = self.directory_fd(source)
        target_fd = self.directory_fd(target)
        if flags:
            self._renameat2(source_fd, source_name, target_fd, target_name, flags)
        else:
            self.os.rename(source_name, target_name, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    def chown(self, node: Node, uid: int, gid: int) -> None:
        fd, name = self.place(node)
        self.os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)

    def chmod(self, node: Node, mode: int) -> None:
        fd, name = self.place(node)
        self.os.chmod(name, mode, dir_fd=fd)

    def utime(self, node: Node, atime_ns: int, mtime_ns: int) -> None:
        fd, name = self.place(node)
        self.os.utime(name, ns=(atime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)
