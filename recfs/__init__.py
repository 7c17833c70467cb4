"""recfs: a FUSE file system that records every change of a directory to a remote journal.

The layers, from the bottom up; calls go down and values come back:

    errors, volume     the exception tree; volume URLs
    config             settings as data; config_file reads them, quantity their times and sizes
    recoverylog/       pure: operations, frames, chain, FSM,
                       Recorder (op -> bytes), Player (bytes -> events)
    journal/           the client seam `JournalClient`, the appender (group commit), two readers
    broker/            a journal server: registers, spool, fragments, index, stores
    clients/           ways to reach a journal: embedded
    vfs/               file-system semantics over a backing directory: `Filesystem`
    fuse/              thin kernel adapter; the only importer of pyfuse3
    restore/           plan, play, publish, hand-off
    observe/           status, control socket, logs, progress
    node               composition root: settings -> parts -> run -> close in reverse
    cli/               one file per verb
"""

__version__ = "0.1.0"
