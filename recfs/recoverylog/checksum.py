"""CRC-32C (Castagnoli), of the operation chain and of write payloads.

The chain value before the first operation is 0; each operation's body, as it stands in the log,
continues it. Frame headers and write payloads are not part of the chain.
"""

from __future__ import annotations

from google_crc32c import extend


def crc32c(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """Return the CRC-32C of the bytes that gave `value`, followed by `data`.

    The check value, that of b"123456789", is 0xE3069283.
    """
    # The extension module reads only `bytes`; a copy of anything else is cheaper than the sum.
    result: int = extend(value, data if type(data) is bytes else bytes(data))
    return result
