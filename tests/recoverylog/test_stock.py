"""What a stock Gazette player makes of a log of ours.

`StockPlayer` is that player, as small as can be, from the reference's words: it knows fields 1 to 8
of an operation, skips all others, and keys everything by path.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.state import encode_state

from .world import Change, World, store

SOME = settings(max_examples=100, deadline=None, database=None)

VERBS = (
    "create",
    "create",
    "write",
    "write",
    "write",
    "recreate",
    "link",
    "unlink",
    "rename",
    "rename",
    # Without effect for Gazette, and without consequence for its files:
    "mkdir",
    "symlink",
    "mknod",
    "set_attr",
    "set_xattr",
    "remove_xattr",
    "mark",
    "take over",
    "save and load",
)

change = st.tuples(
    st.sampled_from(VERBS),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.binary(max_size=32),
)
changes = st.integers(0, 60).flatmap(lambda n: st.lists(change, min_size=n, max_size=n))


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> dict[int, Any]:
    """Field number -> value, of one protobuf message."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
            found[tag >> 3] = value
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            found[tag >> 3] = int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            assert kind == 2
            size, at = varint(data, at)
            found[tag >> 3] = data[at : at + size]
            at += size
    return found


class StockPlayer:
    def __init__(self) -> None:
        self.seq_no = 1
        self.checksum = 0
        self.links: dict[bytes, int] = {}
        self.files: dict[int, bytearray] = {}

    def play(self, log: bytes) -> None:
        at = 0
        while at < len(log):
            assert log[at : at + 4] == b"\x66\x33\x93\x36"
            begin = at + 8
            at = begin + int.from_bytes(log[at + 4 : begin], "little")
            body = log[begin:at]
            op = fields(body)
            write = fields(op[7]) if 7 in op else {}
            payload = log[at : at + write.get(3, 0)]
            at += len(payload)
            assert op[1] == self.seq_no
            assert op.get(2, 0) == self.checksum
            assert len(op.keys() & {4, 5, 6, 7, 8}) <= 1
            self.apply(op, write, payload)
            self.seq_no += 1
            self.checksum = crc32c(body, self.checksum)

    def apply(self, op: dict[int, Any], write: dict[int, Any], payload: bytes) -> None:
        if 4 in op:
            path = fields(op[4])[1]
            assert path not in self.links
            self.links[path] = op[1]
            self.files[op[1]] = bytearray()
        elif 5 in op:
            link = fields(op[5])
            assert link[2] not in self.links
            if link[1] in self.files:
                self.links[link[2]] = link[1]
        elif 6 in op:
            link = fields(op[6])
            if link[1] in self.files:
                assert self.links.pop(link[2]) == link[1]
                if link[1] not in self.links.values():
                    del self.files[link[1]]
        elif write and write[1] in self.files:
            store(self.files[write[1]], write.get(2, 0), payload)


@SOME
@given(changes)
def test_a_stock_player_has_the_same_files_with_the_same_content(changes: list[Change]) -> None:
    world = World(moves_names=False)
    for each in changes:
        world.do(each)
    stock = StockPlayer()
    stock.play(b"".join(world.groups))
    assert {path: bytes(stock.files[fnode]) for path, fnode in stock.links.items()} == {
        path: bytes(inode.content) for path, inode in world.inodes.items() if inode.kind == "file"
    }
    assert stock.checksum == world.recorder.fsm.next_checksum


def test_a_stock_player_reads_the_hints_that_carry_a_state() -> None:

    world = World()
    for verb in ("mkdir", "create", "write", "symlink", "set_attr"):
        world.do((verb, 0, len(world.inodes), 0, b"12345"))
    hints = fields(encode_state(world.recorder.fsm, offset=0))
    assert hints[1] == b"db1/log"
    live = fields(hints[2])
    segment = fields(live[2])
    assert live[1] == segment[2]
    assert segment[1] == world.author
