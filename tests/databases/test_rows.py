from __future__ import annotations

from pathlib import Path

import pytest

from recfs.testing.databases.notes import Notes, acknowledged
from recfs.testing.databases.rows import (
    ACCOUNTS,
    QUEUE_LENGTH,
    Share,
    balances,
    digest,
    judge,
    moves,
    payload,
    queue,
)


def whole(last: int, *, seed: int = 0, writer: int = 0) -> Share:
    rows = {number: digest(payload(seed, writer, number)) for number in range(1, last + 1)}
    return Share(rows, balances(last), queue(last))


def test_what_is_whole_is_clean() -> None:
    report = judge("it", {0: whole(50), 1: whole(3, writer=1)}, {0: 50, 1: 3}, seed=0)
    assert report.clean
    assert (report.acknowledged, report.recovered) == (53, 53)


def test_one_transaction_more_than_acknowledged_is_clean_and_two_are_not() -> None:
    assert judge("it", {0: whole(51)}, {0: 50}, seed=0).clean
    report = judge("it", {0: whole(52)}, {0: 50}, seed=0)
    assert report.unexpected == ("0/52",)


def test_up_to_what_was_attempted_is_clean() -> None:
    assert judge("it", {0: whole(52)}, {0: 50}, seed=0, attempted={0: 60}).clean


def test_a_missing_row_is_lost_at_the_end_and_in_the_middle() -> None:
    share = whole(50)
    del share.rows[17]
    assert judge("it", {0: share}, {0: 52}, seed=0).lost == ("0/17", "0/51", "0/52")


def test_a_missing_row_before_one_that_was_never_acknowledged_is_lost() -> None:
    share = whole(11)
    del share.rows[10]
    assert judge("it", {0: share}, {0: 10}, seed=0).lost == ("0/10",)


def test_everything_of_a_writer_that_is_not_found_is_lost() -> None:
    report = judge("it", {}, {3: 2}, seed=0)
    assert report.lost == ("3/1", "3/2")
    assert report.recovered == 0


def test_a_changed_row_is_lost() -> None:
    share = whole(50)
    share.rows[17] = digest("something else")
    assert judge("it", {0: share}, {0: 50}, seed=0).lost == ("0/17 (changed)",)


def test_the_rows_of_another_seed_are_lost() -> None:
    assert len(judge("it", {0: whole(50, seed=1)}, {0: 50}, seed=0).lost) == 50


def test_a_row_that_was_rolled_back_is_unexpected() -> None:
    share = whole(50)
    share.rows[-10] = digest("rolled back")
    assert judge("it", {0: share}, {0: 50}, seed=0).unexpected == ("0/-10",)


def test_the_rows_of_a_writer_that_never_was_are_unexpected() -> None:
    assert judge("it", {7: whole(1)}, {}, seed=0).unexpected == ("7/1",)


def test_a_lost_update_is_a_problem() -> None:
    share = whole(50)
    share.balances[3] += 1
    [problem] = judge("it", {0: share}, {0: 50}, seed=0).problems
    assert "accounts" in problem


def test_a_lost_delete_is_a_problem() -> None:
    share = whole(50)
    share.queue.insert(0, 50 - QUEUE_LENGTH)
    [problem] = judge("it", {0: share}, {0: 50}, seed=0).problems
    assert "queue" in problem


def test_amounts_move_between_two_accounts() -> None:
    for number in range(1, 200):
        (source, taken), (target, given) = moves(number)
        assert source != target
        assert source in range(ACCOUNTS)
        assert target in range(ACCOUNTS)
        assert taken + given == 0


def test_notes_count_whole_lines_only(tmp_path: Path) -> None:
    notes = Notes(tmp_path, 4)
    notes.note(1)
    notes.note(2)
    notes.close()
    with (tmp_path / "writer-4").open("a") as file:
        file.write("3 17")
    assert acknowledged(tmp_path) == {4: 2}


def test_notes_go_on_where_an_earlier_writer_stopped(tmp_path: Path) -> None:
    first = Notes(tmp_path, 0)
    first.note(1)
    first.close()
    second = Notes(tmp_path, 0)
    with pytest.raises(AssertionError):
        second.note(1)
    second.note(2)
    second.close()
    assert acknowledged(tmp_path) == {0: 2}


def test_notes_tell_what_was_acknowledged_until_a_moment(tmp_path: Path) -> None:
    (tmp_path / "writer-0").write_text("1 1000\n2 2000\n3 3000\n")
    (tmp_path / "writer-1").write_text("1 2500\n")
    assert acknowledged(tmp_path, until_ns=2000) == {0: 2, 1: 0}
