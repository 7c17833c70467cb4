"""The Recorder: file-system changes in, frames out, each as the next operations of the log.

The caller has made the change in its backing directory, records it here, and appends the bytes
returned, whole, to the journal: each method returns one group, and an append never splits a group.
What a stock Gazette player can express is recorded in Gazette's operations: a file's rename is
unlink of the replaced target, link, unlink of the source; truncation to zero of a file with one
link is unlink and create.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import TypeVar

from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.framing import pack
from recfs.recoverylog.fsm import FSM, OFFSET_MAX, Outcome
from recfs.recoverylog.namespace import (
    SPECIAL_TYPES,
    Directory,
    File,
    Leaf,
    Node,
    Special,
    Symlink,
)
from recfs.recoverylog.recoverylog_pb2 import Mark, RecordedOp

#: Bytes. Larger payloads are split by the caller.
WRITE_MAX = 1 << 20


_Made = TypeVar("_Made", File, Directory, Symlink, Special)


class RecorderError(AssertionError):
    """The caller recorded what cannot have happened: its file system and the FSM differ.

    A programmer error. Nothing of the group was applied and nothing may be appended.
    """


class Recorder:
    """Records as `author`, on the FSM of a log that was played to its end.

    `stamp` returns the time, in Unix ns, when the next operation is the first of an append, else 0.
    """

    __slots__ = ("_author", "_fsm", "_head", "_stamp", "_write", "_write_op")

    def __init__(self, fsm: FSM, author: int, stamp: Callable[[], int]) -> None:
        assert 0 < author < 2**32
        assert not fsm.hinted, "hinted segments are not replayed yet"
        self._fsm = fsm
        self._author = author
        self._stamp = stamp
        self._head = fsm.end_offset
        # One message for all writes: filling it in anew costs a third of making it.
        self._write_op = RecordedOp(author=author)
        self._write = self._write_op.write

    @property
    def author(self) -> int:
        return self._author

    @property
    def fsm(self) -> FSM:
        return self._fsm

    def committed(self, end_offset: int) -> None:
        """Learn that everything up to `end_offset` (bytes) is committed.

        It is the lower bound of where later operations will stand, and becomes their first offset.
        """
        assert end_offset >= self._head, "the journal's write head went back"
        self._head = end_offset

    def write(self, file: File, offset: int, data: bytes | bytearray | memoryview) -> bytes:
        """Return the frame of a write. `data`, at most 1 MiB, must follow it in the log."""
        content = data if type(data) is bytes else bytes(data)
        length = len(content)
        fsm = self._fsm
        if (
            length > WRITE_MAX
            or offset < 0
            or offset + length > OFFSET_MAX
            or fsm.nodes.get(file.id) is not file
        ):
            raise RecorderError(f"write of {length} bytes at {offset} to fnode {file.id}")
        op = self._write_op
        op.seq_no = fsm.next_seq_no
        op.checksum = fsm.next_checksum
        op.recorded_at = self._stamp()
        write = self._write
        write.fnode = file.id
        write.offset = offset
        write.length = length
        write.content_crc32c = crc32c(content)
        body: bytes = op.SerializeToString()
        fsm.wrote(file, self._author, offset, length, body, self._head, 0, fsm.log)
        return pack(body)

    def create(self, path: bytes, mode: int, uid: int, gid: int) -> tuple[bytes, File]:
        self._need_free(path)
        op = RecordedOp()
        _fill_create(op, path, mode, uid, gid)
        return self._record(op), self._made(path, File)

    def recreate(
        self, file: File, path: bytes, mode: int, uid: int, gid: int
    ) -> tuple[bytes, File]:
        """Give `path`, the only link of `file`, a new and empty file.

        Times and extended attributes do not go over to it: record again what it shall have.
        """
        self._need_link(file, path)
        if len(file.links) != 1:
            raise RecorderError(f"recreate of {path!r}: fnode {file.id} has other links")
        unlink, create = RecordedOp(), RecordedOp()
        _fill_link(unlink.unlink, file, path)
        _fill_create(create, path, mode, uid, gid)
        return self._record(unlink, create), self._made(path, File)

    def link(self, node: Leaf, path: bytes) -> bytes:
        self._need_live(node)
        self._need_free(path)
        op = RecordedOp()
        _fill_link(op.link, node, path)
        return self._record(op)

    def unlink(self, node: Leaf, path: bytes) -> bytes:
        self._need_link(node, path)
        op = RecordedOp()
        _fill_link(op.unlink, node, path)
        return self._record(op)

    def mkdir(self, path: bytes, mode: int, uid: int, gid: int) -> tuple[bytes, Directory]:
        self._need_free(path)
        op = RecordedOp()
        op.mkdir.path = path
        op.mkdir.mode = mode & 0o7777
        op.mkdir.uid = uid
        op.mkdir.gid = gid
        return self._record(op), self._made(path, Directory)

    def rmdir(self, path: bytes) -> bytes:
        directory = self._fsm.namespace.resolve(path)
        if not isinstance(directory, Directory) or directory.children or directory.parent is None:
            raise RecorderError(f"rmdir of {path!r}, which is no empty directory")
        op = RecordedOp()
        op.rmdir.path = path
        return self._record(op)

    def symlink(self, path: bytes, target: bytes, uid: int, gid: int) -> tuple[bytes, Symlink]:
        self._need_free(path)
        if not target or b"\0" in target:
            raise RecorderError(f"symlink to {target!r}")
        op = RecordedOp()
        op.symlink.path = path
        op.symlink.target = target
        op.symlink.uid = uid
        op.symlink.gid = gid
        return self._record(op), self._made(path, Symlink)

    def mknod(self, path: bytes, mode: int, rdev: int, uid: int, gid: int) -> tuple[bytes, Special]:
        """Record a FIFO, socket or device. `mode` has the type, as st_mode. Files: see `create`."""
        self._need_free(path)
        if stat.S_IFMT(mode) not in SPECIAL_TYPES:
            raise RecorderError(f"mknod of {path!r} with mode {mode:o}")
        op = RecordedOp()
        op.mknod.path = path
        op.mknod.mode = stat.S_IFMT(mode) | stat.S_IMODE(mode)
        op.mknod.rdev = rdev
        op.mknod.uid = uid
        op.mknod.gid = gid
        return self._record(op), self._made(path, Special)

    def rename(self, source: bytes, target: bytes, exchange: bool = False) -> bytes:
        """Record rename(2), which has replaced what was at `target`, or exchanged both.

        Nothing (b"") where rename(2) does nothing: both paths are links of the same file.
        """
        moved = self._fsm.namespace.resolve(source)
        other = self._fsm.namespace.resolve(target)
        if moved is None or (exchange and other is None):
            raise RecorderError(f"rename of {source!r} to {target!r}: no such entry")
        if moved is other:
            return b""
        if not exchange and isinstance(moved, Leaf):
            return self._rename_leaf(moved, source, other, target)
        if other is None:
            self._need_free(target)
        for directory, inside in ((moved, target), (other, source)):
            place = self._fsm.namespace.resolve_parent(inside)
            if place is None or (
                isinstance(directory, Directory) and place[0].is_within(directory)
            ):
                raise RecorderError(f"rename of {source!r} to {target!r}: one within the other")
        if (
            not exchange
            and other is not None
            and (not isinstance(other, Directory) or other.children)
        ):
            raise RecorderError(f"rename of {source!r} over {target!r}, no empty directory")
        op = RecordedOp()
        op.rename.source = source
        op.rename.target = target
        op.rename.exchange = exchange
        return self._record(op)

    def truncate(self, file: File, size: int) -> bytes:
        """Record a change of size, in bytes. See `recreate` for zero."""
        self._need_live(file)
        if size < 0:
            raise RecorderError(f"truncate of fnode {file.id} to {size}")
        op = RecordedOp()
        op.truncate.fnode = file.id
        op.truncate.size = size
        return self._record(op)

    def allocate(self, file: File, offset: int, length: int, mode: int) -> bytes:
        """Record fallocate(2). Modes: 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE].

        Others are RecorderErrors: refuse them, they do not replay alike on every file system.
        """
        self._need_live(file)
        op = RecordedOp()
        op.allocate.fnode = file.id
        op.allocate.offset = offset
        op.allocate.length = length
        op.allocate.mode = mode
        return self._record(op)

    def set_attr(
        self,
        node: Node,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
    ) -> bytes:
        """Record attributes, those that are not None. Of `mode` the permission bits count."""
        op = RecordedOp()
        change = op.set_attr
        change.fnode, change.path = self._target(node)
        if mode is not None:
            change.mode = mode & 0o7777
        if uid is not None:
            change.uid = uid
        if gid is not None:
            change.gid = gid
        if atime_ns is not None:
            change.atime_ns = atime_ns
        if mtime_ns is not None:
            change.mtime_ns = mtime_ns
        return self._record(op)

    def set_xattr(self, node: Node, name: bytes, value: bytes) -> bytes:
        op = RecordedOp()
        op.set_xattr.fnode, op.set_xattr.path = self._target(node)
        op.set_xattr.name = name
        op.set_xattr.value = value
        return self._record(op)

    def remove_xattr(self, node: Node, name: bytes) -> bytes:
        op = RecordedOp()
        op.remove_xattr.fnode, op.remove_xattr.path = self._target(node)
        op.remove_xattr.name = name
        return self._record(op)

    def mark(self, kind: Mark.Kind, text: str) -> bytes:
        op = RecordedOp()
        op.mark.kind = kind
        op.mark.text = text
        return self._record(op)

    def _rename_leaf(self, node: Leaf, source: bytes, other: object, target: bytes) -> bytes:
        ops = []
        if other is None:
            self._need_free(target)
        elif isinstance(other, Leaf):
            unlink = RecordedOp()
            _fill_link(unlink.unlink, other, target)
            ops.append(unlink)
        else:
            raise RecorderError(f"rename of {source!r} over the directory {target!r}")
        link, unlink = RecordedOp(), RecordedOp()
        _fill_link(link.link, node, target)
        _fill_link(unlink.unlink, node, source)
        return self._record(*ops, link, unlink)

    def _record(self, *ops: RecordedOp) -> bytes:
        """Sequence and apply `ops` as one group.

        All conditions of a group of several are checked before: only its first may still fail.
        """
        frames = []
        for index, op in enumerate(ops):
            op.seq_no = self._fsm.next_seq_no
            op.checksum = self._fsm.next_checksum
            op.author = self._author
            op.more = index + 1 < len(ops)
            if index == 0:
                op.recorded_at = self._stamp()
            body = op.SerializeToString()
            outcome = self._fsm.apply(op, body, first_offset=self._head, last_offset=0)
            if outcome is not Outcome.OK:
                assert index == 0, f"the group was applied in part: {outcome.value}"
                raise RecorderError(f"{outcome.value}: {op.WhichOneof('action')} {op}")
            frames.append(pack(body))
        return b"".join(frames)

    def _made(self, path: bytes, kind: type[_Made]) -> _Made:
        """The node that the operation just recorded has made at `path`."""
        node = self._fsm.namespace.resolve(path)
        assert isinstance(node, kind)
        return node

    def _need_free(self, path: bytes) -> None:
        """`path` has a parent, and nothing is there."""
        place = self._fsm.namespace.resolve_parent(path)
        if place is None or place[1] in place[0].children or path in self._fsm.properties:
            raise RecorderError(f"{path!r} is not free, or has no parent directory")

    def _need_live(self, node: Leaf) -> None:
        if self._fsm.nodes.get(node.id) is not node:
            raise RecorderError(f"fnode {node.id} has no link: it is not recorded any more")

    def _need_link(self, node: Leaf, path: bytes) -> None:
        self._need_live(node)
        if self._fsm.namespace.resolve_parent(path) not in node.links:
            raise RecorderError(f"{path!r} is no link of fnode {node.id}")

    def _target(self, node: Node) -> tuple[int, bytes]:
        if isinstance(node, Directory):
            if not node.is_within(self._fsm.namespace.root):
                raise RecorderError("the directory is not in the tree any more")
            return 0, node.path()
        assert isinstance(node, Leaf)
        self._need_live(node)
        return node.id, b""


def handoff(fsm: FSM, author: int, *, kind: Mark.Kind, text: str, at: int) -> bytes:
    """Return the frame by which `author` takes the log over: a mark, as the next operation.

    The FSM is not changed: the frame may lose a race, so the Player reads it back. Append it
    together with the fence. `at` is the time in Unix ns.
    """
    op = RecordedOp(
        seq_no=fsm.next_seq_no, checksum=fsm.next_checksum, author=author, recorded_at=at
    )
    op.mark.kind = kind
    op.mark.text = text
    return pack(op.SerializeToString())


def _fill_create(op: RecordedOp, path: bytes, mode: int, uid: int, gid: int) -> None:
    op.create.path = path
    op.create.mode = mode & 0o7777
    op.create.uid = uid
    op.create.gid = gid


def _fill_link(link: object, node: Leaf, path: bytes) -> None:
    link.fnode = node.id  # type: ignore[attr-defined]
    link.path = path  # type: ignore[attr-defined]
