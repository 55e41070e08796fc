"""docs/missing-event.md: its commands and statements find the event of its example, wherever it is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.support.commandline import command_line
from tests.support.services import wait_until
from tests.support.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "missing-event.md").read_text()
STEPS = re.split(r"^## \d\. ", PAGE, flags=re.MULTILINE)[1:]
HISTORY: list[LiteralString] = [
    "SELECT register_project('engine', 'git@github.com:ada/engine.git')",
    "SELECT register_worktree(id, 'feat', 'feat-search', 'feat/search', '/code/engine/feat-search') FROM projects",
    "UPDATE worktrees SET agent_id = 'ada'",
]
WAITING = """
SELECT count(*)
FROM outbox
WHERE NOT EXISTS (SELECT FROM publisher_cursor AS cursor WHERE stream = %s AND published_ids(cursor) @> outbox.id)
"""


def commands(step: int) -> list[str]:
    """What a step has one run, in a terminal or within a sentence."""
    shown = re.findall(r"^\$ imi-registry (.*)$", STEPS[step - 1], re.MULTILINE)
    return shown + [one for one in re.findall(r"`imi-registry (.*?)`", STEPS[step - 1]) if one not in shown]


def statement(step: int) -> bytes:
    """The SQL of a step."""
    (found,) = re.findall(r"```sql\n(.*?)```", STEPS[step - 1], re.DOTALL)
    return str(found).strip().rstrip(";").encode()


def test_the_five_steps_find_the_event(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url}
    cli = command_line(monkeypatch, capsys, IMI_PREFIX=world.prefix, **urls)
    with psycopg.connect(world.database, autocommit=True) as conn:
        for query in HISTORY:
            conn.execute(query)
        # when
        told: dict[str, str] = {}
        event_id = ""
        with world.process():
            wait_until(lambda: conn.execute(WAITING, [world.stream]).fetchone() == (0,), 60)
            for step, command in [(number, one) for number in range(1, 6) for one in commands(number)]:
                done = cli(*[{"EVENT_ID": event_id}.get(word, word) for word in shlex.split(command)])
                assert done.code == (1 if "DURABLE" in command else 0), (command, done)
                told[command] = done.out
                if step == 2:
                    event_id = done.json[-1]["event_id"]
        listed = conn.execute(statement(2)).fetchall()
        published = conn.execute(statement(3).replace(b":'event_id'", b"%s"), [event_id]).fetchall()

    # then each step tells of the event that the worktree was claimed by
    assert len(told) >= 9
    assert "agent_id: - → ada" in told["history show worktree feat-search@engine --diff"]
    assert listed[0][1:3] == (UUID(event_id), "claimed")
    assert published == [(world.stream, True)]
    assert "0 wait" in told["status"]
    assert event_id in told["events show EVENT_ID"]
    assert re.search(r"\b0 lost\b", told["history audit"])
    assert "worktree.claimed" in told["events replay --worktree feat-search@engine"]
