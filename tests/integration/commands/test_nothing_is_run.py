"""What a command says is text, whatever it looks like: nothing of it is run, by PostgreSQL, a shell or a template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.commands import envelope
from tests.support.world import World

SHAPES = [
    "'; DROP TABLE outbox; --",
    "$$; COPY (SELECT 1) TO PROGRAM 'touch {}'; $$",
    "\\'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity; --",
    "$(touch {})",
    "`touch {}`",
    "| touch {}",
    "; touch {} #",
    "%s %(name)s %n {{0.__class__}} {{{{7*7}}}} ${{jndi:ldap://127.0.0.1/x}}",
    "--upload-pack=touch {}",
    "=cmd|'/c touch {}'!A1",
]


async def test_a_value_is_kept_as_it_is_and_never_run(world: World, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    texts = [shape.format(mark) for shape in SHAPES]

    async with world.relay(), world.applier():
        for number, text in enumerate(texts):
            for name, data in said(text, number).items():
                outcome = await world.ask(name, envelope(name, data, actor=text, idempotencykey=f"{name} {text}"))
                assert outcome["verdict"] == "applied", outcome
        await world.assert_exactly_once()

    assert not mark.exists()
    found = world.rows("SELECT description, metadata FROM projects ORDER BY created_at")
    assert found == [(text, {text: text}) for text in texts]
    for query in (
        "SELECT agent_id FROM worktrees ORDER BY created_at",
        "SELECT agent_id FROM agent_activities ORDER BY created_at",
        "SELECT description FROM agent_activities ORDER BY created_at",
        "SELECT actor FROM outbox GROUP BY actor ORDER BY min(id)",
    ):
        assert world.rows(query) == [(text,) for text in texts]


def said(text: str, number: int) -> dict[str, dict[str, Any]]:
    """Commands that have `text` wherever any text may be."""
    origin, path = f"git@github.com:a/p{number}.git", f"/srv/{number}"
    worktree = {"name": "w", "type_name": "feat", "branch_name": "b", "path": path, "remote_origin": origin}
    return {
        "project.register": {"name": f"p{number}", "remote_origin": origin, "metadata": {text: text}},
        "project.update": {"remote_origin": origin, "description": text},
        "worktree.register": worktree,
        "worktree.claim": {"path": path, "agent_id": text},
        "activity.log": {"activity_type": "modified", "path": path, "agent_id": text, "description": text},
    }
