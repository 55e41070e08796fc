"""Changes with SQL that make a known number of events."""

from __future__ import annotations

import psycopg


def rename_project(database: str, times: int) -> None:
    """One event per time, each in its own transaction; all of the same row."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('p', 'git@github.com:owner/p.git', '/p')"
            " ON CONFLICT DO NOTHING"
        )
        for _ in range(times):
            conn.execute("UPDATE projects SET description = gen_random_uuid()::text")
