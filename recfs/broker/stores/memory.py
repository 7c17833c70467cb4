"""A fragment store in memory, for tests and for journals that need not outlive the process."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from threading import Lock

from recfs.broker.fragment import fragment_name
from recfs.journal.model import Fragment


class _MemoryObject:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read(self, position: int, length: int) -> bytes:
        return self._content[position : position + length]

    def close(self) -> None:
        pass


class MemoryStore:
    url = "memory:///"

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], tuple[Fragment, bytes]] = {}
        self._lock = Lock()  # called from worker threads

    def fragments(self, journal: str) -> list[Fragment]:
        with self._lock:
            return [item for (name, _), (item, _) in self._objects.items() if name == journal]

    def put(self, fragment: Fragment, content: Iterable[bytes]) -> Fragment:
        stored = replace(fragment, mod_time=int(time.time()), store=self.url)
        joined = b"".join(content)
        with self._lock:
            key = (fragment.journal, fragment_name(fragment))
            return self._objects.setdefault(key, (stored, joined))[0]

    def open(self, fragment: Fragment) -> _MemoryObject:
        with self._lock:
            entry = self._objects.get((fragment.journal, fragment_name(fragment)))
        if entry is None:
            raise FileNotFoundError(2, "no such fragment", fragment_name(fragment))
        return _MemoryObject(entry[1])

    def remove(self, fragment: Fragment) -> None:
        with self._lock:
            self._objects.pop((fragment.journal, fragment_name(fragment)), None)

    def journals(self) -> list[str]:
        with self._lock:
            return sorted({name for name, _ in self._objects})
