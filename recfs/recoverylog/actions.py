"""What an operation does to the tree of names and to the files, once it is the next of its chain.

When an operation advances the chain without effect, as FNODE_NOT_TRACKED ("partial": the state
began from hints, so it may not know nodes and directories that exist; "hinted": hinted segments are
still being replayed):

    operation                 unknown fnode   unknown path, partial   known, but in the way, partial
    link, unlink, write       no effect       -                       -
    create                    no effect if not hinted                 -
    truncate, allocate        no effect       -                       -
    set_attr, xattr by fnode  no effect       -                       -
    set_attr, xattr by path   -               no effect               -
    mkdir, symlink, mknod     -               no effect if hinted;    no effect
                                              else parents implied
    rmdir                     -               no effect               no effect
    rename                    -               no effect               no effect

In a replay from the beginning (or from a saved state) every path must be as the operation says:
there, "no effect" of the last two columns is a rejection. Operations on bytes or names that make no
sense (BAD_PATH, BAD_OPERATION) are always rejected.

Parents that no mkdir made are implied, as Gazette never records directories. Since it neither
records their removal, an implied directory that holds nothing but implied directories gives way to
whatever is created at its path.
"""

from __future__ import annotations

import json
import stat
from collections import deque
from collections.abc import Callable
from enum import Enum

from recfs.recoverylog.namespace import (
    SPECIAL_TYPES,
    Directory,
    File,
    Leaf,
    Namespace,
    Special,
    Symlink,
    split,
)
from recfs.recoverylog.recoverylog_pb2 import Mark, RecordedOp
from recfs.recoverylog.segment import Segment

OFFSET_MAX = 2**63 - 1  # bytes, of a file

# fallocate(2) modes that replay alike on every file system: all but collapse and insert, which
# depend on the block size.
_KEEP_SIZE = 0x01
_ALLOCATE_MODES = frozenset((0x00, 0x01, 0x03, 0x10, 0x11))


class Outcome(Enum):
    OK = "ok"
    FNODE_NOT_TRACKED = "fnode not tracked"
    NOT_HINTED_AUTHOR = "author is not the hinted one"
    WRONG_SEQ_NO = "wrong sequence number"
    CHECKSUM_MISMATCH = "checksum mismatch"
    LINK_EXISTS = "path exists"
    PROPERTY_EXISTS = "path is a property"
    EXPECTED_HINTED_FNODE = "a hinted fnode should be created here"
    NO_SUCH_LINK = "no such link"
    NO_SUCH_NODE = "no such file or directory"
    NOT_A_DIRECTORY = "not a directory"
    NOT_EMPTY = "directory is not empty"
    BAD_PATH = "path is not clean"
    BAD_OPERATION = "operation makes no sense"


_OK = Outcome.OK
_NOT_TRACKED = Outcome.FNODE_NOT_TRACKED


class Actions:
    """The tree, the files and the properties, and one method for each kind of operation.

    `nodes` maps fnode to each leaf that lives, `properties` path to content. `volume` is the
    identity that the last owner mark gave. `hinted` are the segments that hints name and that are
    still to be replayed, `hinted_fnodes` the live files still to be created.
    """

    __slots__ = (
        "hinted",
        "hinted_fnodes",
        "namespace",
        "nodes",
        "partial",
        "properties",
        "volume",
    )

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.nodes: dict[int, Leaf] = {}
        self.properties: dict[bytes, bytes] = {}
        self.volume = ""
        self.partial = False
        self.hinted: deque[Segment] = deque()
        self.hinted_fnodes: deque[int] = deque()

    # Each checks everything, then changes everything, then returns OK. `here` is the operation as a
    # segment of its own.

    def _create(self, op: RecordedOp, here: Segment) -> Outcome:
        create = op.create
        names = split(create.path)
        if not names:
            return Outcome.BAD_PATH
        place = self._place(create.path, names)
        if isinstance(place, Outcome):
            return place
        seq_no = op.seq_no
        if self.hinted_fnodes:
            if self.hinted_fnodes[0] != seq_no:
                return _NOT_TRACKED
            self.hinted_fnodes.popleft()
        elif self.hinted:
            return _NOT_TRACKED
        file = File(
            seq_no,
            stat.S_IFREG | (create.mode & 0o7777) if create.HasField("mode") else None,
            create.uid if create.HasField("uid") else None,
            create.gid if create.HasField("gid") else None,
        )
        file.segments.append(here)
        self._bind(place, file)
        return _OK

    def _link(self, op: RecordedOp, here: Segment) -> Outcome:
        names = split(op.link.path)
        if not names:
            return Outcome.BAD_PATH
        place = self._place(op.link.path, names)
        if isinstance(place, Outcome):
            return place
        node = self.nodes.get(op.link.fnode)
        if node is None:
            return _NOT_TRACKED
        self._bind(place, node)
        _extend(node, here)
        return _OK

    def _unlink(self, op: RecordedOp, here: Segment) -> Outcome:
        node = self.nodes.get(op.unlink.fnode)
        if node is None:
            return _NOT_TRACKED
        place = self.namespace.resolve_parent(op.unlink.path)
        if place is None or place not in node.links:
            return Outcome.NO_SUCH_LINK
        self.namespace.unbind(*place)
        if node.links:
            _extend(node, here)
        else:
            del self.nodes[node.id]
        return _OK

    def _property(self, op: RecordedOp, here: Segment) -> Outcome:
        names = split(op.property.path)
        if not names:
            return Outcome.BAD_PATH
        if self.namespace.resolve(op.property.path) is not None:
            return Outcome.LINK_EXISTS
        self.properties[op.property.path] = op.property.content
        return _OK

    def _mkdir(self, op: RecordedOp, here: Segment) -> Outcome:
        made = op.mkdir
        place = self._node_place(made.path)
        if isinstance(place, Outcome):
            return place
        directory = Directory(stat.S_IFDIR | (made.mode & 0o7777), made.uid, made.gid)
        self._bind(place, directory)
        return _OK

    def _symlink(self, op: RecordedOp, here: Segment) -> Outcome:
        made = op.symlink
        if not made.target or b"\0" in made.target:
            return Outcome.BAD_OPERATION
        place = self._node_place(made.path)
        if isinstance(place, Outcome):
            return place
        self._bind(place, Symlink(op.seq_no, made.target, made.uid, made.gid))
        return _OK

    def _mknod(self, op: RecordedOp, here: Segment) -> Outcome:
        made = op.mknod
        if stat.S_IFMT(made.mode) not in SPECIAL_TYPES:
            return Outcome.BAD_OPERATION
        place = self._node_place(made.path)
        if isinstance(place, Outcome):
            return place
        mode = stat.S_IFMT(made.mode) | (made.mode & 0o7777)
        self._bind(place, Special(op.seq_no, mode, made.rdev, made.uid, made.gid))
        return _OK

    def _rmdir(self, op: RecordedOp, here: Segment) -> Outcome:
        names = split(op.rmdir.path)
        if not names:
            return Outcome.BAD_PATH
        directory = self.namespace.resolve(op.rmdir.path)
        if directory is None:
            return self._missing(Outcome.NO_SUCH_NODE)
        if not isinstance(directory, Directory):
            return self._missing(Outcome.NOT_A_DIRECTORY)
        if directory.children:
            return self._missing(Outcome.NOT_EMPTY)
        assert directory.parent is not None
        self.namespace.unbind(directory.parent, directory.name)
        return _OK

    def _rename(self, op: RecordedOp, here: Segment) -> Outcome:
        rename = op.rename
        if not split(rename.source) or not split(rename.target):
            return Outcome.BAD_PATH
        source = self.namespace.resolve_parent(rename.source)
        moved = source[0].children.get(source[1]) if source else None
        if source is None or moved is None:
            return self._missing(Outcome.NO_SUCH_NODE)
        target = self.namespace.resolve_parent(rename.target)
        if target is None:
            return self._missing(Outcome.NO_SUCH_NODE)
        if source == target or rename.target in self.properties:
            return Outcome.BAD_OPERATION
        other = target[0].children.get(target[1])
        if isinstance(moved, Directory) and target[0].is_within(moved):
            return Outcome.BAD_OPERATION  # a directory into itself
        if rename.exchange:
            if other is None:
                return self._missing(Outcome.NO_SUCH_NODE)
            if isinstance(other, Directory) and source[0].is_within(other):
                return Outcome.BAD_OPERATION
            self.namespace.exchange(source, target)
            for node in (moved, other):
                if isinstance(node, Leaf):
                    _extend(node, here)
            return _OK
        if not isinstance(moved, Directory):
            return Outcome.NOT_A_DIRECTORY  # files are renamed by link and unlink
        if other is not None:
            if not isinstance(other, Directory):
                return self._missing(Outcome.NOT_A_DIRECTORY)
            if other.children:
                return self._missing(Outcome.NOT_EMPTY)
            self.namespace.unbind(*target)
        self.namespace.move(source, target)
        return _OK

    def _truncate(self, op: RecordedOp, here: Segment) -> Outcome:
        node = self.nodes.get(op.truncate.fnode)
        if node is None:
            return _NOT_TRACKED
        if not isinstance(node, File) or op.truncate.size < 0:
            return Outcome.BAD_OPERATION
        node.size = op.truncate.size
        _extend(node, here)
        return _OK

    def _allocate(self, op: RecordedOp, here: Segment) -> Outcome:
        allocate = op.allocate
        node = self.nodes.get(allocate.fnode)
        if node is None:
            return _NOT_TRACKED
        if (
            not isinstance(node, File)
            or not is_range(allocate.offset, allocate.length)
            or allocate.length == 0
            or allocate.mode not in _ALLOCATE_MODES
        ):
            return Outcome.BAD_OPERATION
        if not allocate.mode & _KEEP_SIZE:
            node.size = max(node.size, allocate.offset + allocate.length)
        _extend(node, here)
        return _OK

    def _set_attr(self, op: RecordedOp, here: Segment) -> Outcome:
        change = op.set_attr
        node = self._target(change.fnode, change.path)
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
            _extend(node, here)
        return _OK

    def _set_xattr(self, op: RecordedOp, here: Segment) -> Outcome:
        change = op.set_xattr
        if not change.name or b"\0" in change.name:
            return Outcome.BAD_OPERATION
        node = self._target(change.fnode, change.path)
        if isinstance(node, Outcome):
            return node
        node.xattrs[change.name] = change.value
        if isinstance(node, Leaf):
            _extend(node, here)
        else:
            node.implied = False
        return _OK

    def _remove_xattr(self, op: RecordedOp, here: Segment) -> Outcome:
        change = op.remove_xattr
        node = self._target(change.fnode, change.path)
        if isinstance(node, Outcome):
            return node
        if change.name not in node.xattrs:
            return self._missing(Outcome.NO_SUCH_NODE)
        del node.xattrs[change.name]
        if isinstance(node, Leaf):
            _extend(node, here)
        return _OK

    def _mark(self, op: RecordedOp, here: Segment) -> Outcome:
        if op.mark.kind == Mark.OWNER:
            try:
                owner = json.loads(op.mark.text)
            except (ValueError, RecursionError):
                return _OK  # the text is for people first
            if isinstance(owner, dict) and isinstance(owner.get("volume"), str):
                self.volume = owner["volume"]
        return _OK

    # What the actions ask.

    def _place(self, path: bytes, names: list[bytes]) -> tuple[Directory, list[bytes]] | Outcome:
        """Return where a new entry can be bound (see Namespace.walk), or why it cannot."""
        place = self.namespace.walk(names)
        if place is None:
            return Outcome.NOT_A_DIRECTORY
        if len(place[1]) == 1:
            present = place[0].children.get(place[1][0])
            if present is not None and not (isinstance(present, Directory) and present.is_hollow()):
                return Outcome.LINK_EXISTS
        if path in self.properties:
            return Outcome.PROPERTY_EXISTS
        return place

    def _node_place(self, path: bytes) -> tuple[Directory, list[bytes]] | Outcome:
        """`_place` for the extension operations that make a node."""
        names = split(path)
        if not names:
            return Outcome.BAD_PATH
        if self.hinted:
            return _NOT_TRACKED
        place = self._place(path, names)
        return self._missing(place) if isinstance(place, Outcome) else place

    def _bind(self, place: tuple[Directory, list[bytes]], node: Directory | Leaf) -> None:
        parent, name = self.namespace.imply(*place)
        if name in parent.children:
            hollow = self.namespace.unbind(parent, name)
            assert isinstance(hollow, Directory)
            if isinstance(node, Directory):
                for below in list(hollow.children):
                    node_below = self.namespace.unbind(hollow, below)
                    self.namespace.bind(node, below, node_below)
        self.namespace.bind(parent, name, node)
        if isinstance(node, Leaf):
            self.nodes[node.id] = node

    def _target(self, fnode: int, path: bytes) -> Directory | Leaf | Outcome:
        """Return the leaf `fnode`, or, with fnode 0, the directory at `path`."""
        if fnode:
            if path:
                return Outcome.BAD_OPERATION
            return self.nodes.get(fnode, _NOT_TRACKED)
        if split(path) is None:
            return Outcome.BAD_PATH
        node = self.namespace.resolve(path)
        if node is None:
            return self._missing(Outcome.NO_SUCH_NODE)
        if not isinstance(node, Directory):
            return self._missing(Outcome.NOT_A_DIRECTORY)
        return node

    def _missing(self, outcome: Outcome) -> Outcome:
        return _NOT_TRACKED if self.partial else outcome


def _extend(node: Leaf, here: Segment) -> None:
    """Note that the operation `here` is one of `node`'s."""
    if not isinstance(node, File):
        return  # only files are hinted
    last = node.segments[-1]
    if last.author == here.author and last.log == here.log:
        last.last_seq_no = here.last_seq_no
        last.last_offset = here.last_offset
    else:
        node.segments.append(here)


def is_range(offset: int, length: int) -> bool:
    return offset >= 0 and length >= 0 and offset + length <= OFFSET_MAX


def _type_of(node: Directory | Leaf) -> int:
    if isinstance(node, Directory):
        return stat.S_IFDIR
    return stat.S_IFREG if node.mode is None else stat.S_IFMT(node.mode)


ACTIONS: dict[str, Callable[[Actions, RecordedOp, Segment], Outcome]] = {
    "create": Actions._create,
    "link": Actions._link,
    "unlink": Actions._unlink,
    "property": Actions._property,
    "mkdir": Actions._mkdir,
    "rmdir": Actions._rmdir,
    "symlink": Actions._symlink,
    "mknod": Actions._mknod,
    "rename": Actions._rename,
    "truncate": Actions._truncate,
    "allocate": Actions._allocate,
    "set_attr": Actions._set_attr,
    "set_xattr": Actions._set_xattr,
    "remove_xattr": Actions._remove_xattr,
    "mark": Actions._mark,
}
