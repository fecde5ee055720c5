"""Connection settings from options, the environment and a token file."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncbackups import REGIONS, ConfigurationError
from asyncbackups.cli.connection import TokenFile, connection


def test_options_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option replaces its variable; a region stands for its base URL, in any case."""
    monkeypatch.setenv("ASYNCBACKUPS_BASE_URL", "https://elsewhere.example")
    monkeypatch.setenv("ASYNCBACKUPS_TENANT", "theirs")
    monkeypatch.setenv("ASYNCBACKUPS_TOKEN", "abcdef")
    where = connection(region="emea", tenant="ours")
    assert where.settings == {"base_url": REGIONS["EMEA"].base_url, "tenant": "ours"}
    assert (where.options, connection().options) == (("--region", "emea", "--tenant", "ours"), ())
    assert repr(where.client()) == "<BackupClient of tenant 'ours'>"
    assert repr(connection().client()) == "<BackupClient of tenant 'theirs'>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "https://x.example", "region": "AMER"}, "not both"),
        ({"region": "MARS"}, "--region must be one of AMER, CANADA, EMEA, APAC, JAPAN, not 'MARS'"),
    ],
)
def test_wrong_options(options: dict[str, str], message: str) -> None:
    """Options that contradict each other or name nothing are refused."""
    with pytest.raises(ConfigurationError, match=message):
        connection(**options)


async def test_a_token_file_is_read_again_once_its_token_is_refused(tmp_path: Path) -> None:
    """The token is kept until the service refuses it; then the file may hold another one."""
    path = tmp_path / "token"
    path.write_text("first\n")
    source = TokenFile(path)
    path.write_text("second\n")
    assert await source.token() == "first"
    assert await source.renewed("first") == "second"
    assert await source.renewed("first") == "second"
    assert await source.token() == "second"
    assert "second" not in repr(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b" \n", "it is empty"),
        (b"\xff\xfe", "it is no text"),
        (b"Bearer abc", "there is white space in it: it must hold the token alone, without `Bearer`"),
        (b"abc\ndef\n", "there is white space"),
        (b"abc\x00def", "there are characters in it that no token has"),
        ("é".encode(), "there are characters"),
    ],
)
def test_token_files_that_hold_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A token file that cannot be used is an error that names it."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"--token-file .*token: {message}"):
        TokenFile(path)


async def test_a_token_file_that_is_spoilt_later_is_named(tmp_path: Path) -> None:
    """What it holds then is not shown."""
    path = tmp_path / "token"
    path.write_text("first")
    source = TokenFile(path)
    path.write_text("Bearer second")
    with pytest.raises(ConfigurationError, match=r"--token-file .*token: there is white space in it") as caught:
        await source.renewed("first")
    assert "second" not in str(caught.value)
