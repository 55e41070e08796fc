"""What the tests of this room have in common: a connection, and ids of what there is to write to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

Conn = psycopg.Connection[Any]


@pytest.fixture
def db(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def ids(db: Conn) -> dict[str, UUID]:
    """A project, a worktree of it, and the type `spike` that no worktree has."""
    for statement in (
        "SELECT register_project('a', 'git@github.com:o/a.git', 'main', '/t')",
        "SELECT register_worktree(id, 'feat', 'w', 'w', '/w') FROM projects",
        "SELECT add_worktree_type('spike')",
    ):
        db.execute(statement.encode())
    project, worktree = db.execute("SELECT p.id, w.id FROM projects p, worktrees w").fetchall()[0]
    return {"project": project, "worktree": worktree}
