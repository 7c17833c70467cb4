"""Inodes as the kernel knows them: numbers, lookup counts, open handles, orphans.

An inode keeps its number from its first lookup until the kernel has forgotten it and no handle is
open. Its node may change underneath: truncation to zero gives a file a fresh fnode.
"""

from __future__ import annotations

import errno
import os

from recfs.recoverylog.namespace import Directory, Leaf, Node

ROOT_INODE = 1


class Inode:
    """One file of the tree that the kernel holds a reference to.

    `fd` is the backing descriptor shared by all open handles (-1: none); the kernel's page cache
    is per inode, so one descriptor serves them all. `mtime_ns` is the modification time that was
    last told and recorded (Unix ns); `times_dirty`: content was written since. `remains` are the
    last attributes of an orphan without a descriptor, of which the kernel may still ask or tell.
    """

    __slots__ = (
        "fd",
        "handles",
        "lookups",
        "mtime_ns",
        "node",
        "number",
        "remains",
        "times_dirty",
        "writable",
    )

    def __init__(self, number: int, node: Node) -> None:
        self.number = number
        self.node = node
        self.lookups = 0
        self.handles = 0
        self.fd = -1
        self.writable = False
        self.times_dirty = False
        self.mtime_ns: int | None = None
        self.remains: os.stat_result | None = None

    @property
    def orphan(self) -> bool:
        """Unlinked everywhere, but still referenced. Its operations are local, never recorded."""
        node = self.node
        if isinstance(node, Leaf):
            return not node.links
        assert isinstance(node, Directory)
        return node.parent is None and self.number != ROOT_INODE


class InodeTable:
    """All inodes that the kernel may name. Bounded by what the kernel has looked up."""

    def __init__(self, root: Directory) -> None:
        self._next = ROOT_INODE
        self.by_number: dict[int, Inode] = {}
        self._by_node: dict[Node, Inode] = {}
        self.open_handles = 0
        root_inode = self.of(root)
        root_inode.lookups = 1

    def __len__(self) -> int:
        return len(self.by_number)

    def get(self, number: int) -> Inode:
        """Raise ESTALE for a number that the table no longer holds."""
        try:
            return self.by_number[number]
        except KeyError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def directory(self, number: int) -> Directory:
        node = self.get(number).node
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node

    def of(self, node: Node) -> Inode:
        inode = self._by_node.get(node)
        if inode is None:
            inode = Inode(self._next, node)
            self._next += 1
            self.by_number[inode.number] = inode
            self._by_node[node] = inode
        return inode

    def known(self, node: Node) -> Inode | None:
        return self._by_node.get(node)

    def replace_node(self, inode: Inode, node: Node) -> None:
        """Truncation to zero gave the file a fresh fnode; the number stays."""
        del self._by_node[inode.node]
        inode.node = node
        self._by_node[node] = inode

    def forget(self, number: int, count: int) -> None:
        inode = self.by_number.get(number)
        if inode is None or number == ROOT_INODE:
            return
        inode.lookups -= count
        self.release_unreferenced(inode)

    def release_unreferenced(self, inode: Inode) -> None:
        if inode.lookups <= 0 and inode.handles == 0 and inode.number != ROOT_INODE:
            self.by_number.pop(inode.number, None)
            self._by_node.pop(inode.node, None)
