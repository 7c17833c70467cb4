"""Volumes and their URLs: which journal service, and the path of the journals there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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
