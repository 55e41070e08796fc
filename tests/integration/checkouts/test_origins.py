"""`sync` after everything that is done to origins, and of hosts by other names."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, commit, git, linked
from tests.support.git.syncing import active, events, outcomes, projects, sync, worktrees

MOTOR = "git@github.com:grace/motor.git"


def former_origins_told(database: str) -> list[str]:
    """What events tell to have been the origin before."""
    changes = [one["changed"] for one in events(database, "updated")]
    return [one["remote_origin"] for one in changes if "remote_origin" in one]


def test_a_repository_that_was_renamed_stays_one_project(cli: CommandLine, code: Path, database: str) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    before = projects(cli)["engine"]["id"]
    # when
    git(main, "remote", "set-url", "origin", "https://github.com/grace/Motor")
    # then
    rows = sync(cli, code)
    assert rows == {
        ("engine", "project"): ("updated", "remote_origin"),
        ("engine", "worktree"): ("unchanged", ""),
        ("feat-x", "worktree"): ("unchanged", ""),
    }
    (project,) = projects(cli).values()
    assert (project["id"], project["remote_origin"]) == (before, "git@github.com:grace/motor.git")
    assert active(cli) == {str(main): "main", str(feature): "feat/x"}
    assert former_origins_told(database) == [ORIGIN]
    # then a checkout elsewhere that has the former origin is one of it
    other = checkout(code / "old-clone", ORIGIN)
    sync(cli, code)
    assert projects(cli).keys() == {"engine"}
    assert cli("project", "register", other, "--json").json["id"] == before
    assert cli("project", "show", ORIGIN, "--json").json["id"] == before
    assert str(other) in active(cli)
    # then that origin may be given to another one, by name
    assert cli("project", "register", "--origin", ORIGIN, "--json").json["id"] != before


def origin(cli: CommandLine) -> str:
    """That of the one project there is."""
    (project,) = projects(cli).values()
    return str(project["remote_origin"])


def test_a_repository_that_is_renamed_back_has_its_first_origin_again(
    cli: CommandLine, code: Path, database: str
) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    git(main, "remote", "set-url", "origin", MOTOR)
    sync(cli, code)
    # when it has none for a while
    git(main, "remote", "remove", "origin")
    sync(cli, code)
    git(main, "remote", "add", "origin", f"https://user:s3cret@github.com/{ORIGIN.partition(':')[2]}")
    # then
    assert sync(cli, code)["engine", "project"] == ("updated", "remote_origin")
    (project,) = projects(cli).values()
    assert (project["remote_origin"], project["metadata"]["former_origins"]) == (ORIGIN, [MOTOR])
    assert former_origins_told(database) == [ORIGIN, MOTOR]
    assert "s3cret" not in str(worktrees(cli))
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}
    # then one of two clones does not say so alone
    second = checkout(code / "second", ORIGIN)
    sync(cli, code)
    git(main, "remote", "set-url", "origin", MOTOR)
    sync(cli, code)
    assert origin(cli) == ORIGIN
    git(second, "remote", "set-url", "origin", MOTOR)
    sync(cli, code)
    assert origin(cli) == MOTOR


def test_a_clone_that_was_never_updated_does_not_rename_its_project_back(
    cli: CommandLine, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given clones on two hosts, one of which was told that the repository was renamed
    here = socket.gethostname()
    checkout(code / "theirs" / "old", ORIGIN)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        sync(cli, code / "theirs")
    main = checkout(code / "ours" / "engine", ORIGIN)
    sync(cli, code / "ours")
    git(main, "remote", "set-url", "origin", MOTOR)
    sync(cli, code / "ours")
    # when
    for host in ("elsewhere", here, "elsewhere"):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda host=host: host)
            sync(cli, code / ("ours" if host == here else "theirs"))
    # then
    assert origin(cli) == MOTOR
    # then one here, beside the one that is renamed once more, makes no fork of it
    checkout(code / "ours" / "old", ORIGIN)
    sync(cli, code / "ours")
    git(main, "remote", "set-url", "origin", "git@github.com:grace/turbine.git")
    for _ in range(2):
        sync(cli, code / "ours")
        assert origin(cli) == "git@github.com:grace/turbine.git"


def test_a_project_is_given_another_origin_by_hand(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    checkout(code / "other", "git@github.com:ada/other.git")
    sync(cli, code)
    # when
    done = cli("project", "update", "engine", "--origin", "https://github.com/grace/Motor", "--json")
    # then
    assert done.json["remote_origin"] == "git@github.com:grace/motor.git"
    assert done.json["metadata"]["former_origins"] == [ORIGIN]
    assert sync(cli, code)["engine", "project"] == ("unchanged", "")
    # when it is given back, or what another one has
    assert cli("project", "update", "engine", "--origin", ORIGIN, "--json").json["metadata"]["former_origins"] == [
        "git@github.com:grace/motor.git"
    ]
    taken = cli("project", "update", "engine", "--origin", "git@github.com:ada/other.git")
    assert taken.code == 1
    assert 'p_remote_origin "git@github.com:ada/other.git" is taken by project "other"' in taken.err
    wrong = cli("project", "update", "engine", "--origin", "https://user:secret@gitlab.com/a/b")
    assert (wrong.code, "secret" in wrong.err) == (2, False)
    assert str(main) in active(cli)


def test_a_fork_is_a_project_of_its_own(cli: CommandLine, code: Path) -> None:
    # given two clones
    first = checkout(code / "first", ORIGIN)
    second = checkout(code / "second", ORIGIN)
    sync(cli, code)
    # when one of them goes on as a fork
    git(second, "remote", "set-url", "origin", "git@github.com:grace/engine.git")
    sync(cli, code)
    # then
    found = {one["remote_origin"]: one["id"] for one in cli("project", "list", "--json").json}
    assert found.keys() == {ORIGIN, "git@github.com:grace/engine.git"}
    owners = {one["path"]: one["project_id"] for one in cli("worktree", "list", "--json").json}
    assert owners == {str(first): found[ORIGIN], str(second): found["git@github.com:grace/engine.git"]}
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


@pytest.mark.parametrize("moved_to", ["before", "there-after"])
def test_a_fork_in_the_place_of_a_clone_that_was_moved_is_a_project_of_its_own(
    cli: CommandLine, code: Path, moved_to: str
) -> None:
    # given
    first = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    # when
    first.rename(code / moved_to)
    git(code, "clone", "--quiet", str(code / moved_to), str(first))
    git(first, "remote", "set-url", "origin", "git@github.com:grace/engine.git")
    for _ in range(2):
        sync(cli, code)
    # then
    found = {one["remote_origin"]: one["id"] for one in cli("project", "list", "--json").json}
    assert found.keys() == {ORIGIN, "git@github.com:grace/engine.git"}
    owners = {one["path"]: one["project_id"] for one in cli("worktree", "list", "--json").json}
    assert owners[str(first)] == found["git@github.com:grace/engine.git"]


def test_another_repository_in_the_same_folder_is_another_project(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    shutil.rmtree(main)
    checkout(main, "git@github.com:ada/other.git", commits=2)
    git(main, "commit", "--quiet", "--amend", "--message", "Other")
    git(main, "update-ref", "refs/heads/main", git(main, "commit-tree", "HEAD^{tree}", "-m", "Root"))
    git(main, "reflog", "expire", "--expire=now", "--all")
    git(main, "gc", "--quiet", "--prune=now")
    sync(cli, code)
    assert {one["remote_origin"] for one in projects(cli).values()} == {ORIGIN, "git@github.com:ada/other.git"}
    assert [one["project_name"] for one in cli("worktree", "list", "--json").json] == ["other"]


def test_the_origin_of_a_known_checkout_is_taken_away(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    git(main, "remote", "remove", "origin")
    commit(main)
    assert sync(cli, code)["engine", "worktree"] == ("updated", "last_commit_hash, last_commit_message")


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("git@github.com-work:ada/iMi.git", ""),
        ("https://github.com/ada/iMi.GIT/", ""),
        ("work:ada/iMi.git", "Host home\n HostName example.org\nHost work other\n  HostName github.com\n"),
        (
            "ssh://git@work:2222/ada/iMi",
            'Match exec "touch PWNED"\n HostName example.org\nHost w?rk\nhostname=GitHub.com',
        ),
        ("gh:ada/iMi", ""),
        ("git@work:ada/iMi", "Include hosts.d/* nowhere\nHost other\n HostName example.org\n"),
        ("git@work:ada/iMi", "Host wor?\n Include ~/.ssh/hosts.d/[a-z]ork\n"),
        ("git@tab:ada/iMi", '\tHost\t"tab" x\n\tHostName\t=\t"GitHub.com"\n'),
        ("git@work:ada/iMi", "Match host x*,work\n HostName github.com\n"),
    ],
)
def test_hosts_by_other_names(cli: CommandLine, code: Path, url: str, config: str) -> None:
    # given
    ssh = Path(os.environ["HOME"]) / ".ssh"
    (ssh / "hosts.d").mkdir(parents=True)
    (ssh / "config").write_text(config)
    (ssh / "hosts.d" / "work").write_text("Host work\n HostName github.com\n")
    main = checkout(code / "clone", url)
    git(main, "config", "url.https://github.com/.insteadOf", "gh:")
    # when
    sync(cli, code)
    # then: the name keeps its case
    project = projects(cli)["iMi"]
    assert project["remote_origin"] == "git@github.com:ada/imi.git"


@pytest.mark.parametrize("host", ["github.com-work", "work"])
def test_an_origin_that_is_typed_is_the_one_of_the_checkout(cli: CommandLine, code: Path, host: str) -> None:
    # given
    ssh = Path(os.environ["HOME"]) / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text("Host work\n HostName github.com\n")
    checkout(code / "clone", f"git@{host}:ada/iMi.git")
    # when
    project = cli("project", "register", "--origin", f"git@{host}:ada/iMi.git", "--json").json
    # then
    assert (project["name"], project["remote_origin"]) == ("iMi", "git@github.com:ada/imi.git")
    assert sync(cli, code)["clone", "project"][0] != "registered"
    assert cli("project", "show", f"git@{host}:ada/iMi.git", "--json").json["id"] == project["id"]
    changed = cli("project", "update", "iMi", "--origin", f"git@{host}:ada/other.git", "--json").json
    assert changed["remote_origin"] == "git@github.com:ada/other.git"


@pytest.mark.parametrize(
    "config",
    [
        "",
        "Host other\n Include hosts\n",
        "Host work other !work\n HostName github.com\n",
        'Match host work exec "touch PWNED"\n HostName github.com\n',
        "Match final\n HostName github.com\n",
        "Include config nowhere\nHost work\n HostName example.org\n",
        'Host "work\n HostName github.com\n',
    ],
)
def test_a_host_that_nobody_explains_is_named(cli: CommandLine, code: Path, config: str) -> None:
    ssh = Path(os.environ["HOME"]) / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text(config)
    (ssh / "hosts").write_text("HostName github.com\n")
    checkout(code / "clone", "git@work:ada/engine.git")
    (detail,) = {detail for _, detail in sync(cli, code).values()}
    assert detail == 'origin is not on GitHub: ssh host "work" has no HostName in ~/.ssh/config'
