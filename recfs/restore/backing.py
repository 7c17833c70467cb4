"""The backing directory and what stands in it: whose it is, and whether it may be served as it is.

BACKING/tree                the plain files; nothing of ours is ever in it
BACKING/tree.aside          what was there before a rebuild, until the new tree serves
BACKING/restoring           a rebuild under construction
BACKING/state/volume.json   the volume that the tree belongs to
BACKING/state/clean         after a clean unmount: the log's state and the tree's fingerprint
BACKING/state/lock          held by the process that serves the tree
BACKING/control             its control socket
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path

from recfs.errors import BackingError

from .owner import FORMAT


@dataclass(frozen=True, slots=True)
class Identity:
    """The volume that a tree belongs to. `importing`: its import into the log never finished."""

    volume: str
    journal: str
    importing: bool = False
    format: int = FORMAT


class Start(Enum):
    """What a mount does with a backing directory."""

    FRESH = auto()  # nothing here and nothing in the log
    IMPORT = auto()  # files here, nothing in the log: record them
    RESUME = auto()  # the tree is the log's state already: play nothing, or only marks
    REBUILD = auto()  # the log says what must be here


class BackingDirectory:
    """Raise BackingError (exit 16) from any method when the directory cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = path / "tree"
        self.aside = path / "tree.aside"
        self.restoring = path / "restoring"
        self.state = path / "state"
        self._lock = -1

    def open(self) -> None:
        """Create what is missing and take the lock."""
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                # A database that is started on the tree directly, by its own user, passes here.
                self.path.chmod(0o755)
            self.state.mkdir(exist_ok=True, mode=0o700)
            self._lock = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise BackingError(
                f"backing directory {self.path} is in use by another recfs",
                "unmount that one first (recfs status), or name another --backing",
            ) from None
        except OSError as error:
            raise BackingError(
                f"backing directory {self.path} cannot be used: {error.strerror}",
                "name a directory that this user may write: --backing DIR",
            ) from error
        self._finish_swap()

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- what is here ------------------------------------------------------------------------

    def holds_files(self) -> bool:
        try:
            with os.scandir(self.tree) as entries:
                return next(entries, None) is not None
        except FileNotFoundError:
            return False

    def identity(self) -> Identity | None:
        try:
            values = json.loads((self.state / "volume.json").read_text())
            identity = Identity(**values)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise BackingError(
                f"{self.state / 'volume.json'} cannot be read: {error}",
                "if the tree is of no use, remove the backing directory: the log rebuilds it",
            ) from error
        if identity.format > FORMAT:
            raise BackingError(
                f"backing directory {self.path} was written by a newer recfs", "upgrade recfs"
            )
        return identity

    def claim(self, identity: Identity) -> None:
        """Note whose tree this is, before anything in it changes."""
        _write_file(self.state / "volume.json", json.dumps(asdict(identity)).encode())

    # -- the clean marker --------------------------------------------------------------------

    def mark_clean(self, state: bytes) -> None:
        """After everything is committed and unmounted: `state` is the log's, as hints encode it."""
        _write_file(self.state / "clean", fingerprint(self.tree) + state)

    def clean_state(self) -> bytes | None:
        """The state at the last clean unmount, None when there was none.

        Raise BackingError when the tree was changed since: it holds newer data than the log.
        """
        try:
            content = (self.state / "clean").read_bytes()
        except FileNotFoundError:
            return None
        if content[:32] != fingerprint(self.tree):
            raise BackingError(
                f"the files in {self.tree} were changed since recfs stopped cleanly; the log does "
                "not hold these changes",
                "to keep them, move the tree below another --backing and mount it as a new volume; "
                "to drop them, remove the tree",
            )
        return content[32:]

    def unmark_clean(self) -> None:
        (self.state / "clean").unlink(missing_ok=True)

    # -- putting a rebuilt tree in place -----------------------------------------------------

    def swap_in(self, tree: Path) -> None:
        """Put a rebuilt tree in place; what was there is kept aside until `drop_aside`."""
        if self.tree.exists():
            _remove_tree(self.aside)
            self.tree.rename(self.aside)
        tree.rename(self.tree)

    def _finish_swap(self) -> None:
        """Undo what an interrupted rebuild left."""
        if not self.tree.exists():
            if self.aside.exists():
                self.aside.rename(self.tree)
            else:
                self.tree.mkdir()
                self.tree.chmod(0o755)
        _remove_tree(self.restoring)

    def drop_aside(self) -> None:
        _remove_tree(self.aside)


def decide(
    *, holds_files: bool, identity: Identity | None, clean: bool, log_empty: bool, volume: str
) -> Start:
    """What to do with a backing directory. Pure. `volume` is the log's identity ("": none yet).

    Raise BackingError where files would be lost or mixed up.
    """
    if identity is not None and volume and identity.volume != volume:
        raise BackingError(
            f"the backing directory belongs to another volume ({identity.journal}, "
            f"{identity.volume}), not to {volume}",
            "name another --backing, or remove this one if its volume is of no use any more",
        )
    if log_empty:
        if identity is not None and not identity.importing and holds_files:
            raise BackingError(
                f"the log of volume {identity.journal} is empty, but this backing directory was "
                "recorded to it: the journal has lost its content, and this may be the last copy",
                "put the journal back; or keep this tree: move it below another --backing and "
                "mount it as a new volume",
            )
        return Start.IMPORT if holds_files else Start.FRESH
    if identity is None:
        if holds_files:
            raise BackingError(
                "the backing directory holds files that are not this volume's",
                "name an empty --backing, or restore beside it: recfs restore VOLUME -o DIR",
            )
        return Start.REBUILD
    if identity.importing:
        return Start.IMPORT
    return Start.RESUME if clean else Start.REBUILD


def fingerprint(tree: Path) -> bytes:
    """SHA-256 (32 bytes) over names, kinds, sizes, inodes and change times of everything in `tree`.

    The change time cannot be set back by a program, so any change of the tree changes the sum.
    """
    total = hashlib.sha256()
    root = os.fsencode(tree)
    stack = [root]
    while stack:
        directory = stack.pop()
        stat = os.stat(directory)
        total.update(directory[len(root) :] + struct.pack("<QQ", stat.st_ino, stat.st_ctime_ns))
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                    continue
                stat = entry.stat(follow_symlinks=False)
                total.update(
                    entry.name
                    + struct.pack(
                        "<QQQQ", stat.st_ino, stat.st_mode, stat.st_size, stat.st_ctime_ns
                    )
                )
    return total.digest()


def _write_file(path: Path, content: bytes) -> None:
    """Replace `path` atomically and durably: a torn marker must never be taken for a whole one."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise BackingError(
                f"cannot remove {path}: {error.strerror}", "remove it by hand"
            ) from error
