"""Dead letters in the console: found, looked at, sent again, dropped; and by nobody who may not."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from uuid import uuid4

import orjson
import pytest

from publisher.applier.dead_letters import SUBJECT, DeadLetters
from publisher.web.console.console import Console
from publisher.web.console.sources import letters
from registry.broker.connection import connect_nats
from registry.commands import command_type
from registry.dead_letters.letter import REASON
from tests.support.nats.process import nats_process
from tests.support.web.console import Visitor, served
from tests.support.world import World


async def bury(world: World, *payloads: bytes, command: str = "project.register") -> None:
    """Dead letters of these payloads, as an applier leaves them."""
    names = world.names.commands
    desk = DeadLetters(world.nats, world.profile, world.settings())
    await desk.open()
    for payload in payloads:
        headers = {SUBJECT: names.command_subject(command), REASON: "it was tried in vain"}
        await world.nats.jetstream().publish(names.dead_letter_subject(command), payload, headers=headers)


def registration(name: str) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "urn:test",
        "type": command_type("project.register"),
        "data": {"name": name, "remote_origin": f"git@github.com:a/{name}.git"},
    }
    return orjson.dumps(envelope)


def numbers_in(text: str) -> list[str]:
    return re.findall(r'href="/dead-letters/.commands/(\d+)">\d', text)


def asked_in(text: str) -> str:
    """Where the form of a question is sent."""
    (path,) = re.findall(r'action="(/dead-letters/.all/[^"]*)"', text)
    return unescape(path)


async def waiting(world: World) -> int:
    return await DeadLetters(world.nats, world.profile, world.settings()).count()


async def test_what_cannot_be_carried_out_is_listed_with_its_reason_and_its_payload(world: World) -> None:
    async with served(world) as (visitor, _):
        await world.send("project.register", b"<script>nonsense</script>")
        text = await visitor.until("/dead-letters", "payload is not JSON")
        assert numbers_in(text) == ["1"]
        page = (await visitor.get("/dead-letters/.commands/1")).text
        assert "&lt;script&gt;nonsense&lt;/script&gt;" in page
        await visitor.until("/", "1 dead letter waits")


async def test_a_retried_letter_is_carried_out_and_gone(world: World) -> None:
    await bury(world, registration("flume"))
    async with served(world) as (visitor, console):
        await visitor.sign_in("ada")
        answer = await visitor.act("/dead-letters/.commands/1/retry", {})
        assert answer.status == 303
        assert "Dead letter 1 sent once more." in (await visitor.get(answer.headers["location"])).text
        await world.commands_done()
        assert await waiting(world) == 0
        assert world.rows("SELECT name FROM projects") == [("flume",)]
        action = console.log.latest()[0]
        assert action[1:] == ("ada", "dead letter: retry", "commands 1", "sent once more", True)
        assert "dead letter: retry" in (await visitor.log()).text


async def test_one_is_dropped_after_a_question(world: World) -> None:
    await bury(world, b"one", b"two")
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/dead-letters", "it was tried in vain")
        await visitor.sign_in()
        question = await visitor.get("/dead-letters/.commands/1/drop")
        assert "Drop for good: dead letter 1 of commands?" in question.text
        assert await waiting(world) == 2  # to ask is to do nothing
        await visitor.act("/dead-letters/.commands/1/drop", {})
        assert numbers_in((await visitor.get("/dead-letters")).text) == ["2"]


async def test_all_that_match_are_dropped_and_no_other(world: World) -> None:
    await bury(world, b"red 1", b"blue", b"red 2")
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/dead-letters", "it was tried in vain")
        await visitor.sign_in()
        question = (await visitor.get("/dead-letters/.all/drop?of=.commands&q=RED")).text
        assert "all 2 dead letters of commands with" in question
        await bury(world, b"red 3")  # after the question: not meant
        answer = await visitor.act(asked_in(question), {})
        text = (await visitor.get(answer.headers["location"])).text
        assert "2 dead letters dropped." in text
        assert numbers_in((await visitor.get("/dead-letters")).text) == ["2", "4"]


async def test_all_are_retried(world: World) -> None:
    await bury(world, *(registration(f"p{number}") for number in range(5)))
    async with served(world) as (visitor, _):
        await visitor.sign_in()
        answer = await visitor.act("/dead-letters/.all/retry?of=.commands&last=5", {})
        assert "5 dead letters sent once more." in (await visitor.get(answer.headers["location"])).text
        await world.commands_done()
        assert world.rows("SELECT count(*) FROM projects") == [(5,)]


async def test_what_was_done_before_nats_was_lost_is_told_and_stands_in_the_log(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = letters.DEEDS["drop"]
    with nats_process(state_dir) as broker:
        async with connect_nats(broker.url(), "test") as client:
            there = world.at(nats_url=broker.url(), nats=client)
            await bury(there, b"one", b"two", b"three", b"four")

        async def drop_while_nats_is_there(console: Console, where: str, number: int, who: str) -> None:
            if number == 3:
                broker.end()
            await drop(console, where, number, who)

        monkeypatch.setitem(letters.DEEDS, "drop", drop_while_nats_is_there)
        async with served(there, works=False) as (visitor, console):
            await visitor.until("/dead-letters", "it was tried in vain")
            await visitor.sign_in("ada")
            answer = await visitor.act("/dead-letters/.all/drop?of=.commands&last=4", {})
            assert (answer.status, "2 dead letters dropped, then: " in answer.text) == (503, True)
            _, who, what, about, outcome, is_well = console.log.latest()[0]
            assert (who, what, about, is_well) == ("ada", "dead letters: drop all", "commands", False)
            assert outcome.startswith("2 dead letters dropped, then: ")


async def test_letters_behind_those_that_one_look_reaches_are_found_and_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "LOOK_SECONDS", 0.0)  # for one letter
    await bury(world, b"blue 1", b"blue 2", b"red")
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/dead-letters", "it was tried in vain")
        await visitor.sign_in()
        text = (await visitor.get("/dead-letters?of=.commands&q=red")).text
        while not numbers_in(text):
            assert "No dead letter among these has this in it." in text
            (further,) = re.findall(r'href="(/dead-letters\?[^"]*)">Further ones', text)
            text = (await visitor.get(further.replace("&amp;", "&"))).text
        (path,) = re.findall(r'href="(/dead-letters/.all/drop\?[^"]*)"', text)
        question = (await visitor.get(path.replace("&amp;", "&"))).text
        assert "all at least 1 dead letters of commands behind number 2 with" in question
        answer = await visitor.act(asked_in(question), {})
        assert "1 dead letters dropped." in (await visitor.get(answer.headers["location"])).text
        assert await waiting(world) == 2


async def test_what_was_found_in_time_is_done_and_the_rest_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "READ_SECONDS", 0.0)  # for one letter
    await bury(world, b"one", b"two", b"three")
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/dead-letters", "it was tried in vain")
        await visitor.sign_in()
        answer = await visitor.act("/dead-letters/.all/drop?of=.commands&last=3", {})
        assert "1 dead letters dropped; there are more." in (await visitor.get(answer.headers["location"])).text
        assert await waiting(world) == 2


async def test_who_may_not_act_changes_nothing(world: World) -> None:
    await bury(world, b"one")
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/dead-letters", "it was tried in vain")
        stranger = Visitor(visitor.port)
        paths = ("/dead-letters/.commands/1/drop", "/dead-letters/.commands/1/retry")
        for path in (*paths, "/dead-letters/.all/drop?of=.commands&last=1"):
            assert (await stranger.post(path, {})).status == 403
            assert (await stranger.get(path)).status == 200  # the question, without a button
        await visitor.sign_in()
        assert (await visitor.post("/dead-letters/.commands/1/drop", {"session": "0" * 64})).status == 403
        assert await waiting(world) == 1


async def test_one_that_is_gone_meanwhile_is_told_so(world: World) -> None:
    await bury(world, b"one")
    async with served(world, works=False) as (visitor, console):
        await visitor.until("/dead-letters", "it was tried in vain")
        await visitor.sign_in()
        answer = await visitor.act("/dead-letters/.commands/7/drop", {})
        assert answer.status == 404
        assert "dead letter 7" in answer.text
        assert not console.log.latest()[0].is_well
