"""The state machine of a recovery log: operation in, outcome out. Recorder and Player share it.

An operation is accepted only as the next of the chain (author, sequence number, checksum), as in
Gazette's consumer/recoverylog/fsm.go, whose order of checks is kept. Then:

    outcome            chain      state
    OK                 advances   changes
    FNODE_NOT_TRACKED  advances   stays: the operation is of something that hints left out, or
                                  that has died
    any other          stays      stays ("on an error, nothing happened")

When an operation advances the chain without effect ("partial": the FSM began from hints, so it may
not know nodes and directories that exist; "hinted": hinted segments are still being replayed):

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

In a replay from the beginning (or from a state) every path must be as the operation says: there,
"no effect" of the last two columns is a rejection. Operations on bytes or names that make no sense
(BAD_PATH, BAD_OPERATION) are always rejected.

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

from google_crc32c import extend

from recfs.recoverylog import hints as hinting
from recfs.recoverylog.hints import FSMHints
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


class FSM:
    """Where a log stands: the chain, the tree of names and the files.

    `log` is the journal being recorded to. `next_seq_no` and `next_checksum` are what the next
    operation must carry; `last_author` (0: none yet) recorded the last one accepted, or, while
    hints are replayed, is expected to record the next. `end_offset` is a lower bound of where in
    the log the next one can stand (bytes). `properties` maps path to content.
    `volume` is the identity that the last owner mark gave.
    """

    __slots__ = (
        "end_offset",
        "hinted",
        "hinted_fnodes",
        "last_author",
        "last_log",
        "log",
        "namespace",
        "next_checksum",
        "next_seq_no",
        "nodes",
        "partial",
        "properties",
        "volume",
    )

    def __init__(self, log: str, hints: FSMHints | None = None) -> None:
        """Start before the first operation, or where `hints` begin.

        Raises DamageError if the hints are not consistent.
        """
        self.log = log
        self.last_log = log
        self.last_author = 0
        self.end_offset = 0
        self.next_seq_no = 1
        self.next_checksum = 0
        self.namespace = Namespace()
        self.nodes: dict[int, Leaf] = {}
        self.properties: dict[bytes, bytes] = {}
        self.volume = ""
        self.partial = False
        self.hinted: deque[Segment] = deque()  # segments still to be replayed
        self.hinted_fnodes: deque[int] = deque()  # live files still to be created
        if hints is not None:
            assert hints.log == log
            fnodes, segments = hints.flatten()
            self.hinted_fnodes.extend(fnodes)
            self.hinted.extend(segments)
            self.properties.update(hints.properties)
            if self.hinted:
                self.partial = True
                self._begin_hinted()

    def apply(
        self,
        op: RecordedOp,
        body: bytes,
        *,
        first_offset: int,
        last_offset: int,
        log: str | None = None,
    ) -> Outcome:
        """Apply `op`, whose bytes in the log are `body`, standing at [first_offset, last_offset).

        `last_offset` is 0 while it is not known, as it is when recording. `log` is the journal it
        stands in, by default the one being recorded to.
        """
        seq_no = op.seq_no
        author = op.author
        if self.hinted and author != self.hinted[0].author:
            return Outcome.NOT_HINTED_AUTHOR
        if seq_no != self.next_seq_no:
            return Outcome.WRONG_SEQ_NO
        checksum = op.checksum
        if checksum != self.next_checksum:
            return Outcome.CHECKSUM_MISMATCH
        if author == 0:
            return Outcome.BAD_OPERATION
        if log is None:
            log = self.log

        action = op.WhichOneof("action")
        if self.hinted_fnodes and self.hinted_fnodes[0] == seq_no and action != "create":
            return Outcome.EXPECTED_HINTED_FNODE
        if action == "write":  # most operations are: no dispatch, no segment made in vain
            write = op.write
            node = self.nodes.get(write.fnode)
            if node is None:
                outcome = _NOT_TRACKED
            else:
                offset, length = write.offset, write.length
                if not _is_range(offset, length) or not isinstance(node, File):
                    return Outcome.BAD_OPERATION
                self.wrote(
                    node, author, offset, length, body, first_offset, last_offset, log
                )
                return _OK
        elif action is None:
            outcome = _OK
        else:
            here = Segment(author, seq_no, first_offset, checksum, seq_no, last_offset, log)
            outcome = _ACTIONS[action](self, op, here)
            if outcome is not _OK and outcome is not _NOT_TRACKED:
                return outcome
        self._advance(author, body, log, last_offset)
        return outcome

    def wrote(
        self,
        file: File,
        author: int,
        offset: int,
        length: int,
        body: bytes,
        first_offset: int,
        last_offset: int,
        log: str,
    ) -> None:
        """Apply a write of a live file that is the next operation of the chain.

        The Recorder comes here directly: what `apply` checks holds for what it has just made.
        """
        seq_no = self.next_seq_no
        last = file.segments[-1]
        if last.author == author and last.log == log:
            last.last_seq_no = seq_no
            last.last_offset = last_offset
        else:
            file.segments.append(
                Segment(author, seq_no, first_offset, self.next_checksum, seq_no, last_offset, log)
            )
        if offset + length > file.size and length:
            file.size = offset + length
        self.next_seq_no = seq_no + 1
        self.next_checksum = extend(self.next_checksum, body)
        self.last_author = author
        self.last_log = log
        if last_offset:
            self.end_offset = last_offset
        if self.hinted:
            self._end_hinted()

    def skip(self, op: RecordedOp, body: bytes) -> None:
        """Go on behind `op` as if it had been the next one. For listings of a damaged log only:
        from then on this is no longer the state of any log."""
        self.next_seq_no = op.seq_no
        self.next_checksum = op.checksum
        self.partial = True
        self._advance(op.author, body, self.log, 0)

    def build_hints(self) -> FSMHints:
        """Return hints of the live files, for `log`."""
        files = [
            (fnode, node.segments) for fnode, node in self.nodes.items() if isinstance(node, File)
        ]
        return hinting.build(self.log, files, self.properties)

    def _advance(self, author: int, body: bytes, log: str, last_offset: int) -> None:
        self.next_seq_no += 1
        self.next_checksum = extend(self.next_checksum, body)
        self.last_author = author
        self.last_log = log
        if last_offset:
            self.end_offset = last_offset
        if self.hinted:
            self._end_hinted()

    def _end_hinted(self) -> None:
        """Leave the hinted segment once it is replayed; jump to where the next one begins."""
        if self.hinted[0].last_seq_no < self.next_seq_no:
            self.hinted.popleft()
            if self.hinted:
                self._begin_hinted()

    def _begin_hinted(self) -> None:
        self.next_seq_no = self.hinted[0].first_seq_no
        self.next_checksum = self.hinted[0].first_checksum
        self.last_author = self.hinted[0].author

    # Actions. Each checks everything, then changes everything, then returns OK.

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
            or not _is_range(allocate.offset, allocate.length)
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
            if present is not None and not (
                isinstance(present, Directory) and present.is_hollow()
            ):
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


def _is_range(offset: int, length: int) -> bool:
    return offset >= 0 and length >= 0 and offset + length <= OFFSET_MAX


def _type_of(node: Directory | Leaf) -> int:
    if isinstance(node, Directory):
        return stat.S_IFDIR
    return stat.S_IFREG if node.mode is None else stat.S_IFMT(node.mode)


_ACTIONS: dict[str, Callable[[FSM, RecordedOp, Segment], Outcome]] = {
    "create": FSM._create,
    "link": FSM._link,
    "unlink": FSM._unlink,
    "property": FSM._property,
    "mkdir": FSM._mkdir,
    "rmdir": FSM._rmdir,
    "symlink": FSM._symlink,
    "mknod": FSM._mknod,
    "rename": FSM._rename,
    "truncate": FSM._truncate,
    "allocate": FSM._allocate,
    "set_attr": FSM._set_attr,
    "set_xattr": FSM._set_xattr,
    "remove_xattr": FSM._remove_xattr,
    "mark": FSM._mark,
}
