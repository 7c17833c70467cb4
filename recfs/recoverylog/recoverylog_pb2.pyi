from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordedOp(_message.Message):
    __slots__ = ("seq_no", "checksum", "author", "create", "link", "unlink", "write", "property", "mkdir", "rmdir", "symlink", "mknod", "rename", "truncate", "set_attr", "set_xattr", "remove_xattr", "allocate", "mark", "first_offset", "last_offset", "log", "recorded_at", "more")
    SEQ_NO_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    UNLINK_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    PROPERTY_FIELD_NUMBER: _ClassVar[int]
    MKDIR_FIELD_NUMBER: _ClassVar[int]
    RMDIR_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_FIELD_NUMBER: _ClassVar[int]
    MKNOD_FIELD_NUMBER: _ClassVar[int]
    RENAME_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    SET_ATTR_FIELD_NUMBER: _ClassVar[int]
    SET_XATTR_FIELD_NUMBER: _ClassVar[int]
    REMOVE_XATTR_FIELD_NUMBER: _ClassVar[int]
    ALLOCATE_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    seq_no: int
    checksum: int
    author: int
    create: Create
    link: Link
    unlink: Link
    write: Write
    property: Property
    mkdir: Mkdir
    rmdir: Rmdir
    symlink: Symlink
    mknod: Mknod
    rename: Rename
    truncate: Truncate
    set_attr: SetAttr
    set_xattr: SetXattr
    remove_xattr: RemoveXattr
    allocate: Allocate
    mark: Mark
    first_offset: int
    last_offset: int
    log: str
    recorded_at: int
    more: bool
    def __init__(self, seq_no: _Optional[int] = ..., checksum: _Optional[int] = ..., author: _Optional[int] = ..., create: _Optional[_Union[Create, _Mapping]] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., unlink: _Optional[_Union[Link, _Mapping]] = ..., write: _Optional[_Union[Write, _Mapping]] = ..., property: _Optional[_Union[Property, _Mapping]] = ..., mkdir: _Optional[_Union[Mkdir, _Mapping]] = ..., rmdir: _Optional[_Union[Rmdir, _Mapping]] = ..., symlink: _Optional[_Union[Symlink, _Mapping]] = ..., mknod: _Optional[_Union[Mknod, _Mapping]] = ..., rename: _Optional[_Union[Rename, _Mapping]] = ..., truncate: _Optional[_Union[Truncate, _Mapping]] = ..., set_attr: _Optional[_Union[SetAttr, _Mapping]] = ..., set_xattr: _Optional[_Union[SetXattr, _Mapping]] = ..., remove_xattr: _Optional[_Union[RemoveXattr, _Mapping]] = ..., allocate: _Optional[_Union[Allocate, _Mapping]] = ..., mark: _Optional[_Union[Mark, _Mapping]] = ..., first_offset: _Optional[int] = ..., last_offset: _Optional[int] = ..., log: _Optional[str] = ..., recorded_at: _Optional[int] = ..., more: _Optional[bool] = ...) -> None: ...

class Create(_message.Message):
    __slots__ = ("path", "mode", "uid", "gid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    mode: int
    uid: int
    gid: int
    def __init__(self, path: _Optional[bytes] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("fnode", "path")
    FNODE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    fnode: int
    path: bytes
    def __init__(self, fnode: _Optional[int] = ..., path: _Optional[bytes] = ...) -> None: ...

class Write(_message.Message):
    __slots__ = ("fnode", "offset", "length", "content_crc32c")
    FNODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_CRC32C_FIELD_NUMBER: _ClassVar[int]
    fnode: int
    offset: int
    length: int
    content_crc32c: int
    def __init__(self, fnode: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., content_crc32c: _Optional[int] = ...) -> None: ...

class Property(_message.Message):
    __slots__ = ("path", "content")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    content: bytes
    def __init__(self, path: _Optional[bytes] = ..., content: _Optional[bytes] = ...) -> None: ...

class Mkdir(_message.Message):
    __slots__ = ("path", "mode", "uid", "gid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    mode: int
    uid: int
    gid: int
    def __init__(self, path: _Optional[bytes] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class Rmdir(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    def __init__(self, path: _Optional[bytes] = ...) -> None: ...

class Symlink(_message.Message):
    __slots__ = ("path", "target", "uid", "gid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    target: bytes
    uid: int
    gid: int
    def __init__(self, path: _Optional[bytes] = ..., target: _Optional[bytes] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class Mknod(_message.Message):
    __slots__ = ("path", "mode", "rdev", "uid", "gid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    RDEV_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    mode: int
    rdev: int
    uid: int
    gid: int
    def __init__(self, path: _Optional[bytes] = ..., mode: _Optional[int] = ..., rdev: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class Rename(_message.Message):
    __slots__ = ("source", "target", "exchange")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    source: bytes
    target: bytes
    exchange: bool
    def __init__(self, source: _Optional[bytes] = ..., target: _Optional[bytes] = ..., exchange: _Optional[bool] = ...) -> None: ...

class Truncate(_message.Message):
    __slots__ = ("fnode", "size")
    FNODE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    fnode: int
    size: int
    def __init__(self, fnode: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class SetAttr(_message.Message):
    __slots__ = ("path", "fnode", "mode", "uid", "gid", "atime_ns", "mtime_ns")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FNODE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    ATIME_NS_FIELD_NUMBER: _ClassVar[int]
    MTIME_NS_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    fnode: int
    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    def __init__(self, path: _Optional[bytes] = ..., fnode: _Optional[int] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., atime_ns: _Optional[int] = ..., mtime_ns: _Optional[int] = ...) -> None: ...

class SetXattr(_message.Message):
    __slots__ = ("path", "fnode", "name", "value")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FNODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    fnode: int
    name: bytes
    value: bytes
    def __init__(self, path: _Optional[bytes] = ..., fnode: _Optional[int] = ..., name: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class RemoveXattr(_message.Message):
    __slots__ = ("path", "fnode", "name")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FNODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    fnode: int
    name: bytes
    def __init__(self, path: _Optional[bytes] = ..., fnode: _Optional[int] = ..., name: _Optional[bytes] = ...) -> None: ...

class Allocate(_message.Message):
    __slots__ = ("fnode", "offset", "length", "mode")
    FNODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    fnode: int
    offset: int
    length: int
    mode: int
    def __init__(self, fnode: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., mode: _Optional[int] = ...) -> None: ...

class Mark(_message.Message):
    __slots__ = ("kind", "text")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Mark.Kind]
        OWNER: _ClassVar[Mark.Kind]
        HEARTBEAT: _ClassVar[Mark.Kind]
        CHECKPOINT: _ClassVar[Mark.Kind]
        CLEAN: _ClassVar[Mark.Kind]
        IMPORT_BEGIN: _ClassVar[Mark.Kind]
        IMPORT_END: _ClassVar[Mark.Kind]
    UNKNOWN: Mark.Kind
    OWNER: Mark.Kind
    HEARTBEAT: Mark.Kind
    CHECKPOINT: Mark.Kind
    CLEAN: Mark.Kind
    IMPORT_BEGIN: Mark.Kind
    IMPORT_END: Mark.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    kind: Mark.Kind
    text: str
    def __init__(self, kind: _Optional[_Union[Mark.Kind, str]] = ..., text: _Optional[str] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("author", "first_seq_no", "first_offset", "first_checksum", "last_seq_no", "last_offset", "log")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_NO_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    FIRST_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_NO_FIELD_NUMBER: _ClassVar[int]
    LAST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    author: int
    first_seq_no: int
    first_offset: int
    first_checksum: int
    last_seq_no: int
    last_offset: int
    log: str
    def __init__(self, author: _Optional[int] = ..., first_seq_no: _Optional[int] = ..., first_offset: _Optional[int] = ..., first_checksum: _Optional[int] = ..., last_seq_no: _Optional[int] = ..., last_offset: _Optional[int] = ..., log: _Optional[str] = ...) -> None: ...

class FnodeSegments(_message.Message):
    __slots__ = ("fnode", "segments")
    FNODE_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    fnode: int
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, fnode: _Optional[int] = ..., segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class FSMHints(_message.Message):
    __slots__ = ("log", "live_nodes", "properties", "state")
    LOG_FIELD_NUMBER: _ClassVar[int]
    LIVE_NODES_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    log: str
    live_nodes: _containers.RepeatedCompositeFieldContainer[FnodeSegments]
    properties: _containers.RepeatedCompositeFieldContainer[Property]
    state: State
    def __init__(self, log: _Optional[str] = ..., live_nodes: _Optional[_Iterable[_Union[FnodeSegments, _Mapping]]] = ..., properties: _Optional[_Iterable[_Union[Property, _Mapping]]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("next_seq_no", "next_checksum", "offset", "author", "nodes", "volume", "partial")
    NEXT_SEQ_NO_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    next_seq_no: int
    next_checksum: int
    offset: int
    author: int
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    volume: str
    partial: bool
    def __init__(self, next_seq_no: _Optional[int] = ..., next_checksum: _Optional[int] = ..., offset: _Optional[int] = ..., author: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., volume: _Optional[str] = ..., partial: _Optional[bool] = ...) -> None: ...

class Xattr(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: bytes
    def __init__(self, name: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("fnode", "paths", "mode", "uid", "gid", "rdev", "target", "atime_ns", "mtime_ns", "xattrs", "size")
    FNODE_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    RDEV_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ATIME_NS_FIELD_NUMBER: _ClassVar[int]
    MTIME_NS_FIELD_NUMBER: _ClassVar[int]
    XATTRS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    fnode: int
    paths: _containers.RepeatedScalarFieldContainer[bytes]
    mode: int
    uid: int
    gid: int
    rdev: int
    target: bytes
    atime_ns: int
    mtime_ns: int
    xattrs: _containers.RepeatedCompositeFieldContainer[Xattr]
    size: int
    def __init__(self, fnode: _Optional[int] = ..., paths: _Optional[_Iterable[bytes]] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., rdev: _Optional[int] = ..., target: _Optional[bytes] = ..., atime_ns: _Optional[int] = ..., mtime_ns: _Optional[int] = ..., xattrs: _Optional[_Iterable[_Union[Xattr, _Mapping]]] = ..., size: _Optional[int] = ...) -> None: ...
