"""The backing directory and what stands in it: whose it is, and whether it may be served as it is.

BACKING/tree                the plain files; nothing of ours is ever in it
BACKING/tree.aside          what was there before a rebuild, until the new tree serves
BACKING/restoring           a rebuild under construction
BACKING/state/volume.json   the volume that the tree belongs to
BACKING/state/clean         after a clean unmount: the tree's fingerprint and the log's state
BACKING/state/lock          held by the process that serves the tree
BACKING/control             its control socket
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path

from recfs.errors import BackingError

from . import clean_marker
from .clean_marker import fingerprint as fingerprint
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
            with self._refusals("cannot be used"):
                self._lock_it()
        except BackingError:
            self.close()
            raise
        self._finish_swap()

    def _lock_it(self) -> None:
        if not self.path.exists():
            self.path.mkdir(parents=True)
            # A database that is started on the tree directly, by its own user, passes here.
            self.path.chmod(0o755)
        self.state.mkdir(exist_ok=True, mode=0o700)
        self._lock = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackingError(
                f"backing directory {self.path} is in use by another recfs",
                "unmount that one first (recfs status), or name another --backing",
            ) from None

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        """Turn what the system refuses into a BackingError that says `what` and its place."""
        try:
            yield
        except OSError as error:
            place = f" ({os.fsdecode(error.filename)})" if error.filename else ""
            raise BackingError(
                f"backing directory {self.path} {what}: {error.strerror}{place}",
                "make room on its disk, then mount again"
                if error.errno in (errno.ENOSPC, errno.EDQUOT)
                else "name a directory that this user may write: --backing DIR",
            ) from error

    # -- what is here ------------------------------------------------------------------------

    def holds_files(self) -> bool:
        with self._refusals("cannot be read"), os.scandir(self.tree) as entries:
            return next(entries, None) is not None

    def identity(self) -> Identity | None:
        path = self.state / "volume.json"
        try:
            with self._refusals("cannot be read"):
                content = path.read_bytes() if path.exists() else None
            if content is None:
                return None
            values = json.loads(content)
            if int(values.get("format", 0)) > FORMAT:
                raise BackingError(
                    f"backing directory {self.path} was written by a newer recfs", "upgrade recfs"
                )
            identity = Identity(**values)
            if not isinstance(identity.volume, str) or type(identity.importing) is not bool:
                raise TypeError("a value is not of its type")
            return identity
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BackingError(
                f"{path} is damaged, so whose tree stands beside it is not known: {error}",
                f"move {self.path} away: the mount rebuilds the tree from the log; compare the two "
                "before you remove the old one",
            ) from error

    def claim(self, identity: Identity) -> None:
        """Note whose tree this is, before anything in it changes."""
        with self._refusals("cannot be written"):
            _write_file(self.state / "volume.json", json.dumps(asdict(identity)).encode())

    # -- the clean marker --------------------------------------------------------------------

    def mark_clean(self, state: bytes) -> None:
        """After everything is committed and unmounted: `state` is the log's, as hints encode it."""
        with self._refusals("cannot be marked as clean"):
            marker = clean_marker.encode(fingerprint(self.tree), state)
            _write_file(self.state / "clean", marker)

    def clean_state(self) -> bytes | None:
        """The state at the last clean unmount, None when there was none.

        Raise BackingError when the tree was changed since: it holds newer data than the log. A
        damaged marker cannot tell whether it was, so the tree is neither served nor replaced.
        """
        path = self.state / "clean"
        with self._refusals("cannot be read"):
            if not path.exists():
                return None
            content = path.read_bytes()
            found = fingerprint(self.tree)
        expected, state = clean_marker.decode(content, path)
        if found != expected:
            raise BackingError(
                f"the files in {self.tree} were changed since recfs stopped cleanly; the log does "
                "not hold these changes",
                "to keep them, move the tree below another --backing and mount it as a new volume; "
                "to drop them, remove the tree",
            )
        return state

    def unmark_clean(self) -> None:
        with self._refusals("cannot be written"):
            (self.state / "clean").unlink(missing_ok=True)

    # -- putting a rebuilt tree in place -----------------------------------------------------

    def swap_in(self, tree: Path) -> None:
        """Put a rebuilt tree in place; what was there is kept aside until `drop_aside`."""
        with self._refusals("cannot take the rebuilt tree"):
            if self.tree.exists():
                _remove_tree(self.aside)
                self.tree.rename(self.aside)
            tree.rename(self.tree)

    def _finish_swap(self) -> None:
        """Undo what an interrupted rebuild left."""
        with self._refusals("cannot be used"):
            if not self.tree.exists():
                # Whatever the marker says, it is not of the tree that comes here now.
                (self.state / "clean").unlink(missing_ok=True)
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


def _write_file(path: Path, content: bytes) -> None:
    """Replace `path` atomically and durably: a torn marker must never be taken for a whole one."""
    partial = path.with_suffix(".partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
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
