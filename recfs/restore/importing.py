"""Recording a directory that was there before: the log of a volume begins with its content."""

from __future__ import annotations

import os
import stat as stat_bits
from collections.abc import Callable
from pathlib import Path

from recfs.errors import BackingError
from recfs.journal.appender import Appender
from recfs.recoverylog.namespace import Directory, File, Leaf, Node
from recfs.recoverylog.recorder import Recorder
from recfs.recoverylog.recoverylog_pb2 import Mark

PIECE_BYTES = 1 << 20


def tree_size(tree: Path) -> int:
    """Bytes of content below `tree`, for a progress bar: as far as it can be looked at."""
    total = 0
    for top, _, names in os.walk(tree):
        for name in names:
            try:
                total += os.lstat(os.path.join(top, name)).st_size
            except OSError:
                pass  # the import will say so
    return total


async def import_tree(
    tree: Path,
    recorder: Recorder,
    appender: Appender,
    *,
    xattr: bool,
    advance: Callable[[int], None],
) -> None:
    """Record everything below `tree`, between two marks, and return when it is committed.

    A log that an earlier, interrupted import began is emptied first. A restore refuses a log whose
    second mark is missing. Raise BackingError for what cannot be read, and the appender's error.
    """
    appender.add(recorder.mark(Mark.IMPORT_BEGIN, ""))
    await _clear(recorder, appender)
    importer = _Importer(recorder, appender, xattr, advance)
    root = recorder.fsm.namespace.root
    try:
        importer.attributes(root, os.fsencode(tree))
        await importer.directory(os.fsencode(tree))
    except OSError as error:
        place = os.fsdecode(error.filename or tree)
        raise BackingError(
            f"cannot import {place}: {error.strerror}",
            "stop what uses the tree, see that this user may read all of it, and mount again: the "
            "import then begins anew",
        ) from error
    appender.add(recorder.mark(Mark.IMPORT_END, ""))
    await appender.barrier()


async def _clear(recorder: Recorder, appender: Appender) -> None:
    root = recorder.fsm.namespace.root
    stack: list[Directory] = [root]
    while stack:
        directory = stack[-1]
        deeper = next((c for c in directory.children.values() if isinstance(c, Directory)), None)
        if deeper is not None:
            stack.append(deeper)
            continue
        for name, node in list(directory.children.items()):
            assert isinstance(node, Leaf)
            appender.add(recorder.unlink(node, directory.child_path(name)))
        stack.pop()
        if directory is not root:
            appender.add(recorder.rmdir(directory.path()))
        await appender.wait_room()


class _Importer:
    def __init__(
        self,
        recorder: Recorder,
        appender: Appender,
        xattr: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._recorder = recorder
        self._appender = appender
        self._xattr = xattr
        self._advance = advance
        self._linked: dict[tuple[int, int], Leaf] = {}

    async def directory(self, root: bytes) -> None:
        stack = [b""]
        while stack:
            relative = stack.pop()
            with os.scandir(root + relative) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
            for entry in entries:
                path = relative + b"/" + entry.name
                stat = entry.stat(follow_symlinks=False)
                if stat_bits.S_ISDIR(stat.st_mode):
                    frames, _ = self._recorder.mkdir(
                        path, stat_bits.S_IMODE(stat.st_mode), stat.st_uid, stat.st_gid
                    )
                    self._appender.add(frames)
                    stack.append(path)
                else:
                    await self._leaf(path, root + path, stat)
                node = self._recorder.fsm.namespace.resolve(path)
                assert node is not None
                self.attributes(node, root + path)
                await self._appender.wait_room()

    async def _leaf(self, path: bytes, source: bytes, stat: os.stat_result) -> None:
        recorder, appender = self._recorder, self._appender
        key = (stat.st_dev, stat.st_ino)
        first = self._linked.get(key)
        if first is not None:
            appender.add(recorder.link(first, path))
            return
        node: Leaf
        mode = stat_bits.S_IMODE(stat.st_mode)
        if stat_bits.S_ISREG(stat.st_mode):
            frames, file = recorder.create(path, mode, stat.st_uid, stat.st_gid)
            appender.add(frames)
            fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                await self._content(file, fd)
            finally:
                os.close(fd)
            node = file
        elif stat_bits.S_ISLNK(stat.st_mode):
            target = os.readlink(source)
            frames, node = recorder.symlink(path, target, stat.st_uid, stat.st_gid)
            appender.add(frames)
        else:
            frames, node = recorder.mknod(
                path, stat.st_mode, stat.st_rdev, stat.st_uid, stat.st_gid
            )
            appender.add(frames)
        if stat.st_nlink > 1:
            self._linked[key] = node

    async def _content(self, file: File, fd: int) -> None:
        """Data extents only: a hole costs nothing in the log, and is one after a restore."""
        size = os.fstat(fd).st_size
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(fd, offset, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end
                break
            stop = os.lseek(fd, offset, os.SEEK_HOLE)
            while offset < stop:
                piece = os.pread(fd, min(PIECE_BYTES, stop - offset), offset)
                if not piece:
                    break
                self._appender.add(self._recorder.write(file, offset, piece), piece)
                offset += len(piece)
                self._advance(len(piece))
                await self._appender.wait_room()
        if file.size < size:
            self._appender.add(self._recorder.truncate(file, size))

    def attributes(self, node: Node, source: bytes) -> None:
        """Mode, owner and times as they are on disk."""
        stat = os.lstat(source)
        mode = None if stat_bits.S_ISLNK(stat.st_mode) else stat_bits.S_IMODE(stat.st_mode)
        frames = self._recorder.set_attr(
            node,
            mode=mode,
            uid=stat.st_uid,
            gid=stat.st_gid,
            atime_ns=stat.st_atime_ns,
            mtime_ns=stat.st_mtime_ns,
        )
        if self._xattr:
            for name in os.listxattr(source, follow_symlinks=False):
                value = os.getxattr(source, name, follow_symlinks=False)
                frames += self._recorder.set_xattr(node, os.fsencode(name), value)
        self._appender.add(frames)
