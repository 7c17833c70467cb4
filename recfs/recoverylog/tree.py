"""The tree of a recovery log: its namespace, files and properties, without the chain.

Parents that no mkdir made are implied, as Gazette never records directories. Since it neither
records their removal, an implied directory that holds nothing but implied directories gives way to
whatever is created at its path.
"""

from __future__ import annotations

from collections import deque

from recfs.recoverylog.namespace import Directory, File, Leaf, Namespace, split
from recfs.recoverylog.outcome import Outcome
from recfs.recoverylog.segment import Segment


class Tree:
    """The namespace, the files and the properties, and where something can be made or found.

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

    def place_for(self, path: bytes, names: list[bytes]) -> tuple[Directory, list[bytes]] | Outcome:
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

    def place_for_node(self, path: bytes) -> tuple[Directory, list[bytes]] | Outcome:
        """`place_for` for the extension operations that make a node."""
        names = split(path)
        if not names:
            return Outcome.BAD_PATH
        if self.hinted:
            return Outcome.FNODE_NOT_TRACKED
        place = self.place_for(path, names)
        return self.missing(place) if isinstance(place, Outcome) else place

    def bind(self, place: tuple[Directory, list[bytes]], node: Directory | Leaf) -> None:
        """Bind `node` at `place`, which `place_for` gave; a hollow directory there gives way."""
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

    def target(self, fnode: int, path: bytes) -> Directory | Leaf | Outcome:
        """Return the leaf `fnode`, or, with fnode 0, the directory at `path`."""
        if fnode:
            if path:
                return Outcome.BAD_OPERATION
            return self.nodes.get(fnode, Outcome.FNODE_NOT_TRACKED)
        if split(path) is None:
            return Outcome.BAD_PATH
        node = self.namespace.resolve(path)
        if node is None:
            return self.missing(Outcome.NO_SUCH_NODE)
        if not isinstance(node, Directory):
            return self.missing(Outcome.NOT_A_DIRECTORY)
        return node

    def missing(self, outcome: Outcome) -> Outcome:
        """`outcome`, unless this tree is partial: what it lacks may then exist all the same."""
        return Outcome.FNODE_NOT_TRACKED if self.partial else outcome


def extend_segments(node: Leaf, here: Segment) -> None:
    """Note that the operation `here` is one of `node`'s."""
    if not isinstance(node, File):
        return  # only files are hinted
    last = node.segments[-1]
    if last.author == here.author and last.log == here.log:
        last.last_seq_no = here.last_seq_no
        last.last_offset = here.last_offset
    else:
        node.segments.append(here)
