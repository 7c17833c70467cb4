from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recfs.testing.databases.scratch import Scratch, mounts_under

TINY = ["--seconds=0.2", "--scale=1", "--megabytes=1", "--files=10"]


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with Scratch() as scratch:
        yield scratch


def bench(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recfs.bench", f"--directory={directory}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.mount
def test_every_case_gives_a_figure_for_each_round_and_place(scratch: Scratch) -> None:
    names = ["write", "rewrite", "create", "sqlite", "memory-files"]
    check(scratch, ["--cases=files", "--rounds=2"], names, rounds=2)


@pytest.mark.mount
@pytest.mark.postgres
def test_pgbench_and_restore_give_their_figures(scratch: Scratch) -> None:
    names = ["pgbench-init", "pgbench-1", "pgbench-8", "pgbench-read"]
    names += ["restore", "memory-postgres"]
    check(scratch, ["--cases=postgres", "--rounds=1"], names, rounds=1)


def check(scratch: Scratch, arguments: list[str], names: list[str], rounds: int) -> None:
    done = bench(scratch.path, *TINY, *arguments, "--json=-")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert [each["case"] for each in figures] == names
    for each in figures:
        alone = each["case"].startswith(("memory", "restore"))
        assert set(each["samples"]) == ({"recfs"} if alone else {"native", "bindfs", "recfs"})
        assert all(len(samples) == rounds for samples in each["samples"].values())
        assert all(figure > 0 for samples in each["samples"].values() for figure in samples)
    assert os.listdir(scratch.path) == [".owner"]
    assert not mounts_under(scratch.path)


def test_a_table_is_printed_of_the_chosen_cases(scratch: Scratch) -> None:
    done = bench(scratch.path, *TINY, "--places=native", "--cases=create,sqlite")
    assert done.returncode == 0, done.stderr
    assert "create + write 4 KiB + close" in done.stdout
    assert "SQLite" in done.stdout
    assert "pgbench" not in done.stdout


def test_an_unknown_case_is_refused(scratch: Scratch) -> None:
    done = bench(scratch.path, "--cases=sqlite,nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
