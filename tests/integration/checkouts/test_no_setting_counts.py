"""Reading a checkout: no setting, no variable and no encoding changes the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from publisher.checkouts import git as reader
from tests.support.git.repositories import ORIGIN, checkout, git
from tests.support.git.traps import Traps, answers, configure

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
