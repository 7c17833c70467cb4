"""Which mounts run on this host: one JSON file per mount in a runtime directory.

A file outlives a daemon that was killed; its entry is then *stale*, which is how `recfs umount`
and `recfs status` know what is left to clean up. A daemon that ends without having committed
everything leaves its entry on purpose, with the error: `recfs umount` is not its parent, has no
other way to learn of it, and must not say that all is well.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from recfs.errors import RecfsError, UsageError
from recfs.observe.control import to_answer
from recfs.observe.logs import logger

#: A file that is longer is none of ours.
_FILE_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One mount. Paths are absolute. `started` tells the daemon from a later process of its pid.

    `failure` is the error with which a daemon ended, in the form of `control.to_answer`.
    """

    mountpoint: str
    volume: str
    backing: str
    control: str
    pid: int
    started: str
    failure: dict[str, Any] | None = None

    @property
    def is_stale(self) -> bool:
        """Whether the daemon is gone."""
        return self.started == "" or process_start(self.pid) != self.started


class Registry:
    """The mounts under `directory`, which is made when it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def register(
        self, mountpoint: Path, *, volume: str, backing: Path, control: Path, pid: int | None = None
    ) -> Entry:
        """List a mount of process `pid`, by default this one, in place of an older entry.

        A directory that cannot be written raises UsageError.
        """
        pid = os.getpid() if pid is None else pid
        entry = Entry(
            mountpoint=str(canonical(mountpoint)),
            volume=volume,
            backing=str(canonical(backing)),
            control=str(canonical(control)),
            pid=pid,
            started=process_start(pid),
        )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._write(self._path(entry.mountpoint), json.dumps(asdict(entry)))
        except OSError as error:
            raise UsageError(
                f"cannot register the mount in {self._directory}: {error.strerror}",
                "name a directory that can be written with --runtime",
            ) from None
        return entry

    def remove(self, entry: Entry, *, failure: RecfsError | None = None) -> None:
        """Take `entry` off the list; one that replaced it meanwhile stays.

        With `failure`, it stays on the list until `recfs umount` or the next mount has seen it.
        """
        path = self._path(entry.mountpoint)
        if self._read(path) != entry:
            return
        try:
            if failure is None:
                path.unlink(missing_ok=True)
            else:
                self._write(path, json.dumps({**asdict(entry), "failure": to_answer(failure)}))
        except OSError as error:
            logger(__name__).warning("the list of mounts cannot be changed", reason=str(error))

    def find(self, which: str) -> Entry | None:
        """The mount whose mount point, volume URL or backing directory is `which`.

        A live mount comes before a stale one: a volume may have been mounted elsewhere since.
        """
        path = str(canonical(Path(which)))
        found = [
            entry
            for entry in self.list()
            if entry.volume == which or path in (entry.mountpoint, entry.backing)
        ]
        return min(found, key=lambda entry: entry.is_stale, default=None)

    def list(self) -> list[Entry]:
        """All mounts, ordered by mount point."""
        try:
            names = sorted(self._directory.glob("*.json"))
        except OSError:
            return []
        found = [entry for entry in map(self._read, names) if entry is not None]
        return sorted(found, key=lambda entry: entry.mountpoint)

    def _path(self, mountpoint: str) -> Path:
        digest = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]
        return self._directory / f"{digest}.json"

    def _write(self, path: Path, text: str) -> None:
        # Whole or not at all, whoever reads meanwhile. No fsync: /run does not outlive the host,
        # and neither does a mount.
        number, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(number, "w") as file:
                file.write(text)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise

    def _read(self, path: Path) -> Entry | None:
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(_FILE_BYTES_MAX))
            entry = Entry(**found)
            texts = (entry.mountpoint, entry.volume, entry.backing, entry.control, entry.started)
            if (
                type(entry.pid) is int
                and all(isinstance(text, str) for text in texts)
                and isinstance(entry.failure, (dict, NoneType))
            ):
                return entry
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            pass
        logger(__name__).warning("not an entry of a mount", file=str(path))
        return None


def process_start(pid: int) -> str:
    """When `pid` started, in clock ticks since boot and with the boot's id; "" when it is gone."""
    ticks = start_ticks(pid)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if ticks is None else f"{boot}:{ticks}"


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when there is none. proc(5), stat."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses; the fields are counted behind it.
    after = text.rpartition(")")[2].split()
    # A zombie has ended: it holds no descriptor and can write nothing.
    return None if after[0] in "ZX" else int(after[19])


def canonical(path: Path) -> Path:
    """`path` made absolute and free of symbolic links, without touching what is mounted on it.

    A mount whose daemon hangs would never answer; only the directories above it are asked, and
    readlink, which the kernel answers by itself.
    """
    path = Path(os.path.abspath(path))
    for _ in range(40):  # as many links as the kernel follows
        path = Path(os.path.realpath(path.parent)) / path.name
        try:
            target = os.readlink(path)
        except OSError:
            break
        path = Path(os.path.abspath(path.parent / target))
    return path
