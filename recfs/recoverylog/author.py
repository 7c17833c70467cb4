"""Authors: the random identity of one recorder, and the journal register that fences it.

Two recorders never share an author, so an author in the register `author` says which recorder may
append. Whoever takes a log over sets the register to its own author, in the same append as its
hand-off operation; from then on appends that check for the old author are refused.
"""

from __future__ import annotations

import secrets

#: Name of the journal register that holds the author who may append.
REGISTER = "author"

_DIGITS = "0123456789abcdefghijklmnopqrstuv"


def new_author() -> int:
    """Return a random author in [1, 2**32 - 2]; 0 stands for none, 2**32 - 1 Gazette keeps free."""
    return secrets.randbelow(2**32 - 2) + 1


def base32(author: int) -> str:
    """Return `author` in base 32 as Gazette writes it: digits 0-9a-v, neither sign nor padding."""
    assert 0 < author < 2**32
    text = ""
    while author:
        text = _DIGITS[author & 31] + text
        author >>= 5
    return text


def fence(author: int) -> dict[str, tuple[str, ...]]:
    """Return the register labels that let `author`, and only it, append."""
    return {REGISTER: (base32(author),)}
