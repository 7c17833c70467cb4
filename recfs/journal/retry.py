"""How long to wait before the next try of a journal operation.

The ladder is that of Gazette's retry reader (`broker/client/retry_reader.go`): quick at first,
because most faults are a restart or a lost connection, then every five seconds for ever.
"""

from __future__ import annotations

#: Seconds to wait before retry 1, 2, ...; every later retry waits for the last value.
LADDER = (0.0, 0.05, 0.05, 0.1, 0.1, 1.0, 1.0, 5.0)


def retry_delay(failures: int) -> float:
    """Seconds to wait after `failures` (at least 1) tries in a row have failed."""
    assert failures >= 1
    return LADDER[min(failures, len(LADDER)) - 1]
