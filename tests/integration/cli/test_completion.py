"""Names that the shell completes, as the script of `--install-completion` asks for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.commandline import command_line
from tests.support.processes import environment

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Complete:
    """What is offered for the last of the words typed; with variables of its own."""
    monkeypatch.chdir(tmp_path)
    cli = command_line(monkeypatch, capsys, DATABASE_URL=database)

    def offered(line: str, **variables: str) -> list[str]:
        words = ["imi-registry", *line.split(" ")]
        asked = {
            "_IMI_REGISTRY_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        for name, value in (asked | variables).items():
            monkeypatch.setenv(name, value)
        done = cli()
        assert (done.code, done.err) == (0, "")
        return done.out.split("\n")[:-1] if done.out != "\n" else []

    return offered


@pytest.fixture
def names(database: str) -> None:
    """Two projects with a worktree of one name, others, one that is gone, and names that a shell would not take."""
    with psycopg.connect(database) as conn:
        for name in ("engine", "motor", "gone", "two words", "$(reboot)", "-x", "a\x1b[2J"):
            origin = f"git@github.com:ada/{abs(hash(name))}.git"
            conn.execute("SELECT register_project(%s, %s, 'main', '/t')", (name, origin))
        for number, (project, name) in enumerate(
            [("engine", "feat-x"), ("motor", "feat-x"), ("motor", "fix-ü"), ("motor", "it's"), ("gone", "feat-old")]
        ):
            conn.execute(
                "SELECT register_worktree(id, 'feat', %s, 'b', %s) FROM projects WHERE name = %s",
                (name, f"/w/{number}", project),
            )
        conn.execute("SELECT deactivate_project(id) FROM projects WHERE name = 'gone'")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("project show ", ["engine", "motor"]),
        ("project show e", ["engine"]),
        ("project update --name new m", ["motor"]),
        ("project deactivate zzz", []),
        ("worktree list --project m", ["motor"]),
        ("events tail --project e", ["engine"]),
        ("inflight --project e", ["engine"]),
        ("worktree show ", ["feat-x@engine", "feat-x@motor", "fix-ü"]),
        ("worktree claim fix", ["fix-ü"]),
        ("worktree merge feat-x@m", ["feat-x@motor"]),
        ("activity list --worktree fix", ["fix-ü"]),
        ("worktree register --type f", ["feat", "fix"]),
        ("type update t", ["trunk"]),
        ("type add t", []),
        ("history show project m", ["motor"]),
        ("history show worktree fix", ["fix-ü"]),
    ],
)
def test_names_of_the_registry_are_offered(complete: Complete, names: None, line: str, offered: list[str]) -> None:
    assert complete(line) == offered


def test_the_database_is_the_one_that_the_command_would_use(complete: Complete, names: None, database: str) -> None:
    elsewhere = "postgresql://127.0.0.1:1/x"
    assert complete("project show ", DATABASE_URL=elsewhere) == []
    assert complete(f"project show --database-url {database} m", DATABASE_URL=elsewhere) == ["motor"]


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/x", "mysql://x", ""])
def test_without_a_server_nothing_is_offered_and_nothing_said(complete: Complete, url: str) -> None:
    assert complete("project show ", DATABASE_URL=url) == []
    assert complete("worktree show ", DATABASE_URL=url, IMI_STATE_DIR="/nowhere") == []


def test_a_database_without_the_schema_is_no_words(complete: Complete, empty_database: str) -> None:
    assert complete("type update ", DATABASE_URL=empty_database) == []


def test_what_only_names_things_waits_for_no_import_of_the_database() -> None:
    lines = "import publisher.cli.main, sys; print([m for m in ('psycopg', 'nats', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "[]\n"
