"""A registry in which every text is an attack on whoever shows it."""

from __future__ import annotations

import json

import psycopg

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(2)>"
TEXT = f"\"'>{SCRIPT}{IMAGE}</title></textarea>{{{{7*7}}}}${{7*7}}&lt;b&gt;\u202etxt"
WORD = TEXT.replace(" ", "\u00a0")
RAW = (SCRIPT, IMAGE, "</textarea>{{", "\u202e", "onerror=alert(2)>")
"""What is in no page as it is."""


def fill(database: str) -> dict[str, str]:
    """A project, a worktree, a type, activities, commands and events whose texts are all `TEXT`; ids by kind."""
    with psycopg.connect(database, autocommit=True) as conn:

        def value(query: str, *values: object) -> str:
            return str((conn.execute(query, values).fetchone() or ("",))[0])

        conn.execute("SELECT set_config('imi.actor', %s, false)", [TEXT])
        metadata = json.dumps({TEXT: TEXT, "nested": {TEXT: [TEXT]}})
        project = value(
            "SELECT register_project(%s, 'git@github.com:a/hostile.git', 'main', %s, %s)", TEXT, f"/{WORD}", metadata
        )
        conn.execute("UPDATE projects SET description = %s, default_branch = %s", [TEXT, WORD])
        conn.execute(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix, description, icon)"
            " VALUES (%s, %s, %s, %s, %s)",
            [WORD, WORD, WORD, TEXT, TEXT],
        )
        worktree = value(
            "SELECT register_worktree(%s, %s, %s, %s, %s, %s, %s)",
            *(project, WORD, TEXT, WORD, f"/{WORD}/w", TEXT, metadata),
        )
        conn.execute("SELECT update_worktree_git_state(%s, true, 3, 1, 2, %s, %s)", [worktree, "abc", TEXT])
        conn.execute("SELECT log_activity(%s, %s, 'other', %s, %s, %s)", [TEXT, worktree, TEXT, TEXT, metadata])
        command = value(
            "INSERT INTO command_ledger"
            " (command_id, digest, type, verdict, code, message, idempotency_key, actor, result, sender)"
            " VALUES (gen_random_uuid(), '', %s, 'rejected', %s, %s, %s, %s, %s, %s) RETURNING command_id",
            *(TEXT, TEXT, TEXT, TEXT, TEXT, metadata, TEXT),
        )
        data = {"command_id": command, "type": TEXT, "verdict": TEXT, "code": TEXT, "message": TEXT, "name": TEXT}
        conn.execute(
            "INSERT INTO outbox (entity, action, data, actor, causation_id) VALUES ('command', 'rejected', %s, %s, %s)",
            [json.dumps(data | {"changed": {TEXT: TEXT}}), TEXT, command],
        )
        conn.execute(
            "INSERT INTO outbox (entity, action, data, actor) VALUES (%s, %s, %s, %s)",
            [TEXT, TEXT, json.dumps({TEXT: TEXT, "changed": {TEXT: TEXT}}), TEXT],
        )
    return {"project": project, "worktree": worktree, "command": command}
