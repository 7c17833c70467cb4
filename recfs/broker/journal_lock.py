"""The lock file of a journal: which process may write, and what readers may read.

Every commit is made under an exclusive `flock` of this file, and only by the process whose writer
identity stands in it. A process that finds another one there has to read the journal from disk
first: so a register check decides the same way as it would on a remote broker, and a writer that
was stopped for an hour cannot overwrite what has been committed since.

A busy writer takes the lock again within microseconds, and would starve a process that waits. So
everybody passes a turnstile, the `flock` of a second file: who waits for the lock holds it.

The first bytes of the lock file are the page, rewritten at every commit; text about the last
writer follows at 1024. The page is a cache of what the spools say, except that `committed` bounds
what readers may see: a commit is visible once it is on disk and acknowledged, not when its bytes
appear in the page cache. It is trusted for that only while `boot` is this boot of this host; as a
lower bound, always.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from recfs.broker.record import crc32c
from recfs.errors import JournalUnavailable, UsageError

FORMAT_VERSION = 1
TURNSTILE = "@turnstile"
_MAGIC = b"recfsLCK"
_PAGE = struct.Struct("<8sI16sQQQ")
_CRC = struct.Struct("<I")
_SIZE = 4096
_HOLDER_AT = 1024
#: Seconds that a writer waits for another process to finish its commit.
WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LockPage:
    """What the lock file says.

    `writer` is the identity of the process that wrote last, 0 when none. `generation` changes
    whenever spools or fragments come or go. `committed` is a journal offset.
    """

    writer: int = 0
    generation: int = 0
    committed: int = 0
    boot: bytes = bytes(16)

    @property
    def is_current(self) -> bool:
        """Whether the page was written in this boot of this host."""
        return self.boot == boot_identity()


_boot: bytes | None = None


def boot_identity() -> bytes:
    """16 bytes that identify this boot of this host."""
    global _boot
    if _boot is None:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        _boot = bytes.fromhex(text.strip().replace("-", ""))
    return _boot


class JournalLock:
    """The lock file at `path` and its turnstile. Opens them on first use.

    All methods may raise OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fileno = -1
        self._turnstile = -1  # open: the lock file is open for writing

    def read(self) -> LockPage | None:
        """Return the page, or None when there is no valid one. Takes no lock; does not block.

        Raises UsageError when it is of a newer format.
        """
        if self._fileno < 0:
            try:
                self._fileno = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        for _ in range(20):  # a reader may meet a page that is half written
            content = os.pread(self._fileno, _PAGE.size + 4, 0)
            if len(content) < _PAGE.size + 4 or content[:8] != _MAGIC:
                return None
            fixed = content[: _PAGE.size]
            _, version, boot, writer, generation, committed = _PAGE.unpack(fixed)
            if version > FORMAT_VERSION:
                raise UsageError(
                    f"{self._path}: written by a newer recfs (format {version})", "upgrade recfs"
                )
            if crc32c(0, fixed) == _CRC.unpack(content[_PAGE.size :])[0]:
                return LockPage(writer, generation, committed, boot)
        return None

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it or waits for it. Does not block."""
        if self._turnstile < 0:
            self._open()
        if not _try_lock(self._turnstile):
            return False
        try:
            return _try_lock(self._fileno)
        finally:
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def acquire(self, journal: str) -> None:
        """Take the lock, waiting up to WAIT_SECONDS. Blocks; raises JournalUnavailable."""
        if self._turnstile < 0:
            self._open()
        deadline = time.monotonic() + WAIT_SECONDS
        self._wait(self._turnstile, journal, deadline)
        try:
            self._wait(self._fileno, journal, deadline)
        finally:
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fileno = os.open(self._path, flags, 0o666)
        if self._fileno >= 0:
            os.close(self._fileno)
        self._fileno = fileno
        self._turnstile = os.open(self._path.with_name(TURNSTILE), flags, 0o666)

    def _wait(self, fileno: int, journal: str, deadline: float) -> None:
        pause = 0.0002
        while not _try_lock(fileno):
            if time.monotonic() > deadline:
                raise JournalUnavailable(
                    f"journal {journal}: {_holder(fileno) or self._last_writer()} holds "
                    f"{self._path} for more than {WAIT_SECONDS:g} s",
                    "is that process stopped? continue or kill it",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)

    def release(self) -> None:
        fcntl.flock(self._fileno, fcntl.LOCK_UN)

    def write(self, page: LockPage) -> None:
        """Write `page`. Only under the lock."""
        fixed = _PAGE.pack(
            _MAGIC, FORMAT_VERSION, page.boot, page.writer, page.generation, page.committed
        )
        os.pwrite(self._fileno, fixed + _CRC.pack(crc32c(0, fixed)), 0)

    def write_holder(self) -> None:
        """Say in the file who writes now. Only under the lock."""
        if os.fstat(self._fileno).st_size < _SIZE:
            os.pwrite(self._fileno, bytes(_SIZE), 0)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": int(time.time())}
        os.pwrite(
            self._fileno, json.dumps(holder).encode().ljust(_SIZE - _HOLDER_AT, b"\0"), _HOLDER_AT
        )

    def _last_writer(self) -> str:
        try:
            text = os.pread(self._fileno, _SIZE - _HOLDER_AT, _HOLDER_AT).rstrip(b"\0")
            parsed = json.loads(text)
            return f"process {parsed['pid']} on {parsed['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "an unknown process"

    def close(self) -> None:
        for fileno in (self._fileno, self._turnstile):
            if fileno >= 0:
                os.close(fileno)
        self._fileno = self._turnstile = -1


def _try_lock(fileno: int) -> bool:
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fileno: int) -> str | None:
    """Who holds the `flock` of this file, as the kernel knows it; None when it does not say."""
    inode = f":{os.fstat(fileno).st_ino}"
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            for line in file:
                words = line.split()
                if words[1:2] == ["FLOCK"] and words[5].endswith(inode) and words[4] != "-1":
                    return f"process {words[4]} on {socket.gethostname()}"
    except (OSError, IndexError):
        pass
    return None
