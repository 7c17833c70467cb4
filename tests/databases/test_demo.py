"""The demo's own road, on a stand-in that keeps everything: bindfs over the volume's directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from recfs.testing.databases.load import LoadError
from recfs.testing.databases.mounted import BindfsMount, Mount
from recfs.testing.databases.scratch import Scratch, mounts_under, processes_under
from recfs.testing.databases.workload import PostgresWorkload, SqliteWorkload, Workload
from recfs.testing.demo import lose_the_host, print_table

pytestmark = [pytest.mark.mount, pytest.mark.postgres]


def stand_in(volume: str, mountpoint: Path, backing: Path, take_over: bool) -> Mount:
    kept = Path(volume.removeprefix("file://"))
    kept.mkdir(parents=True, exist_ok=True)
    return BindfsMount(kept, mountpoint)


def both(scratch: Scratch) -> list[Workload]:
    return [
        SqliteWorkload(scratch.path / "notes-sqlite"),
        PostgresWorkload(scratch.path / "notes-postgres"),
    ]


def test_both_databases_survive(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    workloads = both(scratch)

    def wait() -> None:
        for workload in workloads:
            workload.load.wait_rows(100)

    outcome = lose_the_host(scratch, workloads, wait, make_mount=stand_in)
    assert outcome.clean, outcome
    assert all(report.recovered >= report.acknowledged >= 100 for report in outcome.reports)
    assert not mounts_under(scratch.path)
    assert not processes_under(scratch.path)
    assert not (scratch.path / "host-a").exists()
    print_table(outcome)
    assert "Nothing acknowledged is lost." in capsys.readouterr().out


def test_what_the_volume_did_not_keep_is_reported(
    scratch: Scratch, capsys: pytest.CaptureFixture[str]
) -> None:
    [workload] = workloads = [SqliteWorkload(scratch.path / "notes")]

    def forgetful(volume: str, mountpoint: Path, backing: Path, take_over: bool) -> Mount:
        return stand_in(f"{volume}-{take_over}", mountpoint, backing, take_over)

    outcome = lose_the_host(
        scratch, workloads, lambda: workload.load.wait_rows(20), make_mount=forgetful
    )
    assert not outcome.clean
    [report] = outcome.reports
    assert len(report.lost) == report.acknowledged >= 20
    print_table(outcome)
    assert "This must not happen." in capsys.readouterr().out


def test_everything_is_ended_when_the_load_fails(scratch: Scratch) -> None:
    workloads = both(scratch)

    def wait() -> None:
        workloads[0].load.kill()

    with pytest.raises(LoadError, match="ended too early"):
        lose_the_host(scratch, workloads, wait, make_mount=stand_in)
    assert not mounts_under(scratch.path)
    assert not processes_under(scratch.path)
