"""The bytes of a spool file: a header, then commits. Pure.

All integers are little-endian.

    header, padded with zeros to a multiple of 4096 bytes
       0   8  magic "recfsSPL"
       8   4  format version, 1
      12   4  length of the header: the first commit stands there
      16  16  salt, random for each use of the file
      32   8  number of the spool in its journal
      40   8  begin: journal offset of the first commit
      48   8  end of the spool before, as far as it was acknowledged; begin when there is none
      56   4  length of the journal's name, in bytes
      60   4  length of the registers, in bytes
      64   4  CRC-32C over bytes 0..64, name and registers
      68      journal name (UTF-8), registers at begin (JSON)

    commit, at a multiple of 8
       0   4  magic "rcC1"
       4   4  length of the registers after the content; 0: unchanged
       8   8  length of the content, at least 1
      16   8  begin: journal offset of the content
      24   4  CRC-32C over content and registers
      28   4  CRC-32C over salt, position of the commit in the file (8 bytes) and bytes 0..28
      32      content, registers, zeros up to a multiple of 8

A commit is valid only at its position and under the salt of its file: neither a left-over of the
file's earlier use nor a copy of a commit inside some content is ever taken for one. Commits are
written one after another, each only when the one before is on disk; hence an invalid commit with a
valid one behind it is damage, and one with nothing behind it is a torn tail.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from recfs.broker import registers as register_rules
from recfs.errors import DamageError, UsageError
from recfs.journal.model import Buffer, LabelSet

FORMAT_VERSION = 1
HEADER_ALIGN = 4096
COMMIT_HEADER = 32
COMMIT_MAGIC = b"rcC1"
SALT_BYTES = 16

_MAGIC = b"recfsSPL"
_HEADER = struct.Struct("<8sII16sQQQII")
_COMMIT = struct.Struct("<4sIQQI")
_CRC = struct.Struct("<I")
_POSITION = struct.Struct("<Q")


def crc32c(crc: int, content: Buffer) -> int:
    """CRC-32C of `content` after bytes whose CRC-32C is `crc`."""
    if not isinstance(content, bytes):
        content = bytes(content)  # what the C extension takes
    result: int = google_crc32c.extend(crc, content)
    return result


@dataclass(frozen=True, slots=True)
class SpoolHeader:
    """`salt` is 16 random bytes, `begin` and `previous_end` are journal offsets.

    `length` is that of the header in bytes, known when it was decoded.
    """

    journal: str
    salt: bytes
    number: int
    begin: int
    previous_end: int
    registers: LabelSet
    length: int = 0


@dataclass(frozen=True, slots=True)
class CommitHeader:
    """`begin` is a journal offset; lengths are in bytes."""

    content_length: int
    registers_length: int
    begin: int
    crc: int

    @property
    def end(self) -> int:
        return self.begin + self.content_length

    @property
    def total_length(self) -> int:
        """Bytes that the commit takes in its file."""
        return -(-(COMMIT_HEADER + self.content_length + self.registers_length) // 8) * 8


def encode_header(header: SpoolHeader) -> bytes:
    """The header's bytes, padded to its length."""
    name = header.journal.encode()
    registers = register_rules.encode(header.registers)
    size = _HEADER.size + _CRC.size + len(name) + len(registers)
    length = -(-size // HEADER_ALIGN) * HEADER_ALIGN
    fixed = _HEADER.pack(
        _MAGIC, FORMAT_VERSION, length, header.salt, header.number, header.begin,
        header.previous_end, len(name), len(registers),
    )  # fmt: skip
    crc = crc32c(0, fixed + name + registers)
    return (fixed + _CRC.pack(crc) + name + registers).ljust(length, b"\0")


def decode_header(content: bytes, where: str) -> SpoolHeader:
    """Decode a spool's first bytes (at least 4096, up to the whole header; see `header_length`).

    Raises DamageError naming `where`, and UsageError for a newer format.
    """
    damage = DamageError(
        f"{where}: the spool's header is not what was written",
        "keep a copy of the directory; the commits in this file cannot be trusted",
        where=where,
        offset=0,
    )
    if len(content) < _HEADER.size + _CRC.size or content[:8] != _MAGIC:
        raise damage
    fixed = content[: _HEADER.size]
    (
        _, version, length, salt, number, begin, previous_end, name_length, registers_length
    ) = _HEADER.unpack(fixed)  # fmt: skip
    if version > FORMAT_VERSION:
        raise UsageError(
            f"{where}: written by a newer recfs (spool format {version}, this is {FORMAT_VERSION})",
            "upgrade recfs",
        )
    names_at = _HEADER.size + _CRC.size
    names = content[names_at : names_at + name_length + registers_length]
    (crc,) = _CRC.unpack(content[_HEADER.size : names_at])
    if len(names) != name_length + registers_length or crc != crc32c(0, fixed + names):
        raise damage
    registers = register_rules.decode(names[name_length:], where)
    name = names[:name_length].decode()
    return SpoolHeader(name, salt, number, begin, previous_end, registers, length)


def header_length(content: bytes) -> int:
    """How many bytes `decode_header` needs, judged by the first 4096."""
    if len(content) < _HEADER.size or content[:8] != _MAGIC:
        return len(content)
    length: int = _HEADER.unpack(content[: _HEADER.size])[2]
    return min(length, HEADER_ALIGN * 32)


def encode_commit(
    salt: bytes, position: int, begin: int, content: Sequence[Buffer], size: int, registers: bytes
) -> tuple[bytes, bytes]:
    """The bytes before and behind the content of a commit; `size` is that of the content."""
    crc = 0
    for buffer in content:
        crc = google_crc32c.extend(crc, buffer if type(buffer) is bytes else bytes(buffer))
    if registers:
        crc = crc32c(crc, registers)
    fixed = _COMMIT.pack(COMMIT_MAGIC, len(registers), size, begin, crc)
    head = fixed + _CRC.pack(google_crc32c.value(salt + _POSITION.pack(position) + fixed))
    return head, registers + bytes(-(size + len(registers)) % 8)


def decode_commit(salt: bytes, position: int, head: bytes) -> CommitHeader | None:
    """Decode the 32 bytes before a commit's content; None when they are no valid header there."""
    if len(head) < COMMIT_HEADER or head[:4] != COMMIT_MAGIC:
        return None
    fixed = head[: _COMMIT.size]
    (crc,) = _CRC.unpack(head[_COMMIT.size : COMMIT_HEADER])
    if crc != crc32c(0, salt + _POSITION.pack(position) + fixed):
        return None
    _, registers_length, content_length, begin, content_crc = _COMMIT.unpack(fixed)
    return CommitHeader(content_length, registers_length, begin, content_crc)
