"""The log of actions: of all consoles and of the command line, and still there when those have ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from publisher.actions import Actions, Entry, entry_of
from publisher.web.console.action_log import MOST_TRIES
from tests.integration.cli.test_commands import command_line
from tests.integration.web.console.test_dead_letters import bury
from tests.support.nats.process import nats_process
from tests.support.web.console import Visitor, served
from tests.support.world import World


async def test_what_is_done_in_one_console_stands_in_all_and_stays(world: World) -> None:
    async with served(world, works=False) as (first, _), served(world, works=False) as (second, _):
        await second.until("/events", "No event is kept")
        await first.sign_in("ada")
        await second.sign_in("bob")
        text = await second.until_logged("<td>ada</td>")
        assert text.count("signed in") == 2
    async with served(world, works=False) as (later, _):
        await later.sign_in("eve")
        text = await later.until_logged("<td>ada</td>")
        order = [text.index(f"<td>{name}</td>") for name in ("eve", "bob", "ada")]
        assert order == sorted(order)  # the latest first
        assert "Only what was done in this process" not in text


async def test_dead_letters_that_are_retried_or_dropped_on_the_command_line_are_in_it(world: World) -> None:
    async with world.applier():  # once, so that there is a stream to send to
        pass
    await bury(world, b"one", b"two", b"three")
    desk = ("commands", "dead-letters")
    assert (await command_line(world, *desk, "drop", "1", "--yes", "--actor", "ada")).returncode == 0
    assert (await command_line(world, *desk, "retry", "--all", "--yes", "--actor", "bob")).returncode == 0
    listed = await command_line(world, "actions")
    found = await Actions(world.nats, world.profile.letters).latest(10)

    assert [entry.action[1:] for entry in found] == [
        ("bob", "dead letters: retry all", "commands", "2 dead letters sent once more", True),
        ("ada", "dead letter: drop", "commands 1", "dropped", True),
    ]
    assert {entry.means for entry in found} == {"cli"}
    assert all(len(line) <= 80 for line in listed.stdout.splitlines()), listed.stdout
    assert [name in listed.stdout for name in ("ada", "bob")] == [True] * 2
    async with served(world, works=False) as (visitor, _):
        await visitor.sign_in("zoe")
        text = await visitor.until_logged("<td>bob</td>")
        assert "command line on" in text


async def test_while_nats_is_away_a_console_shows_its_own_and_writes_it_later(world: World, state_dir: Path) -> None:
    with nats_process(state_dir) as broker:
        there = world.at(nats_url=broker.url())
        async with served(there, works=False) as (visitor, console):
            async with asyncio.timeout(30):
                while console.broker.answer_seconds is None:
                    await asyncio.sleep(0.01)
            broker.end()
            await visitor.sign_in("ada")
            text = await visitor.until_logged("Only what was done in this process", seconds=40)
            assert "<td>ada</td>" in text
            broker.start()
            again = Visitor(visitor.port)
            await again.sign_in("bob")
            async with asyncio.timeout(40):
                while len((await console.log.shown())[0]) < 2 or console.log.is_behind:
                    await asyncio.sleep(0.05)
            entries, problem = await console.log.shown()
            assert ([entry.action.who for entry in entries], problem) == (["bob", "ada"], "")


async def test_an_entry_that_cannot_be_written_by_a_bug_is_left_out_and_those_behind_it_are_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, tries = Actions.add, list[str]()

    async def fail(log: Actions, entry: Entry) -> None:
        tries.append(entry.action.who)
        if entry.action.who == "ada":
            raise ZeroDivisionError
        await add(log, entry)

    monkeypatch.setattr(Actions, "add", fail)
    async with served(world, works=False) as (_, console), asyncio.timeout(40):
        for who in ("ada", "bob"):
            console.log.note(who, "signed in", "", "done")
        while console.log.is_behind or console.log.quiet.reason():
            await asyncio.sleep(0.05)
        found = await Actions(world.nats, world.profile.letters).latest(10)
    assert [entry.action.who for entry in found] == ["bob"]
    assert tries == ["ada"] * MOST_TRIES + ["bob"]


async def test_what_somebody_else_wrote_there_disturbs_nothing(world: World) -> None:
    log = Actions(world.nats, world.profile.letters)
    await log.add(entry_of("console", "ada", "signed in", "", "done"))
    subject = world.names.letters.action_subject("console")
    for payload in (b"", b"[]", b"{}", b'{"at": 3}', b'{"at": "2026-01-01", "who": 1}', b"\xff"):
        await world.nats.jetstream().publish(subject, payload)
    entry = entry_of("cli", "bob \udcff", "x" * 5000, "", "done")
    await log.add(entry)
    await log.add(entry)  # as when its acknowledgement is lost
    found = await log.latest(50)
    assert [entry.action.who for entry in found] == ["bob \\udcff", "ada"]
    assert len(found[0].action.what) == 2000
