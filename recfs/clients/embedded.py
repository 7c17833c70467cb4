"""The embedded journal service: a broker in this process, over a local directory.

A volume `file:///srv/recfs/app/db1` has its journals under the root `/srv/recfs/app`:

    ROOT/JOURNAL/NAME          persisted fragments, exactly as Gazette's `file://` store keeps them
    ROOT/.broker/JOURNAL/      this broker's own: lock, description, spools

Several processes may use one root. Readers take no lock. Writers take turns commit by commit, so
that register checks decide who may go on. ROOT has to be on a file system of this host.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recfs.broker.service import Service
from recfs.broker.stores import Store
from recfs.broker.stores.file import FileStore
from recfs.errors import JournalNotFound, UsageError
from recfs.journal.model import (
    Buffer,
    Chunk,
    Commit,
    Fragment,
    Head,
    JournalSpec,
    LabelSet,
    Selector,
)

PRIVATE = ".broker"


class EmbeddedClient:
    """A `JournalClient` for `file://`. Without `read_only`, a missing root is created on `create`.

    `spec` is for journals created without one of their own. `store` takes the persisted fragments
    elsewhere than under `root`. Raises UsageError when `root` cannot be a root.
    """

    def __init__(
        self,
        root: Path,
        *,
        read_only: bool = False,
        spec: JournalSpec | None = None,
        store: Store | None = None,
    ) -> None:
        self.root = root.absolute()
        self._service = Service(
            self.root / PRIVATE,
            store or FileStore(self.root),
            read_only=read_only,
            spec=spec or JournalSpec(),
        )

    async def create(self, journal: str, spec: JournalSpec | None = None) -> None:
        self._check(journal, may_create=True)
        await self._service.create(journal, spec)

    async def append(
        self,
        journal: str,
        content: Sequence[Buffer],
        *,
        check: Selector | None = None,
        union: LabelSet | None = None,
        subtract: LabelSet | None = None,
        offset: int = 0,
    ) -> Commit:
        if not self._service.is_open(journal):
            self._check(journal)
        return await self._service.append(
            journal, content, check=check, union=union, subtract=subtract, offset=offset
        )

    async def read(self, journal: str, offset: int, *, block: bool, length: int = 1 << 20) -> Chunk:
        if not self._service.is_open(journal):
            self._check(journal)
        return await self._service.read(journal, offset, block=block, length=length)

    async def head(self, journal: str) -> Head:
        self._check(journal)
        return await self._service.head(journal)

    async def fragments(self, journal: str) -> list[Fragment]:
        self._check(journal)
        return await self._service.fragments(journal)

    async def delete_fragments(self, journal: str, fragments: Sequence[Fragment]) -> None:
        self._check(journal)
        await self._service.delete_fragments(journal, fragments)

    async def journals(self, prefix: str = "") -> list[str]:
        if not self.root.exists():
            return []
        self._check(PRIVATE.removeprefix("."))
        return await self._service.journals(prefix)

    async def aclose(self) -> None:
        await self._service.aclose()

    def _check(self, journal: str, *, may_create: bool = False) -> None:
        """Refuse what cannot be a journal of this root."""
        if any(element.startswith(".") for element in journal.split("/")):
            raise UsageError(
                f"journal {journal}: no element of a name may begin with '.' in a local directory"
            )
        if any(len(element.encode(errors="replace")) > 255 for element in journal.split("/")):
            raise UsageError(
                f"journal {journal[:64]}...: an element has more than 255 bytes",
                "use shorter names between the slashes",
            )
        if self.root.is_dir():
            return
        if self.root.exists():
            raise UsageError(
                f"{self.root} is not a directory", "name a directory for the journals"
            )
        if not may_create:
            raise JournalNotFound(
                f"there is no directory {self.root}", "is the volume's URL right?"
            )
