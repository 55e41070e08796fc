"""`imi-registry commands …` as a person and a script use it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette

from publisher.relay.metrics import RelayMetrics
from publisher.web import status
from tests.support.cli.forked import run
from tests.support.commands import envelope
from tests.support.proxy import nats_proxy
from tests.support.world import World

ORIGIN = "git@github.com:a/p.git"
WAITING = "<td>Dead letters that wait</td><td>{}</td>"


async def command_line(world: World, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        run, *arguments, stdin=stdin, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix, COLUMNS="80"
    )


async def test_a_command_is_sent_and_its_outcome_shown(world: World) -> None:
    data = json.dumps({"name": "p", "remote_origin": ORIGIN})
    command_id = str(uuid4())

    async with world.applier():
        send = ("commands", "send", "project.register")
        first = await command_line(world, *send, data, "--id", command_id, "--actor", "ada", "--json")
        again = await command_line(world, *send, data, "--key", "k")
        bad = await command_line(world, *send, '{"name": "p", "remote_origin": "x"}')
        unknown = await command_line(world, "commands", "send", "project.destroy", "{}")
        no_json = await command_line(world, *send, "{")
        posted = await command_line(world, *send, data, "--no-wait")

    ((project,),) = world.rows("SELECT id::text FROM projects")
    assert json.loads(first.stdout) == {
        "command_id": command_id,
        "verdict": "applied",
        "code": None,
        "message": "applied",
        "result": {"project_id": project},
    }
    assert again.stdout == f"idempotent: project_id {project}\n"
    assert (bad.returncode, bad.stdout) == (2, "")
    assert 'p_remote_origin "x" is not owner/repo on GitHub' in bad.stderr
    assert (unknown.returncode, no_json.returncode) == (2, 2)
    assert 'command "project.destroy" is none of project.register' in unknown.stderr
    assert "is not JSON" in no_json.stderr
    assert posted.stdout.startswith("sent ")
    assert world.rows("SELECT DISTINCT actor FROM outbox WHERE entity = 'project'") == [("ada",)]


async def test_dead_letters_are_listed_shown_retried_and_dropped(world: World) -> None:
    # given two
    letters = ("commands", "dead-letters")
    command_id = str(uuid4())
    async with world.applier():
        await world.send("project.register", b"\xff no JSON")
        for name in ("p", "q"):
            data = {"name": name, "remote_origin": f"git@github.com:a/{name}.git"}
            await world.send("project.register", envelope("project.register", data, id=command_id))
        await world.commands_done()

        listed = await command_line(world, *letters, "list", "--json")
        table = await command_line(world, *letters, "list")
        shown = await command_line(world, *letters, "show", "1")
        missing = await command_line(world, *letters, "show", "3")

        # when
        refused = await command_line(world, *letters, "drop", "1", stdin="n\n")
        kept = await command_line(world, *letters, "list", "--json")
        dropped = await command_line(world, *letters, "drop", "1", "--yes")
        world.rows("DELETE FROM command_ledger RETURNING 1")  # the id is free again
        retried = await command_line(world, *letters, "retry", "2")
        await world.commands_done()
        left = await command_line(world, *letters, "list")

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
    assert retried.stdout == f"sent to {world.prefix}.cmd.v1.project.register again\n"
    assert left.stdout == "no dead letters\n"
    assert world.rows("SELECT name FROM projects ORDER BY name") == [("p",), ("q",)]


async def test_all_dead_letters_are_retried_once_each(world: World) -> None:
    # given three, of which one is still wrong
    letters = ("commands", "dead-letters")
    command_id = str(uuid4())
    async with world.applier():
        await world.send("project.register", b"\xff no JSON")
        for name in ("p", "q", "r"):
            data = {"name": name, "remote_origin": f"git@github.com:a/{name}.git"}
            await world.send("project.register", envelope("project.register", data, id=command_id))
        await world.commands_done()
        world.rows("DELETE FROM command_ledger RETURNING 1")  # the id is free for one more

        # when
        unmeant = await command_line(world, *letters, "retry")
        both = await command_line(world, *letters, "retry", "1", "--all")
        refused = await command_line(world, *letters, "retry", "--all", stdin="n\n")
        kept = await command_line(world, *letters, "list", "--json")
        retried = await command_line(world, *letters, "retry", "--all", stdin="y\n")
        await world.commands_done()
        left = await command_line(world, *letters, "list", "--json")

    # then
    assert (unmeant.returncode, both.returncode, refused.returncode) == (2, 2, 1)
    assert "Send 3 dead letters once more? [y/N]" in refused.stderr
    assert len(kept.stdout.splitlines()) == 3
    told = retried.stdout.removeprefix("Send 3 dead letters once more? [y/N]: ")
    assert told.splitlines() == [
        f"{number} sent to {world.prefix}.cmd.v1.project.register again" for number in (1, 2, 3)
    ]
    assert [json.loads(line)["number"] for line in left.stdout.splitlines()] == [4, 5]
    assert world.rows("SELECT name FROM projects ORDER BY name") == [("p",), ("q",)]


async def test_the_status_page_counts_the_dead_letters_that_wait(world: World) -> None:
    # given one of an applier that is gone
    async with world.applier():
        await world.send("project.register", b"\xff no JSON")
        await world.commands_done()

    # when
    async with world.applier() as metrics:
        page = status.application(RelayMetrics(), metrics)
        before = await get(page)
        await command_line(world, "commands", "dead-letters", "drop", "1", "--yes")
        after = await get(page)
    stopped = await get(page)

    # then
    assert WAITING.format(1) in before
    assert WAITING.format(0) in after
    assert WAITING.format("unknown") in stopped


async def test_the_status_page_waits_for_no_server(world: World) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url), world.at(nats_url=url).applier() as metrics:
        proxy.black_hole()
        async with asyncio.timeout(4):  # an answer of NATS is waited for a second longer
            told = await get(status.application(RelayMetrics(), metrics))
        proxy.go_on()
    assert WAITING.format("unknown") in told


async def get(page: Starlette) -> str:
    """The body of `/`, asked for as a server asks an application."""
    body = b""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal body
        body += message.get("body", b"")

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "root_path": ""}
    await page(scope, receive, send)
    return body.decode()


async def test_where_no_applier_ever_ran_that_is_said(world: World) -> None:
    done = await command_line(world, "commands", "dead-letters", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has the applier been started?" in done.stderr
