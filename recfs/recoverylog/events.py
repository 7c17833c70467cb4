"""What a Player tells: effects on the content of files, marks, and what the log holds besides.

Names and attributes have no events: the FSM's namespace holds them, as of the last whole group.
"""

from __future__ import annotations

from recfs.recoverylog.framing import Garbage
from recfs.recoverylog.fsm import Outcome
from recfs.recoverylog.recoverylog_pb2 import RecordedOp

__all__ = [
    "Allocated",
    "Data",
    "Event",
    "FileCreated",
    "FileDropped",
    "Garbage",
    "Marked",
    "Op",
    "Truncated",
]


class _Record:
    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        values = ", ".join(repr(getattr(self, name)) for name in self.__slots__)
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]


class FileCreated(_Record):
    """An empty file begins to live."""

    __slots__ = ("fnode",)

    def __init__(self, fnode: int) -> None:
        self.fnode = fnode


class Data(_Record):
    """`data` goes to byte `offset` of the file. Its checksum, if the log has one, was verified.

    One write gives one event, but for writes above 1 MiB (Gazette's), which come in pieces and
    are verified with the last one.
    """

    __slots__ = ("data", "fnode", "offset")

    def __init__(self, fnode: int, offset: int, data: memoryview) -> None:
        self.fnode = fnode
        self.offset = offset
        self.data = data


class Truncated(_Record):
    """The file's size becomes `size` bytes."""

    __slots__ = ("fnode", "size")

    def __init__(self, fnode: int, size: int) -> None:
        self.fnode = fnode
        self.size = size


class Allocated(_Record):
    """fallocate(2) of `length` bytes at `offset`. `mode`: 0, KEEP_SIZE (1), PUNCH_HOLE|KEEP_SIZE
    (3), ZERO_RANGE (0x10), ZERO_RANGE|KEEP_SIZE (0x11)."""

    __slots__ = ("fnode", "length", "mode", "offset")

    def __init__(self, fnode: int, offset: int, length: int, mode: int) -> None:
        self.fnode = fnode
        self.offset = offset
        self.length = length
        self.mode = mode


class FileDropped(_Record):
    """The file's last link is gone, and so is its content."""

    __slots__ = ("fnode",)

    def __init__(self, fnode: int) -> None:
        self.fnode = fnode


class Marked(_Record):
    """A mark at log offset `offset`. `kind` is one of recoverylog_pb2.Mark.Kind.

    `at` is the newest time recorded up to here (Unix ns, 0: none): only the first operation of an
    append carries one.
    """

    __slots__ = ("at", "author", "kind", "offset", "text")

    def __init__(self, kind: int, text: str, author: int, at: int, offset: int) -> None:
        self.kind = kind
        self.text = text
        self.author = author
        self.at = at
        self.offset = offset


class Op(_Record):
    """An operation as it stands at log offsets [first_offset, last_offset), and what became of it.

    Given for watched authors, and for all when tracing; behind the effects of the operation.
    """

    __slots__ = ("body", "first_offset", "last_offset", "op", "outcome")

    def __init__(
        self, op: RecordedOp, body: bytes, first_offset: int, last_offset: int, outcome: Outcome
    ) -> None:
        self.op = op
        self.body = body
        self.first_offset = first_offset
        self.last_offset = last_offset
        self.outcome = outcome


Event = FileCreated | Data | Truncated | Allocated | FileDropped | Marked | Garbage | Op
