"""What an upgrade of the original schema changes and leaves to be decided, for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from publisher.cli.terminal import tables
from publisher.cli.terminal.text import write
from registry.database.adoption import Plan

SHOWN = 200
"""Characters of a value; --json has all of it."""


def print_changes(found: Plan) -> None:
    """One row for each field that becomes another."""
    if not found.changes:
        return
    changes = found.changes
    write(f"the original schema 2.0.0; {len(changes)} values change:")
    tables.print_table(
        {
            "table": [change.table for change in changes],
            "id": [change.id for change in changes],
            "name": [change.name or "" for change in changes],
            "field": [change.field for change in changes],
            "from": [_shown(change.old) for change in changes],
            "to": [_shown(change.new) for change in changes],
            "because": [change.rule for change in changes],
        },
        empty="nothing",
        dispensable=("id", "because"),
    )


def print_decisions(found: Plan, line: Callable[[str], None]) -> None:
    """Two lines for each: what is wrong, and what to do about it."""
    for decision in found.decisions:
        row = f" {decision.id} ({_shown(decision.name)})" if decision.id else ""
        line(f"to decide: {decision.table}{row}: {decision.problem}")
        line(f"  {decision.how}")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.strip() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
