"""`recfs sync`: wait until everything written to a mount so far is committed."""

from __future__ import annotations

from pathlib import Path

import click

from recfs.cli import options
from recfs.cli.status import find
from recfs.errors import MountError
from recfs.observe import mounts
from recfs.observe.control import call
from recfs.observe.registry import Registry


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
    refused: OSError | None = None
    try:
        # What the kernel still holds has not been recorded yet, so it comes first.
        mounts.write_back(Path(entry.mountpoint))
    except OSError as error:
        refused = error
    # Asked even so: the daemon knows why.
    call(Path(entry.control), "sync", timeout=timeout)
    if refused is not None:
        raise MountError(
            f"{entry.mountpoint}: the kernel could not write back its pages: {refused.strerror}",
            f"recfs status {entry.mountpoint}",
        )
