"""Settings as data: volume URLs, what a mount and a restore need to know, the configuration file.

Nothing here reads the environment, the home directory or the clock: `recfs.cli` looks those up and
passes them in, so that a program which uses recfs as a library decides for itself.

Precedence, highest first: command-line option, `RECFS_…` variable, configuration file, the default
written here.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from recfs.errors import UsageError

#: URL scheme -> what stands in the host part.
SERVICES: Mapping[str, str] = {
    "file": "nothing",
    "http": "a recfs broker",
    "https": "a recfs broker",
    "gazette": "a Gazette broker",
    "s3": "a bucket",
    "gs": "a bucket",
    "az": "a container",
}

#: Journal names have 4 to 512 bytes of Unicode letters, digits and these (Gazette's rule).
JOURNAL_NAME_BYTES_MAX = 512
JOURNAL_NAME_SYMBOLS = "-_+/.=%"

Cache = Literal["writeback", "through", "none"]
LogFormat = Literal["text", "json"]

LOG_LEVELS = ("debug", "info", "warning", "error")

#: The smallest and the largest fragment a volume may ask for, in bytes.
FRAGMENT_LENGTH_MIN = 1 << 16
FRAGMENT_LENGTH_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class Volume:
    """One recorded directory: which journal service, and the path of its journals there.

    `url` is the URL in its plain form, and names the volume in every message and mark. `service`
    is its scheme. `root` is the directory that holds the journals (`file` only). `name` is the
    prefix of the volume's journals. `host` is the host and port, bucket or container.
    """

    url: str
    service: str
    root: Path
    name: str
    host: str = ""

    @property
    def log(self) -> str:
        """The name of the journal that holds the recovery log."""
        return f"{self.name}/log"

    @property
    def hints(self) -> str:
        """The name of the journal that holds the hints."""
        return f"{self.name}/hints"

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """Everything `recfs.node.mount` is told. Paths are absolute, times are in seconds.

    `runtime` is the registry of the mounts of this host (`recfs.observe.registry`); None: this
    mount is not listed. `stop_timeout_seconds` is how long the command may take to end after
    SIGTERM before it is killed.
    """

    volume: Volume
    mountpoint: Path
    backing: Path
    runtime: Path | None = None
    cache: Cache = "writeback"
    allow_other: bool = False
    xattr: bool = False
    read_only: bool = False
    take_over: bool = False
    command: tuple[str, ...] = ()
    heartbeat_seconds: float = 5.0
    hints_seconds: float = 300.0
    fragment_length: int = 32 << 20
    stop_timeout_seconds: float = 10.0
    log_level: str = "info"
    log_format: LogFormat = "text"

    @property
    def control(self) -> Path:
        """The control socket, beside the tree."""
        return self.backing / "control"

    def __post_init__(self) -> None:
        """Refuse, with UsageError, places that would hide or swallow each other, and odd values."""
        _keep_apart("the mount point", self.mountpoint, "the backing directory", self.backing)
        if self.volume.service == "file":
            # The daemon would write the journal through its own mount, and wait for itself.
            journals = self.volume.root / self.volume.name
            _keep_apart("the mount point", self.mountpoint, "the volume", journals)
            _keep_apart("the volume", journals, "the backing tree", self.backing / "tree")
        for name, value, least, most in (
            ("heartbeat", self.heartbeat_seconds, 0.1, 3600),
            ("hints interval", self.hints_seconds, 1, 86400 * 7),
            ("stop timeout", self.stop_timeout_seconds, 0, 86400),
            ("fragment length", self.fragment_length, FRAGMENT_LENGTH_MIN, FRAGMENT_LENGTH_MAX),
        ):
            if not least <= value <= most:
                raise UsageError(f"a {name} of {value:g} is out of range", f"use {least} to {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """Everything `recfs.node.restore` is told. `offset`: stop there, in bytes of the log."""

    volume: Volume
    output: Path
    force: bool = False
    offset: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse, with UsageError, an output that would replace the volume."""
        if self.volume.service == "file":
            root = self.volume.root
            for journals in (root / self.volume.name, root / ".broker"):
                _keep_apart("the output directory", self.output, "the volume's directory", journals)


def _keep_apart(name: str, path: Path, other_name: str, other: Path) -> None:
    if path.is_relative_to(other) or other.is_relative_to(path):
        where = "is" if path == other else "lies within or around"
        raise UsageError(
            f"{name} {path} {where} {other_name} {other}", "keep the two in separate directories"
        )


# -- volume URLs ----------------------------------------------------------------------------------


def parse_volume(text: str) -> Volume:
    """Read a volume URL; anything that cannot name a volume raises UsageError."""
    scheme, mark, rest = text.partition("://")
    service = scheme.lower()
    if not mark:
        raise UsageError(
            f"{text!r} is not a volume URL",
            f"write file://{text}"
            if text.startswith("/") and not text.startswith("//")
            else "write a URL with an absolute path, such as file:///srv/recfs/db1",
        )
    if service not in SERVICES:
        raise UsageError(
            f"{text}: there is no journal service {scheme!r}",
            f"use one of {', '.join(f'{name}://' for name in SERVICES)}",
        )
    if not text.isprintable():  # urlsplit would drop line ends and tabs without a word
        raise UsageError(
            f"{text!r} is not a URL: it has characters that cannot be printed",
            "write them as %XX, or check where the text comes from",
        )
    if "?" in rest or "#" in rest:
        raise UsageError(
            f"{text}: a volume URL has no query and no fragment",
            "leave out what follows '?' or '#' (in a path write them as %3F and %23)",
        )
    try:
        host = urlsplit(text).netloc
        path = unquote(rest[len(host) :], errors="strict")
    except ValueError as error:
        raise UsageError(f"{text!r} is not a URL: {error}", "check its spelling") from None
    if "@" in host:
        # Such a URL would end up in process lists, marks and logs; so would this message.
        raise UsageError(
            f"a {service}:// volume URL must not hold a user name or a password",
            "leave out everything up to and with '@'",
        )
    if service == "file":
        return _file_volume(text, host, path)
    if not host:
        raise UsageError(
            f"{text}: {SERVICES[service]} must be named", f"write {service}://HOST/PATH"
        )
    name = path.strip("/")
    _check_name(text, name, path)
    return Volume(f"{service}://{host}/{_quote(name)}", service, Path("/"), name, host)


def _file_volume(text: str, host: str, path: str) -> Volume:
    if host:
        raise UsageError(
            f"{text}: a file:// URL has no host, and this one names {host!r}",
            f"write file:///{text.partition('://')[2]} for an absolute path, with three slashes",
        )
    path = path.rstrip("/")
    name = path.rpartition("/")[2]
    _check_name(text, name, path)
    if name.startswith("."):
        raise UsageError(
            f"{text}: a volume's name must not begin with a dot", "choose another last element"
        )
    plain = Path(path)
    return Volume(f"file://{_quote(path)}", "file", plain.parent, name)


def _quote(path: str) -> str:
    # Only what parse_volume would read otherwise: the URL of a volume is meant to be read.
    return re.sub(r"[%?#\s]|[^ -~]", _quote_unless_printable, path)


def _quote_unless_printable(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isalnum() else quote(character, safe="")


def _check_name(text: str, name: str, path: str) -> None:
    if not name:
        raise UsageError(f"{text} has no path", "add the path of the volume, such as /srv/app/db1")
    if "\0" in path or any(part in ("", ".", "..") for part in path[1:].rstrip("/").split("/")):
        raise UsageError(
            f"{text!r}: the path has an empty element, '.', '..' or a zero byte",
            "write the path without them",
        )
    for character in name:
        if (
            unicodedata.category(character) not in _NAME_CATEGORIES
            and character not in JOURNAL_NAME_SYMBOLS
        ):
            raise UsageError(
                f"{text!r}: {character!r} cannot stand in the name of a journal",
                f"use letters, digits and {' '.join(JOURNAL_NAME_SYMBOLS)}",
            )
    longest = f"{name}/hints"
    if len(longest.encode()) > JOURNAL_NAME_BYTES_MAX:
        raise UsageError(
            f"the volume's journal {longest[:40]}… has {len(longest.encode())} bytes",
            f"shorten the path: a journal's name has at most {JOURNAL_NAME_BYTES_MAX} bytes",
        )


_NAME_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"})


# -- places on this host --------------------------------------------------------------------------


def default_backing(volume: Volume, *, is_root: bool, state_home: Path) -> Path:
    """The backing directory of `volume` when none is named: one per volume, stable over mounts.

    `state_home` is $XDG_STATE_HOME; root's go under /var/lib.
    """
    base = Path("/var/lib/recfs") if is_root else state_home / "recfs"
    # The name is for people, the digest keeps volumes of the same name apart.
    digest = hashlib.sha256(volume.url.encode()).hexdigest()[:12]
    return base / f"{volume.name.replace('/', '_')[-80:]}-{digest}"


def runtime_directory(*, is_root: bool, runtime_home: Path | None, state_home: Path) -> Path:
    """Where the mounts of this host are registered. `runtime_home` is $XDG_RUNTIME_DIR."""
    if is_root:
        return Path("/run/recfs")
    return runtime_home / "recfs" if runtime_home is not None else state_home / "recfs" / "run"


# -- the configuration file -----------------------------------------------------------------------

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


# -- quantities -----------------------------------------------------------------------------------

_SECONDS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _BYTES |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}
_QUANTITY_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_seconds(text: str) -> float:
    """Read a time such as "5", "1.5s", "250ms", "5m", "2h" or "1d"."""
    match = _QUANTITY_TEXT.fullmatch(text)
    if match is None or match[2].lower() not in _SECONDS:
        raise UsageError(f"{text!r} is not a time", "write a number and ms, s, m, h or d: 5m")
    return float(match[1]) * _SECONDS[match[2].lower()]


def parse_size(text: str) -> int:
    """Read a number of bytes such as "65536", "64k", "32MiB" or "1GB" (k and kiB: 1024)."""
    match = _QUANTITY_TEXT.fullmatch(text)
    if match is None or match[2].lower() not in _BYTES:
        raise UsageError(f"{text!r} is not a size", "write a number and k, M or G: 32M")
    return int(float(match[1]) * _BYTES[match[2].lower()])
