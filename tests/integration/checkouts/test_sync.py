"""`sync`: the registry follows real git repositories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from publisher.checkouts import search
from tests.support.commandline import CommandLine
from tests.support.git.repositories import checkout, commit, git, linked
from tests.support.git.syncing import active, outcomes, sync, worktrees
from tests.support.processes import COMMAND, environment

ORIGIN = "https://github.com/Ada/Engine"


def event_count(database: str) -> int:
    with psycopg.connect(database) as conn:
        (count,) = conn.execute("SELECT count(*) FROM outbox").fetchone() or (0,)
    return int(count)


def test_checkouts_and_their_linked_work_trees_are_registered(cli: CommandLine, code: Path, database: str) -> None:
    # given
    main = checkout(code / "engine" / "trunk-main", ORIGIN)
    feature = linked(main, code / "engine" / "feat-größe", "feat/größe")
    review = linked(main, code.parent / "elsewhere", "pr-review/7")
    commit(feature, "Grüße")
    (feature / "new").write_text("x")
    # when
    rows = sync(cli, code)
    # then
    assert rows == {
        ("engine/trunk-main", "project"): ("registered", "Engine"),
        ("engine/trunk-main", "worktree"): ("registered", "main"),
        ("engine/feat-größe", "worktree"): ("registered", "feat/größe"),
        ("../elsewhere", "worktree"): ("registered", "pr-review/7"),
    }
    found = worktrees(cli)
    assert {path: one["type_name"] for path, one in found.items()} == {
        str(main): "trunk",
        str(feature): "feat",
        str(review): "review",
    }
    state = found[str(feature)]
    assert (state["uncommitted_files_count"], state["ahead_of_trunk"], state["behind_trunk"]) == (1, 1, 0)
    assert state["last_commit_message"] == "Grüße"
    # when nothing changed
    before = event_count(database)
    assert set(outcomes(sync(cli, code))) == {(path, "unchanged") for (path, _) in rows}
    # then nobody is told of anything
    assert event_count(database) == before


def test_what_changed_is_updated_and_what_people_chose_stays(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "engine-x", "fix/x")
    sync(cli, code)
    cli("project", "update", "Engine", "--name", "motor")
    # when
    git(feature, "checkout", "--quiet", "-b", "fix/y")
    last = commit(feature, "More")
    # then
    assert sync(cli, code) == {
        ("engine", "project"): ("unchanged", ""),
        ("engine", "worktree"): ("unchanged", ""),
        ("engine-x", "worktree"): ("updated", "branch_name, ahead_of_trunk, last_commit_hash, last_commit_message"),
    }
    worktree = worktrees(cli)[str(feature)]
    assert (worktree["branch_name"], worktree["last_commit_hash"], worktree["project_name"]) == ("fix/y", last, "motor")


def test_every_kind_of_repository_is_told_apart(cli: CommandLine, code: Path) -> None:
    # given
    checkout(code / "detached", "git@github.com:ada/detached.git")
    git(code / "detached", "checkout", "--quiet", "--detach")
    checkout(code / "elsewhere", "https://gitlab.com/ada/elsewhere")
    checkout(code / "local")
    checkout(code / "unborn", "git@github.com:ada/unborn.git", branch="develop", commits=0)
    bare = code / "bare"
    bare.mkdir()
    git(bare, "clone", "--quiet", "--bare", str(code / "detached"), ".git-of-bare")
    git(bare / ".git-of-bare", "remote", "set-url", "origin", "git@github.com:ada/bare.git")
    (bare / ".git").write_text("gitdir: ./.git-of-bare\n")
    git(bare, "worktree", "add", "--quiet", str(bare / "trunk-main"), "main")
    # when
    rows = sync(cli, code)
    # then
    assert rows == {
        ("bare/trunk-main", "project"): ("registered", "bare"),
        ("bare/trunk-main", "worktree"): ("registered", "main"),
        ("detached", "project"): ("registered", "detached"),
        ("detached", "worktree"): ("skipped", "HEAD is detached"),
        ("elsewhere", "project"): ("skipped", "origin is not on GitHub"),
        ("local", "project"): ("skipped", 'no remote "origin"'),
        ("unborn", "project"): ("registered", "unborn"),
        ("unborn", "worktree"): ("registered", "develop"),
    }
    assert worktrees(cli)[str(code / "unborn")]["last_commit_hash"] is None


def test_a_registered_worktree_whose_head_is_detached_keeps_its_branch(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN, commits=2)
    sync(cli, code)
    # when
    git(main, "checkout", "--quiet", "--detach", "HEAD~1")
    # then
    assert outcomes(sync(cli, code)) == [("engine", "unchanged"), ("engine", "updated")]
    worktree = worktrees(cli)[str(main)]
    assert (worktree["branch_name"], worktree["behind_trunk"]) == ("main", 1)


def test_a_bad_checkout_is_reported_and_stops_no_other(cli: CommandLine, code: Path) -> None:
    # given
    (code / "a-broken" / ".git").mkdir(parents=True)
    checkout(code / "b-good", ORIGIN)
    checkout(code / "c-same-name" / "b-good", ORIGIN)
    # when
    rows = sync(cli, code, exit_code=1)
    # then
    assert rows["a-broken", "project"][0] == "failed"
    assert "not a git repository" in rows["a-broken", "project"][1]
    assert rows["b-good", "worktree"][0] == "registered"
    # then two clones of one repository do not take turns to be the one
    assert rows["c-same-name/b-good", "project"] == ("unchanged", "")
    assert rows["c-same-name/b-good", "worktree"] == ("skipped", f'name "b-good" is that of {code / "b-good"}')
    assert sync(cli, code, exit_code=1)["c-same-name/b-good", "worktree"][0] == "skipped"
    # then people see the same
    done = cli("sync", code)
    assert done.code == 1
    assert done.out.splitlines()[-1] == "1 failed, 3 unchanged, 1 skipped"
    assert max(len(line) for line in done.out.splitlines()) <= 80


def test_what_was_merged_removed_or_deactivated_is_not_brought_back(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    merged = linked(main, code / "engine-a", "feat/a")
    linked(main, code / "engine-b", "feat/b")
    sync(cli, code)
    cli("worktree", "merge", "engine-a", "deadbeef")
    cli("worktree", "remove", "engine-b", "--yes")
    # then
    rows = sync(cli, code)
    assert rows["engine-a", "worktree"] == ("skipped", "merged")
    assert rows["engine-b", "worktree"] == ("skipped", "removed")
    # when the folder is used for something else
    git(merged, "checkout", "--quiet", "-b", "feat/c")
    # then
    assert sync(cli, code)["engine-a", "worktree"] == ("registered", "feat/c")
    # when
    cli("project", "deactivate", "Engine", "--yes")
    # then
    assert sync(cli, code) == {("engine", "project"): ("skipped", "project Engine is inactive")}


def test_a_trunk_that_moved_is_followed(cli: CommandLine, code: Path) -> None:
    # given
    checkout(code / "engine", ORIGIN)
    sync(cli, code)
    # when
    (code / "engine").rename(code / "motor")
    # then
    rows = sync(cli, code)
    assert rows["motor", "project"] == ("updated", "trunk_path")
    assert rows["motor", "worktree"] == ("registered", "main")


def test_what_is_inside_a_checkout_or_hidden_is_left_alone(cli: CommandLine, code: Path) -> None:
    main = checkout(code / "engine", ORIGIN)
    checkout(main / "vendor" / "inner", "git@github.com:ada/inner.git")
    checkout(code / ".cache" / "hidden", "git@github.com:ada/hidden.git")
    checkout(code / "node_modules" / "dependency", "git@github.com:ada/dependency.git")
    (code / "link").symlink_to(main)
    assert {path for path, _ in sync(cli, code)} == {"engine"}


def test_a_folder_without_checkouts_and_one_that_is_none(cli: CommandLine, code: Path) -> None:
    assert cli("sync", code).out == "no checkouts found\n"
    assert cli("sync", code / "nowhere").code == 1


def test_at_an_interval_it_goes_on_until_it_is_stopped(database: str, code: Path) -> None:
    # given
    checkout(code / "engine", ORIGIN)
    process = subprocess.Popen(
        [*COMMAND, "sync", str(code), "--interval", "0.1", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(DATABASE_URL=database),
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["counts"] == {"registered": 2}
        # when
        commit(code / "engine")
        # then
        while (counts := json.loads(process.stdout.readline())["counts"]) == {"unchanged": 2}:
            pass
        assert counts == {"unchanged": 1, "updated": 1}
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 128 + signal.SIGINT
        process.stdout.close()


def test_a_hook_of_another_repository_does_not_confuse_it(
    cli: CommandLine, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = checkout(code.parent / "other", "git@github.com:ada/other.git")
    checkout(code / "engine", ORIGIN)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert outcomes(sync(cli, code)) == [("engine", "registered"), ("engine", "registered")]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")
def test_a_path_that_is_no_text_is_a_failure_of_that_checkout_alone(cli: CommandLine, code: Path) -> None:
    checkout(Path(os.fsdecode(os.fsencode(code) + b"/\xff")), "git@github.com:ada/bytes.git")
    checkout(code / "engine", ORIGIN)
    rows = sync(cli, code, exit_code=1)
    assert rows["engine", "worktree"][0] == "registered"
    assert "failed" in {outcome for path, outcome in outcomes(rows) if path != "engine"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")
def test_a_linked_work_tree_whose_path_is_no_text_fails_alone(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    linked(main, code / "feat-x", "feat/x")
    bad = Path(os.fsdecode(os.fsencode(code) + b"/caf\xe9"))
    linked(main, bad, "feat/bytes")
    for _ in "first", "again":
        # when
        rows = sync(cli, code, exit_code=1)
        # then
        failed = {path for path, outcome in outcomes(rows) if outcome == "failed"}
        assert failed == {"caf\ufffd"}
        assert active(cli) == {str(main): "main", str(code / "feat-x"): "feat/x"}
    # when the main one goes to such a path, the others of the known project go on
    worse = main.rename(Path(os.fsdecode(os.fsencode(code) + b"/engin\xe9")))
    git(worse, "worktree", "repair", str(code / "feat-x"), str(bad))
    git(code / "feat-x", "branch", "--move", "feat/y")
    sync(cli, code, exit_code=1)
    assert active(cli)[str(code / "feat-x")] == "feat/y"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")
def test_the_demo_leaves_out_a_checkout_whose_path_is_no_text(code: Path) -> None:
    checkout(Path(os.fsdecode(os.fsencode(code) + b"/caf\xe9")), "git@github.com:ada/bytes.git")
    good = checkout(code / "engine", "git@github.com:ada/engine.git")
    assert [one.path for one in search.find(code)] == [good]
