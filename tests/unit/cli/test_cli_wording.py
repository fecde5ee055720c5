"""Errors of the library in the words of the command line."""

from __future__ import annotations

import pytest

from asyncbackups import BackupsError, BackupSpec, ConfigurationError, TransportError
from asyncbackups.cli.wording import in_our_words


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("planet_class must not be blank", "--planet-class must not be blank"),
        ("Workload.failure_share must be a number", "--failure-share must be a number"),
        ("proxy must be a URL", "the environment's proxy (HTTPS_PROXY, ...) must be a URL"),
        ("--deadline must be positive, not 'base_url'", "--deadline must be positive, not 'base_url'"),
        ("named must be one", "named must be one"),
    ],
)
def test_the_name_at_the_beginning_is_ours(theirs: str, ours: str) -> None:
    """It becomes that of the option or variable; what is quoted, and what is no name, stays."""
    assert in_our_words(ConfigurationError(theirs)) == ours


def test_phrases_of_programs() -> None:
    """The hint for programs is left out."""
    with pytest.raises(ConfigurationError) as raised:
        BackupSpec(temporary=False, retention_period_in_days=2)
    assert in_our_words(raised.value) == (
        "--retention-days applies to temporary backups only; a permanent one is kept until it is deleted"
    )


@pytest.mark.parametrize("error", [TransportError("name of the host", sent=False), BackupsError("base_url")])
def test_other_errors_stay(error: BackupsError) -> None:
    """Only what was given to the library has names that differ."""
    assert in_our_words(error) == str(error)
