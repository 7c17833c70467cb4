"""Times and sizes as people write them: "5m", "32MiB"."""

from __future__ import annotations

import re

from recfs.errors import UsageError

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
