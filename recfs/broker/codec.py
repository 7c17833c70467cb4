"""Compression of fragments. What is read may have several members or frames, one after another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import cramjam

from recfs.broker.fragment import check_codec
from recfs.errors import DamageError

_MODULES: dict[str, Any] = {
    "gzip": cramjam.gzip,
    "gzip-offload": cramjam.gzip,
    "zstd": cramjam.zstd,
    "snappy": cramjam.snappy,
}
#: Uncompressed bytes after which compressed output is handed on.
_FLUSH_BYTES = 4 << 20


def compress(codec: str, content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `content` in `codec`. Raises UsageError for one that is not known."""
    if check_codec(codec) == "none":
        yield from content
        return
    compressor = _MODULES[codec].Compressor()
    pending = 0
    for piece in content:
        compressor.compress(piece)
        pending += len(piece)
        if pending >= _FLUSH_BYTES:
            yield bytes(compressor.flush())
            pending = 0
    yield bytes(compressor.finish())


def expand(codec: str, source: int, target: int, where: str) -> None:
    """Write the uncompressed content of file descriptor `source` to `target`, in bounded memory.

    Both are read and written from their beginning. Raises DamageError naming `where`, OSError.
    """
    try:
        _MODULES[codec].decompress_into(
            cramjam.File(f"/proc/self/fd/{source}", read=True, write=True, truncate=False),
            cramjam.File(f"/proc/self/fd/{target}", read=True, write=True, truncate=False),
        )
    except cramjam.DecompressionError as error:
        raise DamageError(
            f"{where}: cannot be decompressed as {codec}: {error}", where=where, offset=0
        ) from error
    os.lseek(target, 0, os.SEEK_SET)
