"""Service: the journals under one directory, with their fragments in one store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from recfs.broker.fragment import check_codec
from recfs.broker.persister import PersisterStatistics
from recfs.broker.replica import Replica
from recfs.broker.spool_directory import SPEC, SpoolDirectory
from recfs.broker.stores import Store
from recfs.errors import JournalNotFound, JournalUnavailable, UsageError
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
from recfs.journal.names import check_name, resolve_name

FRAGMENT_LENGTH_MIN = 1 << 10
FRAGMENT_LENGTH_MAX = 16 << 30


class Service:
    """A `JournalClient` over replicas in this process.

    `private` is the directory of locks and spools; persisted fragments are in `store`. `spec` is
    that of journals which were not created here. With `read_only` nothing is ever written.
    """

    def __init__(
        self, private: Path, store: Store, *, read_only: bool = False, spec: JournalSpec
    ) -> None:
        self._private = private
        self._store = store
        self._read_only = read_only
        self._spec = _checked(spec)
        self._replicas: dict[str, Replica] = {}

    async def create(self, journal: str, spec: JournalSpec | None = None) -> None:
        check_name(journal)
        self._refuse_read_only(journal)
        directory = self._directory(journal)
        wanted = _checked(spec or self._spec)

        def create() -> None:
            if directory.read_spec() is None:
                directory.write_spec(wanted)

        try:
            await trio.to_thread.run_sync(create)
        except OSError as error:
            raise JournalUnavailable(
                f"journal {journal}: cannot be created in {directory.path}: {error.strerror}",
                "see whether that directory can be written",
            ) from error

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
        self._refuse_read_only(journal)
        if (union or subtract) and not any(len(buffer) for buffer in content):
            raise UsageError(
                f"journal {journal}: registers change only together with content",
                "append at least one byte",
            )
        replica = self._replicas.get(journal) or await self._replica(journal)
        return await replica.append(
            content, check=check, union=union, subtract=subtract, offset=offset
        )

    async def read(self, journal: str, offset: int, *, block: bool, length: int = 1 << 20) -> Chunk:
        replica = self._replicas.get(journal) or await self._replica(journal)
        return await replica.read(offset, block=block, length=length)

    async def head(self, journal: str) -> Head:
        return await (await self._replica(journal)).head()

    async def fragments(self, journal: str) -> list[Fragment]:
        return await (await self._replica(journal)).fragments()

    async def delete_fragments(self, journal: str, fragments: Sequence[Fragment]) -> None:
        self._refuse_read_only(journal)
        await (await self._replica(journal)).delete_fragments(fragments)

    async def journals(self, prefix: str = "") -> list[str]:
        def find() -> set[str]:
            created = {
                str(path.parent.relative_to(self._private)) for path in self._private.rglob(SPEC)
            }
            return created.union(self._store.journals())

        try:
            found = await trio.to_thread.run_sync(find)
        except OSError as error:
            raise JournalUnavailable(
                f"the journals under {self._private.parent} cannot be listed: {error}"
            ) from error
        return sorted(name for name in found if name.startswith(prefix))

    async def aclose(self) -> None:
        replicas, self._replicas = self._replicas, {}
        for replica in replicas.values():
            await replica.close()

    def is_open(self, journal: str) -> bool:
        """Whether `journal` is known to exist and be in order."""
        return journal in self._replicas

    def statistics(self, journal: str) -> PersisterStatistics:
        """State of the persister of `journal`; zeros before its first use."""
        replica = self._replicas.get(journal)
        return PersisterStatistics() if replica is None else replica.statistics

    def _directory(self, journal: str) -> SpoolDirectory:
        return SpoolDirectory(self._private / journal, journal)

    async def _replica(self, name: str) -> Replica:
        journal = resolve_name(name)
        replica = self._replicas.get(journal)
        if replica is not None:
            return replica
        directory = self._directory(journal)

        def find() -> JournalSpec | None:
            spec = directory.read_spec()
            if spec is None and self._store.fragments(journal):
                spec = self._spec  # fragments alone make a journal: a store that was copied here
                if not self._read_only:
                    directory.write_spec(spec)
            return spec

        try:
            spec = await trio.to_thread.run_sync(find)
        except OSError as error:
            raise JournalUnavailable(
                f"journal {journal}: cannot be read in {directory.path}: {error.strerror}",
                "see whether that directory is in order",
            ) from error
        if spec is None:
            raise JournalNotFound(
                f"there is no journal {journal} under {self._private.parent}",
                "is the volume's URL right? `recfs mount` creates a new one",
            )
        replica = Replica(directory, self._store, spec)
        return self._replicas.setdefault(journal, replica)

    def _refuse_read_only(self, journal: str) -> None:
        if self._read_only:
            raise UsageError(f"journal {journal}: this client was opened only to read")


def _checked(spec: JournalSpec) -> JournalSpec:
    check_codec(spec.codec)
    if not FRAGMENT_LENGTH_MIN <= spec.fragment_length <= FRAGMENT_LENGTH_MAX:
        raise UsageError(
            f"fragment length {spec.fragment_length} is not between 1 KiB and 16 GiB"
        )
    return spec
