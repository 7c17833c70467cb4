"""A journal client that fails on demand, by the name of the operation.

The fault model: an operation may fail before anything happened (`fail`), do its work and then lose
the answer (`lose_answer`), which for an append means that the content has landed, or hang until it
is told to go on (`hang`). Faults go through the same seam that production uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from recfs.errors import JournalUnavailable, RecfsError
from recfs.journal.model import (
    Buffer,
    Chunk,
    Commit,
    Fragment,
    Head,
    JournalClient,
    JournalSpec,
    LabelSet,
    Selector,
)

_T = TypeVar("_T")


class FaultyClient:
    """Passes everything on to `client`, except where a fault has been ordered."""

    def __init__(self, client: JournalClient) -> None:
        self._client = client
        self._failures: dict[str, list[RecfsError]] = {}
        self._lost: dict[str, int] = {}
        self._gates: dict[str, trio.Event] = {}
        self.calls: list[str] = []
        self._called = trio.lowlevel.ParkingLot()

    def fail(self, operation: str, *errors: RecfsError) -> None:
        """The next calls of `operation` raise `errors`, one each, and do nothing."""
        self._failures.setdefault(operation, []).extend(errors)

    def lose_answer(self, operation: str, times: int = 1) -> None:
        """The next `times` calls of `operation` do their work, then raise JournalUnavailable."""
        self._lost[operation] = self._lost.get(operation, 0) + times

    def hang(self, operation: str) -> trio.Event:
        """Calls of `operation` wait before they do anything, until the returned event is set."""
        return self._gates.setdefault(operation, trio.Event())

    async def wait_called(self, operation: str, times: int = 1) -> None:
        """Return when `operation` has been called `times` times."""
        while self.calls.count(operation) < times:
            await self._called.park()

    async def _do(self, operation: str, work: Callable[[], Awaitable[_T]]) -> _T:
        self.calls.append(operation)
        self._called.unpark_all()
        gate = self._gates.get(operation)
        if gate is not None:
            await gate.wait()
            self._gates.pop(operation, None)
        failures = self._failures.get(operation)
        if failures:
            raise failures.pop(0)
        result = await work()
        if self._lost.get(operation, 0) > 0:
            self._lost[operation] -= 1
            raise JournalUnavailable(f"{operation}: the answer was lost", "try again")
        return result

    async def create(self, journal: str, spec: JournalSpec | None = None) -> None:
        await self._do("create", lambda: self._client.create(journal, spec))

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
        return await self._do(
            "append",
            lambda: self._client.append(
                journal, content, check=check, union=union, subtract=subtract, offset=offset
            ),
        )

    async def read(self, journal: str, offset: int, *, block: bool, length: int = 1 << 20) -> Chunk:
        return await self._do(
            "read", lambda: self._client.read(journal, offset, block=block, length=length)
        )

    async def head(self, journal: str) -> Head:
        return await self._do("head", lambda: self._client.head(journal))

    async def fragments(self, journal: str) -> list[Fragment]:
        return await self._do("fragments", lambda: self._client.fragments(journal))

    async def delete_fragments(self, journal: str, fragments: Sequence[Fragment]) -> None:
        await self._do(
            "delete_fragments", lambda: self._client.delete_fragments(journal, fragments)
        )

    async def journals(self, prefix: str = "") -> list[str]:
        return await self._do("journals", lambda: self._client.journals(prefix))

    async def aclose(self) -> None:
        await self._client.aclose()
