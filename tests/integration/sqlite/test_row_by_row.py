"""Import of iMi's old database, compared row by row: each column as SQLite has it and as PostgreSQL does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import uuid4

from registry.database.sqlite.source import COLUMNS
from registry.models.activity import ActivityType
from tests.support.before.importing import rows, run
from tests.support.before.sqlite import OldDatabase

Row = dict[str, Any]
TIMES = {
    "2025-03-01T10:00:00.123456+00:00": datetime(2025, 3, 1, 10, 0, 0, 123456, UTC),
    "2025-03-01T10:00:00.123456789Z": datetime(2025, 3, 1, 10, 0, 0, 123456, UTC),
    "2025-03-01t10:00:00z": datetime(2025, 3, 1, 10, tzinfo=UTC),
    "2025-04-02T11:30:00+02:00": datetime(2025, 4, 2, 9, 30, tzinfo=UTC),
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1, tzinfo=UTC),
    "2025-03-01 10:00:00": datetime(2025, 3, 1, 10, tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
    "9999-12-31T23:59:59.999999Z": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
}
ORIGINS = {
    "git@github.com:Ada/One.git": "git@github.com:ada/one.git",
    "https://github.com/ada/two": "git@github.com:ada/two.git",
    "https://www.github.com/ada/three.git/": "git@github.com:ada/three.git",
    "ssh://git@github.com:22/ada/four": "git@github.com:ada/four.git",
    "git://github.com/ada/five.git": "git@github.com:ada/five.git",
    "ssh://git@ssh.github.com:443/ada/six.git\n": "git@github.com:ada/six.git",
}
TEXTS = [
    "plain",
    "  two blanks before\nand a line behind\n",
    "ü · 漢字 🌳",
    "'; DROP TABLE projects; --",
    '"\\x00',
    "%s {} $1",
]
TYPES = {"feat": "feat", "fix": "fix", "pr": "review", "docs": "docs", "Spike-1": "Spike-1"}
PROJECTS = """
SELECT id::text, name, trunk_path AS path, remote_origin AS remote_url, default_branch, created_at, updated_at, active
FROM projects
"""
WORKTREE_TYPES = """
SELECT name, branch_prefix, worktree_prefix, description, is_builtin, created_at
FROM worktree_types
WHERE NOT is_builtin
"""
WORKTREES = """
SELECT
    w.id::text, p.name AS repo_name, w.name AS worktree_name, w.branch_name, t.name AS worktree_type, w.path,
    w.created_at, w.updated_at, w.active, w.agent_id
FROM worktrees w
JOIN projects p ON p.id = w.project_id
JOIN worktree_types t ON t.id = w.type_id
"""
ACTIVITIES = """
SELECT
    id::text, agent_id, worktree_id::text,
    coalesce(metadata ->> 'sqlite_activity_type', activity_type) AS activity_type,
    file_path, description, created_at
FROM agent_activities
"""


CHANGED: dict[str, Callable[[Any], Any]] = {
    "remote_url": ORIGINS.__getitem__,
    "default_branch": lambda value: value or "main",
    "worktree_type": TYPES.__getitem__,
    "created_at": TIMES.__getitem__,
    "updated_at": TIMES.__getitem__,
    "active": bool,
    "is_builtin": bool,
    "agent_id": lambda value: value or None,
    "file_path": lambda value: value or None,
}
"""What the page says that becomes of a column; all else is as it was."""


def fill(old: OldDatabase) -> None:
    """Some fifty rows of all four tables, each column with each value that it may have."""
    times = list(TIMES)
    names = [f"{text}{number}" for number, text in enumerate(TEXTS)]
    for number, url in enumerate(ORIGINS):
        old.repository(
            id=str(uuid4()),
            name=names[number],
            path=f"/srv/{TEXTS[number]}/trunk-main",
            remote_url=url,
            default_branch=["main", "", "release/1.0", "master", "-x", "ü"][number],
            created_at=times[number],
            updated_at=times[-number],
            active=number != 3,
        )
    for number, name in enumerate(["docs", "Spike-1"]):
        old.type(
            id=70 + number,
            name=name,
            branch_prefix=f"{name}/",
            worktree_prefix=f"{name} -",
            description=[None, TEXTS[1]][number],
            created_at=times[number],
        )
    worktrees = [str(uuid4()) for _ in range(15)]
    for number, id_ in enumerate(worktrees):
        repository = number % len(names)
        old.worktree(
            id=id_,
            repo_name=names[repository],
            worktree_name=f"{TEXTS[number % len(TEXTS)]}{number}",
            branch_name=f"--b/{number}-ü",
            worktree_type=list(TYPES)[number % len(TYPES)],
            path=f"/srv/{number}/{TEXTS[number % len(TEXTS)]}",
            created_at=times[number % len(times)],
            updated_at=times[-number % len(times)],
            active=number % 2 if repository != 3 else 0,
            agent_id=["", "ada", TEXTS[2]][number % 3],
        )
    for number, type_ in enumerate(2 * [*get_args(ActivityType), "danced", "Created", "ü"]):
        old.activity(
            id=str(uuid4()),
            agent_id=TEXTS[number % len(TEXTS)],
            worktree_id=worktrees[number % len(worktrees)],
            activity_type=type_,
            file_path=["", f"src/{TEXTS[number % len(TEXTS)]}"][number % 2],
            description=TEXTS[-number % len(TEXTS)],
            created_at=times[number % len(times)],
        )


def as_they_were(old: OldDatabase, table: str, *, but: str = "") -> Iterator[Row]:
    """The rows of a table as SQLite has them, with what the page says that becomes of each column."""
    with closing(sqlite3.connect(old.file)) as conn:
        conn.row_factory = sqlite3.Row
        for row in conn.execute(f"SELECT * FROM {table}"):  # noqa: S608  # from COLUMNS
            kept = {name: row[name] for name in COLUMNS[table] if name != but}
            yield {name: CHANGED[name](value) if name in CHANGED else value for name, value in kept.items()}


def in_order(found: list[Row], key: str) -> list[Row]:
    return sorted(found, key=lambda row: str(row[key]))


def test_each_column_of_each_row_is_what_it_was(database: str, old: OldDatabase) -> None:
    fill(old)

    report = run(database, old)

    assert (report.problems, report.is_done) == ([], True)
    for table, query, key, but in (
        ("repositories", PROJECTS, "id", ""),
        ("worktree_types", WORKTREE_TYPES, "name", "id"),  # the registry numbers them itself
        ("worktrees", WORKTREES, "id", ""),
        ("agent_activities", ACTIVITIES, "id", ""),
    ):
        expected = in_order(list(as_they_were(old, table, but=but)), key)
        found = in_order(rows(database, query), key)
        assert len(found) > 1
        assert found == expected, table
        assert set(found[0]) == set(COLUMNS[table]) - {but}
    assert sum(report.imported.values()) == 49
    assert {(note.table, note.field) for note in report.notes} == {
        ("repositories", "default_branch"),
        ("agent_activities", "activity_type"),
    }
