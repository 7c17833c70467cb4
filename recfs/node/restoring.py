"""`restore`: rebuild a plain directory from a volume's log, without mounting anything."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from recfs.clients import open_client
from recfs.config import RestoreSettings
from recfs.errors import BackingError, DataLossError, TargetNotFound, UsageError
from recfs.observe.progress import Progress
from recfs.recoverylog.fsm import FSM
from recfs.recoverylog.player import Player
from recfs.restore.play import LogReader
from recfs.restore.report import RestoreReport
from recfs.restore.staging import StagingTree, sweep


async def restore(settings: RestoreSettings, *, progress: Progress) -> RestoreReport:
    """Play the log up to its head, or to the last whole group before `offset`, into `output`.

    `output` appears complete or not at all. A live writer goes on undisturbed. Raise UsageError
    when `output` is in the way, TargetNotFound for an offset outside the log, DamageError and
    DataLossError when the log is not what was written.
    """
    output, journal = settings.output, settings.volume.log
    _check_output(output, settings.force)
    client = open_client(settings.volume, read_only=True)
    try:
        head = (await client.head(journal)).offset
        end = head if settings.offset is None else settings.offset
        if not 0 <= end <= head:
            raise TargetNotFound(
                f"offset {end} is not in the log of {settings.volume}, which ends at {head}",
                f"name an offset from 0 to {head}; recfs log lists them",
            )
        report = RestoreReport(journal, str(output), settings.dry_run, 0, end, end)
        if settings.dry_run:
            return report
        started = time.monotonic()
        prefix = f".{output.name}.recfs-"
        sweep(output.parent, prefix)
        staging = StagingTree(output.parent / f"{prefix}{os.getpid()}")
        try:
            reader = LogReader(client, journal, Player(FSM(journal)), staging, progress.advance)
            progress.start("restoring", end)
            await reader.to_head(end)
            progress.finish()
            if settings.offset is None:
                reader.player.finish()
            if reader.ownership.importing:
                raise DataLossError(
                    f"journal {journal}: the import of the directory is not finished at offset "
                    f"{end}; part of it is missing",
                    "restore to a later offset, or finish the import: recfs mount",
                )
            fsm = reader.player.fsm
            staging.publish(fsm.namespace, fsm.properties)
            _publish(staging.tree, output, settings.force)
        finally:
            staging.close()
        report.end_offset = reader.player.settled_offset
        report.log_bytes = reader.bytes_played
        report.next_seq_no = reader.player.fsm.next_seq_no
        report.files, report.directories = staging.files, staging.directories
        report.bytes = staging.bytes
        report.seconds = time.monotonic() - started
        report.warnings = reader.warnings + staging.warnings
        return report
    finally:
        await client.aclose()


def _check_output(output: Path, force: bool) -> None:
    if not output.parent.is_dir():
        raise UsageError(
            f"{output.parent} is not a directory", f"create it: mkdir -p {output.parent}"
        )
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output} exists and is not a directory", "name another -o DIR")
    if os.path.ismount(output):
        # The tree is built beside it and put in place by a rename, whole or not at all.
        raise UsageError(
            f"{output} is a mount point, which cannot be replaced",
            f"name a directory in it: -o {output / 'restored'}",
        )
    for place in (output, output.parent):
        if (place / "state" / "volume.json").exists():
            raise UsageError(
                f"{place} is a backing directory of recfs",
                "name another -o DIR; a mount rebuilds its tree by itself",
            )
    if output.is_dir() and any(output.iterdir()) and not force:
        raise UsageError(
            f"{output} is not empty", "name another -o DIR, or replace its content with --force"
        )


def _publish(tree: Path, output: Path, force: bool) -> None:
    """Rename into place. With force, what was there goes only once the new tree stands."""
    try:
        if output.is_dir() and not any(output.iterdir()):
            output.rmdir()
        if output.exists():
            assert force
            old = output.parent / f".{output.name}.recfs-old-{os.getpid()}"
            output.rename(old)
            try:
                tree.rename(output)
            except OSError:
                old.rename(output)
                raise
            shutil.rmtree(old)
        else:
            tree.rename(output)
    except OSError as error:
        raise BackingError(
            f"cannot put the restored tree at {output}: {error.strerror}", "name another -o DIR"
        ) from error
