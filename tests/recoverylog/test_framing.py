"""Frames: exact bytes, any split, garbage in between, and the end of the input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfs.recoverylog import recoverylog_pb2 as pb
from recfs.recoverylog.framing import BODY_MAX, MAGIC, Frame, Garbage, Unframer, pack

FEW = settings(max_examples=100, deadline=None, database=None)


def op(seq_no: int, length: int = 0) -> pb.RecordedOp:
    message = pb.RecordedOp(seq_no=seq_no, author=1234)
    if length:
        message.write.length = length
    return message


def unframer() -> Unframer[pb.RecordedOp]:
    return Unframer(pb.RecordedOp.FromString)


Found = tuple[str, int, int, bytes]


def drain(source: Unframer[pb.RecordedOp]) -> list[Found]:
    found: list[Found] = []
    while (item := source.next()) is not None:
        if isinstance(item, Garbage):
            found.append(("garbage", item.begin, item.end, b""))
        else:
            found.append(("frame", item.begin, item.end, item.body))
    return found


def test_a_frame_has_exactly_these_bytes() -> None:
    body = op(1).SerializeToString()
    assert pack(body) == bytes.fromhex("66339336") + b"\x07\0\0\0" + body
    assert pack(b"") == bytes.fromhex("6633933600000000")


def test_two_frames_are_read_with_their_offsets() -> None:
    first, second = pack(op(1).SerializeToString()), pack(op(2).SerializeToString())
    source: Unframer[pb.RecordedOp] = Unframer(pb.RecordedOp.FromString, offset=1000)
    source.feed(first + second)
    assert drain(source) == [
        ("frame", 1000, 1000 + len(first), first[8:]),
        ("frame", 1000 + len(first), 1000 + len(first) + len(second), second[8:]),
    ]
    assert (source.offset, source.held) == (1000 + len(first) + len(second), 0)


def test_bytes_behind_a_frame_are_left_for_taking() -> None:
    source = unframer()
    source.feed(pack(op(1).SerializeToString()) + b"payload")
    assert isinstance(source.next(), Frame)
    assert source.take(3) == b"pay"
    assert source.take(5) is None
    assert source.take_some(100) == b"load"
    assert source.take_some(100) == b""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_taken(kind: type[bytes]) -> None:
    source = unframer()
    source.feed(kind(pack(op(1).SerializeToString())))
    assert len(drain(source)) == 1


def test_a_buffer_may_change_after_it_was_fed() -> None:
    source = unframer()
    data = bytearray(pack(op(1).SerializeToString()))
    source.feed(data)
    data[:] = bytes(len(data))
    assert [kind for kind, *_ in drain(source)] == ["frame"]


@pytest.mark.parametrize("garbage", [b"x", b"xyzzy" * 100, MAGIC[:3], b"\x66", MAGIC[:2] * 5])
def test_garbage_before_a_frame_is_told_once_and_the_frame_follows(garbage: bytes) -> None:
    frame = pack(op(1).SerializeToString())
    for data in ([garbage + frame], [bytes([byte]) for byte in garbage + frame]):
        source = unframer()
        found = []
        for piece in data:
            source.feed(piece)
            found += drain(source)
        end = len(garbage)
        assert found == [
            ("garbage", 0, end, b""),
            ("frame", end, end + len(frame), frame[8:]),
        ]


def test_a_magic_cut_by_the_end_of_the_buffer_is_found() -> None:
    frame = pack(op(1).SerializeToString())
    for cut in range(1, len(frame)):
        source = unframer()
        source.feed(b"garbage of some length" + frame[:cut])
        before = drain(source)
        source.feed(frame[cut:])
        assert [kind for kind, *_ in before + drain(source)] == ["garbage", "frame"]


def test_a_body_that_does_not_parse_is_garbage_from_the_byte_of_its_magic() -> None:
    bad = pack(b"\x0a\xff\xff\xff")
    good = pack(op(1).SerializeToString())
    source = unframer()
    source.feed(bad + good)
    assert drain(source) == [
        ("garbage", 0, len(bad), b""),
        ("frame", len(bad), len(bad) + len(good), good[8:]),
    ]


def test_a_false_magic_with_an_insane_length_swallows_nothing() -> None:
    good = pack(op(1).SerializeToString())
    source = unframer()
    source.feed(MAGIC + (BODY_MAX + 1).to_bytes(4, "little") + good)
    assert [kind for kind, *_ in drain(source)] == ["garbage", "frame"]


def test_a_false_magic_with_a_sane_length_swallows_nothing() -> None:
    """The bytes that it announces do not parse; the frames among them are found."""
    good = pack(op(1).SerializeToString())
    source = unframer()
    source.feed(MAGIC + (200).to_bytes(4, "little") + b"\xff" + good * 3)
    assert source.next() is None  # it announced more than there is
    source.feed(bytes(200))
    assert [kind for kind, *_ in drain(source)] == ["garbage", "frame", "frame", "frame"]


def test_at_the_end_of_the_input_frames_behind_a_false_magic_are_found() -> None:
    good = pack(op(1).SerializeToString())
    source = unframer()
    source.feed(MAGIC + (1 << 20).to_bytes(4, "little") + good)
    assert source.next() is None
    assert source.give_up_frame()
    assert [kind for kind, *_ in drain(source)] == ["garbage", "frame"]
    assert not source.give_up_frame()
    assert source.held == 0


@pytest.mark.parametrize("cut", [1, 7, 8, 12])
def test_a_partial_frame_is_held(cut: int) -> None:
    frame = pack(op(1, length=5).SerializeToString())
    source = unframer()
    source.feed(frame[:cut])
    assert source.next() is None
    assert (source.held, source.tail(), source.offset) == (cut, frame[:cut], 0)


@FEW
@given(st.data())
def test_every_split_gives_the_same(data: st.DataObject) -> None:
    parts = data.draw(
        st.lists(
            st.one_of(
                st.integers(1, 10**12).map(lambda seq: pack(op(seq).SerializeToString())),
                st.binary(max_size=20),
                st.sampled_from([MAGIC, MAGIC + b"\x05\0\0\0", MAGIC[:2]]),
            ),
            max_size=8,
        )
    )
    stream = b"".join(parts)
    whole = unframer()
    whole.feed(stream)
    expected = (drain(whole), whole.offset, whole.held)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    split = unframer()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        split.feed(stream[begin:end])
        found += drain(split)
    assert (found, split.offset, split.held) == expected
