"""What the tests of this room have in common: something registered."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, linked


@pytest.fixture
def engine(cli: CommandLine, tmp_path: Path) -> Path:
    """A registered project with a registered worktree, as real work trees: returns the linked one."""
    main = checkout(tmp_path / "engine" / "trunk-main", "https://github.com/Ada/Engine.git")
    feature = linked(main, tmp_path / "engine" / "feat-search", "feat/search")
    assert cli("project", "register", main).code == 0
    assert cli("worktree", "register", feature).code == 0
    return feature


@pytest.fixture
def registered(database: str) -> None:
    """The rows of such a project and worktree, with nothing on disk."""
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT register_worktree(register_project('Engine', %s), 'feat', 'feat-search', 'feat/search', '/x/feat')",
            (ORIGIN,),
        )
