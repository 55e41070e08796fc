"""`imi-registry sync`, and what it left in the registry."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psycopg

from tests.support.commandline import CommandLine

Rows = dict[tuple[str, str], tuple[str, str]]


def sync(cli: CommandLine, code: Path, exit_code: int = 0) -> Rows:
    """Path in `code` and kind to outcome and detail."""
    done = cli("sync", code, "--json")
    assert done.code == exit_code, done.err
    found = json.loads(done.out)
    rows = {
        (os.path.relpath(row["path"], code), row["kind"]): (row["outcome"], row["detail"]) for row in found["results"]
    }
    assert sum(found["counts"].values()) == len(found["results"]) == len(rows)
    return rows


def outcomes(rows: Rows) -> list[tuple[str, str]]:
    return [(path, outcome) for (path, _), (outcome, _) in rows.items()]


def worktrees(cli: CommandLine) -> dict[str, dict[str, Any]]:
    """All worktrees, active or not, by path."""
    return {one["path"]: one for one in cli("worktree", "list", "--all", "--json").json}


def active(cli: CommandLine) -> dict[str, str]:
    """Path to branch of the active worktrees."""
    return {one["path"]: one["branch_name"] for one in cli("worktree", "list", "--json").json}


def projects(cli: CommandLine) -> dict[str, dict[str, Any]]:
    """All projects, active or not, by name."""
    return {one["name"]: one for one in cli("project", "list", "--all", "--json").json}


def events(database: str, action: str) -> list[dict[str, Any]]:
    """The data of every event with this action, in order."""
    with psycopg.connect(database) as conn:
        return [data for (data,) in conn.execute("SELECT data FROM outbox WHERE action = %s ORDER BY id", [action])]
