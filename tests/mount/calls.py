"""Calls of the real `recfs` command that are expected to fail, and small disks to fail on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recfs.testing.databases.mounted import recfs_command


def call(*arguments: str | Path, within: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run `recfs` to its end, as an argument of the command `within` if there is one."""
    return subprocess.run(
        [*within, recfs_command(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def assert_fails(
    done: subprocess.CompletedProcess[str], code: int, *what: str, attempt: str = ""
) -> None:
    """It ended with `code`, and its last two lines say what is wrong and what to try."""
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    assert sum(line.startswith("Error: ") for line in lines) == 1, done.stderr
    assert lines[-2].startswith("Error: "), done.stderr
    assert lines[-1].startswith("Try: "), done.stderr
    assert "this is a bug" not in lines[-2], done.stderr
    for part in what:
        assert part in lines[-2], done.stderr
    assert attempt in lines[-1], done.stderr


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A tmpfs of `size` (as its option has it) at `place`."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", disk], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all room on `disk` but for `leave` bytes; the file to unlink to give it back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast
