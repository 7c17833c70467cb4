"""Databases whose host is lost in the middle of a load, again and again, at moments of no choice.

A round kills the daemon wherever it stands, throws the mount and its backing directory away, mounts
the volume elsewhere, lets the database recover there and judges it by the notes of the load; then
the load goes on where it is now.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from recfs.testing.databases import postgres
from recfs.testing.databases.load import Load
from recfs.testing.databases.mounted import RecfsMount
from recfs.testing.databases.scratch import Scratch
from recfs.testing.databases.server import Server, binary
from recfs.testing.databases.sqlite import JournalMode
from recfs.testing.databases.workload import PostgresWorkload, SqliteWorkload, Workload

from .volumes import Host, check_restores_to_backing

pytestmark = pytest.mark.mount

ROUNDS = 2


@pytest.fixture
def host() -> Iterator[Host]:
    """A host in a directory that other users may enter: PostgreSQL runs as `postgres`."""
    with Scratch() as scratch:
        host = Host(scratch.path)
        try:
            yield host
        finally:
            host.close()


def wait_for_a_moment(load: Load, rng: random.Random, rows: int) -> None:
    """Up to `rows` transactions later, and somewhere within one."""
    load.wait_rows(load.rows() + rng.randint(1, rows))
    time.sleep(rng.random() * 0.01)


def lose_hosts(host: Host, workload: Workload, rng: random.Random, options: list[str]) -> None:
    mount = host.mount(*options, name="0")
    try:
        for number in range(1, ROUNDS + 1):
            workload.start(mount.mountpoint)
            wait_for_a_moment(workload.load, rng, 120)
            mount.kill()
            workload.kill()
            host.crash(mount)
            mount = host.mount(*options, name=str(number))
            report = workload.check(mount.mountpoint)
            assert report.clean, f"round {number}: {report}"
    finally:
        workload.kill()
    mount.unmount()
    check_restores_to_backing(mount, host.place / "restored")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("journal_mode", "cache", "mmap_bytes"),
    [
        ("delete", "writeback", 0),
        ("truncate", "writeback", 0),
        ("wal", "writeback", 0),
        ("wal", "writeback", 64 << 20),
        ("wal", "through", 0),
    ],
)
def test_sqlite_loses_nothing_with_its_host(
    host: Host, journal_mode: JournalMode, cache: str, mmap_bytes: int, seed: int
) -> None:
    rng = random.Random(f"{journal_mode} {cache} {mmap_bytes} {seed}")
    workload = SqliteWorkload(
        host.place / "notes", journal_mode=journal_mode, seed=seed, mmap_bytes=mmap_bytes
    )
    lose_hosts(host, workload, rng, [f"--cache={cache}"])


@pytest.mark.postgres
@pytest.mark.parametrize("cache", ["writeback", "through"])
def test_postgres_loses_nothing_with_its_host(host: Host, cache: str) -> None:
    workload = PostgresWorkload(host.place / "notes", seed=4)
    lose_hosts(host, workload, random.Random(cache), [f"--cache={cache}"])


@pytest.mark.postgres
def test_postgres_loses_nothing_with_its_host_in_the_middle_of_a_checkpoint(host: Host) -> None:
    rng = random.Random(6)
    mount = host.mount(name="0")
    server = Server(mount.mountpoint / "data", host.place / "server")
    try:
        server.initdb()
        server.start()
        load = postgres.start_load(server, host.place / "notes")
        load.wait_rows(200)
        checkpoint = subprocess.Popen(
            [binary("psql"), "-X", *server.connection(), "-d", "postgres", "-c", "CHECKPOINT"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while "checkpoint starting: immediate" not in server.last_words():
            assert checkpoint.poll() is None, "the checkpoint ended without having begun"
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05)
        mount.kill()
        server.kill()
        load.kill()
        checkpoint.wait(60)
    finally:
        server.close()
    host.crash(mount)
    mount = host.mount(name="1")
    server = Server(mount.mountpoint / "data", host.place / "server")
    try:
        report = postgres.check(server, load.acknowledged())
    finally:
        server.close()
    assert report.clean, report


def outlives_its_kill(mount: RecfsMount, workload: Workload, rng: random.Random) -> None:
    try:
        for _ in range(ROUNDS):
            workload.start(mount.mountpoint)
            wait_for_a_moment(workload.load, rng, 120)
            workload.kill()
            report = workload.check(mount.mountpoint)
            assert report.clean, report
    finally:
        workload.kill()


@pytest.mark.parametrize("journal_mode", ["delete", "truncate", "wal"])
def test_a_killed_sqlite_goes_on_on_its_mount_and_elsewhere(
    host: Host, journal_mode: JournalMode
) -> None:
    first = host.mount(name="0")
    workload = SqliteWorkload(host.place / "notes", journal_mode=journal_mode)
    outlives_its_kill(first, workload, random.Random(journal_mode))
    host.crash(first)
    second = host.mount(name="1")
    report = workload.check(second.mountpoint)
    assert report.clean, report


@pytest.mark.postgres
def test_a_killed_postgres_goes_on_on_its_mount_and_elsewhere(host: Host) -> None:
    first = host.mount(name="0")
    workload = PostgresWorkload(host.place / "notes")
    outlives_its_kill(first, workload, random.Random(7))
    host.crash(first)
    second = host.mount(name="1")
    report = workload.check(second.mountpoint)
    assert report.clean, report
