"""Dead letters of subscriptions in the console: found, looked at, redelivered, dropped, one or all that match."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RawStreamMsg

from publisher.applier.dead_letters import DeadLetters
from publisher.web.console.sources.letters import page_of
from publisher.web.console.sources.readers import takes
from registry.broker.stored import first_message
from registry.client import RegistryClient
from tests.integration.web.console.test_dead_letters import asked_in, bury
from tests.support.client.dead_letters import DURABLE, Choosy, letters
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.web.console import Visitor, served
from tests.support.world import World

LIST = f"/dead-letters?of={DURABLE}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.client.poison.LOOK_SECONDS", 0.05)


@pytest.fixture
async def client(world: World) -> AsyncIterator[RegistryClient]:
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix, name="here") as connected:
        yield connected


async def buried(world: World, client: RegistryClient, handler: Choosy, changes: int) -> list[int]:
    """Numbers of the dead letters of a subscription that ran a while, and does no more."""
    change_projects(world.database, changes, projects=1)
    async with subscribed(client, handler, durable=DURABLE, from_start=True, max_attempts=1):
        await handler.until(changes - len(handler.refused))
        return [letter.number for letter in await letters(client, len(handler.refused))]


async def done(client: RegistryClient) -> list[tuple[str, str, int]]:
    """What is recorded: who did what with which letter."""
    return [(one.actor, one.action, one.number) async for one in client.dead_letters.records(DURABLE)]


async def test_one_is_redelivered_when_its_subscription_runs_again(world: World, client: RegistryClient) -> None:
    handler = Choosy(1)
    async with served(world) as (visitor, console):
        (number,) = await buried(world, client, handler, 2)
        assert f">{DURABLE} <" in await visitor.until(LIST, "cannot take 1, try 1")
        page = (await visitor.get(f"/dead-letters/{DURABLE}/{number}")).text
        assert "1 attempt<" in page
        assert "project.registered" in page
        # when
        await visitor.sign_in("ada")
        answer = await visitor.act(f"/dead-letters/{DURABLE}/{number}/retry", {})
        text = (await visitor.get(answer.headers["location"])).text
        # then it waits for the subscription, which has learned it meanwhile
        assert f"Dead letter {number} sent once more." in text
        assert "asked for again" in text
        handler.refused.clear()
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1):
            await handler.until(2)
            await visitor.until(LIST, "No dead letters")
        assert handler.redelivered == [1]
        assert await done(client) == [("ada", "redeliver", number)]
        action = console.log.latest()[0]
        assert action[1:] == ("ada", "dead letter: retry", f"subscription {DURABLE} {number}", "sent once more", True)


async def test_one_is_dropped_after_a_question_and_the_other_stays(world: World, client: RegistryClient) -> None:
    async with served(world) as (visitor, _):
        numbers = await buried(world, client, Choosy(1, 2), 3)
        await visitor.sign_in("ada")
        path = f"/dead-letters/{DURABLE}/{numbers[0]}/drop"
        assert "Drop for good" in (await visitor.get(path)).text
        assert len(await letters(client, 2)) == 2  # to ask is to do nothing
        answer = await visitor.act(path, {})
        assert answer.headers["location"].startswith(f"{LIST}&told=")
        assert [letter.number for letter in await letters(client, 1)] == numbers[1:]
        assert await done(client) == [("ada", "drop", numbers[0])]
        assert (await visitor.act(path, {})).status == 404  # it is gone


@pytest.mark.parametrize(("deed", "action"), [("retry", "redeliver"), ("drop", "drop")])
async def test_all_that_match_and_no_other(world: World, client: RegistryClient, deed: str, action: str) -> None:
    async with served(world) as (visitor, _):
        numbers = await buried(world, client, Choosy(1, 2, 3), 4)
        await visitor.sign_in("ada")
        # given those of events that changed something, the first one registered
        question = (await visitor.get(f"/dead-letters/.all/{deed}?of={DURABLE}&q=PROJECT.UPDATED")).text
        assert f"all 2 dead letters of subscription {DURABLE} with" in question
        answer = await visitor.act(asked_in(question), {})
        assert "2 dead letters" in (await visitor.get(answer.headers["location"])).text
        assert await done(client) == [("ada", action, number) for number in numbers[1:]]
        left = [letter async for letter in client.dead_letters.find(DURABLE)]
        asked = [letter.number for letter in left if letter.redelivery]
        assert asked == (numbers[1:] if deed == "retry" else [])
        assert numbers[0] in [letter.number for letter in left]


async def test_of_letters_before_a_page_nothing_is_read(
    world: World, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def noted(js: JetStreamContext, name: str, number: int, subject: str) -> RawStreamMsg | None:
        asked.append(number)
        return await first_message(js, name, number, subject)

    async with served(world) as (_, console):
        *before, last = await buried(world, client, Choosy(1, 2, 3), 4)
        for number in before:
            await client.dead_letters.redeliver(DURABLE, number, actor="ada")
        monkeypatch.setattr("registry.dead_letters.stream.first_message", noted)
        page = await page_of(console, DURABLE, "", after=before[-1])
    assert [letter.number for letter in page.letters] == [last]
    assert asked == [before[-1] + 1, 1, last + 1], "the letter, whether it is asked for, and no more"


async def test_who_signs_in_after_a_refused_form_is_asked_the_same_question_again(
    world: World, client: RegistryClient
) -> None:
    async with served(world) as (visitor, _):
        await buried(world, client, Choosy(1, 2), 3)
        await bury(world, b"project.updated")
        question = (await visitor.get(f"/dead-letters/.all/drop?of={DURABLE}&q=project.updated")).text
        refused = await visitor.act(asked_in(question), {})  # its session is over
        (to,) = re.findall(r'class="button main" href="(/sign-in[^"]*)">Sign in', refused.text)
        form = (await visitor.get(unescape(to))).text
        (to,) = re.findall(r'name="to" value="([^"]*)"', form)
        again = (await visitor.get(unescape(to))).text
        assert f"all 1 dead letters of subscription {DURABLE} with" in again
        assert asked_in(again) == asked_in(question)


async def test_an_event_tells_who_is_past_it_who_waits_for_it_and_who_put_it_aside(
    world: World, client: RegistryClient
) -> None:
    async with served(world) as (visitor, _):
        (number,) = await buried(world, client, Choosy(1), 2)
        jetstream = world.nats.jetstream()
        explicit = {"ack_policy": "explicit"}
        await jetstream.add_consumer(world.stream, ConsumerConfig(durable_name="slow", **explicit))
        others = f"{world.prefix}.evt.v1.worktree.>"
        await jetstream.add_consumer(
            world.stream, ConsumerConfig(durable_name="other", filter_subject=others, **explicit)
        )
        readers = rf"{DURABLE}-1</th><td><span[^>]*>past it</span> <a[^>]*>put aside: dead letter {number}</a>"
        async with asyncio.timeout(30):  # until NATS has been told that the subscription is past it
            while not re.search(readers, text := (await visitor.get("/events/1")).text):
                await asyncio.sleep(0.05)
        assert re.search(r"slow</th><td><span[^>]*>waits for it</span></td>", text)
        assert "other</th>" not in text
        assert " ms after the change" in text
        letter = await visitor.get(f"/dead-letters/{DURABLE}/{number}/payload")
        assert letter.body == (await jetstream.get_msg(world.stream, 1)).data
        assert letter.headers["content-disposition"].startswith("attachment")  # whatever it is, no browser shows it
        assert letter.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("pattern", "is_taken"),
    [
        (None, True),
        (">", True),
        ("a.b.c", True),
        ("a.*.c", True),
        ("a.>", True),
        ("a.b.>", True),
        ("a.b.c.>", False),
        ("a.b", False),
        ("a.b.c.d", False),
        ("*.*.d", False),
    ],
)
def test_a_consumer_takes_what_its_filter_fits(pattern: str | None, is_taken: bool) -> None:
    assert takes(ConsumerConfig(filter_subject=pattern), "a.b.c") is is_taken
    if pattern is not None:
        assert takes(ConsumerConfig(filter_subjects=["x.y", pattern]), "a.b.c") is is_taken


async def test_who_may_not_act_changes_nothing(world: World, client: RegistryClient) -> None:
    async with served(world) as (visitor, _):
        (number,) = await buried(world, client, Choosy(1), 1)
        stranger = Visitor(visitor.port)
        for deed in ("retry", "drop"):
            assert (await stranger.post(f"/dead-letters/{DURABLE}/{number}/{deed}", {})).status == 403
            assert (await stranger.post(f"/dead-letters/.all/{deed}?of={DURABLE}&last=9", {})).status == 403
        (letter,) = await letters(client, 1)
        assert letter.redelivery is None
        assert await done(client) == []


@pytest.mark.parametrize("durable", ["commands", "all"])
async def test_a_subscription_of_any_name_has_its_own_dead_letters(
    world: World, client: RegistryClient, durable: str
) -> None:
    await bury(world, b"a command")
    change_projects(world.database, 1, projects=1)
    handler = Choosy(1)
    async with served(world, works=False) as (visitor, _), world.relay():
        async with subscribed(client, handler, durable=durable, from_start=True, max_attempts=1):
            await letters(client, 1, durable)
        await visitor.sign_in()
        path = f"/dead-letters/{durable}/1"
        assert path in await visitor.until(f"/dead-letters?of={durable}", "cannot take 1, try 1")
        assert "cannot take 1, try 1" in (await visitor.get(path)).text
        await visitor.act(f"{path}/drop", {})
        assert [one async for one in client.dead_letters.find(durable)] == []
        assert await DeadLetters(world.nats, world.profile, world.settings()).count() == 1
