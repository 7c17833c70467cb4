"""Open files: open, create, read, write, fsync, release, and changes of size."""

from __future__ import annotations

import errno
import os

import trio

from recfs.recoverylog.namespace import Directory, File

from .backing import BackingTree
from .durability import Durability
from .inodes import Inode, InodeTable

#: No write in the log is longer (DESIGN 4), so a reader's buffer has a bound.
WRITE_BYTES_MAX = 1 << 20


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Files:
    """Handles are inode numbers: all handles of an inode share one backing descriptor."""

    def __init__(
        self,
        tree: BackingTree,
        inodes: InodeTable,
        durability: Durability,
        *,
        kernel_keeps_times: bool,
    ) -> None:
        self._tree = tree
        self._os = tree.os
        self._inodes = inodes
        self._durability = durability
        self._appender = durability.appender
        self._recorder = durability.recorder
        # With the write-back cache the kernel sends the times itself; otherwise they are taken
        # from the backing file when it is synced or released.
        self._kernel_keeps_times = kernel_keeps_times

    # -- opening -----------------------------------------------------------------------------

    async def open(self, number: int, flags: int) -> Inode:
        """Open an existing file. O_TRUNC takes effect here; O_APPEND is the kernel's."""
        wants_write = flags & os.O_ACCMODE != os.O_RDONLY
        if (wants_write or flags & os.O_TRUNC) and not self._appender.has_room:
            await self._durability.wait_room()
        inode = self._inodes.get(number)
        if not isinstance(inode.node, File):
            raise _error(errno.EISDIR if isinstance(inode.node, Directory) else errno.ENXIO)
        if wants_write or flags & os.O_TRUNC:
            self._durability.check_writable()
        self._ensure_descriptor(inode, wants_write or bool(flags & os.O_TRUNC))
        self._hold(inode)
        if flags & os.O_TRUNC:
            try:
                self.resize(inode, 0)
            except BaseException:
                self._let_go(inode)
                raise
        return inode

    def _ensure_descriptor(self, inode: Inode, writable: bool) -> None:
        # Opened for reading and writing even for a reader: with the write-back cache the kernel
        # reads pages through handles that were opened for writing only, and the reverse.
        if inode.fd >= 0 and (inode.writable or not writable):
            return
        try:
            fd = self._tree.open(inode.node, os.O_RDWR)
            can_write = True
        except OSError as error:
            if writable or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            fd = self._tree.open(inode.node, os.O_RDONLY)
            can_write = False
        if inode.fd >= 0:
            # dup2 exchanges the file under the number, so that a read in a worker thread keeps it.
            os.dup2(fd, inode.fd, inheritable=False)
            os.close(fd)
        else:
            inode.fd = fd
        inode.writable = can_write

    def _hold(self, inode: Inode) -> None:
        inode.handles += 1
        self._inodes.open_handles += 1

    def _let_go(self, inode: Inode) -> None:
        inode.handles -= 1
        self._inodes.open_handles -= 1
        if inode.handles == 0 and inode.fd >= 0:
            os.close(inode.fd)
            inode.fd = -1
            inode.writable = False
            self._inodes.release_unreferenced(inode)

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, uid: int, gid: int
    ) -> Inode:
        """Create and open `name`. An existing file is opened, unless O_EXCL asks for EEXIST."""
        if not self._appender.has_room:
            await self._durability.wait_room()
        directory = self._inodes.directory(parent)
        existing = directory.children.get(name)
        if existing is not None:
            if flags & os.O_EXCL:
                raise _error(errno.EEXIST)
            inode = await self.open(self._inodes.of(existing).number, flags)
            inode.lookups += 1
            return inode
        self._durability.check_writable()
        if directory.mode is not None and directory.mode & 0o2000:
            gid = directory.gid if directory.gid is not None else gid
        fd = self._tree.create(directory, name, mode & 0o7777, uid, gid)
        frames, node = self._recorder.create(directory.child_path(name), mode & 0o7777, uid, gid)
        self._durability.record(frames)
        inode = self._inodes.of(node)
        inode.fd = fd
        inode.writable = True
        inode.lookups += 1
        self._hold(inode)
        return inode

    async def release(self, handle: int) -> None:
        inode = self._inodes.get(handle)
        if inode.times_dirty and self._durability.doubt is None:
            if self._kernel_keeps_times:
                self._restore_mtime(inode)
            else:
                self._record_times(inode)
        self._let_go(inode)

    # -- content -----------------------------------------------------------------------------

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes; fewer only at the end of the file."""
        fd = self._inodes.get(handle).fd
        buffer = bytearray(size)
        try:
            count: int = self._os.preadv(fd, (buffer,), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            count = 0
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            count = 0
        if count == size:
            return buffer  # type: ignore[return-value]  # any buffer will do
        if offset + count >= os.fstat(fd).st_size:
            return memoryview(buffer)[:count]
        # Not in the page cache: the one read that may wait for a disk goes to a worker thread.
        content: bytes = await trio.to_thread.run_sync(self._os.pread, fd, size, offset)
        return content

    async def write(self, handle: int, offset: int, content: bytes) -> int:
        durability = self._durability
        if not self._appender.has_room:
            await durability.wait_room()
        # From here to the return there is no checkpoint: effect and record are one section.
        durability.check_writable()
        inode = self._inodes.get(handle)
        written: int = self._os.pwrite(inode.fd, content, offset)
        rest = b""
        if written != len(content):
            content, rest = content[:written], content[written:]
        node = inode.node
        assert isinstance(node, File)
        if node.links:
            if written <= WRITE_BYTES_MAX:
                durability.record(self._recorder.write(node, offset, content), content)
            else:
                view = memoryview(content)
                for start in range(0, written, WRITE_BYTES_MAX):
                    piece = view[start : start + WRITE_BYTES_MAX]
                    durability.record(self._recorder.write(node, offset + start, piece), piece)
            inode.times_dirty = True
        if rest and self._kernel_keeps_times:
            # Writing pages back, the kernel takes a short answer for a whole one and would lose the
            # rest without a word. So the disk is asked until it says why.
            written += await self.write(handle, offset + written, rest)
        return written

    async def fsync(self, handle: int) -> None:
        """Return when everything recorded so far is committed. The backing file needs no sync."""
        inode = self._inodes.by_number.get(handle)
        if (
            inode is not None
            and inode.times_dirty
            and not self._kernel_keeps_times
            and self._durability.doubt is None
        ):
            self._record_times(inode)
        await self._durability.barrier()

    def _restore_mtime(self, inode: Inode) -> None:
        """Pages that the kernel wrote back after it had told the time moved the backing file's."""
        if inode.mtime_ns is not None and inode.handles == 1 and inode.fd >= 0:
            inode.times_dirty = False
            stat = os.fstat(inode.fd)
            self._os.utime(inode.fd, ns=(stat.st_atime_ns, inode.mtime_ns))

    def _record_times(self, inode: Inode) -> None:
        inode.times_dirty = False
        if not inode.orphan and inode.fd >= 0 and self._appender.error is None:
            mtime_ns = os.fstat(inode.fd).st_mtime_ns
            self._durability.record(self._recorder.set_attr(inode.node, mtime_ns=mtime_ns))

    # -- size --------------------------------------------------------------------------------

    def resize(self, inode: Inode, size: int) -> None:
        """Truncate or extend. Synchronous: the caller has checked that the volume is writable."""
        if not isinstance(inode.node, File):
            raise _error(errno.EISDIR if isinstance(inode.node, Directory) else errno.EINVAL)
        borrowed = -1
        fd = inode.fd
        if fd < 0 or not inode.writable:
            fd = borrowed = self._tree.open(inode.node, os.O_RDWR)
        try:
            before = os.fstat(fd).st_size
            self._os.ftruncate(fd, size)
        finally:
            if borrowed >= 0:
                os.close(borrowed)
        node = inode.node
        if not node.links or before == size:
            return
        if size == 0 and len(node.links) == 1:
            self._recreate(inode, node)
        else:
            self._durability.record(self._recorder.truncate(node, size))
        if self._kernel_keeps_times:
            return
        if inode.handles:
            inode.times_dirty = True
        else:  # truncate(2) by name: no release will come to record the time
            mtime_ns = self._tree.stat(inode.node).st_mtime_ns
            self._durability.record(self._recorder.set_attr(inode.node, mtime_ns=mtime_ns))

    def _recreate(self, inode: Inode, node: File) -> None:
        """Record truncation to zero as unlink + create: the log of the old content is dead."""
        ((directory, name),) = node.links
        stat = self._tree.stat(node)
        frames, fresh = self._recorder.recreate(
            node,
            directory.child_path(name),
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid,
        )
        for key, value in node.xattrs.items():
            frames += self._recorder.set_xattr(fresh, key, value)
        self._durability.record(frames)
        self._inodes.replace_node(inode, fresh)
