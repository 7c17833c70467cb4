"""Names of fragments, and the codecs of their content."""

from __future__ import annotations

import os
import subprocess
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recfs.broker.codec import compress, expand
from recfs.broker.fragment import (
    EXTENSIONS,
    check_codec,
    fragment_name,
    parse_fragment_name,
)
from recfs.errors import DamageError, UsageError
from recfs.journal.model import Fragment

SUM = bytes(range(1, 21))
NAME = "00000000499602d2-7fffffffffffffff-0102030405060708090a0b0c0d0e0f1011121314"


def test_a_name_is_gazettes() -> None:
    fragment = Fragment("a=1/b=2", 1234567890, (1 << 63) - 1, SUM, "gzip")
    assert fragment_name(fragment) == NAME + ".gz"


@given(
    st.integers(0, 1 << 62),
    st.integers(0, (1 << 62) - 1),
    st.binary(min_size=20, max_size=20),
    st.sampled_from(sorted(EXTENSIONS)),
)
def test_a_name_is_parsed_back(begin: int, length: int, digest: bytes, codec: str) -> None:
    fragment = Fragment("a/journal", begin, begin + length, digest, codec)
    assert parse_fragment_name("a/journal", fragment_name(fragment)) == fragment


@pytest.mark.parametrize(
    ("extension", "codec"),
    [(".raw", "none"), (".gz", "gzip"), (".gzip", "gzip"), (".zst", "zstd"), (".ZST", "zstd"),
     (".zstandard", "zstd"), (".sz", "snappy"), (".snappy", "snappy"), ("", "gzip-offload"),
     (".gzod", "gzip-offload")],
)  # fmt: skip
def test_every_spelling_of_an_extension_is_read(extension: str, codec: str) -> None:
    parsed = parse_fragment_name("a/journal", NAME + extension, mod_time=7, store="s3://b/")
    assert parsed == Fragment("a/journal", 1234567890, (1 << 63) - 1, SUM, codec, 7, "s3://b/")
    assert parse_fragment_name("a/journal", NAME.upper() + extension) is not None


@pytest.mark.parametrize(
    "name",
    ["", "README", NAME + ".bz2", NAME[1:] + ".raw", NAME + "00.raw", NAME[:-2] + ".raw",
     ".partial-123", NAME.replace("-", "_") + ".raw", "-" + NAME + ".raw", NAME + ".raw.gz",
     "0000000000000002-0000000000000001-" + "00" * 20 + ".raw",
     "0000000000000000-ffffffffffffffff-" + "00" * 20 + ".raw",
     "000000000000000x-0000000000000001-" + "00" * 20 + ".raw",
     "+000000000000001-0000000000000001-" + "00" * 20 + ".raw"],
)  # fmt: skip
def test_other_names_are_no_fragments(name: str) -> None:
    assert parse_fragment_name("a/journal", name) is None


@given(st.text(max_size=90))
def test_no_name_breaks_the_parser(name: str) -> None:
    parse_fragment_name("a/journal", name)


CONTENT = [os.urandom(100_000), b"compressible " * 100_000, b"", b"end"]


def _expanded(codec: str, stored: bytes) -> bytes:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(stored)
        source.flush()
        expand(codec, source.fileno(), target.fileno(), "a fragment")
        return target.read()


@pytest.mark.parametrize("codec", ["gzip", "zstd", "snappy"])
def test_what_is_compressed_is_expanded_also_in_several_members(codec: str) -> None:
    stored = b"".join(compress(codec, CONTENT))
    assert len(stored) < 300_000
    assert _expanded(codec, stored) == b"".join(CONTENT)
    assert _expanded(codec, stored + stored) == b"".join(CONTENT) * 2


@pytest.mark.parametrize("tool", ["gzip", "zstd"])
def test_the_usual_tools_read_what_is_written_and_the_other_way_round(tool: str) -> None:
    plain = b"".join(CONTENT)
    stored = b"".join(compress(tool, CONTENT))
    assert subprocess.run([tool, "-dc"], input=stored, capture_output=True).stdout == plain
    theirs = subprocess.run([tool, "-c"], input=plain, capture_output=True).stdout
    assert _expanded(tool, theirs + theirs) == plain * 2


@pytest.mark.parametrize("codec", ["gzip", "zstd", "snappy"])
def test_what_is_no_compressed_content_is_damage(codec: str) -> None:
    with pytest.raises(DamageError):
        _expanded(codec, b"this is not compressed at all " * 10)


def test_no_codec_leaves_content_as_it_is() -> None:
    assert list(compress("none", CONTENT)) == CONTENT


@pytest.mark.parametrize("codec", ["", "lz4", "gzip-offload"])
def test_a_codec_that_cannot_be_written_is_refused(codec: str) -> None:
    with pytest.raises(UsageError):
        check_codec(codec)
