"""The directory tree: lookup, listing, and every change of names."""

from __future__ import annotations

import errno
import os
import stat as stat_bits

from recfs.recoverylog.namespace import Directory, Leaf, Node, Symlink

from .backing import RENAME_EXCHANGE, RENAME_NOREPLACE, BackingTree
from .durability import Durability
from .inodes import Inode, InodeTable

NAME_MAX = 255


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Names:
    """The namespace in memory answers; the backing tree follows every change of it.

    There is one writer, so the namespace is the truth about names and a lookup needs no system
    call for a name that does not exist.
    """

    def __init__(self, tree: BackingTree, inodes: InodeTable, durability: Durability) -> None:
        self._tree = tree
        self._inodes = inodes
        self._durability = durability
        self._appender = durability.appender
        self._recorder = durability.recorder
        self._listings: dict[int, list[tuple[bytes, Node]]] = {}
        self._next_listing = 1

    # -- reading -----------------------------------------------------------------------------

    def lookup(self, parent: int, name: bytes) -> Inode | None:
        """The inode of `name`, its lookup count raised; None when there is no such name."""
        if len(name) > NAME_MAX:
            raise _error(errno.ENAMETOOLONG)
        node = self._inodes.directory(parent).children.get(name)
        if node is None:
            return None
        inode = self._inodes.of(node)
        inode.lookups += 1
        return inode

    def opendir(self, number: int) -> int:
        """A handle on the directory's entries as of now: a listing is stable under changes."""
        directory = self._inodes.directory(number)
        parent = directory.parent if directory.parent is not None else directory
        handle = self._next_listing
        self._next_listing += 1
        self._listings[handle] = [(b".", directory), (b"..", parent), *directory.children.items()]
        return handle

    def listing(self, handle: int) -> list[tuple[bytes, Node]]:
        try:
            return self._listings[handle]
        except KeyError:
            raise _error(errno.EBADF) from None

    def releasedir(self, handle: int) -> None:
        self._listings.pop(handle, None)

    def readlink(self, number: int) -> bytes:
        node = self._inodes.get(number).node
        if not isinstance(node, Symlink):
            raise _error(errno.EINVAL)
        return node.target

    # -- changing ----------------------------------------------------------------------------

    async def _ready(self, parent: int, name: bytes) -> Directory:
        """Back-pressure first, then the checks; no checkpoint between these and the effect."""
        if not self._appender.has_room:
            await self._durability.wait_room()
        return self._checked(parent, name)

    def _checked(self, parent: int, name: bytes) -> Directory:
        self._durability.check_writable()
        if len(name) > NAME_MAX:
            raise _error(errno.ENAMETOOLONG)
        inode = self._inodes.get(parent)
        if inode.orphan:
            raise _error(errno.ENOENT)
        return self._inodes.directory(parent)

    def _adopt(self, node: Node) -> Inode:
        inode = self._inodes.of(node)
        inode.lookups += 1
        return inode

    @staticmethod
    def _group_of(directory: Directory, gid: int) -> int:
        if directory.mode is not None and directory.mode & stat_bits.S_ISGID:
            return directory.gid if directory.gid is not None else gid
        return gid

    async def mkdir(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        directory = await self._ready(parent, name)
        mode &= 0o7777
        if directory.mode is not None and directory.mode & stat_bits.S_ISGID:
            mode |= stat_bits.S_ISGID
        gid = self._group_of(directory, gid)
        self._tree.mkdir(directory, name, mode, uid, gid)
        frames, node = self._recorder.mkdir(directory.child_path(name), mode, uid, gid)
        self._durability.record(frames)
        return self._adopt(node)

    async def mknod(
        self, parent: int, name: bytes, mode: int, rdev: int, uid: int, gid: int
    ) -> Inode:
        directory = await self._ready(parent, name)
        gid = self._group_of(directory, gid)
        path = directory.child_path(name)
        if stat_bits.S_IFMT(mode) in (0, stat_bits.S_IFREG):
            os.close(self._tree.create(directory, name, mode & 0o7777, uid, gid))
            frames, node = self._recorder.create(path, mode & 0o7777, uid, gid)
            self._durability.record(frames)
            return self._adopt(node)
        self._tree.mknod(directory, name, mode, rdev, uid, gid)
        frames, special = self._recorder.mknod(path, mode, rdev, uid, gid)
        self._durability.record(frames)
        return self._adopt(special)

    async def symlink(self, parent: int, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        directory = await self._ready(parent, name)
        gid = self._group_of(directory, gid)
        self._tree.symlink(directory, name, target, uid, gid)
        frames, node = self._recorder.symlink(directory.child_path(name), target, uid, gid)
        self._durability.record(frames)
        return self._adopt(node)

    async def link(self, number: int, parent: int, name: bytes) -> Inode:
        directory = await self._ready(parent, name)
        inode = self._inodes.get(number)
        node = inode.node
        if not isinstance(node, Leaf):
            raise _error(errno.EPERM)
        if inode.orphan:
            raise _error(errno.ENOENT)
        self._tree.link(node, directory, name)
        self._durability.record(self._recorder.link(node, directory.child_path(name)))
        inode.lookups += 1
        return inode

    def _keep_remains(self, node: Node) -> None:
        """Before a name goes: the attributes of what may become an orphan without a descriptor."""
        inode = self._inodes.known(node)
        if (
            inode is not None
            and inode.fd < 0
            and not (isinstance(node, Leaf) and len(node.links) > 1)
        ):
            inode.remains = self._tree.stat(node)

    async def unlink(self, parent: int, name: bytes) -> None:
        directory = await self._ready(parent, name)
        node = directory.children.get(name)
        if node is None:
            raise _error(errno.ENOENT)
        if not isinstance(node, Leaf):
            raise _error(errno.EISDIR)
        self._keep_remains(node)
        self._tree.unlink(directory, name)
        self._durability.record(self._recorder.unlink(node, directory.child_path(name)))

    async def rmdir(self, parent: int, name: bytes) -> None:
        directory = await self._ready(parent, name)
        node = directory.children.get(name)
        if node is None:
            raise _error(errno.ENOENT)
        if not isinstance(node, Directory):
            raise _error(errno.ENOTDIR)
        if node.children:
            raise _error(errno.ENOTEMPTY)
        self._keep_remains(node)
        self._tree.rmdir(directory, name)
        self._tree.forget_directory(node)
        self._durability.record(self._recorder.rmdir(directory.child_path(name)))

    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int
    ) -> None:
        """rename(2) with the flags of renameat2(2): NOREPLACE and EXCHANGE; WHITEOUT is EINVAL."""
        source = await self._ready(parent, name)
        target = self._checked(new_parent, new_name)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == (
            RENAME_NOREPLACE | RENAME_EXCHANGE
        ):
            raise _error(errno.EINVAL)
        node = source.children.get(name)
        replaced = target.children.get(new_name)
        if node is None or (flags & RENAME_EXCHANGE and replaced is None):
            raise _error(errno.ENOENT)
        if flags & RENAME_NOREPLACE and replaced is not None:
            raise _error(errno.EEXIST)
        if node is replaced:
            return  # two links of one file, or a name onto itself: POSIX says that nothing happens
        if not flags & RENAME_EXCHANGE and isinstance(replaced, Directory):
            if not isinstance(node, Directory):
                raise _error(errno.EISDIR)
            if replaced.children:
                raise _error(errno.ENOTEMPTY)
        if replaced is not None and not flags & RENAME_EXCHANGE:
            self._keep_remains(replaced)
        self._tree.rename(source, name, target, new_name, flags & RENAME_EXCHANGE)
        if not flags & RENAME_EXCHANGE and isinstance(replaced, Directory):
            self._tree.forget_directory(replaced)
        self._durability.record(
            self._recorder.rename(
                source.child_path(name),
                target.child_path(new_name),
                exchange=bool(flags & RENAME_EXCHANGE),
            )
        )
