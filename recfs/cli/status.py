"""`recfs status`: how the mounts of this host are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from recfs.cli import options
from recfs.errors import MountError, RecfsError
from recfs.observe import mounts
from recfs.observe.control import call
from recfs.observe.registry import Entry, Registry
from recfs.observe.status import Status

#: A daemon that lives answers at once; this is for one that does not.
_ANSWER_SECONDS = 5.0


@click.command()
@click.argument("which", required=False, metavar="[MOUNTPOINT|VOLUME]")
@options.as_json
@options.runtime
@options.verb
def status(which: str | None, json: bool, runtime: Path) -> None:
    """Print the state of one mount, or of all mounts of this host."""
    registry = Registry(runtime)
    if which is None:
        found = [status_of(entry) for entry in registry.list() if not _vanished(registry, entry)]
        if json:
            options.print_json([each.to_json() for each in found])
        else:
            texts = [each.to_text(time.time()) for each in found]
            options.print_text("\n\n".join(texts) or "no recfs mounts on this host")
        return
    one = status_of(find(registry, which))
    if json:
        options.print_json(one.to_json())
    else:
        options.print_text(one.to_text(time.time()))
    if one.state in ("dead", "silent"):
        raise MountError(
            f"the mount {one.mountpoint} does not serve: {one.reason}",
            f"recfs umount {one.mountpoint}, then mount it again"
            if one.state == "dead"
            else f"look at process {one.pid} and its log",
        )


def _vanished(registry: Registry, entry: Entry) -> bool:
    """Take a dead mount off the list when its mount point is gone too: nothing is left to do."""
    path = Path(entry.mountpoint)
    if not entry.is_stale or entry.failure is not None or mounts.mounted(path) is not None:
        return False
    if os.path.lexists(path):
        return False
    registry.remove(entry)
    return True


def find(registry: Registry, which: str) -> Entry:
    """The mount that a user means; MountError when there is none."""
    entry = registry.find(which)
    if entry is None:
        raise MountError(
            f"{which} is not a recfs mount of this host", "recfs status lists those that there are"
        )
    return entry


def status_of(entry: Entry) -> Status:
    """What the daemon says, or what can be said without it."""
    try:
        if not entry.is_stale:
            return Status.from_json(call(Path(entry.control), "status", timeout=_ANSWER_SECONDS))
    except (RecfsError, TypeError) as error:
        reason = str(error)  # and look again: it may have ended meanwhile
    if entry.is_stale:
        reason = str((entry.failure or {}).get("what", "its daemon is gone without unmounting"))
    return Status(
        volume=entry.volume,
        mountpoint=entry.mountpoint,
        backing=entry.backing,
        pid=entry.pid,
        state="dead" if entry.is_stale else "silent",
        reason=reason,
    )
