"""The recovery log, pure: no clock, file, socket or await in it. Bytes in, events and bytes out.

    checksum, author    the chain's CRC-32C; who records, and the fence that lets only one
    framing             bytes <-> frames; finds the next frame behind garbage
    namespace           the tree of names
    segment, hints      where in the log the operations of the live files stand
    actions             what each operation does to the names and files
    fsm                 the one state: operation in, outcome out; Recorder and Player share it
    recorder            file-system change -> frames
    continuity          what counts as damage in a log, and what it may hold besides
    events, player      bytes -> effects
    state               the whole FSM as one message, to go on from without a replay
    describe            operations in words

The format is specified in proto/recoverylog.proto. It is Gazette's (consumer/recoverylog), with
extensions that a Gazette player skips.
"""
