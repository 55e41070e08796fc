"""`sync` after everything that git, or a shell, does to the folders of work trees."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from publisher.checkouts import run_git
from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, git, linked
from tests.support.git.syncing import active, events, outcomes, projects, sync, worktrees
from tests.support.processes import COMMAND, environment


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


def test_a_folder_whose_name_is_blank_is_called_by_the_one_that_it_is_in(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    blank = linked(main, code / "\u00a0", "feat/blank")
    sync(cli, code)
    assert worktrees(cli)[str(blank)]["name"] == f"{code.name}/\u00a0"


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


def test_a_work_tree_in_whose_place_other_work_is_done_elsewhere_is_retired(
    cli: CommandLine, code: Path, database: str
) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "a" / "feat-x", "feat/x")
    sync(cli, code)
    # when git gives the next one the same data folder, and it has the same name
    git(main, "worktree", "remove", str(feature))
    other = linked(main, code / "b" / "feat-x", "feat/other")
    # then
    rows = sync(cli, code)
    assert rows["a/feat-x", "worktree"] == ("retired", "its folder is gone")
    assert rows["b/feat-x", "worktree"] == ("registered", "feat/other")
    assert active(cli) == {str(main): "main", str(other): "feat/other"}
    assert [one["path"] for one in events(database, "removed")] == [str(feature)]
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


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


@pytest.mark.parametrize("name", ["another", "zother"])
def test_a_work_tree_keeps_its_agent_when_another_repository_takes_its_place(
    cli: CommandLine, code: Path, name: str
) -> None:
    # given
    main, other = checkout(code / "engine", ORIGIN), checkout(code / name, "git@github.com:ada/other.git")
    feature = linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    before = worktrees(cli)[str(feature)]["id"]
    cli("worktree", "claim", before, "--agent", "ada")
    # when
    git(main, "worktree", "move", str(feature), str(code / "moved"))
    linked(other, feature, "feat/y")
    rows = sync(cli, code)
    # then
    assert rows["moved", "worktree"] == ("updated", "path")
    moved, new = (worktrees(cli)[str(path)] for path in (code / "moved", feature))
    assert (moved["id"], moved["agent_id"]) == (before, "ada")
    assert (new["project_name"], new["branch_name"], new["agent_id"]) == ("other", "feat/y", None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")
@pytest.mark.parametrize("is_read", [True, False])
def test_a_work_tree_that_was_moved_to_where_it_cannot_be_read_is_kept(
    cli: CommandLine, code: Path, monkeypatch: pytest.MonkeyPatch, is_read: bool
) -> None:
    # given
    monkeypatch.setattr(run_git, "PATIENCE_SECONDS", 0.1)
    main = checkout(code / "engine", ORIGIN)
    feature, gone = linked(main, code / "feat-x", "feat/x"), linked(main, code / "gone", "feat/gone")
    sync(cli, code)
    before = worktrees(cli)[str(feature)]["id"]
    cli("worktree", "claim", before, "--agent", "ada")
    # when its path is not UTF-8, or its whole repository is not read
    place = code / "moved" if not is_read else Path(os.fsdecode(os.fsencode(code) + b"/caf\xe9"))
    git(main, "worktree", "move", str(feature), str(place))
    git(main, "worktree", "remove", str(gone))
    if not is_read:
        os.mkfifo(main / ".git" / "packed-refs")
    sync(cli, code, exit_code=1)
    # then what git has no data of is gone
    assert active(cli) == {str(main): "main", str(feature): "feat/x"}
    # when it can be read
    if not is_read:
        (main / ".git" / "packed-refs").unlink()
    else:
        git(main, "worktree", "move", str(place), str(code / "moved"))
    sync(cli, code)
    # then
    moved = worktrees(cli)[str(code / "moved")]
    assert (moved["id"], moved["agent_id"]) == (before, "ada")


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


@pytest.mark.parametrize("name", ["feat-x", "mine"])
def test_what_was_registered_behind_a_link_is_the_same_worktree(cli: CommandLine, code: Path, name: str) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    link = code.parent / "link"
    link.symlink_to(code)
    cli("project", "register", link / "engine")
    given = ("--project", "engine", "--branch", "feat/x", "--name", name)
    registered = cli("worktree", "register", link / "feat-x", *given, "--json").json
    # then
    assert sync(cli, code)["feat-x", "worktree"] == ("updated", "path, last_commit_hash, last_commit_message")
    assert active(cli) == {str(main): "main", str(feature): "feat/x"}
    assert worktrees(cli)[str(feature)]["id"] == registered["id"]
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


def test_what_was_registered_by_hand_and_is_not_there_yet_is_left_alone(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)
    cli("worktree", "register", code / "planned", "--project", "engine", "--branch", "feat/planned", "--type", "feat")
    sync(cli, code)
    assert active(cli) == {str(main): "main", str(code / "planned"): "feat/planned"}
