"""iMi's old SQLite database, as iMi made it, with rows of a test's own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE repositories (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, remote_url TEXT NOT NULL,
    default_branch TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, active BOOLEAN NOT NULL DEFAULT 1
);
CREATE TABLE worktrees (
    id TEXT PRIMARY KEY, repo_name TEXT NOT NULL, worktree_name TEXT NOT NULL, branch_name TEXT NOT NULL,
    worktree_type TEXT NOT NULL, path TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    active BOOLEAN NOT NULL DEFAULT 1, agent_id TEXT
);
CREATE TABLE agent_activities (
    id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, worktree_id TEXT NOT NULL, activity_type TEXT NOT NULL,
    file_path TEXT, description TEXT NOT NULL, created_at TEXT NOT NULL
);
"""
TYPES = """
CREATE TABLE worktree_types (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, branch_prefix TEXT NOT NULL, worktree_prefix TEXT NOT NULL,
    description TEXT, is_builtin BOOLEAN NOT NULL DEFAULT 0, created_at TEXT NOT NULL
);
"""
P, W, A = (f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "123")
"""Ids of the repository, the worktree and the activity that are well."""
T1, T2 = "2025-03-01T10:00:00.123456+00:00", "2025-04-02T11:30:00+02:00"


class OldDatabase:
    """A file with iMi's tables; each method adds a row that is well but for what it is given."""

    def __init__(self, file: Path, *, with_types: bool = True) -> None:
        self.file = file
        self._run(TABLES + (TYPES if with_types else ""))

    def repository(self, **values: Any) -> None:
        """A repository."""
        name = values.get("name", "engine")
        self._add(
            "repositories",
            {
                "id": P,
                "name": name,
                "path": f"/srv/{name}/trunk-main",
                "remote_url": f"https://github.com/Ada/{name}.git",
                "default_branch": "main",
                "created_at": T1,
                "updated_at": T2,
                "active": 1,
            },
            values,
        )

    def worktree(self, **values: Any) -> None:
        """A worktree."""
        self._add(
            "worktrees",
            {
                "id": W,
                "repo_name": "engine",
                "worktree_name": "feat-x",
                "branch_name": "feat/x",
                "worktree_type": "feat",
                "path": "/srv/engine/feat-x",
                "created_at": T1,
                "updated_at": T2,
                "active": 1,
                "agent_id": "",
            },
            values,
        )

    def activity(self, **values: Any) -> None:
        """An activity."""
        self._add(
            "agent_activities",
            {
                "id": A,
                "agent_id": "ada",
                "worktree_id": W,
                "activity_type": "created",
                "file_path": "",
                "description": "began",
                "created_at": T2,
            },
            values,
        )

    def type(self, **values: Any) -> None:
        """A type of worktree."""
        self._add(
            "worktree_types",
            {
                "id": 7,
                "name": "docs",
                "branch_prefix": "doc/",
                "worktree_prefix": "doc-",
                "description": "Documents",
                "is_builtin": 0,
                "created_at": T1,
            },
            values,
        )

    def _add(self, table: str, row: dict[str, Any], values: dict[str, Any]) -> None:
        row |= values
        places = ", ".join("?" * len(row))
        with closing(sqlite3.connect(self.file)) as conn, conn:
            insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608  # names are constants
            conn.execute(insert, list(row.values()))

    def _run(self, script: str) -> None:
        with closing(sqlite3.connect(self.file)) as conn, conn:
            conn.executescript(script)
