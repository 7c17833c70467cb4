"""The private directory of one journal: its lock file, its description and its spools.

    @lock, @turnstile see `journal_lock`
    @spec             the JournalSpec, as JSON
    @spool-NUMBER     spools; the one with the largest number is open, the others are complete
    @spare            a persisted spool's file, to be used again
    @new              a spool that is being made; never read

`@` stands in no journal name, so nested journals (`app/db1` and `app/db1/log`) cannot collide with
these files. A file gets the name of a spool only with its header on disk: a spool without a valid
header is damage, never an unfinished creation.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from recfs.broker.directory_sync import sync_directory
from recfs.broker.journal_lock import LockPage
from recfs.broker.record import SpoolHeader
from recfs.broker.spool import Spool
from recfs.broker.spool_file import SpoolReplacedError, write_new
from recfs.errors import DamageError, DataLossError, JournalUnavailable, UsageError
from recfs.journal.model import JournalSpec

LOCK = "@lock"
SPEC = "@spec"
_SPARE = "@spare"
_NEW = "@new"
_PREFIX = "@spool-"
_SPEC_VERSION = 1
_FIRST_BYTES = 256 << 10
_ATTEMPTS = 20


class SpoolDirectory:
    """Files of `journal` under `path`. What reads or writes them blocks, and raises OSError."""

    def __init__(self, path: Path, journal: str) -> None:
        self.path = path
        self.journal = journal

    @property
    def lock_path(self) -> Path:
        return self.path / LOCK

    # -- the journal's description --

    def read_spec(self) -> JournalSpec | None:
        """The journal's spec, or None when the journal was never created here."""
        path = self.path / SPEC
        try:
            parsed = json.loads(path.read_bytes())
            if parsed["version"] > _SPEC_VERSION:
                raise UsageError(f"{path}: written by a newer recfs", "upgrade recfs")
            return JournalSpec(int(parsed["fragment_length"]), str(parsed["codec"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DamageError(
                f"{path}: the journal's description cannot be read",
                "remove the file: the journal goes on with the default description",
                where=str(path),
                offset=0,
            ) from error

    def write_spec(self, spec: JournalSpec) -> None:
        """Create the journal, durably."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"version": _SPEC_VERSION, **asdict(spec)}).encode()
        temporary = self.path / f"{SPEC}-{secrets.token_hex(4)}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / SPEC)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(self.path)

    # -- spools --

    def load(self, page: LockPage | None, known: Iterable[Spool], *, writable: bool) -> list[Spool]:
        """Open and scan all spools, in order; those in `known` that are still the same are kept.

        A reader (`writable` false) sees what `page` says is committed; a writer, which holds the
        lock, also what a process that died left behind a commit that it could not acknowledge.
        Raises DamageError, DataLossError, UsageError, JournalUnavailable.
        """
        by_number = {item.number: item for item in known if not item.suspect}
        for _ in range(_ATTEMPTS):
            try:
                return self._load(page, by_number, writable)
            except (SpoolReplacedError, FileNotFoundError):
                by_number = {}  # a spool was persisted and used again meanwhile
        numbers = self._numbers()
        if not _consecutive(numbers):
            raise DataLossError(
                f"{self.path}: of the spools {numbers[0]} to {numbers[-1]} only {len(numbers)} "
                "are there",
                "put the missing spool files back",
            )
        raise JournalUnavailable(f"journal {self.journal}: its spools change too fast to be read")

    def _load(
        self, page: LockPage | None, known: dict[int, Spool], writable: bool
    ) -> list[Spool]:
        spools: list[Spool] = []
        numbers = self._numbers()
        if not _consecutive(numbers):
            raise SpoolReplacedError  # a listing is no snapshot
        for number in numbers:
            item = known.get(number)
            if item is not None:
                item.check_identity()
            else:
                path = self.path / _name(number)
                item = Spool.open(path, self.journal, writable=writable)
            spools.append(item)
        acknowledged = 0 if page is None else page.committed
        for item, following in itertools.pairwise(spools):
            item.scan(following.previous_end, following.previous_end)
        if spools:
            bounded = not writable and page is not None and page.is_current
            spools[-1].scan(acknowledged if bounded else None, acknowledged)
        return spools

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            int(name[len(_PREFIX) :])
            for name in names
            if name.startswith(_PREFIX) and name[len(_PREFIX) :].isdecimal()
        )

    def create(self, header: SpoolHeader, capacity: int) -> Spool:
        """Make a spool that will hold about `capacity` bytes of file; from a spare if any."""
        new, path = self.path / _NEW, self.path / _name(header.number)
        try:
            (self.path / _SPARE).rename(new)
        except FileNotFoundError:
            new.unlink(missing_ok=True)
        try:
            write_new(new, header, min(capacity, _FIRST_BYTES))
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        sync_directory(self.path)
        return Spool.open(path, self.journal, writable=True)

    def retire(self, item: Spool) -> None:
        """Give up a spool whose content is persisted; its file becomes the spare."""
        spare = self.path / _SPARE
        if spare.exists() or item.suspect:
            item.path.unlink(missing_ok=True)
        else:
            item.path.rename(spare)

    def unavailable(self, what: str, error: OSError) -> JournalUnavailable:
        """What `error`, met in these files, means to a client of the journal."""
        place = f" {error.filename}" if error.filename else f" in {self.path}"
        attempt = {
            errno.ENOSPC: "make room on that file system; recfs goes on by itself",
            errno.EDQUOT: "raise the quota; recfs goes on by itself",
            errno.EROFS: "mount that file system read-write; recfs goes on by itself",
            errno.EACCES: "give this user access to that directory",
            errno.EPERM: "give this user access to that directory",
            errno.EIO: "look at the kernel log: the disk reports errors",
        }.get(error.errno or 0, "see whether the journal's directory is in order")
        return JournalUnavailable(
            f"journal {self.journal}: {what}{place}: {error.strerror or error}", attempt
        )


def _name(number: int) -> str:
    return f"{_PREFIX}{number:016d}"


def _consecutive(numbers: list[int]) -> bool:
    """Spools come one after another and go from the oldest on."""
    return not numbers or numbers[-1] - numbers[0] + 1 == len(numbers)
