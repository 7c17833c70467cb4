"""What the verbs share: options with their variables and file keys, and the places of this host.

Here, and only here, recfs reads the environment and looks for the home directory.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from recfs import config
from recfs.config import LOG_LEVELS
from recfs.config_file import FILE_KEYS, load_file
from recfs.errors import UsageError
from recfs.observe import logs
from recfs.observe.progress import BarProgress, LineProgress
from recfs.observe.registry import canonical
from recfs.quantity import parse_seconds, parse_size
from recfs.volume import Volume, parse_volume

_Function = TypeVar("_Function", bound=Callable[..., Any])


def option(*names: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """A click option that is also a `RECFS_…` variable and a key of the configuration file."""
    key = _key(names[-1])
    assert key in FILE_KEYS, key
    attributes.setdefault("show_default", not attributes.get("is_flag", "/" in names[-1]))
    return click.option(*names, key, envvar=f"RECFS_{key.upper()}", **attributes)


def argument(key: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """A positional argument; where all are left out, the variables or the file may give them."""
    assert key in FILE_KEYS, key
    return click.argument(key, envvar=f"RECFS_{key.upper()}", **attributes)


def _key(name: str) -> str:
    return name.partition("/")[0].removeprefix("--").replace("-", "_")


def verb(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Adds the options that every verb has, and sets the logs up before `function` runs.

    A verb with `log_file` among its parameters sees to the logs itself.
    """

    @functools.wraps(function)
    def run(*, log_level: str, log_format: str, **others: Any) -> int | None:
        if "log_file" in others:
            return function(log_level=log_level, log_format=log_format, **others)
        logs.configure(log_level, log_format)
        return function(**others)

    wrapped: Callable[..., int | None] = option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Form of log lines.",
    )(run)
    wrapped = option(
        "--log-level", type=click.Choice(LOG_LEVELS), default="info", help="Log from this level up."
    )(wrapped)
    return click.option(
        "--config",
        envvar="RECFS_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        metavar="FILE",
        help="A TOML file with settings.",
    )(wrapped)


def _read_config(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        # Below variables and above the defaults: click's place for a file's values.
        ctx.default_map = load_file(Path(value), os.environ)


# -- types ----------------------------------------------------------------------------------------


class _Parsed(click.ParamType):  # type: ignore[type-arg]
    """A value read by a function that raises the typed error itself."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, (int, float)):
            value = str(value)  # of a configuration file
        return self._parse(value) if isinstance(value, str) else value


def _parse_path(text: str) -> Path:
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not a path", "name a file or a directory")
    return canonical(Path(text))


VOLUME = _Parsed("volume", parse_volume)
PATH = _Parsed("path", _parse_path)
SECONDS = _Parsed("time", parse_seconds)
SIZE = _Parsed("size", parse_size)


# -- places ---------------------------------------------------------------------------------------


def _state_home() -> Path:
    named = os.environ.get("XDG_STATE_HOME", "")
    # The XDG rules: a relative path counts as none.
    return Path(named) if named.startswith("/") else Path.home() / ".local" / "state"


def default_backing(volume: Volume) -> Path:
    return config.default_backing(volume, is_root=os.geteuid() == 0, state_home=_state_home())


def runtime_directory() -> Path:
    home = os.environ.get("XDG_RUNTIME_DIR", "")
    return config.runtime_directory(
        is_root=os.geteuid() == 0,
        runtime_home=Path(home) if home.startswith("/") else None,
        state_home=_state_home(),
    )


runtime = option(
    "--runtime",
    type=PATH,
    default=lambda: str(runtime_directory()),
    show_default="/run/recfs for root, else $XDG_RUNTIME_DIR/recfs",
    metavar="DIR",
    help="Directory that lists the mounts of this host.",
)

as_json = option("--json", is_flag=True, help="Print JSON.")


# -- output ---------------------------------------------------------------------------------------


def choose_progress(log_format: str = "text") -> BarProgress | LineProgress:
    """A bar for a person at a terminal, lines for everyone else."""
    if log_format == "text" and sys.stderr.isatty():
        return BarProgress(sys.stderr)
    return LineProgress()


def print_json(found: object) -> None:
    """One JSON document, indented: for programs, and readable."""
    # Escaped to ASCII, since a name that is not UTF-8 comes as lone surrogates.
    print(json.dumps(found, indent=2, ensure_ascii=True, default=str))


def print_text(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
