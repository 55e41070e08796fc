"""What the network says is text, whatever it looks like: nothing of it is run, and none of it is a file's name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from registry.queries import QUERIES
from tests.support.before.sqlite import OldDatabase
from tests.support.commandline import command_line
from tests.support.commands import envelope
from tests.support.fuzz.interpreter import watched
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


def hostile(folder: Path) -> list[str]:
    """Texts that make a file `mark` in `folder` for whoever runs them; and its plain name, for whoever opens it."""
    return [*[shape.format(folder / "mark") for shape in SHAPES], f"{folder}/mark", "../" * 20 + f"{folder}/mark"]


def as_token(text: str) -> str:
    """A text as a token of a subject, of which blanks, dots and wildcards cannot be part."""
    return re.sub(r"[\s.*>]", "_", text)


def asked(query: str, text: str) -> list[dict[str, str]]:
    """Requests of a query with the text in each field, and in one of them."""
    fields = QUERIES[query].request.model_fields if query in QUERIES else ("project_id", "after", "origin", "types")
    return [dict.fromkeys(fields, text), *[{field: text} for field in fields]]


async def test_nothing_from_nats_names_a_program_a_file_a_host_or_code(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "strangers"
    folder.mkdir()
    commands = world.names.commands
    async with world.relay(), world.applier(), world.queries(), world.history():
        with watched() as seen:
            for number, text in enumerate(hostile(folder)):
                token = as_token(text)
                headers = {"traceparent": text, "X-Imi": text}
                for name, data in said(text, number).items():
                    for sender, given in ((None, {}), (token, {}), (None, {"replyto": f"_INBOX.{token}"})):
                        subject = commands.command_subject(name, sender)
                        key = f"{name} {sender} {given} {text}"
                        payload = envelope(name, data, actor=text, idempotencykey=key, traceparent=text, **given)
                        once = headers | {"Nats-Msg-Id": key}
                        await world.nats.publish(subject, payload, reply=f"_INBOX.{token}", headers=once)
                        await world.nats.publish(subject, text.encode(), headers=headers)
                for query in (*QUERIES, "history", "history_origin", "snapshot", token):
                    for request in [*asked(query, text), {}]:
                        await world.nats.publish(
                            f"{world.prefix}.qry.v1.{query}", orjson.dumps(request), f"_INBOX.{token}", headers
                        )
                answer = await world.nats.request(f"{world.prefix}.qry.v1.stats", b"", timeout=60, headers=headers)
                assert answer.data, "it is there, and has answered what came before"
            await world.commands_done()
            await world.drained()

    assert seen.programs == []
    assert seen.naming(str(folder)) == []
    assert list(folder.iterdir()) == []


def test_nothing_in_an_imported_file_names_a_program_a_file_a_host_or_code(
    world: World,
    second: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "strangers"
    folder.mkdir()
    old = OldDatabase(tmp_path / "imi.db")
    for number, text in enumerate(hostile(folder)):
        name, path = f"engine{number}", f"/srv/{number}/{text.replace('../', '')}"
        old.repository(id=f"p{number}", name=name, remote_url=f"https://github.com/ada/{name}.git", path=path)
        old.worktree(id=f"w{number}", repo_name=name, path=f"{path}/w", agent_id=text)
        old.activity(id=f"a{number}", worktree_id=f"w{number}", agent_id=text, file_path=text, description=text)
    here = command_line(monkeypatch, capsys, DATABASE_URL=world.database, NATS_URL=world.nats_url)
    there = command_line(monkeypatch, capsys, DATABASE_URL=second.database, NATS_URL=second.nats_url)

    with watched() as seen:
        assert here("import-sqlite", old.file, "--database-url", world.database).code == 0
        assert here("events", "export", tmp_path / "history.jsonl", "--database-url", world.database).code == 0
        assert there("events", "import", tmp_path / "history.jsonl", "--database-url", second.database).code == 0

    assert len(second.rows("SELECT FROM agent_activities")) == len(hostile(folder))
    assert seen.programs == []
    assert seen.naming(str(folder)) == []
    assert list(folder.iterdir()) == []


def test_whoever_looks_sees_a_program_and_a_file(tmp_path: Path) -> None:
    with watched() as seen:
        subprocess.run([sys.executable, "-c", ""], check=True)
        (tmp_path / "mark").touch()
        eval(compile("1", str(tmp_path), "eval"))  # noqa: S307  # the point
    assert len(seen.programs) > 0
    assert len(seen.naming(str(tmp_path))) > 1
