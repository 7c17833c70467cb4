"""`recfs sync`: wait until everything written to a mount so far is committed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import click

from recfs.cli import options
from recfs.cli.status import find, status_of
from recfs.errors import JournalUnavailable, MountError
from recfs.observe import mounts
from recfs.observe.control import NoAnswerError, call
from recfs.observe.registry import Entry, Registry


@click.command()
@click.argument("mountpoint")
@options.option(
    "--timeout",
    type=options.SECONDS,
    metavar="TIME",
    help="Give up after so long.  [default: never]",
)
@options.runtime
@options.verb
def sync(mountpoint: str, timeout: float | None, runtime: Path) -> None:
    """Wait until everything written to MOUNTPOINT so far is committed in the journal."""
    entry = find(Registry(runtime), mountpoint)
    if entry.is_stale:
        raise MountError(
            f"the daemon of {entry.mountpoint} is gone", f"recfs umount {entry.mountpoint}"
        )
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        # What the kernel still holds has not been recorded yet, so it comes first.
        refused = _write_back(Path(entry.mountpoint), timeout)
        # Asked even so: the daemon knows why.
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        call(Path(entry.control), "sync", timeout=left)
    except NoAnswerError as silence:
        raise _why(entry) or silence from None
    if refused is not None:
        raise MountError(
            f"{entry.mountpoint}: the kernel could not write back its pages: {refused.strerror}",
            f"recfs status {entry.mountpoint}",
        )


def _why(entry: Entry) -> JournalUnavailable | None:
    """That the journal is away, where that is what the time-out waited for."""
    found = status_of(entry)
    if found.retrying_since is None:
        return None
    return JournalUnavailable(
        f"{entry.mountpoint} has {found.backlog_bytes:,} bytes to commit: {found.last_error}",
        "recfs goes on trying by itself; wait longer with --timeout, or see recfs status",
    )


def _write_back(mountpoint: Path, timeout: float | None) -> OSError | None:
    """Write the kernel's dirty pages back; the error, if that failed."""
    refused: list[OSError] = []

    def write_back() -> None:
        try:
            mounts.write_back(mountpoint)
        except OSError as error:
            refused.append(error)

    # The kernel waits for the daemon, where no signal but SIGKILL ends the wait. In a daemon
    # thread it keeps neither a timeout nor Ctrl-C from ending this process.
    writing = threading.Thread(target=write_back, daemon=True)
    writing.start()
    writing.join(timeout)
    if writing.is_alive():
        raise NoAnswerError(
            f"{mountpoint}: the kernel could not write back its pages within {timeout:g} s",
            f"wait longer with --timeout, or see recfs status {mountpoint}",
        )
    return refused[0] if refused else None
