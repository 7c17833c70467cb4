"""Journal names and the waits between retries."""

from __future__ import annotations

import pytest

from recfs.errors import UsageError
from recfs.journal.names import check_name, resolve_name
from recfs.journal.retry import LADDER, retry_delay


@pytest.mark.parametrize("name", ["app/db1/log", "a=1/b=2", "%41-_+.", "größe/日本", "x" * 512])
def test_names_within_the_rules_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["abc", "x" * 513, "/rooted", "trailing/", "a//bc", "./abc", "a/../b", "a b c", "a;b;c",
     "tab\tname", "nul\0name", "sur\ud800rogate", "ünïcödé" * 100],
)  # fmt: skip
def test_names_against_the_rules_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_a_meta_suffix_is_dropped_when_a_name_is_resolved() -> None:
    assert resolve_name("app/db1/log;reader=7") == "app/db1/log"
    for name in ("app/db1/log;", "app/db1/log;a;b", "app/db1/log;" + "x" * 513):
        with pytest.raises(UsageError):
            resolve_name(name)


def test_waits_grow_to_a_bound() -> None:
    waits = [retry_delay(failures) for failures in range(1, 1000)]
    assert waits[: len(LADDER)] == list(LADDER)
    assert waits == sorted(waits)
    assert max(waits) == 5.0
