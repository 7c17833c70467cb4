"""Settings: volume URLs, places, the configuration file, quantities."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recfs.config import default_backing, runtime_directory
from recfs.config_file import FILE_KEYS, load_file
from recfs.errors import UsageError
from recfs.quantity import parse_seconds, parse_size
from recfs.volume import parse_volume


@pytest.mark.parametrize(
    ("text", "url", "root", "name"),
    [
        ("file:///srv/recfs/app/db1", "file:///srv/recfs/app/db1", "/srv/recfs/app", "db1"),
        ("FILE:///srv/db1/", "file:///srv/db1", "/srv", "db1"),
        ("file:///db1", "file:///db1", "/", "db1"),
        ("file:///x", "file:///x", "/", "x"),
        ("file:///my%20disk/db1", "file:///my%20disk/db1", "/my disk", "db1"),
        ("file:///my disk/db1", "file:///my%20disk/db1", "/my disk", "db1"),
        ("file:///100%25/a=1%2541", "file:///100%25/a=1%2541", "/100%", "a=1%41"),
        ("file:///srv/Größe", "file:///srv/Größe", "/srv", "Größe"),
    ],
)
def test_a_file_url_names_a_root_and_a_volume_in_it(
    text: str, url: str, root: str, name: str
) -> None:
    volume = parse_volume(text)
    assert (volume.url, volume.service, volume.root, volume.name, volume.host) == (
        url,
        "file",
        Path(root),
        name,
        "",
    )
    assert (volume.log, volume.hints) == (f"{name}/log", f"{name}/hints")
    assert parse_volume(volume.url) == volume


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http://broker:8080/app/db1", "broker:8080"),
        ("https://broker/app/db1", "broker"),
        ("gazette://[::1]:8080/app/db1/", "[::1]:8080"),
        ("s3://bucket/app/db1", "bucket"),
        ("gs://bucket/app/db1", "bucket"),
        ("az://container/app/db1", "container"),
    ],
)
def test_other_urls_name_a_host_and_the_whole_path_is_the_volume(text: str, host: str) -> None:
    volume = parse_volume(text)
    assert (volume.host, volume.name, volume.log) == (host, "app/db1", "app/db1/log")
    assert volume.service == text.partition(":")[0]
    assert parse_volume(volume.url) == volume


@pytest.mark.parametrize(
    ("text", "what", "attempt"),
    [
        ("", "not a volume URL", "file:///srv/recfs/db1"),
        ("/srv/db1", "not a volume URL", "file:///srv/db1"),
        ("db1", "not a volume URL", "absolute path"),
        ("./db1", "not a volume URL", "absolute path"),
        ("file:/srv/db1", "not a volume URL", "absolute path"),
        ("ftp://host/db1", "no journal service 'ftp'", "file://"),
        ("file://srv/recfs/db1", "names 'srv'", "file:///srv/recfs/db1"),
        ("file://localhost/srv/db1", "names 'localhost'", "three slashes"),
        ("file://", "has no path", "/srv/app/db1"),
        ("file:///", "has no path", "/srv/app/db1"),
        ("file:///srv/../db1", "'..'", "without"),
        ("file:///srv/./db1", "'.'", "without"),
        ("file:///srv//db1", "empty element", "without"),
        ("file:////srv/db1", "empty element", "without"),
        ("file:///srv/a%00b", "zero byte", "without"),
        ("file:///srv/%2e%2e", "'..'", "without"),
        ("file:///srv/.broker", "begin with a dot", "another"),
        ("file:///srv/a%20b", "' ' cannot stand", "letters"),
        ("file:///srv/a;b", "';' cannot stand", "letters"),
        ("file:///srv/a*b", "'*' cannot stand", "letters"),
        ("file:///srv/a%FF", "is not a URL", "spelling"),
        ("file:///srv/db1?x=1", "no query", "%3F"),
        ("file:///srv/db1#x", "no fragment", "%23"),
        ("file:///srv/db\n1", "cannot be printed", "%XX"),
        ("file:///srv/db\udcff1", "cannot be printed", "%XX"),
        ("file:///srv/" + "a" * 507, "has 513 bytes", "at most 512"),
        ("http:///app/db1", "a recfs broker must be named", "http://HOST/PATH"),
        ("http://host", "has no path", "/srv/app/db1"),
        ("http://[host/app", "is not a URL", "spelling"),
        ("s3://bucket//db1", "empty element", "without"),
    ],
)
def test_what_cannot_name_a_volume_is_refused_with_a_way_out(
    text: str, what: str, attempt: str
) -> None:
    with pytest.raises(UsageError) as refused:
        parse_volume(text)
    assert what in refused.value.what
    assert attempt in refused.value.attempt
    assert "\n" not in refused.value.what + refused.value.attempt
    assert refused.value.exit_code == 2


def test_a_journal_name_of_512_bytes_is_the_longest() -> None:
    assert len(parse_volume("file:///srv/" + "a" * 506).hints) == 512


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as refused:
        parse_volume("https://me:hunter2@broker/app/db1")
    assert "hunter2" not in refused.value.what + refused.value.attempt


@given(st.text())
def test_any_text_is_a_volume_or_a_usage_error(text: str) -> None:
    for candidate in (text, f"file:///{text}", f"http://{text}", f"s3://b/{text}"):
        with contextlib.suppress(UsageError):
            volume = parse_volume(candidate)
            assert parse_volume(volume.url) == volume


def test_each_volume_has_a_backing_directory_of_its_own() -> None:
    first = parse_volume("file:///srv/a/db1")
    second = parse_volume("file:///srv/b/db1")
    home = Path("/home/me/.local/state")
    mine = default_backing(first, is_root=False, state_home=home)
    assert mine.parent == home / "recfs"
    assert mine.name.startswith("db1-")
    assert mine == default_backing(first, is_root=False, state_home=home)
    assert mine != default_backing(second, is_root=False, state_home=home)
    assert default_backing(first, is_root=True, state_home=home).parent == Path("/var/lib/recfs")


def test_the_longest_volume_name_still_makes_a_directory_name() -> None:
    volume = parse_volume("s3://bucket/" + "/".join(["element"] * 60))
    backing = default_backing(volume, is_root=True, state_home=Path("/"))
    assert len(backing.name) < 100
    assert backing.parent == Path("/var/lib/recfs")


def test_mounts_are_registered_where_the_user_may_write() -> None:
    home = Path("/home/me/.local/state")
    assert runtime_directory(is_root=True, runtime_home=Path("/run/user/0"), state_home=home) == (
        Path("/run/recfs")
    )
    assert runtime_directory(is_root=False, runtime_home=Path("/run/user/7"), state_home=home) == (
        Path("/run/user/7/recfs")
    )
    assert runtime_directory(is_root=False, runtime_home=None, state_home=home) == (
        home / "recfs/run"
    )


def test_a_file_gives_settings_with_variables_expanded(tmp_path: Path) -> None:
    path = tmp_path / "recfs.toml"
    path.write_text(
        """
        volume = "file://$BASE/${NAME}1"   # $UNSET in a comment is no variable
        command = ["sh", "-c", "echo $$HOME $NAME"]
        heartbeat = 2
        hints_interval = "10m"
        allow_other = true
        """
    )
    assert load_file(path, {"BASE": "/srv", "NAME": "db"}) == {
        "volume": "file:///srv/db1",
        "command": ["sh", "-c", "echo $HOME db"],
        "heartbeat": 2,
        "hints_interval": "10m",
        "allow_other": True,
    }


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("cache = 'none'\nbaking = '/x'\n", 2, "no setting 'baking'"),
        ("cache = 'none'\n\n[mount]\ncache = 'none'\n", 3, "no setting 'mount'"),
        ("a.b = 1\n", 1, "no setting 'a'"),
        ("'cache' = 1\n", 1, "cache must be a text in quotes"),
        ("xattr = 'yes'\n", 1, "xattr must be true or false"),
        ("heartbeat = true\n", 1, "heartbeat must be a text in quotes or a whole number or"),
        ("command = '*.tmp'\n", 1, "command must be a list"),
        ("command = [1]\n", 1, "command must be a list of texts"),
        ("\nvolume = 'file://$NOWHERE/db1'\n", 2, "the variable NOWHERE, which is not set"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, what: str
) -> None:
    path = tmp_path / "recfs.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_file(path, {})
    assert refused.value.what.startswith(f"{path}:{line}: ")
    assert what in refused.value.what
    assert refused.value.attempt


def test_a_file_that_is_no_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "recfs.toml"
    path.write_text("cache = \nxattr = true\n")
    with pytest.raises(UsageError, match="line 1"):
        load_file(path, {})
    path.write_bytes(b"cache = '\xff'")
    with pytest.raises(UsageError, match="byte 9 is not UTF-8"):
        load_file(path, {})
    with pytest.raises(UsageError, match="No such file"):
        load_file(tmp_path / "missing.toml", {})
    with pytest.raises(UsageError, match="Is a directory"):
        load_file(tmp_path, {})


@given(st.binary())
def test_any_file_is_read_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with contextlib.suppress(UsageError):
        assert load_file(path, {}).keys() <= FILE_KEYS.keys()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("1.5s", 1.5), ("250 ms", 0.25), ("5m", 300), ("2H", 7200), ("1d", 86400)],
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("64k", 65536),
        ("32MiB", 32 << 20),
        ("32M", 32 << 20),
        ("1GB", 10**9),
        ("1.5G", 3 << 29),
    ],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "5 parsecs", "1e3", "nan", "inf", "²"])
def test_other_quantities_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_seconds(text)
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)
