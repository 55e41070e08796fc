"""Reading a checkout runs no program that it, or the user's configuration, names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from publisher.checkouts import git as reader
from publisher.checkouts import run_git
from registry.errors import Invalid
from tests.support.git.repositories import ORIGIN, checkout, git
from tests.support.git.traps import FILTERS, Traps, answers, configure, filtered, plain_git, touch


def test_no_program_that_a_repository_names_is_run(tmp_path: Path, traps: Traps) -> None:
    # given
    part = checkout(tmp_path / "part")
    filtered(part)
    main = checkout(tmp_path / "engine", ORIGIN)
    filtered(main)
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    git(main, "commit", "--quiet", "--message", "Part")
    (main / "part" / "0.txt").write_text("changed")
    touch(main, 2)
    for folder in (main, main / "part"):
        configure(folder, traps.settings())
        traps.hooks(Path(git(folder, "rev-parse", "--absolute-git-dir")) / "hooks")
    # when
    repository, state = answers(main)
    # then
    assert traps.sprung == set()
    assert (repository.default_branch, repository.origin) == ("main", ORIGIN)
    assert (state.uncommitted_files, state.commit_message) == (1, "Part")
    # then it is not for want of traps
    plain_git(main, "status")
    assert {"core.fsmonitor", "filter-0-process"} <= traps.sprung


WAYS = ["include", "includeIf", "worktree", "attributes"]


@pytest.mark.parametrize("way", WAYS)
def test_no_program_that_is_named_in_another_file_is_run(tmp_path: Path, traps: Traps, way: str) -> None:
    # given
    main = checkout(tmp_path / "engine", ORIGIN)
    filtered(main)
    other = tmp_path / "other"
    for name, value in traps.settings().items():
        git(main, "config", "--file", str(other), name, value)
    if way == "include":
        git(main, "config", "include.path", str(other))
    elif way == "includeIf":
        git(main, "config", "includeIf.onbranch:main.path", str(other))
    elif way == "worktree":
        git(main, "config", "extensions.worktreeConfig", "true")
        other.rename(main / ".git" / "config.worktree")
    else:
        (main / ".git" / "info" / "attributes").write_text("* filter=hidden diff=hidden\n")
        git(main, "config", "filter.hidden.clean", traps.set("filter-hidden"))
        git(main, "config", "filter.hidden.required", "true")
        git(main, "config", "core.fsmonitor", traps.set("core.fsmonitor"))
    # then
    _, state = answers(main)
    assert traps.sprung == set()
    assert state.commit_message == "Filtered"
    plain_git(main, "status")
    assert traps.sprung


def test_no_program_of_a_submodule_in_a_submodule_is_run(tmp_path: Path, traps: Traps) -> None:
    # given
    inner = checkout(tmp_path / "inner")
    filtered(inner)
    for folder, part in (("outer", inner), ("engine", tmp_path / "outer")):
        main = checkout(tmp_path / folder, ORIGIN)
        git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
        git(main, "commit", "--quiet", "--message", "Part")
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
    innermost = main / "part" / "part"
    configure(innermost, traps.settings())
    for number in range(len(FILTERS)):
        os.utime(innermost / f"{number}.txt", (3, 3))
    assert reader.state(main, "main").uncommitted_files == 0
    # when
    (innermost / "new").write_text("x")
    # then
    assert reader.state(main, "main").uncommitted_files == 1
    assert traps.sprung == set()
    plain_git(innermost, "status")
    assert traps.sprung


def test_submodules_that_are_links_to_what_they_are_in_are_not_entered(tmp_path: Path) -> None:
    main = checkout(tmp_path / "engine", ORIGIN)
    head = git(main, "rev-parse", "HEAD")
    for name in ("one", "two", "folder/three"):
        git(main, "update-index", "--add", "--cacheinfo", f"160000,{head},{name}")
    git(main, "commit", "--quiet", "--message", "Links")
    for name in ("one", "two", "folder"):
        (main / name).symlink_to(main)
    changed = {
        one for one in git(main, "status", "--porcelain", "-z", "-uall", "--ignore-submodules=dirty").split("\0") if one
    }
    assert reader.state(main, "main").uncommitted_files == len(changed)


def test_a_signed_commit_is_read_without_its_signature(
    tmp_path: Path, traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen to sign with")
    main = checkout(tmp_path / "engine", ORIGIN)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    git(main, "config", "gpg.format", "ssh")
    git(main, "config", "user.signingKey", str(key))
    git(main, "commit", "--quiet", "--allow-empty", "--gpg-sign", "--message", "Signed «1»")
    # when
    (tmp_path / "signers").write_text(f"ada@example.com {key.with_suffix('.pub').read_text()}")
    configure(main, {"log.showSignature": "true", "gpg.ssh.allowedSignersFile": str(tmp_path / "signers")})
    assert 'Good "git" signature' in git(main, "log", "-1")
    configure(main, {"gpg.ssh.program": traps.set("gpg")})
    # then
    state = reader.state(main, "main")
    assert (state.commit_hash, state.commit_message) == (git(main, "rev-parse", "HEAD"), "Signed «1»")
    assert traps.sprung == set()
    plain_git(main, "log", "-1")
    assert traps.sprung == {"gpg"}


def test_no_program_that_the_user_names_is_run(tmp_path: Path, traps: Traps, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    main = checkout(tmp_path / "engine", ORIGIN)
    filtered(main)
    before = answers(main)
    mine = tmp_path / "gitconfig"
    for name, value in traps.settings().items():
        git(tmp_path, "config", "--file", str(mine), name, value)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(mine))
    # then
    assert answers(main) == before
    assert traps.sprung == set()
    plain_git(main, "status")
    assert {"core.fsmonitor", "filter-0-process"} <= traps.sprung


@pytest.mark.parametrize("unknown", ["GIT_NO_LAZY_FETCH", "GIT_ALLOW_PROTOCOL"])
def test_nothing_is_fetched_for_what_a_partial_clone_lacks(
    tmp_path: Path, traps: Traps, monkeypatch: pytest.MonkeyPatch, unknown: str
) -> None:
    monkeypatch.delitem(run_git.ENVIRONMENT, unknown)  # each is enough: an older git does not know the first
    # given: to see whether it was renamed git wants a file that is not there, from a remote that is a program
    main = checkout(tmp_path / "engine", ORIGIN)
    (main / "old").write_text("line\n" * 100)
    git(main, "add", "--all")
    git(main, "commit", "--quiet", "--message", "Old")
    blob = git(main, "rev-parse", "HEAD:old")
    (main / "old").rename(main / "new")
    (main / "new").write_text("line\n" * 99 + "other\n")
    git(main, "add", "--all")
    (main / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    url = f"ext::{traps.set('ext')} %S"
    configure(main, {"remote.promisor.url": url, "remote.promisor.promisor": "true", "protocol.ext.allow": "always"})
    configure(main, {"extensions.partialClone": "promisor", "core.repositoryFormatVersion": "1"})
    # when
    with pytest.raises(Invalid):
        reader.state(main, "main")
    # then
    assert traps.sprung == set()
    plain_git(main, "status")
    assert traps.sprung == {"ext"}


def test_a_filter_that_cannot_be_switched_off_is_refused(tmp_path: Path, traps: Traps) -> None:
    main = checkout(tmp_path / "engine", ORIGIN)
    filtered(main)
    configure(main, {"filter.a=b.clean": traps.set("filter")})
    with pytest.raises(Invalid, match=r'filter "a=b" cannot be switched off'):
        reader.state(main, "main")
    assert traps.sprung == set()
