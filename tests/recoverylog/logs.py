"""Building blocks of the tests: operations in sequence, and everything that an FSM holds."""

from __future__ import annotations

from typing import Any

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.framing import pack
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.namespace import Directory, File, Leaf, Node, Special, Symlink

LOG = "db1/log"
AUTHOR = 1234
OTHER = 5678


class Scribe:
    """Writes a log by hand: operations in sequence, whether a Recorder would make them or not."""

    def __init__(self, author: int = AUTHOR, *, seq_no: int = 1, checksum: int = 0) -> None:
        self.author = author
        self.seq_no = seq_no
        self.checksum = checksum
        self.log = bytearray()

    def op(self, **fields: Any) -> pb.RecordedOp:
        """The next operation, without going on."""
        fields.setdefault("author", self.author)
        return pb.RecordedOp(seq_no=self.seq_no, checksum=self.checksum, **fields)

    def write_down(self, payload: bytes = b"", **fields: Any) -> bytes:
        """Append the next operation and its payload to the log, and return these bytes."""
        body = self.op(**fields).SerializeToString()
        self.seq_no += 1
        self.checksum = crc32c(body, self.checksum)
        added = pack(body) + payload
        self.log += added
        return added

    def apply(self, fsm: FSM, first: int = 0, last: int = 0, **fields: Any) -> Outcome:
        """Apply the next operation; go on if the FSM did."""
        op = self.op(**fields)
        body = op.SerializeToString()
        outcome = fsm.apply(op, body, first_offset=first, last_offset=last)
        if outcome in (Outcome.OK, Outcome.FNODE_NOT_TRACKED):
            self.seq_no += 1
            self.checksum = crc32c(body, self.checksum)
        return outcome


def create(path: bytes) -> dict[str, Any]:
    return {"create": pb.Create(path=path)}


def link(fnode: int, path: bytes) -> dict[str, Any]:
    return {"link": pb.Link(fnode=fnode, path=path)}


def unlink(fnode: int, path: bytes) -> dict[str, Any]:
    return {"unlink": pb.Link(fnode=fnode, path=path)}


def write(fnode: int, offset: int = 0, length: int = 0) -> dict[str, Any]:
    return {"write": pb.Write(fnode=fnode, offset=offset, length=length)}


def prop(path: bytes, content: bytes) -> dict[str, Any]:
    return {"property": pb.Property(path=path, content=content)}


def mkdir(path: bytes, mode: int = 0o755) -> dict[str, Any]:
    return {"mkdir": pb.Mkdir(path=path, mode=mode)}


def tree_of(fsm: FSM) -> dict[bytes, tuple[Any, ...]]:
    """Path -> all there is to know of the node, except for the segments of files."""
    tree = {b"/": _node(fsm.namespace.root)}
    for path, node in fsm.namespace.walk_tree():
        tree[path] = _node(node)
    return tree


def everything(fsm: FSM) -> dict[str, Any]:
    """All that `fsm` holds, as plain values: equal exactly for equal states."""
    return {
        "chain": (fsm.next_seq_no, fsm.next_checksum, fsm.last_author, fsm.end_offset),
        "logs": (fsm.log, fsm.last_log),
        "volume": fsm.volume,
        "partial": fsm.partial,
        "hinted": (list(fsm.hinted), list(fsm.hinted_fnodes)),
        "properties": dict(fsm.properties),
        "nodes": {fnode: (_node(node), sorted(node.paths())) for fnode, node in fsm.nodes.items()},
        "segments": {
            fnode: [repr(segment) for segment in node.segments]
            for fnode, node in fsm.nodes.items()
            if isinstance(node, File)
        },
        "tree": tree_of(fsm),
    }


def _node(node: Node) -> tuple[Any, ...]:
    extra: tuple[Any, ...] = ()
    if isinstance(node, Directory):
        extra = (node.implied,)
    elif isinstance(node, File):
        extra = (node.size,)
    elif isinstance(node, Symlink):
        extra = (node.target,)
    elif isinstance(node, Special):
        extra = (node.rdev,)
    attributes = (node.id, node.mode, node.uid, node.gid, node.atime_ns, node.mtime_ns)
    return (type(node).__name__, *attributes, tuple(sorted(node.xattrs.items())), *extra)


def links_of(fsm: FSM) -> dict[bytes, int]:
    """Path -> fnode, of all leaves."""
    return {path: node.id for path, node in fsm.namespace.walk_tree() if isinstance(node, Leaf)}


def segments_of(fsm: FSM, fnode: int) -> list[tuple[int, int, int, int, int]]:
    """(author, first seq, last seq, first offset, last offset) of each segment of a file."""
    node = fsm.nodes[fnode]
    assert isinstance(node, File)
    return [
        (each.author, each.first_seq_no, each.last_seq_no, each.first_offset, each.last_offset)
        for each in node.segments
    ]
