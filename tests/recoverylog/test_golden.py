"""Bytes and checksums that Gazette's own tests state, and a full sequence of frames."""

from __future__ import annotations

import pytest

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.author import base32, fence, new_author
from recfs.recoverylog.checksum import crc32c
from recfs.recoverylog.framing import Frame, Garbage, Unframer, pack
from recfs.recoverylog.fsm import FSM, Outcome
from recfs.recoverylog.namespace import File
from recfs.recoverylog.recorder import Recorder

SEQUENCE = [
    ("663393360d00000008011dd204000022040a022f61", 0),
    ("6633933612000000080215a771930a1dd20400003a0408011805", 0x0A9371A7),
    ("663393361400000008031536657a2b1dd20400002a06080112022f62", 0x2B7A6536),
    ("66339336140000000804154394b2261dd20400003206080112022f61", 0x26B29443),
    ("663393360c0000000805152e134d081d2e160000", 0x084D132E),
    ("6633933615000000080615658cd5a11d2e1600003a070801100518ac02", 0xA1D58C65),
    (
        "663393361c000000080715357713e61d2e160000420e0a092f4944454e54495459120178",
        0xE6137735,
    ),
]


def operations() -> list[pb.RecordedOp]:
    """The operations of SEQUENCE, without sequence numbers and checksums."""
    return [
        pb.RecordedOp(author=1234, create=pb.Create(path=b"/a")),
        pb.RecordedOp(author=1234, write=pb.Write(fnode=1, offset=0, length=5)),
        pb.RecordedOp(author=1234, link=pb.Link(fnode=1, path=b"/b")),
        pb.RecordedOp(author=1234, unlink=pb.Link(fnode=1, path=b"/a")),
        pb.RecordedOp(author=5678),
        pb.RecordedOp(author=5678, write=pb.Write(fnode=1, offset=5, length=300)),
        pb.RecordedOp(author=5678, property=pb.Property(path=b"/IDENTITY", content=b"x")),
    ]


def test_the_full_sequence_is_encoded_byte_for_byte() -> None:
    checksum = 0
    for seq_no, (op, (frame, expected)) in enumerate(
        zip(operations(), SEQUENCE, strict=True), start=1
    ):
        op.seq_no = seq_no
        op.checksum = checksum
        assert checksum == expected
        body = op.SerializeToString()
        assert pack(body).hex() == frame
        checksum = crc32c(body, checksum)
    assert checksum == 0x3A42A180


def test_the_full_sequence_is_read_and_accepted() -> None:
    payloads = {2: b"hello", 6: b"y" * 300}
    unframer = Unframer(pb.RecordedOp.FromString)
    fsm = FSM("test/log")
    for seq_no, (frame, _) in enumerate(SEQUENCE, start=1):
        unframer.feed(bytes.fromhex(frame) + payloads.get(seq_no, b""))
        got = unframer.next()
        assert isinstance(got, Frame)
        assert got.message.seq_no == seq_no
        payload = unframer.take(got.message.write.length)
        assert payload == payloads.get(seq_no, b"")
        outcome = fsm.apply(
            got.message, got.body, first_offset=got.begin, last_offset=unframer.offset
        )
        assert outcome is Outcome.OK
    assert fsm.next_checksum == 0x3A42A180
    assert fsm.next_seq_no == 8
    assert fsm.properties == {b"/IDENTITY": b"x"}
    node = fsm.namespace.resolve(b"/b")
    assert isinstance(node, File)
    assert (node.id, node.size) == (1, 305)
    assert fsm.namespace.resolve(b"/a") is None


@pytest.mark.parametrize(
    ("path", "body", "checksum"),
    [
        (
            b"/path/to/file",
            "08011dd2040000220f0a0d2f706174682f746f2f66696c65",
            0x568E8E4E,
        ),
        (b"/target/path", None, 0x5CCBEEAA),
        (b"/delete/path", None, 0x950C2859),
    ],
)
def test_a_create_has_the_stated_body_and_checksum(
    path: bytes, body: str | None, checksum: int
) -> None:
    op = pb.RecordedOp(seq_no=1, author=1234, create=pb.Create(path=path))
    encoded = op.SerializeToString()
    if body is not None:
        assert encoded.hex() == body
    assert crc32c(encoded) == checksum


def test_an_unlink_continues_the_stated_chain() -> None:
    op = pb.RecordedOp(
        seq_no=2,
        checksum=0x568E8E4E,
        author=1234,
        unlink=pb.Link(fnode=1, path=b"/path/to/file"),
    )
    encoded = op.SerializeToString()
    assert encoded.hex() == "0802154e8e8e561dd204000032110801120d2f706174682f746f2f66696c65"
    assert crc32c(encoded, 0x568E8E4E) == 0x8EE45505


def test_a_no_op_by_another_author_continues_the_stated_chain() -> None:
    create = pb.RecordedOp(seq_no=1, author=1234, create=pb.Create(path=b"/file1"))
    checksum = crc32c(create.SerializeToString())
    assert checksum == 0x1F19BF57
    noop = pb.RecordedOp(seq_no=2, checksum=checksum, author=5678).SerializeToString()
    assert noop.hex() == "08021557bf191f1d2e160000"
    assert crc32c(noop, checksum) == 0x61669370


@pytest.mark.parametrize(
    ("start", "bodies", "values"),
    [
        (0, ["1", "2"], [0x90F599E3, 0x7355C460]),
        (
            0xFEEDBEEF,
            ["1", "2", "3", "4", "8"],
            [0x2D28E063, 0xF11E2261, 0xE292E757, 0x2009A120, 0xC8DAC550],
        ),
        (
            0xFEEDBEEF,
            ["1", "2", "3", "6", "7", "8", "9", "10", "11"],
            [
                0x2D28E063,
                0xF11E2261,
                0xE292E757,
                0xC132D1D7,
                0xB18CC99A,
                0x11BC1AC9,
                0xA102803E,
                0xA40DAEE4,
                0x5BE3273B,
            ],
        ),
    ],
)
def test_the_chain_has_the_stated_values(start: int, bodies: list[str], values: list[int]) -> None:
    checksum = start
    for body, value in zip(bodies, values, strict=True):
        checksum = crc32c(body.encode(), checksum)
        assert checksum == value


def test_crc32c_has_the_check_value_for_every_kind_of_buffer() -> None:
    for data in (b"123456789", bytearray(b"123456789"), memoryview(b"123456789")):
        assert crc32c(data) == 0xE3069283


@pytest.mark.parametrize(
    ("author", "text"),
    [(1, "1"), (1234, "16i"), (1337, "19p"), (5678, "5he"), (0xFFFFFFFF, "3vvvvvv")],
)
def test_an_author_is_fenced_in_base_32(author: int, text: str) -> None:
    assert base32(author) == text
    assert fence(author) == {"author": (text,)}


def test_new_authors_are_in_range_and_differ() -> None:
    authors = {new_author() for _ in range(100)}
    assert len(authors) > 95
    assert all(1 <= author <= 2**32 - 2 for author in authors)


def test_the_recorder_makes_gazettes_bytes_and_only_adds_extension_fields() -> None:
    """What a stock player sees of our create and write are exactly Gazette's fields."""
    fsm = FSM("test/log")
    recorder = Recorder(fsm, 1234, lambda: 0)
    frames, file = recorder.create(b"/a", 0o644, 0, 0)
    frames += recorder.write(file, 0, b"hello")
    unframer = Unframer(pb.RecordedOp.FromString)
    unframer.feed(frames)
    expected = operations()[:2]
    checksum = 0
    for seq_no, plain in enumerate(expected, start=1):
        frame = unframer.next()
        assert isinstance(frame, Frame)
        op = frame.message
        assert op.checksum == checksum
        checksum = crc32c(frame.body, checksum)
        for name in ("mode", "uid", "gid"):
            op.create.ClearField(name) if seq_no == 1 else None
        if seq_no == 2:
            assert op.write.content_crc32c == crc32c(b"hello")
            op.write.ClearField("content_crc32c")
        plain.seq_no, plain.checksum = op.seq_no, op.checksum
        assert op.SerializeToString() == plain.SerializeToString()
    assert unframer.next() is None
    assert not isinstance(unframer.next(), Garbage)
