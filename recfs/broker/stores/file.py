"""A fragment store in a local directory, laid out like Gazette's `file://` store.

Fragments are files ROOT/JOURNAL/NAME. Gazette writes them without a sync; here a fragment is
written to a temporary name, synced, renamed, and the directory synced, because the spool that it
comes from is given up afterwards.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from recfs.broker.directory_sync import sync_directory
from recfs.broker.fragment import fragment_name, parse_fragment_name
from recfs.journal.model import Fragment

_TEMPORARY = ".partial-"


class _File:
    def __init__(self, path: Path) -> None:
        self._fileno = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fileno).st_size

    def read(self, position: int, length: int) -> bytes:
        return os.pread(self._fileno, length, position)

    def close(self) -> None:
        if self._fileno >= 0:
            os.close(self._fileno)
            self._fileno = -1


class FileStore:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = f"file://{root}/"

    def path(self, fragment: Fragment) -> Path:
        return self._root / fragment.journal / fragment_name(fragment)

    def fragments(self, journal: str) -> list[Fragment]:
        fragments = []
        try:
            with os.scandir(self._root / journal) as entries:
                for entry in entries:
                    parsed = parse_fragment_name(journal, entry.name)
                    if parsed is None:
                        continue
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue  # removed meanwhile
                    if stat.S_ISREG(status.st_mode):
                        mod_time = max(1, int(status.st_mtime))
                        fragments.append(replace(parsed, mod_time=mod_time, store=self.url))
        except (FileNotFoundError, NotADirectoryError):
            pass
        return fragments

    def put(self, fragment: Fragment, content: Iterable[bytes]) -> Fragment:
        path = self.path(fragment)
        if not path.exists():
            self._make_directory(path.parent)
            temporary = path.with_name(_TEMPORARY + secrets.token_hex(8))
            try:
                with temporary.open("xb") as file:
                    for piece in content:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_directory(path.parent)
        return replace(fragment, mod_time=max(1, int(path.stat().st_mtime)), store=self.url)

    def _make_directory(self, path: Path) -> None:
        """Make `path` and its parents, and their names durable."""
        if path.is_dir():
            return
        if path != self._root:
            self._make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)

    def open(self, fragment: Fragment) -> _File:
        return _File(self.path(fragment))

    def remove(self, fragment: Fragment) -> None:
        self.path(fragment).unlink(missing_ok=True)

    def journals(self) -> list[str]:
        found = []
        for directory, names, files in os.walk(self._root):
            names[:] = [name for name in names if not name.startswith(".")]
            journal = os.path.relpath(directory, self._root)
            if any(parse_fragment_name(journal, name) for name in files):
                found.append(journal)
        return sorted(found)
