"""Options: the connection, the token file, durations."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from asyncbackups import REGIONS, ConfigurationError
from asyncbackups.cli.options import TokenFile, create_connection, parse_duration


def test_options_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option replaces its variable; a region, in any case, sets its base URL."""
    monkeypatch.setenv("ASYNCBACKUPS_BASE_URL", "https://elsewhere.example")
    monkeypatch.setenv("ASYNCBACKUPS_TENANT", "theirs")
    monkeypatch.setenv("ASYNCBACKUPS_TOKEN", "abcdef")
    connection = create_connection(region="emea", tenant="ours")
    assert connection.settings == {"base_url": REGIONS["EMEA"].base_url, "tenant": "ours"}
    assert (connection.options, create_connection().options) == (("--region", "emea", "--tenant", "ours"), ())
    assert repr(connection.create_client()) == "<BackupClient of tenant 'ours'>"
    assert repr(create_connection().create_client()) == "<BackupClient of tenant 'theirs'>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "https://x.example", "region": "AMER"}, "--base-url cannot be combined with --region"),
        ({"region": "MARS"}, "--region must be one of AMER, CANADA, EMEA, APAC, JAPAN, not 'MARS'"),
    ],
)
def test_invalid_connection_options(options: dict[str, str], message: str) -> None:
    """Options that contradict each other, or an unknown region, are refused."""
    with pytest.raises(ConfigurationError, match=message):
        create_connection(**options)


async def test_token_file_is_read_again_when_its_token_is_refused(tmp_path: Path) -> None:
    """The token is kept until the service refuses it; then the file is read again."""
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
        (b" \n", "the file is empty"),
        (b"\xff\xfe", "not a text file"),
        (b"Bearer abc", "the file contains white space; it must contain the token alone, without `Bearer`"),
        (b"abc\ndef\n", "the file contains white space"),
        (b"abc\x00def", "the file contains characters that are not allowed in a token"),
        ("é".encode(), "the file contains characters"),
    ],
)
def test_invalid_token_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A token file that cannot be used raises an error that names it."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"--token-file .*token: {message}"):
        TokenFile(path)


async def test_token_file_that_becomes_invalid(tmp_path: Path) -> None:
    """The error names the file and does not show its content."""
    path = tmp_path / "token"
    path.write_text("first")
    source = TokenFile(path)
    path.write_text("Bearer second")
    with pytest.raises(ConfigurationError, match=r"--token-file .*token: the file contains white space") as caught:
        await source.renewed("first")
    assert "second" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("15m", 900), ("24h", 86400), (" 2 D ", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    """A number may have a unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "h", "1w", "1h30m", "nan", "inf", "1e3", "٣", "9" * 400])
def test_invalid_durations(text: str) -> None:
    """Anything else is an error that says what is valid."""
    with pytest.raises(click.BadParameter, match=r"must be a positive duration such as 90s"):
        parse_duration(text)
