"""Fragment stores: where persisted fragments are kept, one object per fragment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from recfs.journal.model import Fragment


class StoredObject(Protocol):
    """The stored bytes of one fragment (compressed, if its codec says so)."""

    size: int

    def read(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position`, fewer only at the end."""
        ...

    def close(self) -> None:
        ...


class Store(Protocol):
    """Keeps fragments. Methods block (call them in a thread) and raise OSError.

    An object, once it is listed, has its whole content and is durable.
    """

    url: str

    def fragments(self, journal: str) -> list[Fragment]:
        """The fragments of `journal`, in any order; what is no fragment is skipped."""
        ...

    def put(self, fragment: Fragment, content: Iterable[bytes]) -> Fragment:
        """Store `fragment`, whose stored bytes are `content`; return it with time and store.

        Storing what is there already is no error and changes nothing.
        """
        ...

    def open(self, fragment: Fragment) -> StoredObject:
        """Raises FileNotFoundError when it is gone."""
        ...

    def remove(self, fragment: Fragment) -> None:
        """Remove the object; no error when it is gone."""
        ...

    def journals(self) -> list[str]:
        """Names of the journals that have fragments, sorted."""
        ...
