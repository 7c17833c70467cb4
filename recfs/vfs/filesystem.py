"""`Filesystem`: one volume, its parts put together; one method per FUSE request.

The write road through here, for every change: back-pressure first (the only await), then without a
checkpoint the effect on the backing tree, the record, and the hand-over to the appender. That
section is the lock: the order of frames in the log is the order of effects on the tree.
"""

from __future__ import annotations

import os

from recfs.recoverylog.namespace import Namespace

from .attributes import Attributes
from .backing import BackingTree
from .durability import Durability
from .files import Files
from .inodes import InodeTable
from .names import Names


class Filesystem:
    """Methods raise OSError with the errno for the caller. `async` ones may park for room."""

    def __init__(
        self,
        tree: BackingTree,
        namespace: Namespace,
        durability: Durability,
        *,
        kernel_keeps_times: bool = True,
    ) -> None:
        self.tree = tree
        self.durability = durability
        self.inodes = InodeTable(namespace.root)
        files = Files(tree, self.inodes, durability, kernel_keeps_times=kernel_keeps_times)
        names = Names(tree, self.inodes, durability)
        attributes = Attributes(tree, self.inodes, durability, files)
        # Bound here once, so that a request costs one call and no delegation.
        self.open = files.open
        self.create = files.create
        self.read = files.read
        self.write = files.write
        self.fsync = files.fsync
        self.release = files.release
        self.lookup = names.lookup
        self.opendir = names.opendir
        self.listing = names.listing
        self.releasedir = names.releasedir
        self.readlink = names.readlink
        self.mkdir = names.mkdir
        self.mknod = names.mknod
        self.symlink = names.symlink
        self.link = names.link
        self.unlink = names.unlink
        self.rmdir = names.rmdir
        self.rename = names.rename
        self.stat = attributes.stat
        self.setattr = attributes.setattr
        self.getxattr = attributes.getxattr
        self.listxattr = attributes.listxattr
        self.setxattr = attributes.setxattr
        self.removexattr = attributes.removexattr
        self.forget = self.inodes.forget

    async def fsyncdir(self) -> None:
        await self.durability.barrier()

    def statfs(self) -> os.statvfs_result:
        return self.tree.statvfs()

    def close(self) -> None:
        """Close every backing descriptor. The kernel must be gone."""
        for inode in self.inodes.by_number.values():
            if inode.fd >= 0:
                os.close(inode.fd)
                inode.fd = -1
        self.tree.close()
