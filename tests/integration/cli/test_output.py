"""Where the output goes: full disks, closed streams, encodings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

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
