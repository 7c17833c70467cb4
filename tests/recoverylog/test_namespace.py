"""The tree of names."""

from __future__ import annotations

import pytest

from recfs.recoverylog.namespace import Directory, File, Namespace, split


def build(*paths: bytes) -> Namespace:
    """A namespace of files, ids from 1 on, with their parents implied."""
    namespace = Namespace()
    for fnode, path in enumerate(paths, start=1):
        names = split(path)
        assert names
        place = namespace.walk(names)
        assert place is not None
        namespace.bind(*namespace.imply(*place), File(fnode))
    return namespace


def ids(namespace: Namespace) -> dict[bytes, int]:
    return {path: node.id for path, node in namespace.walk_tree()}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (b"/", []),
        (b"/a", [b"a"]),
        (b"/a/b\xff", [b"a", b"b\xff"]),
        (b"/" + b"x" * 255, [b"x" * 255]),
        (b"/.../..x", [b"...", b"..x"]),
        (b"", None),
        (b"a", None),
        (b"a/b", None),
        (b"//", None),
        (b"/a/", None),
        (b"//a", None),
        (b"/a//b", None),
        (b"/.", None),
        (b"/a/..", None),
        (b"/a\0b", None),
        (b"/" + b"x" * 256, None),
    ],
)
def test_only_clean_paths_have_names(path: bytes, names: list[bytes] | None) -> None:
    assert split(path) == names


def test_paths_are_resolved() -> None:
    namespace = build(b"/a/b", b"/c")
    assert namespace.resolve(b"/") is namespace.root
    assert isinstance(namespace.resolve(b"/a"), Directory)
    for missing in (b"/a/x", b"/x/y", b"/c/d", b"/a/", b"relative"):
        assert namespace.resolve(missing) is None


def test_parents_are_resolved_whether_the_name_is_bound_or_not() -> None:
    namespace = build(b"/a/b", b"/c")
    a = namespace.resolve(b"/a")
    assert namespace.resolve_parent(b"/a/b") == (a, b"b")
    assert namespace.resolve_parent(b"/a/new") == (a, b"new")
    assert namespace.resolve_parent(b"/new") == (namespace.root, b"new")
    for without in (b"/", b"/x/y", b"/c/d", b"/a//b"):
        assert namespace.resolve_parent(without) is None


def test_nodes_know_their_paths_after_a_directory_has_moved() -> None:
    namespace = build(b"/a/b/c", b"/d")
    c, a = namespace.resolve(b"/a/b/c"), namespace.resolve(b"/a")
    assert isinstance(c, File)
    assert isinstance(a, Directory)
    namespace.bind(namespace.root, b"c2", c)
    assert c.paths() == [b"/a/b/c", b"/c2"]
    namespace.move((namespace.root, b"a"), (namespace.root, b"z"))
    assert c.paths() == [b"/z/b/c", b"/c2"]
    assert (a.path(), namespace.root.path()) == (b"/z", b"/")


def test_a_directory_rename_touches_one_entry() -> None:
    """Whatever is beneath it: the links of a file below are the very same objects."""
    namespace = build(*(b"/a/b/%d" % index for index in range(100)))
    node = namespace.resolve(b"/a/b/7")
    assert isinstance(node, File)
    before = list(node.links)
    namespace.move((namespace.root, b"a"), (namespace.root, b"z"))
    assert all(now is then for now, then in zip(node.links, before, strict=True))
    assert namespace.resolve(b"/z/b/7") is node


def test_an_exchange_swaps_two_entries() -> None:
    namespace = build(b"/a/b", b"/c")
    a = namespace.resolve(b"/a")
    assert isinstance(a, Directory)
    namespace.exchange((a, b"b"), (namespace.root, b"c"))
    assert ids(namespace) == {b"/a": 0, b"/a/b": 2, b"/c": 1}


def test_a_directory_is_hollow_while_all_in_it_is_implied() -> None:
    namespace = build(b"/a/b/c")
    a, b = namespace.resolve(b"/a"), namespace.resolve(b"/a/b")
    assert isinstance(a, Directory)
    assert isinstance(b, Directory)
    assert not a.is_hollow()
    namespace.unbind(b, b"c")
    assert a.is_hollow()
    b.implied = False
    assert not a.is_hollow()


def test_binding_a_taken_name_is_a_programmer_error() -> None:
    namespace = build(b"/a")
    with pytest.raises(AssertionError):
        namespace.bind(namespace.root, b"a", File(9))
