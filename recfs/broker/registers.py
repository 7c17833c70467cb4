"""Registers: a journal's label set, checked and changed by appends.

The rules are Gazette's (`append_fsm.go`, `label_extensions.go`): empty registers pass every check;
`subtract` is applied first and removes a name only if its whole value set is the given one;
`union` is applied second and replaces all values of each name that it gives.
"""

from __future__ import annotations

import json

from recfs.errors import DamageError, UsageError
from recfs.journal.model import LabelSet, Selector
from recfs.journal.names import is_token

Registers = dict[str, tuple[str, ...]]

#: Bound on an encoded label set, in bytes.
ENCODED_BYTES_MAX = 64 << 10


def check_passes(selector: Selector | None, registers: LabelSet) -> bool:
    """Whether an append under `selector` may go on."""
    if selector is None or not registers:
        return True
    for name, values in selector.exclude.items():
        present = registers.get(name, ())
        if present and any(value == "" or value in present for value in values):
            return False
    for name, values in selector.include.items():
        present = registers.get(name, ())
        if not any(value == "" or value in present for value in values) or not present:
            return False
    return True


def changed(
    registers: LabelSet, union: LabelSet | None, subtract: LabelSet | None
) -> Registers:
    """Return the registers after `subtract`, then `union`. Raises UsageError on bad labels."""
    result: Registers = dict(registers)
    for name, values in normal(subtract or {}).items():
        if result.get(name) == values:
            del result[name]
    result.update(normal(union or {}))
    return dict(sorted(result.items()))


def normal(labels: LabelSet) -> Registers:
    """Return `labels` sorted and without repeats. Raises UsageError when one is not valid."""
    result: Registers = {}
    for name, values in sorted(labels.items()):
        if not 2 <= len(name.encode(errors="replace")) <= 64 or not is_token(name):
            raise UsageError(f"register name {name!r} is not 2 to 64 bytes of letters and digits")
        if not values:
            raise UsageError(f"register {name} has no value")
        if any(len(value.encode(errors="replace")) > 1024 for value in values):
            raise UsageError(f"register {name} has a value of more than 1024 bytes")
        if "" in values and len(set(values)) > 1:
            raise UsageError(f"register {name} has an empty and another value")
        result[name] = tuple(sorted(set(values)))
    return result


def encode(registers: LabelSet) -> bytes:
    """Return `registers` as compact JSON. Raises UsageError above ENCODED_BYTES_MAX."""
    text = json.dumps(registers, separators=(",", ":"), sort_keys=True).encode()
    if len(text) > ENCODED_BYTES_MAX:
        raise UsageError(f"registers take {len(text)} bytes, more than {ENCODED_BYTES_MAX}")
    return text


def decode(text: bytes, where: str) -> Registers:
    """The inverse of `encode`. Raises DamageError naming `where`."""
    try:
        parsed = json.loads(text)
        return {
            str(name): tuple(str(value) for value in values) for name, values in parsed.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise DamageError(f"{where}: the registers cannot be read", where=where) from error
