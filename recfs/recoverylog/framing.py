"""Frames: how messages stand in a journal, and how to find them again.

    offset 0   66 33 93 36        magic
    offset 4   uint32, little-endian: length of the body
    offset 8   body: one protobuf message

The next frame, or raw bytes that the message announces, follow at once. (Gazette:
message/fixed_framing.go.) A frame has no checksum of its own, so the validity rule is: magic, a
length of at most `body_max`, a body that parses. Where one of them fails, the bytes from there to
the next valid frame are garbage, and the search goes on from the byte after the false magic: a
false magic must not swallow what follows it, as it could with lengths of up to 4 GiB.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

MAGIC = b"\x66\x33\x93\x36"
HEADER_SIZE = 8

#: Bytes. An operation's body is some tens of bytes, a few thousand with long paths; 64 KiB more
#: with an extended attribute. A Gazette property may be larger.
BODY_MAX = 16 << 20

_HEADER = Struct("<4sI")
_LENGTH = Struct("<I")
_pack_header = _HEADER.pack

T = TypeVar("T")


def pack(body: bytes) -> bytes:
    """Return the frame of `body`."""
    return _pack_header(MAGIC, len(body)) + body


class Frame(Generic[T]):
    """A message, its bytes, and the offsets [begin, end) of its frame."""

    __slots__ = ("begin", "body", "end", "message")

    def __init__(self, message: T, body: bytes, begin: int, end: int) -> None:
        self.message = message
        self.body = body
        self.begin = begin
        self.end = end


class Garbage:
    """Offsets [begin, end) of bytes that belong to no frame."""

    __slots__ = ("begin", "end")

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.end = end

    def __repr__(self) -> str:
        return f"Garbage({self.begin}, {self.end})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Garbage) and (self.begin, self.end) == (other.begin, other.end)

    __hash__ = None  # type: ignore[assignment]


class Unframer(Generic[T]):
    """Takes bytes in any split; gives frames, garbage and raw bytes, the same ones for every split.

    `parse` makes a message of a body, or raises protobuf's DecodeError. It holds back what it
    cannot tell yet: at most one frame (8 + `body_max` bytes) or what `take` asked for, besides the
    last chunk fed.
    """

    __slots__ = (
        "_base",
        "_buffer",
        "_garbage",
        "_more",
        "_more_size",
        "_parse",
        "_pos",
        "body_max",
    )

    def __init__(
        self, parse: Callable[[bytes], T], *, offset: int = 0, body_max: int = BODY_MAX
    ) -> None:
        self._parse = parse
        self.body_max = body_max
        self._buffer = b""
        self._pos = 0  # of the next byte, in _buffer
        self._base = offset  # journal offset of _buffer[0]
        # Chunks wait here until there are enough bytes to go on: joining them at each feed would
        # cost quadratic time where a large frame comes in small pieces.
        self._more: list[bytes] = []
        self._more_size = 0
        self._garbage = -1  # offset where the garbage now being skipped begins, or -1

    @property
    def offset(self) -> int:
        """Journal offset of the next byte that is not yet given away."""
        return self._garbage if self._garbage >= 0 else self._base + self._pos

    @property
    def held(self) -> int:
        """Bytes held back, from `offset` on: part of a frame, or garbage without an end so far."""
        return self._base + len(self._buffer) + self._more_size - self.offset

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        piece = data if type(data) is bytes else bytes(data)
        if piece:
            self._more.append(piece)
            self._more_size += len(piece)

    def next(self) -> Frame[T] | Garbage | None:
        """Return what comes next, or None when that takes more bytes."""
        while self._fill(HEADER_SIZE):
            buffer, pos = self._buffer, self._pos
            if not buffer.startswith(MAGIC, pos):
                self._desync(pos)
                continue
            end = pos + HEADER_SIZE + _LENGTH.unpack_from(buffer, pos + 4)[0]
            if end - pos - HEADER_SIZE > self.body_max:
                self._desync(pos)
                continue
            if end > len(buffer):
                if not self._fill(end - pos):
                    return None
                continue  # _fill moved the buffer
            body = buffer[pos + HEADER_SIZE : end]
            try:
                message = self._parse(body)
            except DecodeError:
                self._desync(pos)
                continue
            if self._garbage >= 0:
                garbage = Garbage(self._garbage, self._base + pos)
                self._garbage = -1
                return garbage  # the frame is given by the next call
            self._pos = end
            return Frame(message, body, self._base + pos, self._base + end)
        return None

    def take(self, length: int) -> bytes | None:
        """Return the `length` raw bytes that follow the last frame, or None until all are there."""
        pos = self._pos
        if pos + length > len(self._buffer):
            if not self._fill(length):
                return None
            pos = self._pos
        self._pos = pos + length
        return self._buffer[pos : pos + length]

    def take_some(self, length: int) -> bytes:
        """Return up to `length` raw bytes, b"" when there are none."""
        if not self._fill(1):
            return b""
        pos = self._pos
        piece = self._buffer[pos : pos + length]
        self._pos = pos + len(piece)
        return piece

    def give_up_frame(self) -> bool:
        """Take the incomplete frame at the end of the input for garbage; False if there is none.

        To be called when no more bytes will come: `next` may then find frames behind a false magic
        that announced more bytes than there are.
        """
        self._fill(len(self._buffer) - self._pos + self._more_size)
        if len(self._buffer) - self._pos < HEADER_SIZE:
            return False
        if not self._buffer.startswith(MAGIC, self._pos):
            return False
        self._desync(self._pos)
        return True

    def tail(self) -> bytes:
        """Return the bytes held back that are in no garbage so far, without taking them."""
        return self._buffer[self._pos :] + b"".join(self._more)

    def _fill(self, count: int) -> bool:
        """Have `count` bytes from _pos on in one piece; False if they did not come yet."""
        have = len(self._buffer) - self._pos
        if have >= count:
            return True
        if have + self._more_size < count:
            return False
        rest = self._buffer[self._pos :]
        self._base += self._pos
        self._pos = 0
        more = self._more
        self._buffer = more[0] if not rest and len(more) == 1 else b"".join((rest, *more))
        self._more = []
        self._more_size = 0
        return True

    def _desync(self, pos: int) -> None:
        """The byte at `pos` begins no frame: go to the next magic behind it."""
        if self._garbage < 0:
            self._garbage = self._base + pos
        found = self._buffer.find(MAGIC, pos + 1)
        # The last three bytes may be the beginning of a magic.
        self._pos = found if found >= 0 else max(pos + 1, len(self._buffer) - 3)
