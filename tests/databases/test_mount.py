"""Databases on a recfs mount lose their host, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import pytest

from recfs.testing.databases.mounted import RecfsMount
from recfs.testing.databases.scratch import Scratch
from recfs.testing.databases.sqlite import JOURNAL_MODES
from recfs.testing.databases.workload import PostgresWorkload, SqliteWorkload, Workload
from recfs.testing.demo import lose_the_host

pytestmark = [pytest.mark.mount, pytest.mark.postgres]

MMAP_BYTES = 64 << 20


def every_database(scratch: Scratch) -> list[Workload]:
    """SQLite in each journal mode, one of them through mmap, and PostgreSQL."""
    return [
        *(
            SqliteWorkload(
                scratch.path / f"notes-{mode}",
                journal_mode=mode,
                mmap_bytes=MMAP_BYTES if mode == "truncate" else 0,
            )
            for mode in JOURNAL_MODES
        ),
        PostgresWorkload(scratch.path / "notes-postgres"),
    ]


def until(workloads: Sequence[Workload], rows: int) -> Callable[[], None]:
    def wait() -> None:
        for workload in workloads:
            workload.load.wait_rows(workload.rows() + rows)

    return wait


@pytest.mark.parametrize("rows", [1, 150])
def test_databases_survive_the_loss_of_their_host(scratch: Scratch, rows: int) -> None:
    workloads = every_database(scratch)
    outcome = lose_the_host(scratch, workloads, until(workloads, rows))
    assert outcome.clean, outcome
    assert all(report.recovered >= report.acknowledged >= rows for report in outcome.reports)
    assert outcome.log_bytes > 0


def test_databases_go_on_from_host_to_host(scratch: Scratch) -> None:
    workloads = every_database(scratch)
    mount = _host(scratch, 0)
    try:
        for number in range(3):
            mount = _host(scratch, number)
            mount.start()
            for workload in workloads:
                workload.start(mount.mountpoint)
            until(workloads, 50)()
            mount.kill()
            for workload in workloads:
                workload.kill()
            mount.detach()
            shutil.rmtree(mount.mountpoint.parent)
        mount = _host(scratch, 3)
        mount.start()
        for workload in workloads:
            report = workload.check(mount.mountpoint)
            assert report.clean, report
            assert report.acknowledged >= 150
        mount.unmount()
    finally:
        mount.close()
        for workload in workloads:
            workload.kill()


def _host(scratch: Scratch, number: int) -> RecfsMount:
    """A host with an empty disk; each takes over from the one before it."""
    disk = scratch.path / f"host-{number}"
    volume = f"file://{scratch.path}/journal/db1"
    options = ["--take-over"] if number else []
    disk.mkdir(exist_ok=True)
    return RecfsMount(volume, disk / "mount", disk / "backing", options)
