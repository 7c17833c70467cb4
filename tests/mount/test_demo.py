"""The demo as a stranger runs it: it says what it did, it leaves nothing, and it can fail."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recfs.testing.databases.mounted import Mount, RecfsMount, run_recfs
from recfs.testing.databases.scratch import PREFIX, Scratch, mounts_under, processes_under
from recfs.testing.databases.workload import SqliteWorkload
from recfs.testing.demo import lose_the_host

pytestmark = [pytest.mark.mount, pytest.mark.postgres]

#: Columns of the demo's table.
ACKNOWLEDGED, RECOVERED, LOST, UNEXPECTED, CHECKS = range(1, 6)


@pytest.fixture
def place() -> Iterator[Scratch]:
    """Open to other users, as pytest's own directories are not: PostgreSQL runs as `postgres`."""
    with Scratch() as scratch:
        yield scratch


def start_demo(place: Scratch, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "recfs.testing.demo", *options],
        env={**os.environ, "TMPDIR": str(place.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def table(output: str) -> dict[str, list[str]]:
    """Database -> the cells of its line."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines()]
    return {
        cells[0]: cells
        for cells in lines
        if len(cells) == 6 and cells[1].replace(",", "").isdigit()
    }


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def check_nothing_is_left(place: Scratch) -> None:
    assert mounts_under(place.path) == []
    assert processes_under(place.path) == []
    assert list(place.path.glob(f"{PREFIX}*")) == []
    assert str(place.path) not in run_recfs("status", "--json")


def wait_for(condition: Callable[[], bool], demo: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < deadline, "the condition was not met within 120 s"
        time.sleep(0.01)


def notes_of_the_load(place: Scratch) -> list[Path]:
    found = place.path.glob(f"{PREFIX}*/notes-sqlite/writer-0")
    return [path for path in found if path.stat().st_size]


def test_both_databases_survive_and_the_table_says_so(place: Scratch) -> None:
    demo = start_demo(place, "--seconds", "2")
    output, errors = demo.communicate(timeout=300)
    assert demo.returncode == 0, output + errors
    rows = table(output)
    assert sorted(rows) == ["PostgreSQL", "SQLite wal.db"]
    for cells in rows.values():
        assert number(cells[RECOVERED]) >= number(cells[ACKNOWLEDGED]) > 0
        assert cells[LOST:] == ["0", "0", "clean"]
    assert "Nothing acknowledged is lost." in output
    check_nothing_is_left(place)


def test_a_row_that_was_acknowledged_and_is_not_there_fails_the_demo(place: Scratch) -> None:
    demo = start_demo(place, "--seconds", "2", "--only", "sqlite")
    wait_for(lambda: bool(notes_of_the_load(place)), demo)
    [notes] = notes_of_the_load(place)
    # A writer whose only transaction was acknowledged, and that never wrote.
    notes.with_name("writer-7").write_text(f"1 {time.time_ns()}\n")
    output, errors = demo.communicate(timeout=300)
    assert demo.returncode == 1, output + errors
    assert table(output)["SQLite wal.db"][LOST] == "1"
    assert "1 lost: 7/1" in output
    assert "This must not happen." in output
    check_nothing_is_left(place)


def test_an_interrupt_ends_and_removes_everything(place: Scratch) -> None:
    demo = start_demo(place, "--seconds", "600", "--only", "sqlite")
    wait_for(lambda: bool(notes_of_the_load(place)), demo)
    demo.send_signal(signal.SIGINT)
    output, errors = demo.communicate(timeout=300)
    assert demo.returncode == 130, output + errors
    assert "Interrupted" in errors
    check_nothing_is_left(place)


def test_a_journal_brought_back_from_an_older_copy_is_found_to_lack_rows(place: Scratch) -> None:
    [workload] = workloads = [SqliteWorkload(place.path / "notes")]
    journal, older = place.path / "journal", place.path / "journal-older"
    mounts: list[Mount] = []

    def wait() -> None:
        workload.load.wait_rows(20)
        os.kill(mounts[0].pid, signal.SIGSTOP)  # a copy of one moment
        shutil.copytree(journal, older)
        os.kill(mounts[0].pid, signal.SIGCONT)
        workload.load.wait_rows(workload.rows() + 20)

    class Elsewhere(RecfsMount):
        def log_bytes(self) -> int:
            shutil.rmtree(journal)
            older.rename(journal)
            return super().log_bytes()

    def make_mount(volume: str, mountpoint: Path, backing: Path, take_over: bool) -> Mount:
        mounts.append((Elsewhere if take_over else RecfsMount)(volume, mountpoint, backing))
        return mounts[-1]

    outcome = lose_the_host(place, workloads, wait, make_mount=make_mount)
    [report] = outcome.reports
    assert not outcome.clean
    # One transaction may have been committed in the copy and acknowledged behind it.
    assert len(report.lost) == report.acknowledged - report.recovered >= 19
    # What it has is an older state, but a whole one.
    assert not report.problems
    assert not report.unexpected
    assert report.recovered >= 20
