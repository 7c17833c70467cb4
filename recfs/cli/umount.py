"""`recfs umount`: take a mount away once everything written to it is committed."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import click

from recfs.cli import options
from recfs.cli.status import status_of
from recfs.errors import JournalUnavailable, MountError, RecfsError
from recfs.observe import mounts
from recfs.observe.control import NoAnswerError, NoDaemonError, call, from_answer
from recfs.observe.registry import Entry, Registry, canonical

#: Seconds between two lines that say what is being waited for.
_TELL_SECONDS = 5.0


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
def umount(mountpoint: str, timeout: float | None, runtime: Path) -> None:
    """Unmount MOUNTPOINT; returns when everything is committed and the daemon is gone.

    Cleans up after a daemon that was killed, too.
    """
    registry = Registry(runtime)
    entry = registry.find(mountpoint)
    if entry is None:
        _detach_unregistered(canonical(Path(mountpoint)))
    elif entry.is_stale:
        _clean_up(registry, entry)
    else:
        _unmount(registry, entry, timeout)


def _unmount(registry: Registry, entry: Entry, timeout: float | None) -> None:
    try:
        daemon = os.pidfd_open(entry.pid)
    except ProcessLookupError:
        _clean_up(registry, entry)
        return
    try:
        # Asked again: from here on the descriptor holds on to the process, whatever its pid is.
        if not entry.is_stale:
            _stop(entry, daemon, None if timeout is None else time.monotonic() + timeout)
    finally:
        os.close(daemon)
    # A daemon takes itself off the list at a good end. One that died could not.
    if any(replace(left, failure=None) == entry for left in registry.list()):
        _clean_up(registry, entry)
        raise MountError(
            f"the daemon of {entry.mountpoint} died while it was unmounting",
            "mount the volume again; what no sync had acknowledged may be missing",
        )


def _stop(entry: Entry, daemon: int, deadline: float | None) -> None:
    """Ask the daemon to unmount and wait for its end, saying now and then what is waited for."""
    answers: list[RecfsError | None] = []

    def ask() -> None:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        try:
            call(Path(entry.control), "unmount", timeout=left)
            answers.append(None)
        except RecfsError as error:
            answers.append(error)

    # In a thread, since the answer waits for the kernel's dirty pages; a daemon thread, so that
    # Ctrl-C ends this process.
    threading.Thread(target=ask, daemon=True).start()
    told = time.monotonic()
    while not _wait_end(daemon, 0.1):
        refusal = answers[0] if answers else None
        if isinstance(refusal, NoDaemonError):
            if _wait_end(daemon, 1.0):
                return
            raise MountError(
                f"process {entry.pid} serves {entry.mountpoint}, and its control socket is gone",
                f"kill -TERM {entry.pid}: it then unmounts as well",
            )
        if refusal is not None and not isinstance(refusal, NoAnswerError):
            raise refusal
        now = time.monotonic()
        if deadline is not None and now > deadline:
            raise _overdue(entry)
        if now - told > _TELL_SECONDS:
            told = now
            print(f"waiting: {status_of(entry).waits(time.time())}", file=sys.stderr)


def _overdue(entry: Entry) -> RecfsError:
    found = status_of(entry)
    if found.retrying_since is not None:
        return JournalUnavailable(
            f"{entry.mountpoint} still has {found.backlog_bytes:,} bytes to commit: "
            f"{found.last_error}",
            "it goes on trying and unmounts when all is committed; ask again, or see recfs status",
        )
    return MountError(
        f"{entry.mountpoint} is not unmounted yet",
        f"wait longer with --timeout, or see recfs status {entry.mountpoint}",
    )


def _wait_end(daemon: int, seconds: float) -> bool:
    # A pidfd becomes readable when its process has ended (pidfd_open(2)).
    return bool(select.select([daemon], [], [], seconds)[0])


def _clean_up(registry: Registry, entry: Entry) -> None:
    """Take away what a daemon left that is gone."""
    path = Path(entry.mountpoint)
    found = mounts.mounted(path)
    if found is not None and found.type == mounts.TYPE:
        mounts.detach(path)
        print(f"detached {path}: its daemon was gone", file=sys.stderr)
    for left in registry.list():
        if replace(left, failure=None) == replace(entry, failure=None):
            registry.remove(left)
            if left.failure is not None:
                raise from_answer(left.failure)


def _detach_unregistered(path: Path) -> None:
    found = mounts.mounted(path)
    if found is None or found.type != mounts.TYPE:
        raise MountError(
            f"{path} is not a recfs mount"
            + ("" if found is None else f" but of type {found.type}"),
            "recfs status lists the mounts of this host",
        )
    if not mounts.is_disconnected(path):
        raise MountError(
            f"{path} is a recfs mount that is not listed here: another user or another "
            "--runtime directory has it",
            "run this as that user, or name its --runtime directory",
        )
    mounts.detach(path)
    print(f"detached {path}: its daemon was gone", file=sys.stderr)
