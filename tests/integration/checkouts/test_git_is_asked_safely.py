"""Reading a checkout runs no program that it, or the user's configuration, names; and no setting changes the answer."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from publisher.checkouts import git as reader
from publisher.checkouts import run_git
from publisher.checkouts.git import Repository, State
from registry.errors import Invalid
from tests.support.commandline import CommandLine
from tests.support.git.repositories import ENVIRONMENT, checkout, commit, git

ORIGIN = "git@github.com:ada/engine.git"
HOOKS = ["post-index-change", "pre-auto-gc", "reference-transaction", "post-checkout", "fsmonitor-watchman"]
FILTERS = ["x", "", "with blank", "a.b", "größe", 'quote"', "back\\slash", "X"]


class Traps:
    """Programs that leave a file with their name in `folder` when they are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def set(self, name: str) -> str:
        """A command line; what git adds to it does no harm."""
        program = self.folder / f"trap-{name}"
        program.write_text(f'#!/bin/sh\ntouch "{self.folder}/ran-{name}"\nexit 1\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    @property
    def sprung(self) -> set[str]:
        return {one.name.removeprefix("ran-") for one in self.folder.glob("ran-*")}

    def settings(self) -> dict[str, str]:
        """Every setting of git-config(1) that names a program, and those that make git use it."""
        drivers = {
            f"filter.{name}.{kind}": self.set(f"filter-{number}-{kind}")
            for number, name in enumerate(FILTERS)
            for kind in ("clean", "smudge", "process")
        }
        commands = [
            *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy"),
            *("core.alternateRefsCommand", "pager.status", "pager.rev-list", "pager.config", "sequence.editor"),
            *("diff.external", "diff.x.command", "diff.x.textconv", "merge.x.driver", "interactive.diffFilter"),
            *("gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.x509.program", "gpg.ssh.defaultKeyCommand"),
            *("credential.helper", "uploadpack.packObjectsHook", "hook.x.command", "trailer.x.cmd", "browser.x.cmd"),
        ]
        aliases = ["status", "rev-parse", "rev-list", "config", "worktree", "remote", "for-each-ref", "ls-files"]
        return (
            drivers
            | {name: self.set(name) for name in commands}
            | {f"alias.{name}": f"!{self.set(f'alias-{name}')}" for name in aliases}
            | {
                "core.hooksPath": str(self.hooks(self.folder / "hooks")),
                "filter.x.required": "true",
                "log.showSignature": "true",
                "hook.x.event": "post-index-change",
                "protocol.allow": "always",
                "protocol.ext.allow": "always",
            }
        )

    def hooks(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        for name in HOOKS:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(self.set(f"hook-{name}"))
        return folder


@pytest.fixture
def traps(tmp_path: Path) -> Traps:
    return Traps(tmp_path / "traps")


def configure(folder: Path, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        git(folder, "config", name, value)


def filtered(folder: Path) -> None:
    """Files with each of the filters, of which git must compare what is in them."""
    lines = [f"{number}.txt filter={name} diff=x merge=x\n" for number, name in enumerate(FILTERS)]
    (folder / ".gitattributes").write_text("".join(lines))
    for number in range(len(FILTERS)):
        (folder / f"{number}.txt").write_text("as it was")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Filtered")
    touch(folder, 1)


def touch(folder: Path, seconds: int) -> None:
    """Files are what they were, but git has to look into them to know: it compares whole seconds."""
    for number in range(len(FILTERS)):
        os.utime(folder / f"{number}.txt", (seconds, seconds))


def answers(folder: Path) -> tuple[Repository, State]:
    return reader.repository(folder), reader.state(folder, "main")


def plain_git(folder: Path, *arguments: str) -> None:
    """What a careless reader would do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | ENVIRONMENT
    environment |= {name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL",) if name in os.environ}
    subprocess.run(["git", "-C", str(folder), *arguments], env=environment, capture_output=True, check=False)


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


@pytest.fixture
def worked_on(tmp_path: Path) -> Path:
    """A checkout in which every kind of thing is going on."""
    main = checkout(tmp_path / "engine", ORIGIN)
    for name in ("kept", "renamed", "removed"):
        (main / name).write_text(f"{name}\n" * 20)
    commit(main, "Größe «1»\n\nMore")
    (main / "stashed").write_text("x")
    git(main, "stash", "--quiet", "--include-untracked")
    git(main, "mv", "renamed", "renamed to")
    (main / "removed").unlink()
    (main / "kept").chmod(0o755)
    for name in ("a\u2028b", "c\u0085d", "line\nbreak", 'quo"te', "tab\t", "größe", " blank ", "-> arrow", "2 R"):
        (main / name).write_text("new")
    (main / "folder").mkdir()
    (main / "folder" / "file").write_text("new")
    return main


ODD_SETTINGS = {
    "status.showStash": "true",
    "status.showUntrackedFiles": "no",
    "status.branch": "true",
    "status.short": "true",
    "status.renames": "false",
    "status.renameLimit": "1",
    "status.aheadBehind": "false",
    "status.submoduleSummary": "true",
    "status.relativePaths": "false",
    "diff.renames": "copies",
    "diff.orderFile": "/nowhere",
    "diff.ignoreSubmodules": "all",
    "diff.noprefix": "true",
    "core.quotePath": "false",
    "core.abbrev": "4",
    "core.commentChar": "%",
    "core.preloadIndex": "false",
    "core.untrackedCache": "true",
    "i18n.commitEncoding": "ISO-8859-1",
    "i18n.logOutputEncoding": "UTF-16",
    "format.pretty": "oneline",
    "log.showSignature": "true",
    "log.date": "relative",
    "log.decorate": "full",
    "color.ui": "always",
    "column.ui": "always",
    "rebase.autoStash": "true",
    "trace2.normalTarget": "2",
    "trace2.perfTarget": "2",
    "advice.statusHints": "true",
    "feature.manyFiles": "true",
    "submodule.recurse": "true",
    "gc.auto": "1",
    "maintenance.auto": "true",
    "init.defaultBranch": "other",
    "clone.defaultRemoteName": "other",
    "push.default": "matching",
    "grep.lineNumber": "true",
}


def test_no_setting_of_the_user_changes_the_answer(worked_on: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(worked_on)
    assert before[1].uncommitted_files == 13
    assert before[1].commit_message == "Größe «1»"
    mine = worked_on.parent / "gitconfig"
    for name, value in ODD_SETTINGS.items():
        git(worked_on, "config", "--file", str(mine), name, value)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(mine))
    assert answers(worked_on) == before
    configure(worked_on, ODD_SETTINGS)
    assert answers(worked_on) == before


def test_no_variable_of_a_git_hook_or_of_a_shell_changes_the_answer(
    worked_on: Path, traps: Traps, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    before = answers(worked_on)
    other = checkout(worked_on.parent / "other", "git@github.com:ada/other.git")
    variables = {
        name: str(other / ".git" / path)
        for name, path in {
            "GIT_DIR": "",
            "GIT_COMMON_DIR": "",
            "GIT_WORK_TREE": "..",
            "GIT_INDEX_FILE": "index",
            "GIT_OBJECT_DIRECTORY": "objects",
            "GIT_QUARANTINE_PATH": "objects",
            "GIT_CONFIG": "config",
            "GIT_SHALLOW_FILE": "shallow",
            "GIT_GRAFT_FILE": "grafts",
            "GIT_EXEC_PATH": "nowhere",
            "GIT_TRACE": "trace",
            "GIT_TRACE2_EVENT": "trace2",
        }.items()
    } | {
        "GIT_NAMESPACE": "other",
        "GIT_PREFIX": "folder/",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NOGLOB_PATHSPECS": "1",
        "GIT_REPLACE_REF_BASE": "refs/other/",
        "GIT_ATTR_SOURCE": "HEAD~1",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor={traps.set('parameters')}'",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": traps.set("count"),
    }
    programs = ["GIT_EXTERNAL_DIFF", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_PAGER", "GIT_EDITOR", "GIT_ASKPASS"]
    for name, value in (variables | {name: traps.set(name) for name in programs}).items():
        monkeypatch.setenv(name, value)
    # then
    assert answers(worked_on) == before
    assert traps.sprung == set()
    assert not (other / ".git" / "trace").exists()
    assert not (other / ".git" / "trace2").exists()


def test_a_commit_in_another_encoding_is_read_as_text(tmp_path: Path) -> None:
    main = checkout(tmp_path / "engine", ORIGIN)
    (tmp_path / "message").write_bytes("Größe".encode("latin-1"))
    git(main, "-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--allow-empty", "-q", "-F", str(tmp_path / "message"))
    assert reader.state(main, "main").commit_message == "Größe"


ADDED_IN = {
    "worktree list --porcelain -z": (2, 36),
    "rev-parse --path-format": (2, 31),
    "worktree list --expire": (2, 40),
    "--no-lazy-fetch": (2, 44),
    "--attr-source": (2, 41),
    "--config-env": (2, 31),
    "config get": (2, 46),
    "config list": (2, 46),
    "for-each-ref --include-root-refs": (2, 45),
    "for-each-ref --exclude": (2, 42),
    "cat-file -Z": (2, 42),
    "status --no-ahead-behind": (2, 17),
}
"""What of the interface of git is newer than the oldest that is read; a blank stands for anything between."""


@pytest.fixture
def old_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed git behind a door that knows no more than an old one; the file says which."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "git").write_text(f"""#!{sys.executable} -IS
import os, sys
version = open({str(folder / "version")!r}).read().strip()
given = sys.argv[1:]
if given == ["version"]:
    print("git version", version)
    raise SystemExit
for option, added_in in {ADDED_IN!r}.items():
    rest = iter(given)
    is_given = all(any(one.partition("=")[0] == part for one in rest) for part in option.split())
    if is_given and tuple(map(int, version.split(".")[:2])) < added_in:
        print("error: unknown option or command", option, file=sys.stderr)
        raise SystemExit(129)
os.execv({real!r}, [{real!r}, *given])
""")
    (folder / "git").chmod(0o755)
    (folder / "version").write_text("99.0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "version"


def test_an_old_git_is_read_or_refused_in_one_line(tmp_path: Path, old_git: Path) -> None:
    # given
    main = checkout(tmp_path / "engine", ORIGIN)
    git(main, "worktree", "add", "--quiet", "-b", "feat/a", str(tmp_path / "feat a"))
    # then
    old_git.write_text("2.34.1")
    with pytest.raises(subprocess.CalledProcessError):  # the door is shut
        git(main, "worktree", "list", "--porcelain", "-z")
    found = reader.repository(main)
    assert {one.path: one.branch for one in found.worktrees} == {main: "main", tmp_path / "feat a": "feat/a"}
    # then
    git(main, "worktree", "add", "--quiet", "-b", "feat/b", str(tmp_path / "line\nbreak"))
    with pytest.raises(Invalid, match="line break"):
        reader.repository(main)


@pytest.mark.parametrize("version", ["2.31.0", "2.35.8", "2.36.0"])
def test_every_version_that_is_not_refused_has_all_that_is_asked(
    worked_on: Path, old_git: Path, cli: CommandLine, version: str
) -> None:
    # given
    git(worked_on, "worktree", "add", "--quiet", "-b", "feat/a", str(worked_on.parent / "feat a"))
    git(worked_on, "worktree", "lock", str(worked_on.parent / "feat a"))
    before = answers(worked_on)
    # when
    old_git.write_text(version)
    run_git._version.cache_clear()
    # then
    assert answers(worked_on) == before
    assert reader.place(worked_on).is_main
    assert reader.has_commit(worked_on, "HEAD") is False
    assert cli("sync", worked_on.parent).code == 0


def test_a_git_too_old_is_refused_in_one_line(tmp_path: Path, old_git: Path, cli: CommandLine) -> None:
    checkout(tmp_path / "code" / "engine", ORIGIN)
    old_git.write_text("2.25.1")
    done = cli("sync", tmp_path / "code")
    assert done.code == 1
    assert done.err == (
        f"imi-registry: cannot read checkouts: git 2.31 or later is needed, {old_git.parent / 'git'} is 2.25\n"
    )
