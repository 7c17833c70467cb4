"""What an operation does to the size or the attributes of one node.

As in `actions`, each checks everything, then changes everything, then returns OK.
"""

from __future__ import annotations

import stat

from recfs.recoverylog.namespace import Directory, File, Leaf
from recfs.recoverylog.outcome import Outcome
from recfs.recoverylog.recoverylog_pb2 import RecordedOp
from recfs.recoverylog.segment import Segment
from recfs.recoverylog.tree import Tree, extend_segments

OFFSET_MAX = 2**63 - 1  # bytes, of a file

# fallocate(2) modes that replay alike on every file system: all but collapse and insert, which
# depend on the block size.
_KEEP_SIZE = 0x01
_ALLOCATE_MODES = frozenset((0x00, 0x01, 0x03, 0x10, 0x11))

_OK = Outcome.OK
_NOT_TRACKED = Outcome.FNODE_NOT_TRACKED


def is_range(offset: int, length: int) -> bool:
    return offset >= 0 and length >= 0 and offset + length <= OFFSET_MAX


def truncate(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    node = tree.nodes.get(op.truncate.fnode)
    if node is None:
        return _NOT_TRACKED
    if not isinstance(node, File) or op.truncate.size < 0:
        return Outcome.BAD_OPERATION
    node.size = op.truncate.size
    extend_segments(node, here)
    return _OK


def allocate(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    change = op.allocate
    node = tree.nodes.get(change.fnode)
    if node is None:
        return _NOT_TRACKED
    if (
        not isinstance(node, File)
        or not is_range(change.offset, change.length)
        or change.length == 0
        or change.mode not in _ALLOCATE_MODES
    ):
        return Outcome.BAD_OPERATION
    if not change.mode & _KEEP_SIZE:
        node.size = max(node.size, change.offset + change.length)
    extend_segments(node, here)
    return _OK


def set_attr(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    change = op.set_attr
    node = tree.target(change.fnode, change.path)
    if isinstance(node, Outcome):
        return node
    if isinstance(node, Directory):
        node.implied = False
    if change.HasField("mode"):
        node.mode = _type_of(node) | (change.mode & 0o7777)
    if change.HasField("uid"):
        node.uid = change.uid
    if change.HasField("gid"):
        node.gid = change.gid
    if change.HasField("atime_ns"):
        node.atime_ns = change.atime_ns
    if change.HasField("mtime_ns"):
        node.mtime_ns = change.mtime_ns
    if isinstance(node, Leaf):
        extend_segments(node, here)
    return _OK


def set_xattr(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    change = op.set_xattr
    if not change.name or b"\0" in change.name:
        return Outcome.BAD_OPERATION
    node = tree.target(change.fnode, change.path)
    if isinstance(node, Outcome):
        return node
    node.xattrs[change.name] = change.value
    if isinstance(node, Leaf):
        extend_segments(node, here)
    else:
        node.implied = False
    return _OK


def remove_xattr(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    change = op.remove_xattr
    node = tree.target(change.fnode, change.path)
    if isinstance(node, Outcome):
        return node
    if change.name not in node.xattrs:
        return tree.missing(Outcome.NO_SUCH_NODE)
    del node.xattrs[change.name]
    if isinstance(node, Leaf):
        extend_segments(node, here)
    return _OK


def _type_of(node: Directory | Leaf) -> int:
    if isinstance(node, Directory):
        return stat.S_IFDIR
    return stat.S_IFREG if node.mode is None else stat.S_IFMT(node.mode)
