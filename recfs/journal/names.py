"""Journal names: the rules that every journal service shares (Gazette's `JournalSpec` rules).

A name is 4 to 512 bytes of letters, digits and `-_+/.=%`, a clean relative path. A reader may add
`;meta` to a name, which is dropped before the journal is looked up.
"""

from __future__ import annotations

import unicodedata

from recfs.errors import UsageError

NAME_BYTES_MIN = 4
NAME_BYTES_MAX = 512
_SYMBOLS = frozenset("-_+/.=%")
_ATTEMPT = "use letters, digits and -_+/.=% in a relative path such as app/db1/log"


def is_token(text: str) -> bool:
    """Whether `text` has only letters, decimal digits and the symbols of journal names."""
    return all(
        c in _SYMBOLS or (category := unicodedata.category(c))[0] == "L" or category == "Nd"
        for c in text
    )


def resolve_name(name: str) -> str:
    """Return `name` without its `;meta` suffix, checked. Raises UsageError."""
    base, semicolon, meta = name.partition(";")
    if semicolon and not (0 < len(meta.encode(errors="replace")) <= NAME_BYTES_MAX
                          and is_token(meta)):
        raise UsageError(f"journal name {name!r}: the part behind ';' is not valid", _ATTEMPT)
    return check_name(base)


def check_name(name: str) -> str:
    """Return `name`, or raise UsageError when no journal may be called so."""
    size = len(name.encode(errors="replace"))
    if not NAME_BYTES_MIN <= size <= NAME_BYTES_MAX:
        raise UsageError(
            f"journal name {name[:64]!r} has {size} bytes, not {NAME_BYTES_MIN}..{NAME_BYTES_MAX}",
            _ATTEMPT,
        )
    if not is_token(name):
        raise UsageError(f"journal name {name!r} has a character that is not allowed", _ATTEMPT)
    if any(element in ("", ".", "..") for element in name.split("/")):
        raise UsageError(f"journal name {name!r} is not a clean relative path", _ATTEMPT)
    return name
