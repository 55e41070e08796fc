"""`imi-registry commands …` as a person and a script use it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from uuid import uuid4

from nats.aio.client import Client

from tests.support.appliers import envelope, publish, rows, running_applier, until_empty
from tests.support.processes import run

ORIGIN = "git@github.com:a/p.git"


async def command_line(
    nats_url: str, prefix: str, *arguments: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run, *arguments, stdin=stdin, NATS_URL=nats_url, IMI_PREFIX=prefix)


async def test_a_command_is_sent_and_its_outcome_shown(database: str, nats_url: str, prefix: str) -> None:
    data = json.dumps({"name": "p", "remote_origin": ORIGIN})
    command_id = str(uuid4())
    async with running_applier(database, nats_url, prefix):
        send = ("commands", "send", "project.register")
        first = await command_line(nats_url, prefix, *send, data, "--id", command_id, "--actor", "ada", "--json")
        again = await command_line(nats_url, prefix, *send, data, "--key", "k")
        bad = await command_line(nats_url, prefix, *send, '{"name": "p", "remote_origin": "x"}')
        unknown = await command_line(nats_url, prefix, "commands", "send", "project.destroy", "{}")
        no_json = await command_line(nats_url, prefix, *send, "{")
        posted = await command_line(nats_url, prefix, *send, data, "--no-wait")
    ((project,),) = rows(database, "SELECT id::text FROM projects")
    assert json.loads(first.stdout) == {
        "command_id": command_id,
        "verdict": "applied",
        "code": None,
        "message": "applied",
        "result": {"project_id": project},
    }
    assert again.stdout == f"idempotent: project_id {project}\n"
    assert (bad.returncode, bad.stdout) == (1, "")
    assert 'p_remote_origin "x" is not owner/repo on GitHub' in bad.stderr
    assert unknown.returncode == no_json.returncode == 1
    assert 'command "project.destroy" is none of project.register' in unknown.stderr
    assert "is not JSON" in no_json.stderr
    assert posted.stdout.startswith("sent ")
    assert rows(database, "SELECT DISTINCT actor FROM outbox WHERE entity = 'project'") == [("ada",)]


async def test_dead_letters_are_listed_shown_retried_and_dropped(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    # given two
    letters = ("commands", "dead-letters")
    command_id = str(uuid4())
    async with running_applier(database, nats_url, prefix):
        await publish(nats, prefix, "project.register", b"\xff no JSON")
        for name in ("p", "q"):
            data = {"name": name, "remote_origin": ORIGIN}
            await publish(nats, prefix, "project.register", envelope("project.register", data, id=command_id))
        await until_empty(nats, prefix)

        listed = await command_line(nats_url, prefix, *letters, "list", "--json")
        table = await command_line(nats_url, prefix, *letters, "list")
        shown = await command_line(nats_url, prefix, *letters, "show", "1")
        missing = await command_line(nats_url, prefix, *letters, "show", "3")

        # when
        refused = await command_line(nats_url, prefix, *letters, "drop", "1", stdin="n\n")
        kept = await command_line(nats_url, prefix, *letters, "list", "--json")
        dropped = await command_line(nats_url, prefix, *letters, "drop", "1", "--yes")
        rows(database, "DELETE FROM command_ledger RETURNING 1")  # the id is free again
        retried = await command_line(nats_url, prefix, *letters, "retry", "2")
        await until_empty(nats, prefix)
        left = await command_line(nats_url, prefix, *letters, "list")

    # then
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [letter["number"] for letter in found] == [1, 2]
    assert "payload is not JSON" in found[0]["reason"]
    assert f"{command_id} is the id of another command" in found[1]["reason"]
    assert json.loads(found[1]["payload"])["id"] == command_id
    assert all(len(line) <= 80 for line in table.stdout.splitlines())
    assert "payload   \\xff no JSON" in shown.stdout
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "dead letter 3: there is none" in missing.stderr
    assert refused.returncode == 1
    assert len(kept.stdout.splitlines()) == 2
    assert dropped.stdout == "dropped dead letter 1\n"
    assert retried.stdout == f"sent to {prefix}.cmd.v1.project.register again\n"
    assert left.stdout == "no dead letters\n"
    assert rows(database, "SELECT name FROM projects") == [("q",)]


async def test_where_no_applier_ever_ran_that_is_said(nats_url: str, prefix: str) -> None:
    done = await command_line(nats_url, prefix, "commands", "dead-letters", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has the applier been started?" in done.stderr
