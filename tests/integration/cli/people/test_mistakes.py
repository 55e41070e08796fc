"""Mistakes on the command line get one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout

LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["project", "register", "/nowhere"], 1, '"/nowhere": is no folder that is there'),
        (["project", "register", "https://github.com/a/b"], 1, "what is on GitHub is given as --origin"),
        (["project", "register", "git@github.com:a/b.git"], 1, "what is on GitHub is given as --origin"),
        (
            ["project", "register", "--origin", "https://gitlab.com/a/b"],
            2,
            'p_remote_origin "https://gitlab.com/a/b" is not',
        ),
        (["project", "register", "--origin", ORIGIN, "--metadata", "{"], 2, "--metadata '{': is not JSON"),
        (["project", "register", "--origin", ORIGIN, "--metadata", "[" * 20_000], 2, "is nested too deep"),
        (
            ["project", "register", "--origin", ORIGIN, "--metadata", "[1]"],
            2,
            "--metadata '[1]': must be a JSON object",
        ),
        *[
            (["project", "register", "--origin", ORIGIN, "--metadata", metadata], 2, message)
            for metadata, message in (
                ('{"a": NaN}', "--metadata '{\"a\": NaN}': is not JSON: NaN is no number in JSON"),
                ('{"a": -Infinity}', "-Infinity is no number in JSON"),
                ('{"a": [1e999]}', "a number in it is too large"),
                ('{"a": 1e-16384}', "metadata.a: a number in it has its last digit at 1e-16384, beyond 1e±16383"),
                ('{"a": [1.5e-16383]}', "metadata.a.0: a number in it has its last digit at 1e-16384"),
                ('{"a": 0e2147483648}', "metadata.a: a number in it has its last digit at 1e2147483648"),
                ('{"a": ["\\u0000"]}', "has a NUL or half of a surrogate pair"),
                ('{"\\u0000": 1}', "has a NUL or half of a surrogate pair"),
                ('{"a": "\\ud800"}', "has a NUL or half of a surrogate pair"),
            )
        ],
        (["project", "update", "Engine"], 2, "nothing to update: give --name, --branch"),
        (["type", "update", "fix"], 2, "nothing to update: give --name, --branch-prefix"),
        (["type", "update", "nope", "--icon", "x"], 1, 'p_name "nope" is no worktree type; there are feat, fix'),
        (["type", "update", "fix", "--name", "feat"], 1, 'p_new_name "feat" is taken by another worktree type'),
        (["type", "update", "fix", "--name", "repair"], 1, "only description, color, icon and metadata may change"),
        (["type", "update", "fix", "--color", "blurple"], 2, 'p_color is "blurple"'),
        (["project", "activate", "Engin"], 1, 'no project "Engin"; did you mean "Engine"?'),
        (["worktree", "update", "feat-search"], 2, "nothing to update: give --name, --branch"),
        (["activity", "list", "--limit", "9" * 20], 2, "less than or equal to 2147483647"),
        (["project", "register", "--origin", ORIGIN, "--name", " "], 2, 'p_name is " "; it must not be blank'),
        (["project", "show", "Engin"], 1, 'no project "Engin"; did you mean "Engine"?'),
        (["project", "show", ""], 1, 'no project ""'),
        (["project", "show", "https://u:s3cret@gitlab.com/o/r"], 1, 'no project "https://gitlab.com/o/r"'),
        (["project", "show", "https://u:pa/s3cret@gitlab.com/o/r"], 1, 'no project "https://gitlab.com/o/r"'),
        (["worktree", "claim", "feat-search", "--agent", ""], 2, 'agent or actor "": it must not be blank'),
        (["worktree", "merge", "feat-search", "abc1", "--by", ""], 2, 'agent or actor "": it must not be blank'),
        (
            ["activity", "log", "other", "x", "--worktree", "feat-search", "--agent", " "],
            2,
            'agent or actor " ": it must not be blank',
        ),
        (["worktree", "remove", "feat-search", "--yes", "--actor", ""], 2, 'agent or actor "": it must not be'),
        (["worktree", "remove", "feat-search", "--yes", "--actor", "x" * 201], 2, "it must have at most 200"),
        (["project", "show", "/nowhere"], 1, '"/nowhere" is no checkout of a registered project'),
        (["worktree", "show", "feat-serch"], 1, 'no worktree "feat-serch"; did you mean "feat-search"?'),
        (["worktree", "show", "feat-serch@Engine"], 1, 'did you mean "feat-search"?'),
        (["worktree", "show", "feat-search@Engin"], 1, 'no project "Engin"; did you mean "Engine"?'),
        (["worktree", "show", "/nowhere"], 1, '"/nowhere" is in no registered worktree; run: imi-registry worktree'),
        (["worktree", "update", "feat-search", "--path", ""], 2, 'p_path is ""; it must not be blank'),
        (["worktree", "update", "feat-search", "--type", "nope"], 1, 'p_type_name "nope" is no worktree type'),
        (["worktree", "merge", "feat-search", " "], 2, "p_merge_commit_hash"),
        (["worktree", "git-state", "feat-search"], 2, "give either --sync, or what is to be stored"),
        (["worktree", "git-state", "feat-search", "--ahead", "-1"], 2, "greater than or equal to 0"),
        (["type", "remove", "feat", "--yes"], 1, "it is built in"),
        (["type", "add", "feat", "--branch-prefix", "x/"], 1, "is taken by a type with the prefixes"),
        (["activity", "log", "danced", "x", "--worktree", "feat-search"], 2, 'p_activity_type "danced" is no'),
        (["activity", "log", "other", "x", "--worktree", "feat-search", "--file", ""], 2, "'--file': is blank"),
        (["search", " "], 2, "p_query"),
        (["path", "Engine", "../x"], 2, 'p_worktree_name "../x" is no worktree name'),
        (["projet", "list"], 2, "Did you mean 'project'"),
        (["project", "lst"], 2, "Did you mean 'list'"),
    ],
)
def test_mistakes_get_one_clear_line(
    cli: CommandLine, registered: None, arguments: list[str], code: int, message: str
) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    if done.err.startswith("imi-registry:"):
        assert len(done.err.splitlines()) == 1
    else:
        assert code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["project", "show", LONG],
        ["project", "register", f"/{LONG}"],
        ["schemas", "generate", f"/proc/{LONG}"],
        ["worktree", "show", LONG],
        ["worktree", "show", f"/{LONG}"],
        ["worktree", "show", f"feat-search@{LONG}"],
        ["worktree", "claim", "feat-search", "--agent", LONG],
        ["type", "update", LONG, "--icon", "x"],
        ["history", "show", "worktree", LONG],
        ["host", "rename", LONG, "x"],
        ["path", LONG],
        ["project", "list", f"--{LONG}"],
        ["sync", LONG],
        [LONG],
    ],
)
def test_a_mistake_is_told_briefly_however_long_it_is(cli: CommandLine, registered: None, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.code in (1, 2)
    assert len(done.err) < 1_500
    assert LONG[:50] in done.err


def test_what_could_be_several_is_not_guessed(cli: CommandLine, registered: None) -> None:
    cli("project", "register", "--origin", "git@github.com:bob/engine.git", "--name", "Engine")
    done = cli("project", "show", "Engine")
    assert done.code == 1
    assert "git@github.com:ada/engine.git" in done.err
    assert "git@github.com:bob/engine.git" in done.err


@pytest.mark.parametrize("arguments", [["project", "register"], ["worktree", "register"]])
def test_a_checkout_that_names_no_project_is_refused(cli: CommandLine, tmp_path: Path, arguments: list[str]) -> None:
    folder = checkout(tmp_path / "local only")
    done = cli(*arguments, folder)
    assert done.code == 1
    assert done.err.startswith(f'imi-registry: "{folder}": has no remote "origin"; give --')


def test_a_database_that_is_down_exits_with_3(cli: CommandLine) -> None:
    done = cli("stats", "--database-url", "postgresql://127.0.0.1:1/x")
    assert done.code == 3
    assert len(done.err.splitlines()) == 1
