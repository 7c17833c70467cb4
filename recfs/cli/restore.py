"""`recfs restore`: rebuild a volume's directory, without mounting it."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from recfs.cli import options
from recfs.config import RestoreSettings
from recfs.errors import UsageError
from recfs.observe.words import duration, size
from recfs.volume import Volume

if TYPE_CHECKING:
    from recfs.restore.report import RestoreReport


@click.command()
@options.argument("volume", type=options.VOLUME)
@options.option(
    "-o",
    "--output",
    type=options.PATH,
    required=True,
    metavar="DIR",
    help="Where the directory is built.",
)
@options.option("--force", is_flag=True, help="Replace what is in DIR.")
@options.option(
    "--offset", type=click.INT, metavar="N", help="Stop at this offset of the log, in bytes."
)
@options.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@options.as_json
@options.verb
def restore(
    volume: Volume,
    output: Path,
    force: bool,
    offset: int | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Rebuild the directory of VOLUME in DIR, from its log. Changes nothing in the volume."""
    if offset is not None and offset < 0:
        raise UsageError(f"offset {offset} is negative", "offsets count bytes from 0")
    settings = RestoreSettings(
        volume=volume, output=output, force=force, offset=offset, dry_run=dry_run
    )
    from recfs import node

    # As Ctrl-C does it: what was restored so far is removed.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with options.choose_progress() as progress:
        report = trio.run(partial(node.restore, settings, progress=progress))
    if json:
        options.print_json(asdict(report))
        return
    for warning in report.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    options.print_text(_in_words(report, settings))


def _in_words(report: RestoreReport, settings: RestoreSettings) -> str:
    log = (
        f"{size(report.log_bytes)} of log, offsets {report.start_offset:,} to "
        f"{report.end_offset:,} of journal {report.journal}"
    )
    if report.dry_run:
        return f"would play {log}\nwould build {settings.output}"
    rate = report.log_bytes / report.seconds if report.seconds > 0 else 0.0
    return (
        f"restored {settings.output}: {report.files:,} files, {report.directories:,} directories, "
        f"{size(report.bytes)}\n"
        f"played {log}, in {duration(report.seconds)} ({size(round(rate))}/s)"
    )
