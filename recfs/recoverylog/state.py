"""The whole FSM as one message, from which another FSM goes on exactly where this one stopped.

The bytes are those of Gazette's FSMHints: its tools read the live files and their segments, and
skip the extension field `state` (message State of proto/recoverylog.proto) that has the rest. What
hints alone cannot tell, the state does: directories, symlinks, special files, attributes, sizes,
and where the chain stands, so that nothing before it need be played.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from recfs.errors import DamageError
from recfs.recoverylog import hints as hinting
from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.namespace import (
    IMPLIED_MODE,
    SPECIAL_TYPES,
    Directory,
    File,
    Leaf,
    Node,
    Special,
    Symlink,
    split,
)
from recfs.recoverylog.segment import Segment


def encode_state(fsm: FSM, *, offset: int) -> bytes:
    """Return hints with the state of `fsm`.

    `offset` is a log offset (bytes) from which everything that `fsm` does not hold can be read: the
    end of its last operation, or anything before that, since what it holds is skipped as past.
    """
    assert not fsm.hinted, "hinted segments are not replayed yet"
    message = fsm.build_hints().to_message()
    state = message.state
    state.next_seq_no = fsm.next_seq_no
    state.next_checksum = fsm.next_checksum
    state.offset = offset
    state.author = fsm.last_author
    state.volume = fsm.volume
    state.partial = fsm.partial
    for paths, node in _nodes(fsm):
        _encode(state.nodes.add(paths=paths), node)
    return message.SerializeToString()


def decode_state(data: bytes) -> tuple[FSM, int]:
    """Return the FSM and the log offset that `encode_state` was given.

    Raises DamageError for bytes that no `encode_state` returned.
    """
    message = hinting.parse(data)
    hints = hinting.FSMHints.from_message(message)
    if not message.HasField("state"):
        raise _damage("they have no state", hints.log)
    hints.flatten()
    state = message.state
    if state.next_seq_no < 1 or state.offset < 0:
        raise _damage("the state's position makes no sense", hints.log)
    fsm = FSM(hints.log)
    fsm.next_seq_no = state.next_seq_no
    fsm.next_checksum = state.next_checksum
    fsm.last_author = state.author
    fsm.volume = state.volume
    fsm.end_offset = state.offset
    fsm.partial = state.partial
    fsm.properties = hints.properties
    segments = {live.fnode: live.segments for live in hints.live_nodes}
    for segment in (each for live in segments.values() for each in live):
        segment.log = segment.log or hints.log
    for each in state.nodes:
        _decode(fsm, each, segments)
    if segments:
        raise _damage(f"the state has no node for fnode {min(segments)}", hints.log)
    return fsm, state.offset


def _nodes(fsm: FSM) -> Iterator[tuple[list[bytes], Node]]:
    """Each node with all its paths, parents before children."""
    yield [b"/"], fsm.namespace.root
    seen: set[Leaf] = set()
    for path, node in fsm.namespace.walk_tree():
        if isinstance(node, Leaf) and len(node.links) > 1:
            seen.add(node)
        else:
            yield [path], node
    for leaf in sorted(seen, key=lambda node: node.id):  # all their parents are there now
        yield leaf.paths(), leaf


def _encode(into: pb.Node, node: Node) -> None:
    into.fnode = node.id
    # A directory without a mode is implied: what makes it explicit gives it one.
    if node.mode is not None and not (isinstance(node, Directory) and node.implied):
        into.mode = node.mode
    if node.uid is not None:
        into.uid = node.uid
    if node.gid is not None:
        into.gid = node.gid
    if node.atime_ns is not None:
        into.atime_ns = node.atime_ns
    if node.mtime_ns is not None:
        into.mtime_ns = node.mtime_ns
    for name, value in node.xattrs.items():
        into.xattrs.add(name=name, value=value)
    if isinstance(node, File):
        into.size = node.size
    elif isinstance(node, Symlink):
        into.target = node.target
    elif isinstance(node, Special):
        into.rdev = node.rdev


def _decode(fsm: FSM, message: pb.Node, segments: dict[int, list[Segment]]) -> None:
    """Make the node of `message` and bind it. Raises DamageError."""
    mode = message.mode if message.HasField("mode") else None
    uid = message.uid if message.HasField("uid") else None
    gid = message.gid if message.HasField("gid") else None
    fnode = message.fnode
    namespace = fsm.namespace
    node: Directory | Leaf
    if fnode == 0:
        if mode is not None and not stat.S_ISDIR(mode):
            raise _damage(f"the state has a directory of mode {mode:o}", fsm.log)
        if message.paths == [b"/"]:
            node = namespace.root
            node.mode, node.uid, node.gid = mode, uid, gid
        else:
            implied = mode is None
            node = Directory(IMPLIED_MODE if implied else mode, uid, gid, implied=implied)
    elif not 0 < fnode < fsm.next_seq_no or fnode in fsm.nodes:
        raise _damage(f"the state has no place for fnode {fnode}", fsm.log)
    elif mode is None or stat.S_ISREG(mode):
        file = File(fnode, mode, uid, gid)
        file.size = message.size
        file.segments = segments.pop(fnode, [])
        if not file.segments or file.size < 0:
            raise _damage(f"the state has no segments or size for fnode {fnode}", fsm.log)
        node = file
    elif stat.S_ISLNK(mode):
        node = Symlink(fnode, message.target, uid, gid)
    elif stat.S_IFMT(mode) not in SPECIAL_TYPES:
        raise _damage(f"the state has a node of mode {mode:o}", fsm.log)
    else:
        node = Special(fnode, mode, message.rdev, uid, gid)
    node.atime_ns = message.atime_ns if message.HasField("atime_ns") else None
    node.mtime_ns = message.mtime_ns if message.HasField("mtime_ns") else None
    node.xattrs = {each.name: each.value for each in message.xattrs}
    if node is namespace.root:
        return
    if not message.paths or (fnode == 0 and len(message.paths) > 1):
        raise _damage("the state has a node without a path, or a directory with several", fsm.log)
    for path in message.paths:
        place = namespace.resolve_parent(path) if split(path) else None
        if place is None or place[1] in place[0].children:
            raise _damage(f"the state has no place for the path {path!r}", fsm.log)
        namespace.bind(*place, node)
    if isinstance(node, Leaf):
        fsm.nodes[fnode] = node


def _damage(reason: str, log: str) -> DamageError:
    return DamageError(
        f"the saved state of {log or 'a log'} cannot be used: {reason}",
        "restore without it: the log itself is enough",
        where=log,
    )
