"""`recfs mount`: serve a volume in a directory, in the foreground or detached."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from recfs.cli import options
from recfs.cli.detach import run_detached
from recfs.config import MountSettings
from recfs.errors import BackingError, UsageError
from recfs.observe import logs
from recfs.volume import Volume

_COMMAND = "recfs.mount.command"


class _MountCommand(click.Command):
    """What follows `--` is the command to run, whole: its options are its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            args, command = args[:place], args[place + 1 :]
            if not command:
                raise UsageError("no command follows '--'", "leave '--' out, or add the command")
            ctx.meta[_COMMAND] = command
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- CMD…]"]


@click.command(cls=_MountCommand)
@options.argument("volume", type=options.VOLUME)
@options.argument("mountpoint", type=options.PATH)
@options.option(
    "--backing",
    type=options.PATH,
    metavar="DIR",
    show_default="one per volume under /var/lib/recfs for root, else $XDG_STATE_HOME/recfs",
    help="Directory that holds the plain files.",
)
@options.option(
    "--cache",
    type=click.Choice(["writeback", "through", "none"]),
    default="writeback",
    help="What the kernel keeps: with 'through' each write is recorded as it is made.",
)
@options.option("--allow-other/--no-allow-other", help="Let other users use the mount.")
@options.option("--xattr/--no-xattr", help="Support extended attributes (slower writes).")
@options.option("--read-only/--no-read-only", help="Take no writes.")
@options.option(
    "--take-over/--no-take-over", help="Mount although the volume has a live writer: fence it."
)
@options.option(
    "-d",
    "--detach",
    is_flag=True,
    help="Return once the mount serves, and go on in the background.",
)
@options.option(
    "--heartbeat",
    type=options.SECONDS,
    default="5s",
    metavar="TIME",
    help="How often the log is told that this writer lives.",
)
@options.option(
    "--hints-interval",
    type=options.SECONDS,
    default="5m",
    metavar="TIME",
    help="How often hints are written.",
)
@options.option(
    "--fragment-length",
    type=options.SIZE,
    default="32MiB",
    metavar="SIZE",
    help="Target size of a new journal's fragments.",
)
@options.option(
    "--stop-timeout",
    type=options.SECONDS,
    default="10s",
    metavar="TIME",
    help="How long CMD may take to end before it is killed.",
)
@options.option(
    "--log-file",
    type=options.PATH,
    metavar="FILE",
    show_default="stderr; with --detach recfs.log in the backing directory",
    help="Write log lines there.",
)
@options.runtime
@options.verb
@click.pass_context
def mount(ctx: click.Context, /, detach: bool, log_file: Path | None, **given: Any) -> int:
    """Serve VOLUME in the directory MOUNTPOINT.

    Restores what the volume's log holds if the backing directory does not have it yet. With CMD,
    runs it once the mount serves, passes signals on, unmounts when it ends, and returns its exit
    code.
    """
    settings = mount_settings(ctx, given)
    if detach:
        return _mount_detached(settings, log_file)
    logs.configure(settings.log_level, settings.log_format, file=log_file)
    return _serve(settings, _nothing)


def mount_settings(ctx: click.Context, given: dict[str, Any]) -> MountSettings:
    """The settings that the parameters of one call amount to."""
    volume = given.pop("volume")
    assert isinstance(volume, Volume)
    backing = given.pop("backing")
    return MountSettings(
        volume=volume,
        backing=backing if isinstance(backing, Path) else options.default_backing(volume),
        command=_command(ctx),
        heartbeat_seconds=given.pop("heartbeat"),
        hints_seconds=given.pop("hints_interval"),
        stop_timeout_seconds=given.pop("stop_timeout"),
        **given,
    )


def _command(ctx: click.Context) -> tuple[str, ...]:
    if _COMMAND in ctx.meta:
        return tuple(ctx.meta[_COMMAND])
    if named := os.environ.get("RECFS_COMMAND"):
        try:
            return tuple(shlex.split(named))
        except ValueError as error:
            raise UsageError(f"RECFS_COMMAND: {error}", "quote it as for a shell") from None
    return tuple((ctx.default_map or {}).get("command", ()))


def _mount_detached(settings: MountSettings, log_file: Path | None) -> int:
    if settings.command:
        raise UsageError(
            "--detach does not go with a command: nobody would get its exit code",
            "leave one of them out",
        )
    if log_file is None:
        try:
            settings.backing.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            raise BackingError(
                f"backing directory {settings.backing}: {error.strerror}",
                "name a directory that this user may write: --backing DIR",
            ) from None
        log_file = settings.backing / "recfs.log"
    logs.configure(settings.log_level, settings.log_format, file=log_file)
    return run_detached(partial(_serve, settings))


def _serve(settings: MountSettings, on_ready: Callable[[], None]) -> int:
    # Imported here: `recfs mount --help` has no use for the whole file system.
    from recfs import node

    with options.choose_progress(settings.log_format) as progress:
        return trio.run(partial(node.mount, settings, progress=progress, on_ready=on_ready))


def _nothing() -> None:
    pass
