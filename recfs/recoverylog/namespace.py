"""The tree of names. Names are bytes; a path is b"/" and names joined by b"/".

A directory's rename moves one entry, whatever is beneath it: nodes know the directories and names
that lead to them, never whole paths.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from recfs.recoverylog.segment import Segment

NAME_MAX = 255  # bytes, as in Linux
IMPLIED_MODE = stat.S_IFDIR | 0o755
SPECIAL_TYPES = frozenset((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK))


class Node:
    """What has attributes. Attributes are None where the log does not tell (Gazette's never does).

    `id` is the fnode, the sequence number of the operation that made the node; 0 for directories.
    `mode` is a full st_mode. Times are Unix nanoseconds.
    """

    __slots__ = ("atime_ns", "gid", "id", "mode", "mtime_ns", "uid", "xattrs")

    def __init__(
        self, id: int, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        self.id = id
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.atime_ns: int | None = None
        self.mtime_ns: int | None = None
        self.xattrs: dict[bytes, bytes] = {}


class Directory(Node):
    """`implied`: no operation made it, only a path that leads through it; its mode is 0755.

    The root is the one directory in the tree whose parent is None. Its mode is None until one is
    recorded.
    """

    __slots__ = ("children", "implied", "name", "parent")

    def __init__(
        self,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        *,
        implied: bool = False,
    ) -> None:
        super().__init__(0, mode, uid, gid)
        self.parent: Directory | None = None
        self.name = b""
        self.children: dict[bytes, Node] = {}
        self.implied = implied

    def path(self) -> bytes:
        if self.parent is None:
            return b"/"
        names = []
        node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        names.append(b"")
        names.reverse()
        return b"/".join(names)

    def child_path(self, name: bytes) -> bytes:
        return b"/" + name if self.parent is None else self.path() + b"/" + name

    def is_within(self, other: Directory) -> bool:
        """Whether this is `other` or lies beneath it."""
        node: Directory | None = self
        while node is not None:
            if node is other:
                return True
            node = node.parent
        return False

    def is_hollow(self) -> bool:
        """Whether no operation made this directory or anything beneath it."""
        waiting = [self]
        while waiting:
            directory = waiting.pop()
            if not directory.implied:
                return False
            for child in directory.children.values():
                if not isinstance(child, Directory):
                    return False
                waiting.append(child)
        return True


class Leaf(Node):
    """A node that is no directory: it has links, one per name, and lives as long as it has one."""

    __slots__ = ("links",)

    def __init__(
        self, id: int, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        super().__init__(id, mode, uid, gid)
        self.links: dict[tuple[Directory, bytes], None] = {}  # an ordered set

    def paths(self) -> list[bytes]:
        return [directory.child_path(name) for directory, name in self.links]


class File(Leaf):
    """A regular file. `size` in bytes, from its writes, truncations and allocations."""

    __slots__ = ("segments", "size")

    def __init__(
        self, id: int, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        super().__init__(id, mode, uid, gid)
        self.size = 0
        self.segments: list[Segment] = []


class Symlink(Leaf):
    __slots__ = ("target",)

    def __init__(
        self, id: int, target: bytes, uid: int | None = None, gid: int | None = None
    ) -> None:
        super().__init__(id, stat.S_IFLNK | 0o777, uid, gid)
        self.target = target


class Special(Leaf):
    """A FIFO, socket or device."""

    __slots__ = ("rdev",)

    def __init__(
        self, id: int, mode: int, rdev: int, uid: int | None = None, gid: int | None = None
    ) -> None:
        super().__init__(id, mode, uid, gid)
        self.rdev = rdev


def split(path: bytes) -> list[bytes] | None:
    """Return the names of `path`, [] for b"/", or None when it is not clean.

    Clean: rooted, no empty element, no "." or "..", no NUL, no name of more than 255 bytes.
    """
    if path == b"/":
        return []
    names = path.split(b"/")
    if names[0] or len(names) < 2 or b"\0" in path:
        return None
    del names[0]
    for name in names:
        if not name or len(name) > NAME_MAX or name == b"." or name == b"..":
            return None
    return names


class Namespace:
    """The tree. Each node that is bound is reached from the root by each of its links."""

    __slots__ = ("root",)

    def __init__(self) -> None:
        self.root = Directory()

    def resolve(self, path: bytes) -> Node | None:
        """Return the node at `path`; None when there is none or the path is not clean."""
        names = split(path)
        if names is None:
            return None
        node: Node | None = self.root
        for name in names:
            if not isinstance(node, Directory):
                return None
            node = node.children.get(name)
        return node

    def resolve_parent(self, path: bytes) -> tuple[Directory, bytes] | None:
        """Return the existing directory and the name that `path` stands for, bound or not."""
        names = split(path)
        place = self.walk(names) if names else None
        if place is None or len(place[1]) > 1:
            return None
        return place[0], place[1][0]

    def walk(self, names: list[bytes]) -> tuple[Directory, list[bytes]] | None:
        """Go down `names` (at least one) as far as there are directories, but not the last one.

        Returns the directory reached and the names that remain: one if that directory is the
        parent, more if parents are missing. None if something on the way is no directory.
        """
        directory = self.root
        for index, name in enumerate(names[:-1]):
            child = directory.children.get(name)
            if child is None:
                return directory, names[index:]
            if not isinstance(child, Directory):
                return None
            directory = child
        return directory, names[-1:]

    def imply(self, directory: Directory, names: list[bytes]) -> tuple[Directory, bytes]:
        """Make the missing parents that `walk` found; returns parent and name."""
        for name in names[:-1]:
            parent, directory = directory, Directory(IMPLIED_MODE, implied=True)
            self.bind(parent, name, directory)
        return directory, names[-1]

    def bind(self, parent: Directory, name: bytes, node: Node) -> None:
        assert name not in parent.children
        parent.children[name] = node
        if isinstance(node, Directory):
            assert node.parent is None
            node.parent = parent
            node.name = name
        else:
            assert isinstance(node, Leaf)
            node.links[parent, name] = None

    def unbind(self, parent: Directory, name: bytes) -> Node:
        node = parent.children.pop(name)
        if isinstance(node, Directory):
            node.parent = None
            node.name = b""
        else:
            assert isinstance(node, Leaf)
            del node.links[parent, name]
        return node

    def move(self, source: tuple[Directory, bytes], target: tuple[Directory, bytes]) -> None:
        self.bind(*target, self.unbind(*source))

    def exchange(self, one: tuple[Directory, bytes], other: tuple[Directory, bytes]) -> None:
        first = self.unbind(*one)
        second = self.unbind(*other)
        self.bind(*one, second)
        self.bind(*other, first)

    def walk_tree(self) -> Iterator[tuple[bytes, Node]]:
        """Yield (path, node) of everything but the root, parents before children.

        A leaf with several links comes once for each.
        """
        waiting: list[tuple[bytes, Directory]] = [(b"", self.root)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, node in directory.children.items():
                path = prefix + b"/" + name
                yield path, node
                if isinstance(node, Directory):
                    waiting.append((path, node))
