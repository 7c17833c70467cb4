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
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable

from recfs.recoverylog import node_actions
from recfs.recoverylog.namespace import (
    SPECIAL_TYPES,
    Directory,
    File,
    Leaf,
    Special,
    Symlink,
    split,
)
from recfs.recoverylog.outcome import Outcome
from recfs.recoverylog.recoverylog_pb2 import Mark, RecordedOp
from recfs.recoverylog.segment import Segment
from recfs.recoverylog.tree import Tree, extend_segments

_OK = Outcome.OK
_NOT_TRACKED = Outcome.FNODE_NOT_TRACKED

# Each action checks everything, then changes everything, then returns OK. `here` is the operation
# as a segment of its own.


def _create(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    create = op.create
    names = split(create.path)
    if not names:
        return Outcome.BAD_PATH
    place = tree.place_for(create.path, names)
    if isinstance(place, Outcome):
        return place
    seq_no = op.seq_no
    if tree.hinted_fnodes:
        if tree.hinted_fnodes[0] != seq_no:
            return _NOT_TRACKED
        tree.hinted_fnodes.popleft()
    elif tree.hinted:
        return _NOT_TRACKED
    file = File(
        seq_no,
        stat.S_IFREG | (create.mode & 0o7777) if create.HasField("mode") else None,
        create.uid if create.HasField("uid") else None,
        create.gid if create.HasField("gid") else None,
    )
    file.segments.append(here)
    tree.bind(place, file)
    return _OK


def _link(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    names = split(op.link.path)
    if not names:
        return Outcome.BAD_PATH
    place = tree.place_for(op.link.path, names)
    if isinstance(place, Outcome):
        return place
    node = tree.nodes.get(op.link.fnode)
    if node is None:
        return _NOT_TRACKED
    tree.bind(place, node)
    extend_segments(node, here)
    return _OK


def _unlink(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    node = tree.nodes.get(op.unlink.fnode)
    if node is None:
        return _NOT_TRACKED
    place = tree.namespace.resolve_parent(op.unlink.path)
    if place is None or place not in node.links:
        return Outcome.NO_SUCH_LINK
    tree.namespace.unbind(*place)
    if node.links:
        extend_segments(node, here)
    else:
        del tree.nodes[node.id]
    return _OK


def _property(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    names = split(op.property.path)
    if not names:
        return Outcome.BAD_PATH
    if tree.namespace.resolve(op.property.path) is not None:
        return Outcome.LINK_EXISTS
    tree.properties[op.property.path] = op.property.content
    return _OK


def _mkdir(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    made = op.mkdir
    place = tree.place_for_node(made.path)
    if isinstance(place, Outcome):
        return place
    directory = Directory(stat.S_IFDIR | (made.mode & 0o7777), made.uid, made.gid)
    tree.bind(place, directory)
    return _OK


def _symlink(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    made = op.symlink
    if not made.target or b"\0" in made.target:
        return Outcome.BAD_OPERATION
    place = tree.place_for_node(made.path)
    if isinstance(place, Outcome):
        return place
    tree.bind(place, Symlink(op.seq_no, made.target, made.uid, made.gid))
    return _OK


def _mknod(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    made = op.mknod
    if stat.S_IFMT(made.mode) not in SPECIAL_TYPES:
        return Outcome.BAD_OPERATION
    place = tree.place_for_node(made.path)
    if isinstance(place, Outcome):
        return place
    mode = stat.S_IFMT(made.mode) | (made.mode & 0o7777)
    tree.bind(place, Special(op.seq_no, mode, made.rdev, made.uid, made.gid))
    return _OK


def _rmdir(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    names = split(op.rmdir.path)
    if not names:
        return Outcome.BAD_PATH
    directory = tree.namespace.resolve(op.rmdir.path)
    if directory is None:
        return tree.missing(Outcome.NO_SUCH_NODE)
    if not isinstance(directory, Directory):
        return tree.missing(Outcome.NOT_A_DIRECTORY)
    if directory.children:
        return tree.missing(Outcome.NOT_EMPTY)
    assert directory.parent is not None
    tree.namespace.unbind(directory.parent, directory.name)
    return _OK


def _rename(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    rename = op.rename
    if not split(rename.source) or not split(rename.target):
        return Outcome.BAD_PATH
    source = tree.namespace.resolve_parent(rename.source)
    moved = source[0].children.get(source[1]) if source else None
    if source is None or moved is None:
        return tree.missing(Outcome.NO_SUCH_NODE)
    target = tree.namespace.resolve_parent(rename.target)
    if target is None:
        return tree.missing(Outcome.NO_SUCH_NODE)
    if source == target or rename.target in tree.properties:
        return Outcome.BAD_OPERATION
    other = target[0].children.get(target[1])
    if isinstance(moved, Directory) and target[0].is_within(moved):
        return Outcome.BAD_OPERATION  # a directory into itself
    if rename.exchange:
        if other is None:
            return tree.missing(Outcome.NO_SUCH_NODE)
        if isinstance(other, Directory) and source[0].is_within(other):
            return Outcome.BAD_OPERATION
        tree.namespace.exchange(source, target)
        for node in (moved, other):
            if isinstance(node, Leaf):
                extend_segments(node, here)
        return _OK
    if not isinstance(moved, Directory):
        return Outcome.NOT_A_DIRECTORY  # files are renamed by link and unlink
    if other is not None:
        if not isinstance(other, Directory):
            return tree.missing(Outcome.NOT_A_DIRECTORY)
        if other.children:
            return tree.missing(Outcome.NOT_EMPTY)
        tree.namespace.unbind(*target)
    tree.namespace.move(source, target)
    return _OK


def _mark(tree: Tree, op: RecordedOp, here: Segment) -> Outcome:
    if op.mark.kind == Mark.OWNER:
        try:
            owner = json.loads(op.mark.text)
        except (ValueError, RecursionError):
            return _OK  # the text is for people first
        if isinstance(owner, dict) and isinstance(owner.get("volume"), str):
            tree.volume = owner["volume"]
    return _OK


ACTIONS: dict[str, Callable[[Tree, RecordedOp, Segment], Outcome]] = {
    "create": _create,
    "link": _link,
    "unlink": _unlink,
    "property": _property,
    "mkdir": _mkdir,
    "rmdir": _rmdir,
    "symlink": _symlink,
    "mknod": _mknod,
    "rename": _rename,
    "truncate": node_actions.truncate,
    "allocate": node_actions.allocate,
    "set_attr": node_actions.set_attr,
    "set_xattr": node_actions.set_xattr,
    "remove_xattr": node_actions.remove_xattr,
    "mark": _mark,
}
