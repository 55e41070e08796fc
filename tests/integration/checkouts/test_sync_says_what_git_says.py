"""`sync` after everything that git, or a shell, does to checkouts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import checkout, commit, git, linked
from tests.support.git.syncing import active, outcomes, sync, worktrees
from tests.support.processes import COMMAND, environment

ORIGIN = "git@github.com:ada/engine.git"


def projects(cli: CommandLine) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in cli("project", "list", "--all", "--json").json}


def events(database: str, action: str) -> list[dict[str, Any]]:
    with psycopg.connect(database) as conn:
        return [data for (data,) in conn.execute("SELECT data FROM outbox WHERE action = %s ORDER BY id", [action])]


# The default branch


def test_work_on_a_branch_does_not_become_the_trunk(cli: CommandLine, code: Path) -> None:
    # given a repository that was just made, and was never pushed
    main = checkout(code / "engine", ORIGIN, commits=0)
    sync(cli, code)
    # when
    git(main, "checkout", "--quiet", "-b", "feat/x")
    commit(main)
    # then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "main"
    (work,) = cli("inflight", "--json").json
    assert (work["branch_name"], work["ahead"]) == ("feat/x", 1)


def test_what_is_checked_out_at_first_is_not_the_trunk_when_there_is_a_main(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN, branch="master")
    git(main, "checkout", "--quiet", "-b", "feat/x")
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "master"


def cloned(code: Path, branch: str = "master") -> Path:
    """A clone of a repository whose default branch is `branch`."""
    upstream = checkout(code.parent / "upstream", branch=branch)
    git(code, "clone", "--quiet", str(upstream), "engine")
    git(code / "engine", "config", "url.file:///.insteadOf", "git@github.com:no/thing")
    git(code / "engine", "config", f"url.{upstream}.insteadOf", ORIGIN)
    return code / "engine"


def test_the_default_branch_is_renamed_at_the_origin(cli: CommandLine, code: Path) -> None:
    # given
    main = cloned(code)
    git(main, "config", "--unset", f"url.{code.parent / 'upstream'}.insteadOf")
    git(main, "remote", "set-url", "origin", ORIGIN)
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "master"
    # when origin/HEAD names a branch that is gone
    git(code.parent / "upstream", "branch", "--move", "master", "main")
    git(main, "fetch", "--quiet", "--prune", str(code.parent / "upstream"), "+refs/heads/*:refs/remotes/origin/*")
    # then
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "main"


def test_a_local_branch_with_the_name_of_a_remote_one(cli: CommandLine, code: Path) -> None:
    main = cloned(code)
    git(main, "config", "--unset", f"url.{code.parent / 'upstream'}.insteadOf")
    git(main, "remote", "set-url", "origin", ORIGIN)
    git(main, "branch", "origin/master")
    git(main, "branch", "origin/HEAD")
    sync(cli, code)
    assert projects(cli)["engine"]["default_branch"] == "master"


def test_a_commit_message_without_end_is_cut(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    (code / "message").write_text("ü" * 5_000_000)
    git(main, "commit", "--quiet", "--allow-empty", "--file", str(code / "message"))
    sync(cli, code)
    assert worktrees(cli)[str(main)]["last_commit_message"] == "ü" * 1000


def test_work_in_a_submodule_is_not_committed(cli: CommandLine, code: Path) -> None:
    # given
    part = checkout(code.parent / "part")
    main = checkout(code / "engine", ORIGIN)
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    git(main, "commit", "--quiet", "--message", "Part")
    sync(cli, code)
    assert worktrees(cli)[str(main)]["uncommitted_files_count"] == 0
    # when
    (main / "part" / "new").write_text("x")
    # then
    sync(cli, code)
    assert worktrees(cli)[str(main)]["uncommitted_files_count"] == 1


# Where work trees are


def test_work_trees_in_folders_of_the_same_name(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "repo", ORIGIN)
    first = linked(main, code / "wts" / "a" / "repo", "feat/a")
    second = linked(main, code / "wts" / "b" / "repo", "feat/b")
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(main): "main", str(first): "feat/a", str(second): "feat/b"}
    names = {one["branch_name"]: one["name"] for one in worktrees(cli).values()}
    assert names == {"main": "repo", "feat/a": "a/repo", "feat/b": "b/repo"}
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


@pytest.mark.parametrize("way", ["remove", "rm", "rm and prune"])
def test_a_work_tree_that_is_gone_is_retired_with_an_event(
    cli: CommandLine, code: Path, database: str, way: str
) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code.parent / "wts" / "feat-x", "feat/x")
    sync(cli, code)
    # when
    if way == "remove":
        git(main, "worktree", "remove", str(feature))
    else:
        shutil.rmtree(feature)
    if way == "rm and prune":
        git(main, "worktree", "prune")
    # then
    assert sync(cli, code)["../wts/feat-x", "worktree"][0] == "retired"
    assert active(cli) == {str(main): "main"}
    (removed,) = events(database, "removed")
    assert removed["path"] == str(feature)
    assert removed["metadata"]["checkout"]["gone"]
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}
    # when it is made again, it is back: no person put it away
    git(main, "worktree", "prune")
    git(main, "worktree", "add", "--quiet", str(feature), "feat/x")
    assert sync(cli, code)["../wts/feat-x", "worktree"] == ("registered", "feat/x")
    assert "gone" not in worktrees(cli)[str(feature)]["metadata"]["checkout"]


def test_a_clone_that_is_gone_is_retired(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    checkout(code / "other", "git@github.com:ada/other.git")
    linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    shutil.rmtree(main)
    shutil.rmtree(code / "feat-x")
    rows = sync(cli, code)
    assert (rows["engine", "worktree"][0], rows["feat-x", "worktree"][0]) == ("retired", "retired")
    assert active(cli) == {str(code / "other"): "main"}


def test_a_clone_that_is_gone_is_retired_when_the_folder_is_a_link(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    link = code.parent / "link"
    link.symlink_to(code)
    cli("sync", link)
    shutil.rmtree(main)
    shutil.rmtree(feature)
    assert cli("sync", link).code == 0
    assert active(cli) == {}


def test_a_clone_that_was_moved_is_there_once(cli: CommandLine, code: Path) -> None:
    checkout(code / "engine", ORIGIN)
    sync(cli, code)
    (code / "engine").rename(code / "motor")
    sync(cli, code)
    assert active(cli) == {str(code / "motor"): "main"}
    assert projects(cli)["engine"]["trunk_path"] == str(code / "motor")


def test_a_work_tree_that_was_moved_stays_the_same_worktree(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    before = worktrees(cli)[str(feature)]
    # when
    git(main, "worktree", "move", str(feature), str(code / "feat-y"))
    # then
    assert sync(cli, code)["feat-y", "worktree"] == ("updated", "path")
    after = worktrees(cli)
    assert after.keys() == {str(main), str(code / "feat-y")}
    assert after[str(code / "feat-y")]["id"] == before["id"]
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


def test_work_trees_that_change_places(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    for name in "ab":
        linked(main, code / name, f"feat/{name}")
    sync(cli, code)
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        git(main, "worktree", "move", str(code / old), str(code / new))
    sync(cli, code)
    assert active(cli) == {str(main): "main", str(code / "a"): "feat/b", str(code / "b"): "feat/a"}


def test_what_is_locked_and_not_there_is_left_alone(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    known = linked(main, code / "known", "feat/known")
    sync(cli, code)
    unknown = linked(main, code / "unknown", "feat/unknown")
    for folder in (known, unknown):
        git(main, "worktree", "lock", "--reason", "on a\ndisk", str(folder))
        shutil.rmtree(folder)
    # then
    rows = sync(cli, code)
    assert rows["known", "worktree"] == rows["unknown", "worktree"] == ("skipped", "locked, and not there")
    assert active(cli) == {str(main): "main", str(known): "feat/known"}


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts, in a name space of its own")
def test_what_is_not_mounted_is_left_alone(cli: CommandLine, code: Path, database: str) -> None:
    # given a disk with a clone and a work tree of another, on which a first sync found them
    disk = code / "disk"
    disk.mkdir()
    main = checkout(code / "engine", ORIGIN)
    script = f"""
set -e
mount -t tmpfs none "{disk}"
git -C "{main}" worktree add --quiet -b feat/x "{disk}/feat-x"
git clone --quiet "{main}" "{disk}/other"
git -C "{disk}/other" remote set-url origin git@github.com:ada/other.git
{" ".join(COMMAND)} sync "{code}"
"""
    variables = environment(DATABASE_URL=database) | {"HOME": os.environ["HOME"]}
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], env=variables, capture_output=True, text=True)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    before = active(cli)
    assert before.keys() == {str(main), str(disk / "feat-x"), str(disk / "other")}
    # then without it
    rows = sync(cli, code)
    assert rows["disk/feat-x", "worktree"] == rows["disk/other", "worktree"] == ("skipped", "not mounted")
    assert active(cli) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_what_may_not_be_looked_at_is_left_alone(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "private" / "feat-x", "feat/x")
    sync(cli, code)
    feature.parent.chmod(0)
    try:
        rows = sync(cli, code, exit_code=1)
    finally:
        feature.parent.chmod(0o700)
    assert rows["private/feat-x", "worktree"] == ("failed", "Permission denied")
    assert str(feature) in active(cli)


def test_what_another_host_registered_is_its_own_affair(
    cli: CommandLine, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    name = socket.gethostname()
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    theirs = checkout(code / "theirs" / "engine", ORIGIN)
    sync(cli, code)
    shutil.rmtree(theirs)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    # when
    ours = checkout(code / "ours" / "engine", ORIGIN)
    sync(cli, code)
    # then
    assert active(cli) == {str(theirs): "main", str(ours): "main"}
    assert projects(cli)["engine"]["trunk_path"] == str(theirs)


def test_what_was_registered_by_hand_and_is_not_there_yet_is_left_alone(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    cli("worktree", "register", code / "planned", "--project", "engine", "--branch", "feat/planned", "--type", "feat")
    sync(cli, code)
    assert active(cli) == {str(main): "main", str(code / "planned"): "feat/planned"}


# Repositories that look different


def test_a_git_folder_apart(cli: CommandLine, code: Path) -> None:
    # given
    git(code, "init", "--quiet", "--initial-branch=main", "--separate-git-dir", str(code.parent / "apart"), "engine")
    main = code / "engine"
    git(main, "remote", "add", "origin", ORIGIN)
    commit(main)
    linked(main, code / "a-linked", "feat/x")
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(main): "main", str(code / "a-linked"): "feat/x"}
    assert projects(cli)["engine"]["trunk_path"] == str(main)
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


def test_a_work_tree_of_a_submodule(cli: CommandLine, code: Path) -> None:
    # given
    part = checkout(code.parent / "part")
    main = checkout(code.parent / "engine", ORIGIN)
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    git(main / "part", "remote", "set-url", "origin", "git@github.com:ada/part.git")
    feature = linked(main / "part", code / "feat-x", "feat/x")
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(main / "part"): "main", str(feature): "feat/x"}
    assert projects(cli)["part"]["trunk_path"] == str(main / "part")


def test_a_bare_repository_says_which_branch_is_its_trunk(cli: CommandLine, code: Path) -> None:
    # given
    upstream = checkout(code.parent / "upstream", branch="develop")
    git(upstream, "branch", "main")
    git(code, "clone", "--quiet", "--bare", str(upstream), "engine.git")
    git(code / "engine.git", "remote", "set-url", "origin", ORIGIN)
    for branch in ("develop", "main"):
        git(code / "engine.git", "worktree", "add", "--quiet", str(code / branch), branch)
    # when
    sync(cli, code)
    # then
    assert active(cli) == {str(code / "develop"): "develop", str(code / "main"): "main"}
    project = projects(cli)["engine"]
    assert (project["default_branch"], project["trunk_path"]) == ("develop", str(code / "develop"))


# Origins


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
    (updated,) = events(database, "updated")
    assert updated["changed"]["remote_origin"] == ORIGIN
    # then a checkout elsewhere that has the former origin is one of it
    other = checkout(code / "old-clone", ORIGIN)
    sync(cli, code)
    assert projects(cli).keys() == {"engine"}
    assert cli("project", "register", other, "--json").json["id"] == before
    assert cli("project", "show", ORIGIN, "--json").json["id"] == before
    assert str(other) in active(cli)
    # then that origin may be given to another one, by name
    assert cli("project", "register", "--origin", ORIGIN, "--json").json["id"] != before


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
        ("work:ada/iMi.git", "Host home\n HostName example.org\nHost work other\n  HostName github.com\n"),
        (
            "ssh://git@work:2222/ada/iMi",
            'Match exec "touch PWNED"\n HostName example.org\nHost w?rk\nhostname=GitHub.com',
        ),
        ("gh:ada/iMi", ""),
    ],
)
def test_hosts_by_other_names(cli: CommandLine, code: Path, url: str, config: str) -> None:
    # given
    ssh = Path(os.environ["HOME"]) / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text(config)
    main = checkout(code / "clone", url)
    git(main, "config", "url.https://github.com/.insteadOf", "gh:")
    # when
    sync(cli, code)
    # then: the name keeps its case
    project = projects(cli)["iMi"]
    assert project["remote_origin"] == "git@github.com:ada/imi.git"


def test_a_host_that_nobody_explains_is_named(cli: CommandLine, code: Path) -> None:
    checkout(code / "clone", "git@work:ada/engine.git")
    (detail,) = {detail for _, detail in sync(cli, code).values()}
    assert detail == 'origin is not on GitHub: ssh host "work" has no HostName in ~/.ssh/config'
