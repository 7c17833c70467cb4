"""Names of fragment files, exactly as Gazette writes them.

    hex16(begin) "-" hex16(end) "-" hex40(SHA-1) extension

lower case, zero padded, end exclusive; the sum is over the uncompressed bytes. Reading is more
liberal than writing: other spellings of the extensions, and any case.
"""

from __future__ import annotations

from recfs.errors import UsageError
from recfs.journal.model import Fragment

OFFSET_MAX = (1 << 63) - 1

#: What is written; "gzip-offload" objects are stored compressed but served uncompressed.
EXTENSIONS = {"none": ".raw", "gzip": ".gz", "zstd": ".zst", "snappy": ".sz", "gzip-offload": ""}
_CODECS = {extension: codec for codec, extension in EXTENSIONS.items()} | {
    ".gzip": "gzip",
    ".zstandard": "zstd",
    ".snappy": "snappy",
    ".gzod": "gzip-offload",
}
_HEX = frozenset("0123456789abcdef")


def fragment_name(fragment: Fragment) -> str:
    """The name of the file or object that holds `fragment`, without the journal."""
    return (
        f"{fragment.begin:016x}-{fragment.end:016x}-{fragment.sum.hex()}"
        f"{EXTENSIONS[fragment.codec]}"
    )


def parse_fragment_name(
    journal: str, name: str, *, mod_time: int = 0, store: str = ""
) -> Fragment | None:
    """Return the fragment called `name`, or None when that is no fragment's name."""
    stem, dot, extension = name.lower().partition(".")
    codec = _CODECS.get(dot + extension)
    parts = stem.split("-")
    if codec is None or [len(part) for part in parts] != [16, 16, 40]:
        return None
    if not all(_HEX.issuperset(part) for part in parts):
        return None
    begin, end = int(parts[0], 16), int(parts[1], 16)
    if not begin <= end <= OFFSET_MAX:
        return None
    digest = bytes.fromhex(parts[2])
    return Fragment(journal, begin, end, digest, codec, mod_time, store)


def check_codec(codec: str) -> str:
    """Return `codec` when fragments may be written in it. Raises UsageError."""
    if codec not in EXTENSIONS or codec == "gzip-offload":
        raise UsageError(
            f"codec {codec!r} is not known", "use one of none, gzip, zstd, snappy"
        )
    return codec
