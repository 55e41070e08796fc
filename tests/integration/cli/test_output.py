"""Where the output goes: full disks, closed streams, encodings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.support.commandline import command_line
from tests.support.processes import COMMAND, environment


@pytest.fixture
def worktree(database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT log_activity('ada', register_worktree(register_project('Größe', 'git@github.com:a/b.git'),"
            " 'feat', 'feat-ü', 'feat/ü', '/x/ü'), 'other', 'Looked → there')"
        )


def command(database: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(DATABASE_URL=database), text=True, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.usefixtures("worktree")
def test_a_full_disk_is_one_line(database: str, as_json: list[str]) -> None:
    for arguments in (["worktree", "list"], ["project", "show", "Größe"], ["activity", "list"]):
        with Path("/dev/full").open("w") as full:
            done = command(database, *arguments, *as_json, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1, arguments
        assert done.stderr == "imi-registry: cannot write the output: No space left on device\n"


@pytest.mark.usefixtures("worktree")
def test_an_output_that_is_closed_is_no_error(database: str) -> None:
    script = 'exec "$@" >&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *COMMAND, "worktree", "list"],
        env=environment(DATABASE_URL=database),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.usefixtures("worktree")
def test_streams_that_are_closed_are_no_error_whichever(database: str, closed: str) -> None:
    for arguments, code in (("project list", 0), ("project show nope", 1), ("worktree remove feat-ü", 1)):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments.split()],
            env=environment(DATABASE_URL=database),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (arguments, done)
        assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("worktree")
def test_an_encoding_without_the_characters_shows_them_escaped(database: str) -> None:
    for arguments in (["worktree", "list"], ["worktree", "show", "feat-ü"], ["activity", "list"], ["inflight"]):
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=environment(DATABASE_URL=database, PYTHONIOENCODING="ascii"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), arguments
    assert done.stdout == "nothing in flight\n"


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("type list", ["pr-review/…", "devops-…"]),
        ("schemas list", ["queries/project_by_origin.response.v1"]),
        ("project list", ["engine", "ada/engine", "main"]),
        ("worktree list", ["feat-x", "feat/x", "engine"]),
        ("inflight", ["feat-x", "feat/x", "engine", "±2"]),
        ("search engine", ["engine", "ada/engine"]),
    ],
)
def test_a_narrow_terminal_leaves_out_columns_and_cuts_none(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int,
    typed: str,
    names: list[str],
) -> None:
    # given
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT update_worktree_git_state(register_worktree("
            "register_project('engine', 'git@github.com:ada/engine.git', 'main', '/a/long/way/to/the/trunk-main'),"
            " 'feat', 'feat-x', 'feat/x', '/x/feat-x', 'an-agent'), p_uncommitted_count => 2)"
        )
    # when
    done = command_line(monkeypatch, capsys, DATABASE_URL=database, COLUMNS=str(columns))(*typed.split())
    # then
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= columns
    for name in names:
        assert any(name in line for line in lines), name
    assert [line for line in lines if "built i" in line and "built in" not in line] == []
