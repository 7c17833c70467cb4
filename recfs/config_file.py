"""The configuration file: TOML, whose keys and types are those of the command line's options."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from recfs.errors import UsageError

_TEXT = (str,)
_FLAG = (bool,)
_NUMBER = (int,)
_QUANTITY = (str, int, float)  # a number, or text with a unit: "5m", "32MiB"
_LIST = (list,)

#: Key of the configuration file -> types of TOML values it takes. The same names, with dashes, are
#: options, and with `RECFS_` before them in capitals, variables.
FILE_KEYS: Mapping[str, tuple[type, ...]] = {
    "volume": _TEXT,
    "mountpoint": _TEXT,
    "command": _LIST,
    "backing": _TEXT,
    "runtime": _TEXT,
    "cache": _TEXT,
    "allow_other": _FLAG,
    "xattr": _FLAG,
    "read_only": _FLAG,
    "take_over": _FLAG,
    "detach": _FLAG,
    "heartbeat": _QUANTITY,
    "hints_interval": _QUANTITY,
    "fragment_length": _QUANTITY,
    "stop_timeout": _QUANTITY,
    "timeout": _QUANTITY,
    "log_level": _TEXT,
    "log_format": _TEXT,
    "log_file": _TEXT,
    "output": _TEXT,
    "force": _FLAG,
    "offset": _NUMBER,
    "limit": _NUMBER,
    "follow": _FLAG,
    "dry_run": _FLAG,
    "json": _FLAG,
}

_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def load_file(path: Path, variables: Mapping[str, str]) -> dict[str, object]:
    """Read a TOML file of `FILE_KEYS`; $NAME and ${NAME} in texts stand for `variables`, $$ for $.

    Anything else in it raises UsageError with the file, the line where it is known, and the key.
    """
    try:
        text = path.read_bytes().decode()
        found = tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"configuration file {path}: {error.strerror}", "check the path given to --config"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"configuration file {path}: byte {error.start} is not UTF-8", "save it as UTF-8"
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(
            f"configuration file {path}: {error}", "write it as TOML: key = value"
        ) from None
    return {key: _file_value(path, text, key, value, variables) for key, value in found.items()}


def _file_value(
    path: Path, text: str, key: str, value: object, variables: Mapping[str, str]
) -> object:
    where = f"{path}:{_line_of(text, key)}"
    types = FILE_KEYS.get(key)
    if types is None:
        raise UsageError(
            f"{where}: there is no setting {key!r}", f"use one of {', '.join(sorted(FILE_KEYS))}"
        )
    # type() and not isinstance(): TOML's true is no number.
    if type(value) not in types:
        names = " or ".join(_TOML_NAMES[each] for each in types)
        raise UsageError(f"{where}: {key} must be {names}", "change the value")
    if isinstance(value, list):
        if not all(isinstance(each, str) for each in value):
            raise UsageError(f"{where}: {key} must be a list of texts", "quote each element")
        return [_expand(where, key, each, variables) for each in value]
    return _expand(where, key, value, variables) if isinstance(value, str) else value


_TOML_NAMES: Mapping[type, str] = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
}


def _expand(where: str, key: str, text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return "$"
        if name not in variables:
            raise UsageError(
                f"{where}: {key} names the variable {name}, which is not set",
                f"set {name}, or write $$ for a dollar sign",
            )
        return variables[name]

    return _VARIABLE.sub(value, text)


def _line_of(text: str, key: str) -> int:
    # tomllib keeps no positions; the first line that begins with the key or table is the place.
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 1
