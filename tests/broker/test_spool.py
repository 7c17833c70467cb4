"""Spool files: what survives a torn write, and what a flipped byte cannot hide."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recfs.broker import record
from recfs.broker.spool import Spool
from recfs.broker.spool_file import SpoolReplacedError, write_new
from recfs.errors import DamageError, UsageError
from recfs.journal.model import LabelSet

JOURNAL = "db1/log"
HEADER = record.SpoolHeader(JOURNAL, b"s" * 16, 7, 1000, 1000, {"author": ("a",)})


def make(path: Path, *, size: int = 16384) -> Spool:
    write_new(path, HEADER, size)
    return Spool.open(path, JOURNAL, writable=True)


def commit(spool: Spool, *content: bytes, registers: LabelSet | None = None) -> None:
    pending = spool.prepare(content, sum(map(len, content)), registers)
    spool.write_commit(pending)
    spool.take(pending)


def reopened(path: Path, *, limit: int | None = None, acknowledged: int = 0) -> Spool:
    spool = Spool.open(path, JOURNAL, writable=False)
    spool.scan(limit, acknowledged)
    return spool


def content_of(spool: Spool) -> bytes:
    content = b""
    while spool.begin + len(content) < spool.end:
        content += spool.read(spool.begin + len(content), 1 << 20)
    return content


def test_commits_and_registers_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"one", b"two")
    commit(spool, b"three", registers={"author": ("b",)})
    commit(spool, b"four")
    again = reopened(path)
    assert (again.number, again.begin, again.end) == (7, 1000, 1015)
    assert again.registers == {"author": ("b",)}
    assert again.position == spool.position
    assert content_of(again) == b"onetwothreefour"
    assert again.damage is None
    commit(spool, b"five")
    again.scan(None, 0)
    assert content_of(again) == b"onetwothreefourfive"


def test_reads_cross_commits_at_any_offset_and_length(tmp_path: Path) -> None:
    spool = make(tmp_path / "spool")
    whole = b""
    for index in range(12):
        piece = os.urandom(1 + index * 7 % 23)
        commit(spool, piece)
        whole += piece
    for begin in range(len(whole)):
        for length in (1, 5, 50, 1000):
            assert spool.read(1000 + begin, length) == whole[begin : begin + length]


def test_a_commit_of_many_and_large_buffers_is_written_whole(tmp_path: Path) -> None:
    spool = make(tmp_path / "spool")
    small = [bytes([index % 256]) * (index % 7 + 1) for index in range(3000)]
    large = [os.urandom(5000) for _ in range(1200)]
    commit(spool, *small)
    commit(spool, *large)
    commit(spool, *[piece for pair in zip(small, large, strict=False) for piece in pair])
    again = reopened(spool.path)
    assert content_of(again) == b"".join(
        [*small, *large, *(piece for pair in zip(small, large, strict=False) for piece in pair)]
    )


def test_a_tail_torn_at_any_byte_is_dropped_and_nothing_before_it(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"acknowledged", registers={"author": ("b",)})
    before = path.read_bytes()
    start = spool.position
    commit(spool, b"torn in the middle of it" * 3, registers={"author": ("c",)})
    after = path.read_bytes()
    useful = spool.position - start
    for cut in range(useful):
        if after[start + cut :] == before[start + cut :]:
            break  # what is missing is only padding
        path.write_bytes(after[: start + cut] + before[start + cut :])
        again = reopened(path, acknowledged=1012)
        assert content_of(again) == b"acknowledged", cut
        assert again.registers == {"author": ("b",)}
        assert again.damage is None
        assert again.position == start
        path.write_bytes(after[: start + cut])  # the file itself ends there
        assert content_of(reopened(path, acknowledged=1012)) == b"acknowledged"
    path.write_bytes(after)
    assert reopened(path).registers == {"author": ("c",)}


def test_a_flipped_byte_before_a_valid_commit_is_damage_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"first")
    start = spool.position
    commit(spool, b"second", registers={"author": ("b",)})
    stop = spool.position
    commit(spool, b"third")
    good = path.read_bytes()
    padding = -(32 + 6 + len(b'{"author":["b"]}')) % 8
    for position in range(start, stop - padding):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        again = reopened(path)
        damage = again.damage
        assert damage is not None, position
        assert (damage.where, damage.offset) == (str(path), start)
        assert again.read(1000, 100) == b"first"
        assert again.read(1011, 100) == b"third"
        with pytest.raises(DamageError):
            again.read(1007, 1)


def test_a_flipped_byte_in_the_last_commit_is_damage_if_it_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"first")
    start = spool.position
    commit(spool, b"last")
    bad = bytearray(path.read_bytes())
    bad[start + 33] ^= 0x80
    path.write_bytes(bad)
    again = reopened(path, acknowledged=1009)
    assert again.damage is not None
    assert again.damage.offset == start
    again = reopened(path, acknowledged=1005)
    assert again.damage is None
    assert content_of(again) == b"first"


def test_damage_in_the_header_is_found(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"content")
    good = path.read_bytes()
    for position in (*range(8), *range(12, 90)):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        with pytest.raises(DamageError):
            Spool.open(path, JOURNAL, writable=False)
    path.write_bytes(good[:50])
    with pytest.raises(DamageError):
        Spool.open(path, JOURNAL, writable=False)
    path.write_bytes(good)
    with pytest.raises(DamageError, match="of journal db1/log"):
        Spool.open(path, "other/log", writable=False)


def test_a_newer_format_says_to_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    make(path)
    newer = bytearray(path.read_bytes())
    newer[8:12] = struct.pack("<I", record.FORMAT_VERSION + 1)
    path.write_bytes(newer)
    with pytest.raises(UsageError, match="newer recfs") as caught:
        Spool.open(path, JOURNAL, writable=False)
    assert caught.value.attempt == "upgrade recfs"


def test_commits_of_the_files_earlier_use_never_count(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    for index in range(20):
        commit(spool, bytes([index]) * 100)
    used_again = record.SpoolHeader(JOURNAL, b"t" * 16, 8, 1000, 1000, {})
    write_new(path, used_again, 0)
    with pytest.raises(SpoolReplacedError):
        spool.read(1000, 10)
    with pytest.raises(SpoolReplacedError):
        list(spool.verified(spool.end))
    fresh = reopened(path)
    assert (fresh.begin, fresh.end) == (1000, 1000)
    pending = fresh.prepare([b"x" * 30], 30, None)
    writer = Spool.open(path, JOURNAL, writable=True)
    writer.write_commit(pending)  # shorter than the old commit, whose neighbours stand behind it
    again = reopened(path)
    assert content_of(again) == b"x" * 30
    assert again.damage is None


def test_a_copy_of_a_commit_inside_content_is_never_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"first")
    start = spool.position
    commit(spool, b"second, of which a copy follows" * 2)
    stolen = path.read_bytes()[start : spool.position]
    torn = spool.position
    commit(spool, bytes(-32 % 8) + stolen * 5)
    bad = bytearray(path.read_bytes())
    bad[torn] ^= 1  # the copies now stand behind an invalid commit
    path.write_bytes(bad)
    again = reopened(path)
    assert again.damage is None
    assert again.position == torn


def test_content_up_to_a_limit_is_all_that_a_reader_sees(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    commit(spool, b"acknowledged")
    commit(spool, b"in flight")
    again = reopened(path, limit=1012, acknowledged=1012)
    assert content_of(again) == b"acknowledged"
    again.scan(1021, 1021)
    assert content_of(again) == b"acknowledgedin flight"


def test_rewriting_leaves_the_bytes_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = make(path)
    for index in range(5):
        commit(spool, bytes([65 + index]) * 1000)
    before = path.read_bytes()
    spool.rewrite(3000)
    assert path.read_bytes() == before
    assert content_of(reopened(path)) == content_of(spool)


def test_zeros_are_written_ahead_up_to_the_capacity(tmp_path: Path) -> None:
    spool = make(tmp_path / "spool", size=8192)
    commit(spool, b"kept")
    spool.grow(3 << 20)
    assert spool.zeroed == 8192 + (1 << 20)
    spool.grow(3 << 20)
    spool.grow(3 << 20)
    assert spool.zeroed == 3 << 20 == spool.path.stat().st_size
    assert content_of(reopened(spool.path)) == b"kept"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_is_ever_served_as_content(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "spool"
    path.unlink(missing_ok=True)
    spool = make(path, size=4096)
    pieces = data.draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8))
    for piece in pieces:
        commit(spool, piece)
    whole = b"".join(pieces)
    bad = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(record.HEADER_ALIGN, len(bad) - 1))
        bad[position : position + 1] = data.draw(st.binary(max_size=2))
    path.write_bytes(bad)
    again = reopened(path, acknowledged=1000 + len(whole))
    offset = 1000
    while offset < again.end:
        try:
            piece = again.read(offset, 7)
        except DamageError:
            offset += 1
            continue
        assert piece == whole[offset - 1000 : offset - 1000 + len(piece)]
        offset += len(piece)
    assert again.end >= 1000 + len(whole) or again.damage is not None
