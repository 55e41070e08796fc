"""`imi-registry events dead-letters …` as a person and a script use it."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime

import orjson

from registry.dead_letters import DeadLetter, Failure
from registry.dead_letters.stream import LetterStream
from tests.integration.cli.test_commands import command_line
from tests.support.cli.forked import run
from tests.support.world import World

NOW = datetime.now(UTC)
LETTERS = ("events", "dead-letters")


async def given(world: World, *reasons: str) -> None:
    """Dead letters of the subscription `board`, of the first events of the stream."""
    async with world.relay():
        world.write()
        await world.drained()
    stream = LetterStream(world.nats, world.profile.letters, "board")
    await stream.open()
    for event, reason in zip(await world.published(), reasons, strict=False):
        headers = {name: value for name, value in event.headers.items() if not name.startswith("Nats-")}
        payload = orjson.dumps(event.envelope)
        failure = Failure(reason, 3, NOW, NOW)
        await stream.bury(
            DeadLetter("board", 0, event.envelope["id"], event.subject, event.sequence, failure, headers, payload)
        )


async def test_they_are_listed_shown_redelivered_and_dropped_and_who_did_it_is_told(world: World) -> None:
    await given(world, "TimeoutError: no answer", "KeyError: 'x'", "TimeoutError: none either")
    letters = [*LETTERS]

    table = await command_line(world, *letters, "list")
    listed = await command_line(world, *letters, "list", "board", "--reason", "timeout", "--json")
    shown = await command_line(world, *letters, "show", "board", "1")
    document = await command_line(world, *letters, "show", "board", "1", "--json")
    refused = await command_line(world, *letters, "drop", "board", "2", stdin="n\n")
    again = await command_line(world, *letters, "redeliver", "board", "1", "--actor", "ada")
    dropped = await command_line(
        world, *letters, "drop", "board", "--all", "--reason", "KeyError", "--yes", "--actor", "bob"
    )
    left = await command_line(world, *letters, "list", "--json")
    missing = await command_line(world, *letters, "show", "board", "2")
    nobody = await command_line(world, *letters, "list", "nobody")
    none = await command_line(world, *letters, "redeliver", "board", "--all", "--reason", "nothing", "--yes")
    record = await command_line(world, *letters, "record")
    screen = await asyncio.to_thread(
        run, "status", DATABASE_URL=world.database, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix, COLUMNS="80"
    )
    recorded = await command_line(world, *letters, "record", "board", "--json")

    first = (await world.published())[0]
    assert all(len(line) <= 80 for line in table.stdout.splitlines()), table.stdout
    assert [word in table.stdout for word in ("board", "KeyError: 'x'", "TimeoutError:")] == [True] * 3
    assert [json.loads(line)["number"] for line in listed.stdout.splitlines()] == [1, 3]
    assert "reason    TimeoutError: no answer\nattempts  3, from " in shown.stdout
    assert f"id {first.envelope['id']}\nsequence  1 of the event stream" in shown.stdout
    told = json.loads(document.stdout)
    assert (told["durable"], told["event"], told["attempts"], told["redelivery"]) == (
        "board",
        "project.registered",
        3,
        None,
    )
    assert json.loads(told["payload"]) == first.envelope
    assert (refused.returncode, refused.stdout) == (1, "")
    assert again.stdout == "1, project.registered at sequence 1, will be handled once more\n"
    assert dropped.stdout.endswith("is deleted\n")
    found = [json.loads(line) for line in left.stdout.splitlines()]
    assert [(letter["number"], bool(letter["redelivery"])) for letter in found] == [(1, True), (3, False)]
    assert found[0]["redelivery"]["actor"] == "ada"
    assert (missing.returncode, nobody.returncode) == (1, 1)
    assert missing.stderr == "imi-registry: dead letter 2 of board: there is none of that number\n"
    assert nobody.stderr.startswith('imi-registry: subscription "nobody" has no dead letters')
    assert none.stdout == "no dead letters\n"
    assert re.search(r"^dead letters +of subscriptions: board 2 *$", screen.stdout, re.MULTILINE), screen.stdout
    assert "2 events are dead letters of subscription board: look with" in " ".join(screen.stdout.split())
    assert ("ada" in record.stdout, "bob" in record.stdout) == (True, True)
    actions = [json.loads(line) for line in recorded.stdout.splitlines()]
    assert [(one["actor"], one["action"], one["number"]) for one in actions] == [
        ("ada", "redeliver", 1),
        ("bob", "drop", 2),
    ]
    assert all(datetime.fromisoformat(one["at"]) >= NOW.replace(microsecond=0) for one in actions)
