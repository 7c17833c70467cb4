"""Registers: what a check lets through, and what an append makes of them."""

from __future__ import annotations

import pytest

from recfs.broker.registers import changed, check_passes, decode, encode, normal
from recfs.errors import DamageError, UsageError
from recfs.journal.model import LabelSet, Selector

HELD: LabelSet = {"author": ("a",), "zone": ("x", "y")}


@pytest.mark.parametrize(
    ("include", "exclude", "passes"),
    [
        ({}, {}, True),
        ({"author": ("a",)}, {}, True),
        ({"author": ("b",)}, {}, False),
        ({"author": ("b", "a")}, {}, True),
        ({"author": ("",)}, {}, True),
        ({"other": ("",)}, {}, False),
        ({"author": ("a",), "zone": ("y",)}, {}, True),
        ({"author": ("a",), "zone": ("z",)}, {}, False),
        ({}, {"zone": ("x",)}, False),
        ({}, {"zone": ("z",)}, True),
        ({}, {"zone": ("",)}, False),
        ({}, {"other": ("",)}, True),
        ({"author": ("a",)}, {"zone": ("y",)}, False),  # exclude first
    ],
)
def test_a_check_is_decided_by_exclude_then_include(
    include: LabelSet, exclude: LabelSet, passes: bool
) -> None:
    selector = Selector(include, exclude)
    assert check_passes(selector, HELD) is passes
    assert check_passes(selector, {}) is True  # empty registers pass every check
    assert check_passes(None, HELD) is True


@pytest.mark.parametrize(
    ("union", "subtract", "expected"),
    [
        (None, None, HELD),
        ({"author": ("b",)}, None, {"author": ("b",), "zone": ("x", "y")}),
        ({"zone": ("z",)}, None, {"author": ("a",), "zone": ("z",)}),
        (None, {"zone": ("x",)}, HELD),
        (None, {"zone": ("y", "x")}, {"author": ("a",)}),
        (None, {"author": ("a",), "zone": ("x", "y")}, {}),
        ({"author": ("a",)}, {"author": ("a",)}, HELD),  # subtract first, then union
        ({"new-one": ("2", "1", "1")}, {"none": ("q",)}, {**HELD, "new-one": ("1", "2")}),
    ],
)
def test_subtract_is_exact_and_union_replaces(
    union: LabelSet | None, subtract: LabelSet | None, expected: LabelSet
) -> None:
    assert changed(HELD, union, subtract) == expected
    assert HELD == {"author": ("a",), "zone": ("x", "y")}


@pytest.mark.parametrize(
    "labels",
    [{"a": ("x",)}, {"x" * 65: ("x",)}, {"na me": ("x",)}, {"name": ()}, {"name": ("x" * 1025,)},
     {"name": ("", "x")}],
)  # fmt: skip
def test_labels_against_the_rules_are_refused(labels: LabelSet) -> None:
    with pytest.raises(UsageError):
        normal(labels)


def test_registers_are_decoded_as_they_were_encoded() -> None:
    assert decode(encode(HELD), "here") == HELD
    assert decode(encode({}), "here") == {}
    with pytest.raises(UsageError):
        encode({f"name{index}": ("x" * 1000,) for index in range(70)})
    for garbage in (b"", b"[1]", b'{"a":1}', b"\xff\xfe"):
        with pytest.raises(DamageError):
            decode(garbage, "here")
