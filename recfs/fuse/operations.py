"""Translate kernel requests to `Filesystem` calls and back. No semantics live here."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError

from recfs.vfs.attributes import Changes
from recfs.vfs.filesystem import Filesystem
from recfs.vfs.inodes import Inode

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class KernelCache:
    """How the kernel may cache. One writer means that nothing changes behind its back.

    writeback: pages are written back later, in larger pieces (the default).
    direct: no page cache for file content (`--cache=none`).
    """

    writeback: bool = True
    direct: bool = False
    timeout_seconds: float = 86400.0


def _posix(method: F) -> F:
    """An OSError from below is the answer; anything else is a bug and ends the mount."""

    async def answered(*args: Any) -> Any:
        try:
            return await method(*args)
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None

    answered.__name__ = method.__name__
    return answered  # type: ignore[return-value]


class Operations(pyfuse3.Operations):
    supports_dot_lookup = False
    enable_acl = False

    def __init__(self, filesystem: Filesystem, cache: KernelCache, *, xattr: bool) -> None:
        super().__init__()
        self._fs = filesystem
        self._timeout = cache.timeout_seconds
        self._direct = cache.direct
        self.enable_writeback_cache = cache.writeback
        self._no_entry = EntryAttributes()  # inode 0: a negative entry that the kernel may keep
        self._no_entry.st_ino = 0
        self._no_entry.entry_timeout = self._timeout
        self._xattr = xattr

    def _entry(self, inode: Inode) -> EntryAttributes:
        stat = self._fs.stat(inode)
        entry = EntryAttributes()
        entry.st_ino = inode.number
        entry.entry_timeout = self._timeout
        entry.attr_timeout = self._timeout
        entry.st_mode = stat.st_mode
        entry.st_nlink = 0 if inode.orphan else stat.st_nlink
        entry.st_uid = stat.st_uid
        entry.st_gid = stat.st_gid
        entry.st_rdev = stat.st_rdev
        entry.st_size = stat.st_size
        entry.st_blksize = 4096
        entry.st_blocks = stat.st_blocks
        entry.st_atime_ns = stat.st_atime_ns
        entry.st_mtime_ns = stat.st_mtime_ns
        entry.st_ctime_ns = stat.st_ctime_ns
        return entry

    def _counted_entry(self, inode: Inode) -> EntryAttributes:
        """The entry of an inode whose lookup count was just raised: taken back when stat fails."""
        try:
            return self._entry(inode)
        except OSError:
            self._fs.forget(inode.number, 1)
            raise

    # -- names -------------------------------------------------------------------------------

    @_posix
    async def lookup(self, parent: int, name: bytes, ctx: Any) -> EntryAttributes:
        inode = self._fs.lookup(parent, name)
        if inode is None:
            return self._no_entry
        return self._counted_entry(inode)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for number, count in inode_list:
            self._fs.forget(number, count)

    @_posix
    async def mkdir(self, parent: int, name: bytes, mode: int, ctx: Any) -> EntryAttributes:
        return self._counted_entry(await self._fs.mkdir(parent, name, mode, ctx.uid, ctx.gid))

    @_posix
    async def mknod(
        self, parent: int, name: bytes, mode: int, rdev: int, ctx: Any
    ) -> EntryAttributes:
        return self._counted_entry(await self._fs.mknod(parent, name, mode, rdev, ctx.uid, ctx.gid))

    @_posix
    async def symlink(self, parent: int, name: bytes, target: bytes, ctx: Any) -> EntryAttributes:
        return self._counted_entry(await self._fs.symlink(parent, name, target, ctx.uid, ctx.gid))

    @_posix
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: Any
    ) -> EntryAttributes:
        return self._counted_entry(await self._fs.link(inode, new_parent_inode, new_name))

    @_posix
    async def unlink(self, parent: int, name: bytes, ctx: Any) -> None:
        await self._fs.unlink(parent, name)

    @_posix
    async def rmdir(self, parent: int, name: bytes, ctx: Any) -> None:
        await self._fs.rmdir(parent, name)

    @_posix
    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: Any
    ) -> None:
        await self._fs.rename(parent, name, new_parent, new_name, flags)

    @_posix
    async def readlink(self, inode: int, ctx: Any) -> bytes:
        return self._fs.readlink(inode)

    @_posix
    async def opendir(self, inode: int, ctx: Any) -> int:
        return self._fs.opendir(inode)

    @_posix
    async def readdir(self, handle: int, start_id: int, token: Any) -> None:
        listing = self._fs.listing(handle)
        for index in range(start_id, len(listing)):
            name, node = listing[index]
            inode = self._fs.inodes.of(node)
            try:
                entry = self._entry(inode)
            except OSError:  # removed since the directory was opened
                self._fs.inodes.release_unreferenced(inode)
                continue
            if not pyfuse3.readdir_reply(token, name, entry, index + 1):
                self._fs.inodes.release_unreferenced(inode)
                break
            if name not in (b".", b".."):
                inode.lookups += 1
            else:
                self._fs.inodes.release_unreferenced(inode)

    @_posix
    async def releasedir(self, handle: int) -> None:
        self._fs.releasedir(handle)

    @_posix
    async def fsyncdir(self, handle: int, datasync: bool) -> None:
        await self._fs.fsyncdir()

    # -- attributes --------------------------------------------------------------------------

    @_posix
    async def getattr(self, inode: int, ctx: Any = None) -> EntryAttributes:
        return self._entry(self._fs.inodes.get(inode))

    @_posix
    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: Any, handle: int | None, ctx: Any
    ) -> EntryAttributes:
        changes = Changes()
        if fields.update_size:
            changes.size = attr.st_size
        if fields.update_mode:
            changes.mode = attr.st_mode
        if fields.update_uid:
            changes.uid = attr.st_uid
        if fields.update_gid:
            changes.gid = attr.st_gid
        if fields.update_atime:
            changes.atime_ns = attr.st_atime_ns
        if fields.update_mtime:
            changes.mtime_ns = attr.st_mtime_ns
        return self._entry(await self._fs.setattr(inode, changes))

    @_posix
    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        stat = self._fs.statfs()
        data = pyfuse3.StatvfsData()
        data.f_bsize = stat.f_bsize
        data.f_frsize = stat.f_frsize
        data.f_blocks = stat.f_blocks
        data.f_bfree = stat.f_bfree
        data.f_bavail = stat.f_bavail
        data.f_files = stat.f_files
        data.f_ffree = stat.f_ffree
        data.f_favail = stat.f_favail
        data.f_namemax = 255
        return data

    def _need_xattr(self) -> None:
        # After ENOSYS the kernel does not ask again. Any other answer costs a request for
        # security.capability before every write, so attributes are served only on demand.
        if not self._xattr:
            raise FUSEError(errno.ENOSYS)

    @_posix
    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        self._need_xattr()
        return self._fs.getxattr(inode, name)

    @_posix
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        self._need_xattr()
        await self._fs.setxattr(inode, name, value)

    @_posix
    async def listxattr(self, inode: int, ctx: Any) -> list[bytes]:
        self._need_xattr()
        return self._fs.listxattr(inode)

    @_posix
    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        self._need_xattr()
        await self._fs.removexattr(inode, name)

    # -- files -------------------------------------------------------------------------------

    def _file(self, inode: Inode) -> FileInfo:
        return FileInfo(fh=inode.number, direct_io=self._direct, keep_cache=not self._direct)

    @_posix
    async def open(self, inode: int, flags: int, ctx: Any) -> FileInfo:
        return self._file(await self._fs.open(inode, flags))

    @_posix
    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: Any
    ) -> tuple[FileInfo, EntryAttributes]:
        inode = await self._fs.create(parent, name, mode, flags, ctx.uid, ctx.gid)
        return self._file(inode), self._entry(inode)

    @_posix
    async def read(  # type: ignore[override]  # any buffer will do: no copy for the type's sake
        self, handle: int, offset: int, size: int
    ) -> bytes | memoryview:
        return await self._fs.read(handle, offset, size)

    async def write(self, handle: int, offset: int, content: bytes) -> int:
        try:
            return await self._fs.write(handle, offset, content)
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None

    async def flush(self, handle: int) -> None:
        # The kernel has written the dirty pages back before it asks, and close promises no more.
        # After this answer it does not ask again.
        raise FUSEError(errno.ENOSYS)

    @_posix
    async def release(self, handle: int) -> None:
        await self._fs.release(handle)

    async def fsync(self, handle: int, datasync: bool) -> None:
        try:
            await self._fs.fsync(handle)
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None


def kernel_options(*, volume: str, allow_other: bool, read_only: bool) -> set[str]:
    """Mount options. The kernel checks permissions from the modes that getattr answers."""
    options = {"default_permissions", f"fsname={_escaped(volume)}", "subtype=recfs"}
    if allow_other:
        options.add("allow_other")
    if read_only:
        options.add("ro")
    if os.geteuid() == 0:
        options |= {"dev", "suid"}
    return options


def _escaped(text: str) -> str:
    # libfuse splits options at commas and pyfuse3 encodes them as ASCII.
    ascii_text = text.encode("ascii", "backslashreplace").decode()
    return ascii_text.replace("\\", "\\\\").replace(",", "\\,")
