"""What a clean unmount leaves beside the tree: the next mount may serve it without a replay.

The file, integers little-endian:

     0   8  magic "recfsCLN"
     8   4  format version, 1
    12   4  CRC-32C over all that follows
    16  32  fingerprint of the tree
    48      the log's state, as `encode_state` has it
"""

from __future__ import annotations

import hashlib
import os
import stat as stat_bits
import struct
from pathlib import Path

from recfs.errors import BackingError
from recfs.recoverylog.checksum import crc32c

VERSION = 1

_HEAD = struct.Struct("<8sII")
_MAGIC = b"recfsCLN"
_FINGERPRINT_BYTES = 32


def encode(fingerprint: bytes, state: bytes) -> bytes:
    content = fingerprint + state
    return _HEAD.pack(_MAGIC, VERSION, crc32c(content)) + content


def decode(marker: bytes, where: Path) -> tuple[bytes, bytes]:
    """Return fingerprint and state.

    Raise BackingError when the marker, which stands at `where`, is damaged or of a newer format. A
    damaged one cannot tell whether the tree was changed since, so the tree is neither served nor
    replaced without a word of the operator.
    """
    head, content = marker[: _HEAD.size], marker[_HEAD.size :]
    if len(head) == _HEAD.size and len(content) >= _FINGERPRINT_BYTES:
        magic, version, checksum = _HEAD.unpack(head)
        if magic == _MAGIC and version > VERSION:
            raise BackingError(f"{where} was written by a newer recfs", "upgrade recfs")
        if magic == _MAGIC and version == VERSION and checksum == crc32c(content):
            return content[:_FINGERPRINT_BYTES], content[_FINGERPRINT_BYTES:]
    raise BackingError(
        f"{where} is damaged: whether the tree beside it was changed since recfs stopped is not "
        "known",
        "if it was not, remove that file: the mount then rebuilds the tree from the log",
    )


def fingerprint(tree: Path) -> bytes:
    """SHA-256 (32 bytes) over names, kinds, sizes, inodes and change times of everything in `tree`.

    The change time cannot be set back by a program, so any change of the tree changes the sum.
    """
    total = hashlib.sha256()
    # One descriptor per level of the current path: names stay short however deep the tree is.
    path: list[tuple[int, list[str]]] = []
    try:
        path.append(_enter(total, os.open(tree, os.O_RDONLY | os.O_DIRECTORY)))
        while path:
            fd, rest = path[-1]
            if rest:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                path.append(_enter(total, os.open(rest.pop(), flags, dir_fd=fd)))
            else:
                os.close(path.pop()[0])
    finally:
        for fd, _ in path:
            os.close(fd)
    return total.digest()


def _enter(total: hashlib._Hash, fd: int) -> tuple[int, list[str]]:
    """Add what stands in the directory `fd`; return it with the directories still to be entered."""
    stat = os.fstat(fd)
    total.update(struct.pack("<QQ", stat.st_ino, stat.st_ctime_ns))
    directories = []
    with os.scandir(fd) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            stat = entry.stat(follow_symlinks=False)
            if stat_bits.S_ISDIR(stat.st_mode):
                directories.append(entry.name)
            name = os.fsencode(entry.name)
            total.update(
                struct.pack(
                    "<QQQQQ",
                    len(name),
                    stat.st_ino,
                    stat.st_mode,
                    stat.st_size,
                    stat.st_ctime_ns,
                )
                + name
            )
    return fd, directories
