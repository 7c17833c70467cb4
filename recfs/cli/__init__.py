"""The `recfs` command: one file per verb, found by name when it is asked for.

What a verb raises ends here, as two lines on stderr and an exit code (DESIGN: the table of exit
codes stands in `recfs.errors`):

    Error: journal db1/log does not exist
    Try: recfs mount it once to create it, or check the volume's URL
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from recfs.errors import RecfsError, UsageError
from recfs.observe.logs import logger

#: Verb -> the module of this package that holds it, as a click command of the same name.
VERBS = {
    verb: f"recfs.cli.{verb}"
    for verb in (
        "mount",
        "restore",
        "umount",
        "status",
        "sync",
        "log",
        "hints",
        "version",
    )
}

_COMPLETE = "_RECFS_COMPLETE"  # the shells' completion scripts set it
_BROKEN_PIPE = 141  # 128 + SIGPIPE


class _Verbs(click.Group):
    """Imports a verb when it is called: `recfs status` has no use for what `recfs mount` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(VERBS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0]
        if verb not in VERBS and not verb.startswith("-"):
            near = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.5)
            raise UsageError(
                f"recfs has no verb {verb!r}",
                f"recfs {near[0]}" if near else f"one of {', '.join(VERBS)}",
            )
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="recfs", message="recfs %(version)s")
def recfs() -> None:
    """Make the directory of any unmodified database recoverable on another host.

    VOLUME is a URL such as file:///srv/recfs/db1. Each option can also be given as a variable
    (RECFS_BACKING for --backing) and as a key of a TOML file (backing = "…", see --config).
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run one verb and end this process with its exit code."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; errors are printed, none is raised."""
    try:
        # Not Command.main: it takes a broken pipe for a failure of its own.
        if instruction := os.environ.get(_COMPLETE):
            return shell_complete(recfs, {}, "recfs", _COMPLETE, instruction)
        with recfs.make_context("recfs", list(sys.argv[1:] if args is None else args)) as context:
            code = recfs.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return fail(_usage_error(error))
    except click.Abort:
        return _InterruptedError.exit_code
    except BrokenPipeError:
        # The reader of our output has seen enough. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except SystemExit:
        raise
    except BaseException as error:
        found = verdict(error)
        return found.exit_code if isinstance(found, _InterruptedError) else fail(found)


def fail(error: RecfsError) -> int:
    """Print the two lines of `error`; returns its exit code."""
    print(f"Error: {_printable(error.what)}", file=sys.stderr)
    if error.attempt:
        print(f"Try: {_printable(error.attempt)}", file=sys.stderr)
    return error.exit_code


def _bug(error: BaseException) -> RecfsError:
    """How an exception that nobody foresaw is told; its traceback goes to the debug log."""
    logger(__name__).debug("traceback of a bug", exc_info=error)
    words = f"{type(error).__name__}: {error}".rstrip(": ")
    return RecfsError(
        f"this is a bug in recfs: {words}", "run it with --log-level debug, and report what it says"
    )


def verdict(error: BaseException) -> RecfsError:
    """The one error that stands for `error`, which may be a group of many.

    A plain RecfsError (exit code 1) is a bug. Several tasks may fail for one reason; the first one
    to say so is as good as any.
    """
    leaves = _leaves(error)
    strange = [leaf for leaf in leaves if not isinstance(leaf, (RecfsError, KeyboardInterrupt))]
    if strange:
        return _bug(strange[0])
    for leaf in leaves:
        if isinstance(leaf, RecfsError):
            return leaf
    return _InterruptedError("interrupted")


class _InterruptedError(RecfsError):
    exit_code = 130  # 128 + SIGINT, as shells have it


def _leaves(error: BaseException) -> Sequence[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


def _usage_error(error: click.ClickException) -> UsageError:
    what = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "recfs"
    return UsageError(what[:1].lower() + what[1:].rstrip("."), f"{path} --help")


def _printable(text: str) -> str:
    # One line, whatever a path or a peer put into it; lone surrogates cannot be encoded.
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return line.encode(sys.stderr.encoding or "utf-8", "backslashreplace").decode(
        sys.stderr.encoding or "utf-8"
    )
