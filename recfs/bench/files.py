"""Cases on plain files. The loops are Python's: about 1 µs of each call is the loop's own."""

from __future__ import annotations

import os
import shutil
import time

from recfs.bench.figures import Case, Group, Target
from recfs.bench.places import Place

BLOCK_BYTES = 4096


class Writes(Case):
    """Buffered `pwrite` of 4 KiB, from the beginning of one file to its end, without a sync.

    The file is new, or, with `rewrite`, holds `length` bytes that the writes replace.
    """

    group: Group = "files"
    unit = "1/s"
    target = Target(absolute=100_000, of_bindfs=1.0)

    def __init__(self, *, rewrite: bool, length: int) -> None:
        self.name = "rewrite" if rewrite else "write"
        self.what = f"4 KiB pwrite, {'rewriting' if rewrite else 'new file'}"
        self._rewrite = rewrite
        self._length = length

    def measure(self, place: Place) -> float:
        path = place.directory / "written"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            if self._rewrite:
                _write(file, self._length)
                place.settle()
            seconds = _write(file, self._length)
        finally:
            os.close(file)
        place.settle()
        path.unlink()
        return self._length / BLOCK_BYTES / seconds


class SmallFiles(Case):
    """Create, write 4 KiB, close: so many new files in one directory."""

    name = "create"
    what = "create + write 4 KiB + close"
    group: Group = "files"
    unit = "files/s"
    target = Target(of_bindfs=1.0)

    def __init__(self, *, files: int) -> None:
        self._files = files

    def measure(self, place: Place) -> float:
        directory = place.directory / "small"
        directory.mkdir()
        block = os.urandom(BLOCK_BYTES)
        paths = [str(directory / f"file-{number}") for number in range(self._files)]
        began = time.perf_counter()
        for path in paths:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(file, block)
            os.close(file)
        seconds = time.perf_counter() - began
        place.settle()
        shutil.rmtree(directory)
        return self._files / seconds


def _write(file: int, length: int) -> float:
    """Seconds that writing `length` bytes took."""
    block = os.urandom(BLOCK_BYTES)
    pwrite = os.pwrite
    began = time.perf_counter()
    for offset in range(0, length, BLOCK_BYTES):
        pwrite(file, block, offset)
    return time.perf_counter() - began
