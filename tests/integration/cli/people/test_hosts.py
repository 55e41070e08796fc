"""Hosts on the command line: named by IMI_HOST, listed, renamed, removed, and what is on which."""

from __future__ import annotations

import pytest

from registry.models import DEFAULT_HOST
from tests.support.commandline import CommandLine

ORIGIN = "git@github.com:ada/engine.git"
ADD = ["worktree", "register", "/code/engine/feat-x", "--project", "engine", "--branch", "feat/x"]


@pytest.fixture
def on(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    """Says as which host commands run from now on."""

    def now(host: str | None) -> CommandLine:
        if host is None:
            monkeypatch.delenv("IMI_HOST", raising=False)
        else:
            monkeypatch.setenv("IMI_HOST", host)
        return cli

    return now


@pytest.fixture
def two(on) -> CommandLine:
    """One project with a worktree at the same path on two hosts."""
    for host in ("laptop", "server"):
        cli = on(host)
        assert cli("project", "register", "--origin", ORIGIN, "--trunk-path", f"/{host}/trunk-main").code == 0
        assert cli(*ADD).code == 0
        assert cli("worktree", "git-state", "/code/engine/feat-x", "--uncommitted", "2").code == 0
    return on(None)


def test_a_path_is_that_of_the_host(two: CommandLine, on) -> None:
    for host in ("laptop", "server"):
        assert on(host)("path", "engine").out == f"/{host}/trunk-main\n"
        (shown,) = on(host)("worktree", "list", "--host", host, "--json").json
        assert on(host)("worktree", "show", "/code/engine/feat-x", "--json").json == shown
    refused = on("desk")("path", "engine")
    assert (refused.code, "which is not on the host" in refused.err) == (1, True)
    assert "desk" not in {host["name"] for host in two("host", "list", "--json").json}  # nothing was written from there


def test_lists_are_of_one_host_or_told_by_host(two: CommandLine) -> None:
    inflight = two("inflight").out
    assert inflight.index("laptop") < inflight.index("server")
    assert {row["worktree_name"] for row in two("inflight", "--host", "server", "--json").json} == {"feat-x@server"}
    assert [row["trunk_path"] for row in two("project", "list", "--host", "server", "--json").json] == [
        "/server/trunk-main"
    ]
    shown = two("project", "show", "engine").out
    assert "on server" in shown
    assert "/server/trunk-main" in shown
    assert "feat-x@server" in two("worktree", "list").out
    assert two("worktree", "show", "feat-x@server", "--json").json["path"] == "/code/engine/feat-x"


def test_without_hosts_nothing_tells_of_them(cli: CommandLine) -> None:
    cli("project", "register", "--origin", ORIGIN)
    cli(*ADD)
    cli("worktree", "git-state", "/code/engine/feat-x", "--uncommitted", "2")
    for command in (["inflight"], ["worktree", "list"], ["worktree", "show", "feat-x"], ["project", "show", "engine"]):
        assert "default" not in cli(*command).out
        assert "host" not in cli(*command).out
    assert cli("worktree", "list", "--json").json[0]["host_id"] == str(DEFAULT_HOST)


def test_a_host_is_renamed_described_and_still_found_by_its_former_name(two: CommandLine, on) -> None:
    assert two("host", "rename", "server", "Box").out.startswith("renamed host box ")
    assert two("host", "update", "server", "--description", "In the basement").code == 0
    shown = two("host", "show", "server").out
    assert "formerly" in shown
    assert "In the basement" in shown
    assert on("server")("path", "engine").out == "/server/trunk-main\n"
    assert "box (here)" in on("server")("host", "list").out


def test_the_default_host_is_renamed_on_the_machine_that_has_the_name_already(cli: CommandLine, on) -> None:
    cli("project", "register", "--origin", ORIGIN)
    assert on("laptop")("host", "rename", "default", "laptop").out.startswith(f"renamed host laptop {DEFAULT_HOST}")
    assert cli("project", "list", "--host", "laptop", "--json").json != []
    assert cli(*ADD).code == 0
    assert cli("worktree", "show", "feat-x", "--json").json["host_id"] == str(DEFAULT_HOST)


def test_a_host_is_removed_when_nothing_is_on_it(two: CommandLine) -> None:
    refused = two("host", "remove", "server", "--yes")
    assert refused.code == 1
    assert 'host "server": 1 worktrees and 1 projects are on it' in refused.err
    assert two("host", "leave", "server", "engine").out == "engine is no longer on host server\n"
    assert two("worktree", "update", "feat-x@server", "--host", "default").code == 0
    assert two("host", "remove", "server", "--yes").out == "removed host server\n"
    assert [host["name"] for host in two("host", "list", "--json").json] == ["default", "laptop"]


@pytest.mark.parametrize("name", ["", "a b", "@", "x" * 300])
def test_a_name_that_is_none_is_refused(cli: CommandLine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = cli("host", "register", name)
    assert refused.code == 2
    assert "register_host: p_name" in refused.err
    monkeypatch.setenv("IMI_HOST", name)
    refused = cli("project", "list")
    assert refused.code == 2
    assert "setting host" in refused.err


def test_a_host_that_is_not_there_is_told_with_those_that_are(two: CommandLine) -> None:
    for command in (["inflight"], ["worktree", "list"], ["project", "list"]):
        refused = two(*command, "--host", "nowhere")
        assert (refused.code, refused.err) == (
            1,
            'imi-registry: no host "nowhere"; there are default, laptop, server\n',
        )
