"""`sync` of repositories that are rarely met: what git reads is told as git says, and of the rest why it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from publisher.checkouts.sync import UNLISTED
from tests.support.commandline import CommandLine
from tests.support.credentials import SECRET_VALUES
from tests.support.git.repositories import ORIGIN, checkout, commit, git, linked
from tests.support.git.syncing import active, outcomes, sync, worktrees


def with_sha256(main: Path) -> None:
    shutil.rmtree(main)
    git(main.parent, "init", "--quiet", "--initial-branch=main", "--object-format=sha256", f"./{main.name}")
    git(main, "remote", "add", "origin", ORIGIN)
    commit(main)


def shallow(main: Path) -> None:
    for _ in range(3):
        commit(main)
    main.rename(main.parent.parent / "whole")
    git(main.parent, "clone", "--quiet", "--depth=2", f"file://{main.parent.parent / 'whole'}", f"./{main.name}")
    git(main, "remote", "set-url", "origin", ORIGIN)


def with_a_replaced_commit(main: Path) -> None:
    commit(main, "As it was")
    git(main, "replace", "HEAD", git(main, "commit-tree", "HEAD^{tree}", "-p", "HEAD~1", "-m", "Replaced"))


def on_a_branch_without_commits(main: Path) -> None:
    git(main, "checkout", "--quiet", "--orphan", "fresh")
    git(main, "rm", "-r", "--quiet", "--cached", ".")


def sparse(main: Path) -> None:
    for name in ("a", "b"):
        (main / name).mkdir()
        (main / name / "file").write_text(name)
    commit(main)
    git(main, "sparse-checkout", "set", "a")


def with_broken_refs(main: Path) -> None:
    (main / ".git" / "refs" / "heads" / "broken").write_text("garbage\n")
    (main / ".git" / "refs" / "heads" / "missing").write_text("1" * 40 + "\n")


def with_its_data_behind_a_link(main: Path) -> None:
    (main / ".git").rename(main.parent.parent / "data")
    (main / ".git").symlink_to(main.parent.parent / "data")


def with_conflicts(main: Path) -> None:
    git(main, "checkout", "--quiet", "-b", "feat/x")
    for branch, text in (("feat/x", "one"), ("main", "other")):
        git(main, "checkout", "--quiet", branch)
        (main / "1.txt").write_text(text)
        git(main, "commit", "--quiet", "--all", "--message", text)
    with pytest.raises(Exception, match="exit status 1"):
        git(main, "merge", "feat/x")


READABLE = [
    *(with_sha256, shallow, with_a_replaced_commit, on_a_branch_without_commits, sparse, with_broken_refs),
    *(with_its_data_behind_a_link, with_conflicts),
]


@pytest.mark.parametrize("made", READABLE)
@pytest.mark.parametrize("name", ["engine", 'it\'s "ü:"\nnew', "-C", "$(touch x);*"])
def test_what_git_reads_is_told_as_git_says(
    cli: CommandLine, code: Path, made: Callable[[Path], None], name: str
) -> None:
    # given
    main = checkout(code / name, ORIGIN)
    made(main)
    # when
    rows = sync(cli, code)
    # then
    assert {outcome for _, outcome in outcomes(rows)} == {"registered"}
    (found,) = worktrees(cli).values()
    files = git(main, "status", "--porcelain", "-z", "-uall", "--no-renames").split("\0")
    assert found["path"] == str(main)
    assert found["branch_name"] == git(main, "branch", "--show-current")
    assert found["uncommitted_files_count"] == len([one for one in files if one])
    if made is not on_a_branch_without_commits:
        assert found["last_commit_hash"] == git(main, "rev-parse", "HEAD")
        assert found["last_commit_message"] == git(main, "log", "-1", "--format=%s")
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}


@pytest.mark.parametrize("place", ["..", "/usr/share", "below"])
def test_files_of_a_repository_that_it_has_elsewhere_are_not_looked_at(
    cli: CommandLine, code: Path, place: str
) -> None:
    main = checkout(code / "engine", ORIGIN)
    (main / "below").mkdir()
    git(main, "config", "core.worktree", str(main / place))
    for _ in range(2):
        assert sync(cli, code, 1)["engine", "worktree"] == (
            "failed",
            f'"{main}": core.worktree says that its files are elsewhere',
        )
    assert worktrees(cli) == {}


def test_while_a_branch_is_rebased_its_worktree_keeps_it(cli: CommandLine, code: Path) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    for folder, text in ((main, "one"), (feature, "other")):
        (folder / "1.txt").write_text(text)
        git(folder, "commit", "--quiet", "--all", "--message", text)
    sync(cli, code)
    # when
    with pytest.raises(Exception, match="exit status 1"):
        git(feature, "rebase", "main")
    # then
    sync(cli, code)
    assert active(cli) == {str(main): "main", str(feature): "feat/x"}
    assert worktrees(cli)[str(feature)]["last_commit_hash"] == git(feature, "rev-parse", "HEAD")
    # when
    git(feature, "rebase", "--abort")
    # then
    sync(cli, code)
    assert worktrees(cli)[str(feature)]["ahead_of_trunk"] == 1


def test_a_work_tree_that_is_linked_by_relative_paths(cli: CommandLine, code: Path) -> None:
    # given what git has from 2.48 on with worktree.useRelativePaths
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "wts" / "feat-x", "feat/x")
    kept_in = main / ".git" / "worktrees" / "feat-x"
    (feature / ".git").write_text(f"gitdir: {os.path.relpath(kept_in, feature)}\n")
    (kept_in / "gitdir").write_text(f"{os.path.relpath(feature / '.git', kept_in)}\n")
    # then
    assert sync(cli, code)["wts/feat-x", "worktree"] == ("registered", "feat/x")
    assert {outcome for _, outcome in outcomes(sync(cli, code))} == {"unchanged"}
    assert active(cli) == {str(main): "main", str(feature): "feat/x"}
    # when both move together
    code.joinpath("engine").rename(code / "motor")
    (feature / ".git").write_text(f"gitdir: {os.path.relpath(code / 'motor/.git/worktrees/feat-x', feature)}\n")
    (code / "motor/.git/worktrees/feat-x/gitdir").write_text(
        f"{os.path.relpath(feature / '.git', code / 'motor/.git/worktrees/feat-x')}\n"
    )
    # then
    sync(cli, code)
    assert active(cli) == {str(code / "motor"): "main", str(feature): "feat/x"}


def moved_by_hand(_: Path, feature: Path) -> Path:
    return feature.rename(feature.parent / "moved")


def copied_by_hand(_: Path, feature: Path) -> Path:
    return Path(shutil.copytree(feature, feature.parent / "copy"))


def without_what_git_keeps(main: Path, feature: Path) -> Path:
    (main / ".git" / "worktrees" / "feat-x" / "gitdir").write_text("")
    return feature


def with_the_data_of_another(main: Path, _: Path) -> Path:
    folder = main.parent / "borrowed"
    folder.mkdir()
    (folder / ".git").write_text(f"gitdir: {main / '.git'}\n")
    return folder


@pytest.mark.parametrize("made", [moved_by_hand, copied_by_hand, without_what_git_keeps, with_the_data_of_another])
def test_a_folder_that_git_does_not_list_is_told(
    cli: CommandLine, code: Path, made: Callable[[Path, Path], Path]
) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    feature = linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    # when
    folder = made(main, feature)
    # then
    rows = sync(cli, code)
    assert rows[folder.name, "worktree"] == ("skipped", UNLISTED)
    assert active(cli).get(str(feature)) == ("feat/x" if feature.exists() else None)
    # when it is mended, where that can be
    if made in (moved_by_hand, without_what_git_keeps):
        git(folder, "worktree", "repair")
        sync(cli, code)
        assert active(cli) == {str(main): "main", str(folder): "feat/x"}


def of_another_owner(main: Path) -> str:
    if os.geteuid() != 0:
        pytest.skip("needs root to make files of another user")
    os.chown(main / ".git", 12345, 12345)
    os.chown(main, 12345, 12345)
    return f"detected dubious ownership in repository at '{main}'"


def of_a_later_format(main: Path) -> str:
    git(main, "config", "core.repositoryFormatVersion", "1")
    git(main, "config", "extensions.fromTheFuture", "true")
    return "unknown repository extension found: fromthefuture"


def with_a_broken_configuration(main: Path) -> str:
    with (main / ".git" / "config").open("a") as file:
        file.write("[broken\n")
    return "bad config line"


def with_a_broken_head(main: Path) -> str:
    (main / ".git" / "HEAD").write_text("garbage\n")
    return "not a git repository"


def with_a_broken_index(main: Path) -> str:
    (main / ".git" / "index").write_bytes(b"garbage")
    return "index"


def without_its_newest_commit(main: Path) -> str:
    head = git(main, "rev-parse", "HEAD")
    (main / ".git" / "objects" / head[:2] / head[2:]).unlink()
    return "HEAD"


BROKEN = [
    *(of_another_owner, of_a_later_format, with_a_broken_configuration, with_a_broken_head, with_a_broken_index),
    without_its_newest_commit,
]


@pytest.mark.parametrize("made", BROKEN)
def test_what_git_cannot_read_is_told_in_one_line_and_left_alone(
    cli: CommandLine, code: Path, made: Callable[[Path], str]
) -> None:
    # given
    main = checkout(code / "engine", ORIGIN)
    checkout(code / "other", "git@github.com:ada/other.git")
    sync(cli, code)
    before = worktrees(cli)
    # when
    reason = made(main)
    # then
    rows = sync(cli, code, exit_code=1)
    failed = [detail for outcome, detail in rows.values() if outcome == "failed"]
    assert len(failed) == 1
    assert reason in failed[0]
    assert "\n" not in failed[0]
    assert ("unchanged", "") in rows.values()
    after = worktrees(cli)
    assert {path: one["branch_name"] for path, one in after.items()} == {
        path: one["branch_name"] for path, one in before.items()
    }
    assert after[str(main)]["last_commit_hash"] == before[str(main)]["last_commit_hash"]


def test_no_credential_of_an_origin_is_told_or_stored(cli: CommandLine, code: Path, database: str) -> None:
    # given
    for number, url in enumerate(SECRET_VALUES):
        if "\n" not in url:
            checkout(code / str(number), url)
    # when
    done = [cli("sync", code), cli("sync", code, "--json")]
    done += [cli("project", "register", code / "0"), *(cli("project", "register", one) for one in code.iterdir())]
    done += [cli("project", "show", one) for one in SECRET_VALUES]
    done += [cli("project", "register", "--origin", one, "--name", one) for one in SECRET_VALUES]
    # then
    assert "s3cret" not in str([(one.out, one.err) for one in done])
    with psycopg.connect(database) as conn:
        found = conn.execute("SELECT string_agg(o::text, ' ') FROM outbox o").fetchone()
        assert "github.com" in str(found)
        assert "s3cret" not in str(found)
