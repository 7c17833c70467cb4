"""A model of a tree in plain dictionaries, and a Recorder that is told the same changes.

`World.do` takes one change as a tuple of small numbers, as hypothesis draws them; a change that a
file system would refuse does nothing in both.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import Any

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.events import Allocated, Data, Event, FileCreated, FileDropped, Truncated
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.namespace import Directory, File, Leaf, Node, Special, Symlink
from recfs.recoverylog.player import Player
from recfs.recoverylog.recorder import Recorder, handoff
from recfs.recoverylog.state import decode_state, encode_state

from .logs import LOG

NAMES = (b"a", b"b", b"\xff\xfe", b"d", b"\n")
VERBS = (
    "create",
    "create",
    "recreate",
    "write",
    "write",
    "write",
    "truncate",
    "allocate",
    "link",
    "unlink",
    "mkdir",
    "mkdir",
    "rmdir",
    "symlink",
    "mknod",
    "rename",
    "rename",
    "exchange",
    "set_attr",
    "set_xattr",
    "remove_xattr",
    "mark",
    "take over",
    "save and load",
)

#: What a verb is about, where it is not about anything there is.
WANTED = {
    "recreate": ("file",),
    "write": ("file",),
    "truncate": ("file",),
    "allocate": ("file",),
    "link": ("file", "symlink", "special"),
    "unlink": ("file", "symlink", "special"),
    "rmdir": ("directory",),
}

#: Verb, three numbers that choose among what there is, and bytes.
Change = tuple[str, int, int, int, bytes]


def store(content: bytearray, offset: int, data: bytes) -> None:
    if data:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


def resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def allocate(content: bytearray, offset: int, length: int, mode: int) -> None:
    end = offset + length
    if mode & 0x12:  # PUNCH_HOLE, ZERO_RANGE
        stop = min(end, len(content))
        content[offset:stop] = bytes(max(0, stop - offset))
    if not mode & 1 and end > len(content):  # without KEEP_SIZE
        resize(content, end)


@dataclass
class Inode:
    kind: str
    attributes: dict[str, int | None]
    content: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    rdev: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    def seen(self) -> tuple[Any, ...]:
        attributes = tuple(sorted(self.attributes.items()))
        xattrs = tuple(sorted(self.xattrs.items()))
        return (self.kind, attributes, bytes(self.content), self.target, self.rdev, xattrs)


def fresh(kind: str, mode: int | None, uid: int | None, gid: int | None) -> Inode:
    return Inode(kind, {"mode": mode, "uid": uid, "gid": gid, "atime_ns": None, "mtime_ns": None})


class World:
    """`groups` holds the log: one entry for each append. `moves_names`: whether names move by what
    Gazette's players do not know, renames of directories and exchanges."""

    def __init__(self, *, moves_names: bool = True) -> None:
        self.moves_names = moves_names
        self.inodes: dict[bytes, Inode] = {b"": fresh("directory", None, None, None)}  # by path
        self.groups: list[bytes] = []
        self.author = 1
        self.recorder = Recorder(FSM(LOG), self.author, lambda: 0)

    def do(self, change: Change) -> None:
        verb, a, b, c, data = change
        directories = sorted(path for path, node in self.inodes.items() if node.kind == "directory")
        parent = directories[a % len(directories)]
        target = parent + b"/" + NAMES[b % len(NAMES)]
        kinds = WANTED.get(verb)
        paths = sorted(
            path for path, node in self.inodes.items() if kinds is None or node.kind in kinds
        )
        path = paths[c % len(paths)] if paths else b""
        getattr(self, "_" + verb.replace(" ", "_"))(path, target, (a, b, c), data)

    def _node(self, path: bytes) -> Node:
        node = self.recorder.fsm.namespace.resolve(path or b"/")
        assert node is not None
        return node

    def _leaf(self, path: bytes) -> Leaf:
        node = self._node(path)
        assert isinstance(node, Leaf)
        return node

    def _file(self, path: bytes) -> File | None:
        node = self._node(path)
        return node if isinstance(node, File) else None

    def _links(self, path: bytes) -> int:
        return sum(node is self.inodes[path] for node in self.inodes.values())

    def _below(self, path: bytes) -> list[bytes]:
        return [each for each in self.inodes if each.startswith(path + b"/")]

    # One method for each verb: (existing path, path in an existing directory, numbers, bytes).

    def _create(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if target not in self.inodes:
            self.groups.append(self.recorder.create(target, n[0], n[1], n[2])[0])
            self.inodes[target] = fresh("file", stat.S_IFREG | n[0], n[1], n[2])

    def _recreate(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        file = self._file(path)
        if file is not None and self._links(path) == 1:
            self.groups.append(self.recorder.recreate(file, path, n[0], n[1], n[2])[0])
            self.inodes[path] = fresh("file", stat.S_IFREG | n[0], n[1], n[2])

    def _write(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        file = self._file(path)
        if file is not None:
            self.groups.append(self.recorder.write(file, n[0], data) + data)
            store(self.inodes[path].content, n[0], data)

    def _truncate(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        file = self._file(path)
        if file is not None:
            self.groups.append(self.recorder.truncate(file, n[0]))
            resize(self.inodes[path].content, n[0])

    def _allocate(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        file = self._file(path)
        if file is not None:
            mode = (0x00, 0x01, 0x03, 0x10, 0x11)[n[1] % 5]
            self.groups.append(self.recorder.allocate(file, n[0], n[1] + 1, mode))
            allocate(self.inodes[path].content, n[0], n[1] + 1, mode)

    def _link(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if target not in self.inodes and self.inodes[path].kind != "directory":
            self.groups.append(self.recorder.link(self._leaf(path), target))
            self.inodes[target] = self.inodes[path]

    def _unlink(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if self.inodes[path].kind != "directory":
            self.groups.append(self.recorder.unlink(self._leaf(path), path))
            del self.inodes[path]

    def _mkdir(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if target not in self.inodes:
            self.groups.append(self.recorder.mkdir(target, n[0], n[1], n[2])[0])
            self.inodes[target] = fresh("directory", stat.S_IFDIR | n[0], n[1], n[2])

    def _rmdir(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if path and self.inodes[path].kind == "directory" and not self._below(path):
            self.groups.append(self.recorder.rmdir(path))
            del self.inodes[path]

    def _symlink(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if target not in self.inodes and data and b"\0" not in data:
            self.groups.append(self.recorder.symlink(target, data, n[1], n[2])[0])
            self.inodes[target] = fresh("symlink", stat.S_IFLNK | 0o777, n[1], n[2])
            self.inodes[target].target = data

    def _mknod(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if target not in self.inodes:
            mode = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)[n[0] % 4] | n[0]
            self.groups.append(self.recorder.mknod(target, mode, n[0], n[1], n[2])[0])
            self.inodes[target] = fresh("special", mode, n[1], n[2])
            self.inodes[target].rdev = n[0]

    def _rename(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        moved, other = self.inodes[path], self.inodes.get(target)
        if not path or (target + b"/").startswith(path + b"/"):
            return
        if moved.kind == "directory" and not self.moves_names:
            return
        if moved is other:
            assert self.recorder.rename(path, target) == b""
            return
        if other is not None and (
            (moved.kind == "directory") != (other.kind == "directory") or self._below(target)
        ):
            return
        self.groups.append(self.recorder.rename(path, target))
        self.inodes.pop(target, None)
        for each in [path, *self._below(path)]:
            self.inodes[target + each[len(path) :]] = self.inodes.pop(each)

    def _exchange(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        if not path or target not in self.inodes or self.inodes[path] is self.inodes[target]:
            return
        one, other = [path, *self._below(path)], [target, *self._below(target)]
        if target in one or path in other or not self.moves_names:
            return
        self.groups.append(self.recorder.rename(path, target, exchange=True))
        moved = {target + each[len(path) :]: self.inodes.pop(each) for each in one}
        moved |= {path + each[len(target) :]: self.inodes.pop(each) for each in other}
        self.inodes |= moved

    def _set_attr(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        given: dict[str, int] = {}
        for bit, (name, value) in enumerate(
            (("mode", n[0]), ("uid", n[1]), ("gid", n[0]), ("atime_ns", -n[1]), ("mtime_ns", n[1]))
        ):
            if len(data) >> bit & 1:
                given[name] = value
        node = self._node(path)
        if isinstance(node, Symlink):
            given.pop("mode", None)
        self.groups.append(self.recorder.set_attr(node, **given))
        inode = self.inodes[path]
        if "mode" in given:
            before = inode.attributes["mode"]
            given["mode"] |= stat.S_IFDIR if before is None else stat.S_IFMT(before)
        inode.attributes |= given

    def _set_xattr(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        name = b"user." + NAMES[n[0] % len(NAMES)]
        self.groups.append(self.recorder.set_xattr(self._node(path), name, data))
        self.inodes[path].xattrs[name] = data

    def _remove_xattr(
        self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes
    ) -> None:
        name = b"user." + NAMES[n[0] % len(NAMES)]
        if name in self.inodes[path].xattrs:
            self.groups.append(self.recorder.remove_xattr(self._node(path), name))
            del self.inodes[path].xattrs[name]

    def _mark(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        self.groups.append(self.recorder.mark(pb.Mark.HEARTBEAT, str(n[0])))

    def _take_over(self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes) -> None:
        """Another author goes on from the same FSM, through a Player."""
        fsm = self.recorder.fsm
        self.author += 1
        frame = handoff(fsm, self.author, kind=pb.Mark.OWNER, text="{}", at=n[0])
        player = Player(fsm, offset=sum(map(len, self.groups)))
        list(player.feed(frame))
        assert player.finish() == []
        self.groups.append(frame)
        self.recorder = Recorder(fsm, self.author, lambda: n[1])

    def _save_and_load(
        self, path: bytes, target: bytes, n: tuple[int, int, int], data: bytes
    ) -> None:
        """Another FSM goes on, made from the saved state."""
        offset = sum(map(len, self.groups))
        fsm, at = decode_state(encode_state(self.recorder.fsm, offset=offset))
        assert at == offset
        self.recorder = Recorder(fsm, self.author, lambda: 0)

    def seen(self) -> dict[bytes, tuple[Any, ...]]:
        """Path -> what stands there, and which other paths are the same inode."""
        return {
            path: (*node.seen(), sorted(p for p, other in self.inodes.items() if other is node))
            for path, node in self.inodes.items()
        }


class Disk:
    """Applies a Player's effects, and shows the result as World.seen does."""

    def __init__(self) -> None:
        self.files: dict[int, bytearray] = {}

    def apply(self, event: Event) -> None:
        if isinstance(event, FileCreated):
            assert event.fnode not in self.files
            self.files[event.fnode] = bytearray()
        elif isinstance(event, Data):
            store(self.files[event.fnode], event.offset, bytes(event.data))
        elif isinstance(event, Truncated):
            resize(self.files[event.fnode], event.size)
        elif isinstance(event, Allocated):
            allocate(self.files[event.fnode], event.offset, event.length, event.mode)
        elif isinstance(event, FileDropped):
            del self.files[event.fnode]

    def seen(self, fsm: FSM) -> dict[bytes, tuple[Any, ...]]:
        nodes: dict[bytes, Node] = {b"": fsm.namespace.root, **dict(fsm.namespace.walk_tree())}
        files = {node.id for node in nodes.values() if isinstance(node, File)}
        assert files == self.files.keys()
        shown = {}
        for path, node in nodes.items():
            kind = {Directory: "directory", Symlink: "symlink", Special: "special", File: "file"}
            inode = fresh(kind[type(node)], node.mode, node.uid, node.gid)
            inode.attributes |= {"atime_ns": node.atime_ns, "mtime_ns": node.mtime_ns}
            inode.xattrs = node.xattrs
            if isinstance(node, File):
                inode.content = self.files[node.id]
                assert node.size == len(inode.content)
            elif isinstance(node, Symlink):
                inode.target = node.target
            elif isinstance(node, Special):
                inode.rdev = node.rdev
            same = sorted(p for p, other in nodes.items() if other is node)
            shown[path] = (*inode.seen(), same)
        return shown
