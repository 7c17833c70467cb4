"""Attributes of inodes: stat, changes of mode, owner, times and size, extended attributes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .backing import BackingTree
from .durability import Durability
from .files import Files
from .inodes import Inode, InodeTable


@dataclass(slots=True)
class Changes:
    """What setattr is to change; None leaves a field alone. Times in Unix ns, size in bytes."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class Attributes:
    def __init__(
        self, tree: BackingTree, inodes: InodeTable, durability: Durability, files: Files
    ) -> None:
        self._tree = tree
        self._inodes = inodes
        self._durability = durability
        self._files = files
        self._recorder = durability.recorder

    def stat(self, inode: Inode) -> os.stat_result:
        """The backing file's own attributes; an orphan's are its descriptor's, or its last ones."""
        if inode.fd >= 0:
            return os.fstat(inode.fd)
        if inode.remains is not None and inode.orphan:
            return inode.remains
        return self._tree.stat(inode.node)

    async def setattr(self, number: int, changes: Changes) -> Inode:
        durability = self._durability
        if not durability.appender.has_room:
            await durability.wait_room()
        durability.check_writable()
        inode = self._inodes.get(number)
        if inode.fd < 0 and inode.orphan:
            # Nothing is left to change; the kernel still hands in the times of a file that it
            # had dirty when it was unlinked.
            return inode
        if changes.size is not None:
            self._files.resize(inode, changes.size)
        node = inode.node
        tree = self._tree
        fd = inode.fd
        # chown before chmod: a change of owner clears the set-id bits.
        if changes.uid is not None or changes.gid is not None:
            uid = -1 if changes.uid is None else changes.uid
            gid = -1 if changes.gid is None else changes.gid
            if fd >= 0:
                tree.os.fchown(fd, uid, gid)
            else:
                tree.chown(node, uid, gid)
        mode = None if changes.mode is None else changes.mode & 0o7777
        if mode is not None:
            if fd >= 0:
                tree.os.fchmod(fd, mode)
            else:
                tree.chmod(node, mode)
        if changes.atime_ns is not None or changes.mtime_ns is not None:
            now = self.stat(inode)
            atime_ns = now.st_atime_ns if changes.atime_ns is None else changes.atime_ns
            mtime_ns = now.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns
            if fd >= 0:
                tree.os.utime(fd, ns=(atime_ns, mtime_ns))
            else:
                tree.utime(node, atime_ns, mtime_ns)
            inode.times_dirty = False
            inode.mtime_ns = mtime_ns
        elif mode is None and changes.uid is None and changes.gid is None:
            return inode
        if not inode.orphan:
            durability.record(
                self._recorder.set_attr(
                    node,
                    mode=mode,
                    uid=changes.uid,
                    gid=changes.gid,
                    atime_ns=changes.atime_ns,
                    mtime_ns=changes.mtime_ns,
                )
            )
        return inode

    # -- extended attributes -----------------------------------------------------------------

    # A file descriptor where there is one (an orphan has nothing else), else a path that is not
    # followed; fsetxattr on a path of /proc/self/fd/N would act on the symlink itself.

    def getxattr(self, number: int, name: bytes) -> bytes:
        """Raise ENODATA when there is no such attribute."""
        inode = self._inodes.get(number)
        call = self._tree.os.getxattr
        if inode.fd >= 0:
            value: bytes = call(inode.fd, name)
        else:
            value = call(self._tree.proc_path(inode.node), name, follow_symlinks=False)
        return value

    def listxattr(self, number: int) -> list[bytes]:
        inode = self._inodes.get(number)
        call = self._tree.os.listxattr
        if inode.fd >= 0:
            names = call(inode.fd)
        else:
            names = call(self._tree.proc_path(inode.node), follow_symlinks=False)
        return [os.fsencode(name) for name in names]

    async def setxattr(self, number: int, name: bytes, value: bytes) -> None:
        inode = await self._ready(number)
        call = self._tree.os.setxattr
        if inode.fd >= 0:
            call(inode.fd, name, value)
        else:
            call(self._tree.proc_path(inode.node), name, value, follow_symlinks=False)
        if not inode.orphan:
            self._durability.record(self._recorder.set_xattr(inode.node, name, value))

    async def removexattr(self, number: int, name: bytes) -> None:
        inode = await self._ready(number)
        call = self._tree.os.removexattr
        if inode.fd >= 0:
            call(inode.fd, name)
        else:
            call(self._tree.proc_path(inode.node), name, follow_symlinks=False)
        if not inode.orphan:
            self._durability.record(self._recorder.remove_xattr(inode.node, name))

    async def _ready(self, number: int) -> Inode:
        if not self._durability.appender.has_room:
            await self._durability.wait_room()
        self._durability.check_writable()
        return self._inodes.get(number)
