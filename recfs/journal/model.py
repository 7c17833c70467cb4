"""What a journal is, and `JournalClient`, the one seam through which recfs reaches any of them.

A journal is an append-only byte log with a name, a write head (the next offset to be written, in
bytes from 0) and registers: a small label set that an append may check and change atomically.
The semantics are those of Gazette's `protocol.Journal` service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: Label set: name -> values, each tuple sorted, without repeats and never empty.
LabelSet = Mapping[str, tuple[str, ...]]

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Selector:
    """A condition on a journal's registers, evaluated before an append's content is taken.

    Exclude first: any label of `exclude` that is present refuses. Then each name of `include`
    needs at least one of its values present. The value "" stands for any value. Empty registers
    pass every *include* check (Gazette's rule), and every exclude check too.
    """

    include: LabelSet = field(default_factory=dict)
    exclude: LabelSet = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    """The byte range [begin, end) that one append took, and the registers after it.

    A barrier (an append without content) has begin == end == write head.
    """

    begin: int
    end: int
    registers: LabelSet


@dataclass(frozen=True, slots=True)
class Fragment:
    """A contiguous byte range [begin, end) of a journal, kept as one file.

    `sum` is the SHA-1 (20 bytes) over the uncompressed content. `codec` is one of "none", "gzip",
    "zstd", "snappy". `mod_time` is Unix seconds, 0 while the fragment is only local. `store` is
    the URL of the fragment store that holds it, "" while it is only local.
    """

    journal: str
    begin: int
    end: int
    sum: bytes
    codec: str = "none"
    mod_time: int = 0
    store: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Content that a read returned. `offset` > the requested one tells of an offset jump."""

    offset: int
    content: bytes | memoryview
    write_head: int


@dataclass(frozen=True, slots=True)
class Head:
    """A journal's write head (bytes) and registers."""

    offset: int
    registers: LabelSet


@dataclass(frozen=True, slots=True)
class JournalSpec:
    """How a journal keeps its fragments. `fragment_length` is the target size in bytes."""

    fragment_length: int = 32 << 20
    codec: str = "none"


class JournalClient(Protocol):
    """A way to reach journals. Every method may raise `JournalUnavailable`, which a retry may mend.

    Methods that name a journal raise `JournalNotFound` when there is none.
    """

    async def create(self, journal: str, spec: JournalSpec | None = None) -> None:
        """Create `journal`; nothing happens when it exists. A name against B1 raises UsageError."""
        ...

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
        """Append the concatenation of `content`, all of it or nothing, durably.

        `check` failing raises Fenced; a non-zero `offset` other than the write head raises
        WrongAppendOffset. Registers change (subtract, then union) with the same commit and only
        together with content. After JournalUnavailable the append may or may not have landed.
        """
        ...

    async def read(self, journal: str, offset: int, *, block: bool, length: int = 1 << 20) -> Chunk:
        """Return 1..`length` bytes from `offset` (-1: the write head) or from the next byte kept.

        At the write head: waits when `block`, else raises OffsetNotYetAvailable. Content that
        fails its check raises DamageError.
        """
        ...

    async def head(self, journal: str) -> Head:
        ...

    async def fragments(self, journal: str) -> list[Fragment]:
        """All fragments, persisted and local, ordered by begin."""
        ...

    async def delete_fragments(self, journal: str, fragments: Sequence[Fragment]) -> None:
        ...

    async def journals(self, prefix: str = "") -> list[str]:
        ...

    async def aclose(self) -> None:
        """Persist what is complete and let go of everything held. Idempotent."""
        ...
