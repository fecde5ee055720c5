"""The commands for single backups, in this process, against a simulator over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncbackups import AuthenticationError, BackupClient
from asyncbackups.cli.options import TokenFile
from asyncbackups.simulator import Fixed, PlanetProfile, Simulator, Workload
from tests.cli_program import Program, hosted

WORKLOAD = Workload(
    duration=Fixed(0.0),
    history=3,
    planets={"broken": PlanetProfile(failure_share=1), "slow": PlanetProfile(duration=Fixed(9e9))},
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Serve a workload in which backups end at once, except for those of the planet "slow"."""
    with hosted(lambda: Simulator(workload=WORKLOAD, forbidden={"secret"})) as (simulator, _):
        yield simulator


def test_health(run: Program) -> None:
    """Health is the service's status, or with --json its whole response."""
    assert run("health").out == "UP\n"
    assert run("health", "--json").json == [{"status": "UP"}]


def test_create_wait_get_list_delete(run: Program) -> None:
    """The name that create prints works with wait, get and delete; then the backup is gone."""
    created = run("create", "alpha/prod", "--name", "nightly", "--retention-days", "3")
    assert (created.status, created.error.partition(";")[0]) == (
        0,
        f"alpha/prod: backup {created.out[6:-1]} created",
    )
    ref = created.out.strip()
    waited = run("wait", ref)
    assert (waited.status, waited.out) == (0, "")
    assert waited.err.startswith(f"{ref} succeeded after")
    shown = run("get", ref)
    assert "metadata.name\tnightly\n" in shown.out
    listed = run("list", "alpha/prod").out
    assert listed.startswith("backup\tplanet\tmechanism\ttype\tstatus\tstarted\tcompleted\texpires\n")
    assert f"\n{ref}\tprod\tlogical\ttemporary\tsucceeded\t" in listed
    assert run("delete", ref).error == f"{ref} deleted"
    missing = run("delete", ref)
    assert (missing.status, "404, not found" in missing.error) == (1, True)
    fine = run("delete", ref, "--missing-ok")
    assert (fine.status, fine.error) == (0, f"{ref} does not exist")
    assert (run("get", ref).status, run("wait", ref).status) == (1, 1)


def test_json_has_the_field_names_of_the_api(run: Program) -> None:
    """Create, get and list print one backup per line, with the API's own field names."""
    (created,) = run("create", "alpha/é", "--permanent", "--mechanism", "snapshot", "--json").json
    assert (created["type"], created["mechanism"], created["environment"]["name"]) == ("permanent", "snapshot", "é")
    (shown,) = run("get", f"alpha/{created['id']}", "--json").json
    assert {"displayStatus", "completedAt", "databaseToApplicationBuilds"} <= set(shown)
    listed = run("list", "alpha", "--json").json
    assert [one for one in listed if one["id"] == created["id"]] == [shown]
    assert run("list", "alpha/é", "--json").json == [shown]


def write_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "written"
    path.write_text(text)
    return str(path)


def test_wait_for_many_backups(run: Program, tmp_path: Path) -> None:
    """Each backup has one event; the report follows; the highest status counts; a file may name backups."""
    good, broken, slow = (run("create", f"beta/{planet}").out.strip() for planet in ("good", "broken", "slow"))
    both = run("wait", good, broken, good, "--json")
    *events, report = both.json
    assert {(event["event"], f"beta/{event['backup_id']}") for event in events} == {
        ("backup_succeeded", good),
        ("backup_failed", broken),
    }
    assert (report["created"], report["succeeded"], report["failed"], report["exit_status"]) == (2, 1, 1, 1)
    assert (both.status, both.err) == (1, "")
    again = run("wait", write_file(tmp_path, f"{good}\n{broken} # failed\n{good}\n"), good, "--json")
    assert (again.json[-1]["created"], again.json[-1]["succeeded"], again.json[-1]["failed"]) == (2, 1, 1)
    late = run("wait", slow, good, "--deadline", "0.3s")
    assert late.status == 3
    assert f"{slow} not finished at the deadline" in late.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["create", "../../x"], 2, "a planet is written star_system/planet, not '../../x'"),
        (["create", "alpha/a/b"], 2, "a planet is written star_system/planet, not 'alpha/a/b'"),
        (["create", "é"], 2, "a planet is written star_system/planet, not 'é'"),
        (["create", "alpha/.."], 2, "planet must not be '..'"),
        (["create", "alpha/x", "--mechanism", "magic"], 1, "400"),
        (["create", "alpha/x", "--retention-days", "0"], 2, "--retention-days must be an integer of at least 1"),
        (["create", "alpha/x", "--permanent", "--retention-days", "2"], 2, "--retention-days applies to temporary"),
        (["create", "alpha/x", "--name", " "], 2, "--name must not be blank"),
        (["create", "alpha/x", "--planet-class", ""], 2, "--planet-class must not be blank"),
        (["create", "secret/x"], 4, "403"),
        (["get", "alpha/362x"], 2, "a backup is written star_system/backup_id"),
        (["get", "alpha/999999"], 1, "404"),
        (["list", "alpha/"], 2, "a planet is written"),
        (["list", "secret"], 4, "403"),
        (["wait", "alpha/1", "--deadline", "soon"], 2, "Invalid value for '--deadline': must be a positive duration"),
        (["health", "--base-url", "http://example.com"], 2, "--base-url (or ASYNCBACKUPS_BASE_URL) must start with"),
        (["health", "--base-url", "https://u:p@example.com"], 2, "must not contain credentials"),
        (["health", "--tenant", ".."], 2, "--tenant (or ASYNCBACKUPS_TENANT) must not be '..'"),
        (["health", "--tenant", ""], 2, "--tenant (or ASYNCBACKUPS_TENANT) must not be blank"),
        (["health", "--base-url", " "], 2, "--base-url (or ASYNCBACKUPS_BASE_URL) must not be blank"),
        (["health", "--token-file", ""], 2, "'--token-file': must not be blank"),
        (["resume", ""], 2, "'JOURNAL': must not be blank"),
        (["bulk", "alpha/x", "--journal", " "], 2, "'--journal': must not be blank"),
        (["bulk", "/"], 2, "'/' is a directory, not a file of targets"),
        (["bulk", ""], 2, "File not found: ''"),
        (["demo", "--speed", "0"], 2, "Invalid value for '--speed': 0.0 is not in the range x>0."),
        (
            ["health", "--base-url", "https://x.example", "--region", "AMER"],
            2,
            "--base-url cannot be combined with --region",
        ),
        (["health", "--token-file", "/no/such/file"], 2, "No such file"),
        (["frobnicate"], 2, "(see asyncbackups --help)"),
        (["get"], 2, "Missing argument 'BACKUP'. (see asyncbackups get --help)"),
        (["health", "--nonsense"], 2, "(see asyncbackups health --help)"),
        (["bulk", "alpha/x", "--concurrency", "0"], 2, "--concurrency"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_line(run: Program, arguments: list[str], status: int, message: str) -> None:
    """Every error ends with one line on stderr and its exit status."""
    ended = run(*arguments)
    assert (ended.status, ended.out) == (status, "")
    assert ended.error.startswith("asyncbackups: ")
    assert message in ended.error
    assert not re.search(r"\b[a-z]+_(?!system|id\b)[a-z_]+|`auth`|temporary=", ended.error)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BASE_URL": "nonsense"}, "--base-url (or ASYNCBACKUPS_BASE_URL) must be a URL"),
        ({"TOKEN": "é"}, "the token in ASYNCBACKUPS_TOKEN must consist of visible ASCII characters"),
        (
            {"TOKEN": "", "CLIENT_ID": "a", "CLIENT_SECRET": "b", "TOKEN_URL": "http://hub.example"},
            "ASYNCBACKUPS_TOKEN_URL must start with https://",
        ),
    ],
    ids=["base URL", "token", "token URL"],
)
def test_errors_name_the_variable(
    run: Program, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    """An error in the environment names the variable, and nothing that only programs can set."""
    for name, value in variables.items():
        monkeypatch.setenv(f"ASYNCBACKUPS_{name}", value)
    ended = run("health")
    assert ended.status == 2
    assert ended.error.startswith(f"asyncbackups: {message}")
    assert "insecure_http" not in ended.error


def test_wrong_token(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused credentials are status 4 for every command, and no message contains the token."""
    monkeypatch.setenv("ASYNCBACKUPS_TOKEN", "wrong-token-value")
    for arguments in (["health"], ["create", "alpha/x"], ["get", "alpha/1"], ["list", "alpha"], ["delete", "alpha/1"]):
        ended = run(*arguments)
        assert (ended.status, "401" in ended.error, "wrong-token" in ended.error) == (4, True, False)
    waited = run("wait", "alpha/1")
    assert (waited.status, "alpha/1 can no longer be checked: " in waited.err) == (4, True)


def test_missing_settings_are_named_together(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names all missing variables."""
    for name in ("BASE_URL", "TENANT", "TOKEN"):
        monkeypatch.delenv(f"ASYNCBACKUPS_{name}")
    ended = run("health")
    assert ended.status == 2
    assert all(f"ASYNCBACKUPS_{name}" in ended.error for name in ("BASE_URL", "REGION", "TENANT", "TOKEN"))


def test_options_replace_the_environment(
    run: Program, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Base URL and tenant may be options and the token a file: then the environment is not needed."""
    for name in ("BASE_URL", "TENANT", "TOKEN"):
        monkeypatch.delenv(f"ASYNCBACKUPS_{name}")
    token = tmp_path_factory.mktemp("secrets") / "token"
    token.write_text(simulator.token + "\n")
    assert run("list", "alpha", "--base-url", simulator.base_url, "--tenant", "example", "--token-file", str(token)).out


def test_token_file_with_more_than_a_token(run: Program, tmp_path: Path) -> None:
    """It is wrong configuration: the file is named, the token is not shown, and nothing is sent."""
    file = write_file(tmp_path, "Bearer s3cret-value\n")
    ended = run("health", "--token-file", file)
    assert (ended.status, ended.out) == (2, "")
    assert ended.error.startswith(f"asyncbackups: --token-file {file}: the file contains white space")
    assert "s3cret" not in ended.error


async def test_token_file_that_becomes_invalid_later(tmp_path: Path) -> None:
    """When its first token is refused the file is read again; an error names the file."""
    file = Path(write_file(tmp_path, "wrong-token"))
    source = TokenFile(file)
    file.write_text("Bearer s3cret-value")
    async with (
        Simulator() as simulator,
        BackupClient(simulator.base_url, simulator.tenant, auth=source) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await client.health()
    assert f"--token-file {file}: the file contains white space" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_verbose_logs_to_stderr(run: Program, simulator: Simulator) -> None:
    """-vv logs every request, before or after the command, and never the token."""
    for arguments in (["-vv", "health"], ["health", "-v", "-v"]):
        ended = run(*arguments)
        assert ended.out == "UP\n"
        assert "/management/health: 200" in ended.err
        assert simulator.token not in ended.err
    assert run("-v", "health").err == ""


@pytest.mark.parametrize("name", ["create", "bulk", "simulate"])
def test_help_fits_80_columns(run: Program, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Titles end before the corner of their frame; a longer one would be cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(name, "--help").out.splitlines()
    titles = [line for line in lines if line.startswith("╭─ ")]
    assert titles
    assert all(len(title) == 80 and title.endswith("──╮") for title in titles)
    panel = "╭─ Connection (default: environment variables) "
    assert any(title.startswith(panel) for title in titles) == (name != "simulate")


def test_version_and_help(run: Program) -> None:
    """The version is one line; help lists the commands and the exit statuses; no command is wrong usage."""
    assert run("--version").out.startswith("asyncbackups ")
    helped = run("-h")
    assert (helped.status, "health" in helped.out, "130 interrupted" in helped.out) == (0, True, True)
    assert run().status == 2
