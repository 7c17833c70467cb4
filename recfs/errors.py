"""The exception tree. Every operating error says what is wrong and what to try.

    RecfsError                     exit 1
     ├─ UsageError                 exit 2    an argument, option or file cannot be used as given
     ├─ JournalError
     │   ├─ JournalUnavailable     exit 10   transient: a retry may succeed
     │   ├─ JournalNotFound        exit 11
     │   ├─ Fenced                 exit 13   a register check failed: another writer took over
     │   ├─ WrongAppendOffset      exit 12   the journal is not where the caller thinks it is
     │   ├─ OffsetNotYetAvailable  (value)   non-blocking read at the write head
     │   └─ JournalFailed          exit 10   permanent: this appender will not commit again
     ├─ DamageError                exit 12   bytes in the log or a fragment are not what was written
     ├─ DataLossError              exit 12   bytes that must be there are gone
     ├─ LiveWriterError            exit 14   the volume has a live writer
     ├─ MountError                 exit 15   mount point or FUSE not usable
     ├─ BackingError               exit 16   the backing directory holds other or newer data
     ├─ NotAuthorised              exit 17
     └─ TargetNotFound             exit 19   time, offset or checkpoint is not in the log

Programmer errors are not in this tree: they are assertions and plain Python exceptions, and end
the process with exit code 1.
"""

from __future__ import annotations


class RecfsError(Exception):
    """Base of all operating errors.

    `what` is one line that says what is wrong and where; `attempt` is one that says what to try.
    """

    exit_code = 1

    def __init__(self, what: str, attempt: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.attempt = attempt


class UsageError(RecfsError):
    exit_code = 2


class JournalError(RecfsError):
    """Base of what a journal service may answer."""

    exit_code = 10


class JournalUnavailable(JournalError):
    """The service cannot be reached or cannot write now; the same call may succeed later."""


class JournalNotFound(JournalError):
    exit_code = 11


class Fenced(JournalError):
    """A register check did not hold: another author has taken the journal over."""

    exit_code = 13


class WrongAppendOffset(JournalError):
    exit_code = 12


class OffsetNotYetAvailable(JournalError):
    """A non-blocking read reached the write head. `write_head` is in bytes."""

    def __init__(self, journal: str, write_head: int) -> None:
        super().__init__(f"journal {journal}: nothing is written yet at offset {write_head}")
        self.write_head = write_head


class JournalFailed(JournalError):
    """This appender met an error that no retry mends, and stays so."""


class DamageError(RecfsError):
    """Bytes are not what was written. `where` names the file or journal, `offset` the byte.

    `span`, where it is known, is the range of journal offsets [begin, end) that cannot be read.
    """

    exit_code = 12

    def __init__(
        self,
        what: str,
        attempt: str = "",
        *,
        where: str = "",
        offset: int = -1,
        span: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(what, attempt)
        self.where = where
        self.offset = offset
        self.span = span


class DataLossError(RecfsError):
    exit_code = 12


class LiveWriterError(RecfsError):
    exit_code = 14


class MountError(RecfsError):
    exit_code = 15


class BackingError(RecfsError):
    exit_code = 16


class NotAuthorised(RecfsError):
    exit_code = 17


class TargetNotFound(RecfsError):
    exit_code = 19
