"""What the loads write, as a function of writer and number; and the verdict on what is found.

Transaction n of a writer inserts row n, moves an amount between two of the writer's accounts,
puts n into its queue and takes n - QUEUE_LENGTH out. So the writer's whole share of the database is
known from the number of its last committed transaction, and a lost update, a lost delete or half a
transaction shows as plainly as a lost row. After every `ROLLBACK_EVERY`th, a transaction that
touches all three tables, with row number -n, is rolled back: it must leave no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recfs.testing.databases.notes import Acknowledged

ACCOUNTS = 8
QUEUE_LENGTH = 20
ROLLBACK_EVERY = 5

#: How many rows a report names before it only counts them.
_NAMED_MAX = 20


def payload(seed: int, writer: int, number: int) -> str:
    """The content of a row: 32 B to 2 KiB of hex digits, every 16th time 16 KiB; no repeats."""
    pieces = 512 if number % 16 == 0 else 1 + (number * 7919 + writer) % 64
    state = hashlib.md5(f"{seed}/{writer}/{number}".encode(), usedforsecurity=False)
    text = []
    for _ in range(pieces):
        text.append(state.hexdigest())
        state.update(b".")
    return "".join(text)


def digest(content: str) -> str:
    """MD5 in hex, as PostgreSQL's md5() gives it."""
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


def moves(number: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two (account, change of its balance) of a transaction; the changes add up to 0."""
    source = number % ACCOUNTS
    target = (source + 1 + number // ACCOUNTS % (ACCOUNTS - 1)) % ACCOUNTS
    return (source, -number), (target, number)


def balances(last: int) -> list[int]:
    """Balance of each account after transactions 1..`last`."""
    amounts = [0] * ACCOUNTS
    for number in range(1, last + 1):
        for account, change in moves(number):
            amounts[account] += change
    return amounts


def queue(last: int) -> list[int]:
    """The queue after transactions 1..`last`, ascending."""
    return list(range(max(1, last - QUEUE_LENGTH + 1), last + 1))


@dataclass(slots=True)
class Share:
    """What a database holds of one writer."""

    rows: dict[int, str] = field(default_factory=dict)  # number -> digest of the content
    balances: list[int] = field(default_factory=lambda: [0] * ACCOUNTS)
    queue: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a database. `clean` only when nothing at all is wrong.

    `recovered` counts the rows found; the last one of each writer may be committed and yet not
    acknowledged, so it can exceed `acknowledged`. Rows are named "WRITER/NUMBER". `lost` holds the
    acknowledged rows that are absent or changed, `unexpected` what was never committed, `problems`
    what the database's own checks found and state that does not fit the rows.
    """

    database: str
    acknowledged: int
    recovered: int
    lost: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not (self.lost or self.unexpected or self.problems)

    def __str__(self) -> str:
        text = f"{self.database}: {self.acknowledged} acknowledged, {self.recovered} recovered"
        for name, entries in (("lost", self.lost), ("unexpected", self.unexpected)):
            if entries:
                text += f"; {len(entries)} {name}: {', '.join(entries[:_NAMED_MAX])}"
        return "; ".join([text, *self.problems[:_NAMED_MAX]])


def judge(
    database: str,
    shares: Mapping[int, Share],
    acknowledged: Acknowledged,
    *,
    seed: int,
    attempted: Acknowledged | None = None,
    problems: Sequence[str] = (),
) -> Report:
    """Compare what was found with what was acknowledged.

    `attempted` bounds what may be there without acknowledgement; by default one transaction more
    of each writer. A restore to an earlier moment passes the notes of that moment as `acknowledged`
    and those of the end as `attempted`.
    """
    attempted = attempted if attempted is not None else acknowledged
    lost: list[str] = []
    unexpected: list[str] = []
    wrong = list(problems)
    for writer in sorted(acknowledged.keys() | shares.keys()):
        share = shares.get(writer, Share())
        bound = attempted[writer] + 1 if writer in attempted else 0
        last = max((number for number in share.rows if 0 < number <= bound), default=0)
        lost += [
            f"{writer}/{number}{why}"
            for number, why in _faults(share, seed, writer, max(last, acknowledged.get(writer, 0)))
        ]
        unexpected += [
            f"{writer}/{number}" for number in sorted(share.rows) if not 0 < number <= bound
        ]
        if share.balances != balances(last):
            wrong.append(f"writer {writer}: its accounts are not those after transaction {last}")
        if share.queue != queue(last):
            wrong.append(f"writer {writer}: its queue is not that after transaction {last}")
    return Report(
        database,
        acknowledged=sum(acknowledged.values()),
        recovered=sum(len(share.rows) for share in shares.values()),
        lost=tuple(lost),
        unexpected=tuple(unexpected),
        problems=tuple(wrong),
    )


def _faults(share: Share, seed: int, writer: int, last: int) -> Iterator[tuple[int, str]]:
    """Of rows 1..`last` (each commit follows the one before it): those absent or changed."""
    for number in range(1, last + 1):
        found = share.rows.get(number)
        if found is None:
            yield number, ""
        elif found != digest(payload(seed, writer, number)):
            yield number, " (changed)"
