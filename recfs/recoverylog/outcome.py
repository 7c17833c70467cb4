"""What becomes of an operation."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    OK = "ok"
    FNODE_NOT_TRACKED = "fnode not tracked"
    NOT_HINTED_AUTHOR = "author is not the hinted one"
    WRONG_SEQ_NO = "wrong sequence number"
    CHECKSUM_MISMATCH = "checksum mismatch"
    LINK_EXISTS = "path exists"
    PROPERTY_EXISTS = "path is a property"
    EXPECTED_HINTED_FNODE = "a hinted fnode should be created here"
    NO_SUCH_LINK = "no such link"
    NO_SUCH_NODE = "no such file or directory"
    NOT_A_DIRECTORY = "not a directory"
    NOT_EMPTY = "directory is not empty"
    BAD_PATH = "path is not clean"
    BAD_OPERATION = "operation makes no sense"
