"""A database survives the loss of its host: the main job of recfs, with real databases.

    python -m recfs.testing.demo [--seconds N] [--only sqlite|postgres] [--seed N]

Mounts a volume, loads databases on it with rows each of which is acknowledged by a commit, kills
the recfs daemon in the middle of the load, throws the backing directory away, mounts the volume at
another path with an empty backing directory, and counts. Exit code 0 only when nothing is missing.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from recfs.testing.databases.load import LoadError
from recfs.testing.databases.mounted import DaemonError, Mount, RecfsMount
from recfs.testing.databases.rows import Report
from recfs.testing.databases.scratch import Scratch, mounts_under, sweep
from recfs.testing.databases.server import ServerError
from recfs.testing.databases.workload import PostgresWorkload, SqliteWorkload, Workload

Say = Callable[[str], None]

#: (volume URL, mount point, backing directory, whether another host's mount may still be marked)
MakeMount = Callable[[str, Path, Path, bool], Mount]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a lost host cost. `log_bytes` is what the restore read, 0 where nothing tells."""

    reports: tuple[Report, ...]
    log_bytes: int
    restore_seconds: float

    @property
    def clean(self) -> bool:
        return all(report.clean for report in self.reports)


def recfs_mount(volume: str, mountpoint: Path, backing: Path, take_over: bool) -> Mount:
    return RecfsMount(volume, mountpoint, backing, ["--take-over"] if take_over else [])


def lose_the_host(
    scratch: Scratch,
    workloads: Sequence[Workload],
    wait: Callable[[], None],
    *,
    say: Say = lambda line: None,
    make_mount: MakeMount = recfs_mount,
) -> Outcome:
    """Run `workloads` on a mount, lose its host once `wait` returns, and judge what is restored.

    Everything lies in `scratch`, and everything is ended here, whatever happens. Raises LoadError
    when a load was not running any more when it was to be killed.
    """
    volume = f"file://{scratch.path}/journal/db1"
    first = make_mount(volume, *_host(scratch, "host-a"), False)
    second = make_mount(volume, *_host(scratch, "host-b"), True)
    try:
        say(f"mount {volume}\n   at {first.mountpoint}")
        first.start()
        for workload in workloads:
            say(f"start {workload.name} on it, and load it")
            workload.start(first.mountpoint)
        wait()
        for workload in workloads:
            if not workload.load.running:
                raise LoadError(f"{workload.name} ended too early: {workload.load.errors()}")
        rows = sum(workload.rows() for workload in workloads)
        say(f"SIGKILL to the recfs daemon (pid {first.pid}), {rows:,} rows into the load")
        first.kill()
        say("SIGKILL to the databases; throw the mount and its backing directory away")
        for workload in workloads:
            workload.kill()
        first.detach()
        _remove(scratch.path / "host-a")

        say(f"mount the same volume\n   at {second.mountpoint}, with an empty backing directory")
        log_bytes = second.log_bytes() if isinstance(second, RecfsMount) else 0
        restore_seconds = second.start()
        reports = []
        for workload in workloads:
            say(f"check {workload.name}")
            reports.append(workload.check(second.mountpoint))
        second.unmount()
        return Outcome(tuple(reports), log_bytes, restore_seconds)
    finally:
        # The daemons first: a database on a dead mount gets errors, on a hanging one it would hang.
        first.close()
        second.close()
        for workload in workloads:
            workload.kill()


def _host(scratch: Scratch, name: str) -> tuple[Path, Path]:
    """Mount point and backing directory of a host; its disk is one directory."""
    disk = scratch.directory(name)
    return disk / "mount", disk / "backing"


def _remove(disk: Path) -> None:
    assert not mounts_under(disk), "what is behind a mount is not this host's"
    shutil.rmtree(disk)


def print_table(outcome: Outcome) -> None:
    columns = ("database", "acknowledged", "recovered", "lost", "unexpected", "its own checks")
    lines = [
        (
            report.database,
            f"{report.acknowledged:,}",
            f"{report.recovered:,}",
            f"{len(report.lost):,}",
            f"{len(report.unexpected):,}",
            "clean" if not report.problems else f"{len(report.problems)} problems",
        )
        for report in outcome.reports
    ]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    print()
    for line in (columns, tuple("-" * width for width in widths), *lines):
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]))
    rate = outcome.log_bytes / outcome.restore_seconds / 1e6
    print(
        f"\n{outcome.log_bytes / 1e6:,.1f} MB of log, restored and mounted"
        f" in {outcome.restore_seconds:.2f} s ({rate:,.0f} MB/s)"
    )
    for report in outcome.reports:
        if not report.clean:
            print(report)
    print("Nothing acknowledged is lost." if outcome.clean else "This must not happen.")


def _wait(workloads: Sequence[Workload], seconds: float, say: Say) -> None:
    """Let the loads run; tell how far they are about once a second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
        say(", ".join(f"{workload.name} {workload.rows():,} rows" for workload in workloads))


def _workloads(scratch: Scratch, only: str | None, seed: int) -> list[Workload]:
    chosen: list[Workload] = []
    if only != "postgres":
        chosen.append(SqliteWorkload(scratch.path / "notes-sqlite", seed=seed))
    if only != "sqlite":
        chosen.append(PostgresWorkload(scratch.path / "notes-postgres", seed=seed))
    return chosen


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="A database survives the loss of its host."
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the load runs")
    parser.add_argument("--only", choices=("sqlite", "postgres"), help="one database only")
    parser.add_argument("--seed", type=int, default=0, help="of the rows' content")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)

    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    for left in sweep():
        say(f"removed what an earlier run left in {left}")
    try:
        with Scratch() as scratch:
            workloads = _workloads(scratch, options.only, options.seed)
            outcome = lose_the_host(
                scratch, workloads, lambda: _wait(workloads, options.seconds, say), say=say
            )
            say("unmount; remove everything")
    except KeyboardInterrupt:
        print("\nInterrupted; everything is ended and removed.", file=sys.stderr)
        return 130
    except (DaemonError, LoadError, ServerError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print_table(outcome)
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
