"""Whether it is known who sent a command: its subject names the sender, a setting says as whom that one may act."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg import sql

from publisher.settings import load
from registry.client import RegistryClient
from registry.errors import Invalid
from tests.support.commands import envelope
from tests.support.databases import name_of, plain_role, url_of
from tests.support.world import World

ACTORS = {"flume": ["flume", "ada"], "console": ["*"], "mute": []}


async def outcome(world: World, sender: str | None, actor: str | None, number: int = 1) -> dict[str, Any]:
    """What becomes of a registration on the subject of `sender`, and what its events say."""
    data = {"name": "p", "remote_origin": f"git@github.com:o/p{number}.git"}
    given = {} if actor is None else {"actor": actor}
    subject = world.names.commands.command_subject("project.register", sender)
    await world.nats.jetstream().publish(subject, envelope("project.register", data, **given))
    await world.commands_done()
    await world.drained()
    events = [event.envelope for event in await world.published()]
    assert events, "the outcome is an event"
    last = events[-1]
    return {"verdict": last["data"]["verdict"], "message": last["data"]["message"]} | {
        name: {event.get(name) for event in events if event["correlationid"] == last["correlationid"]}
        for name in ("actor", "actorverified")
    }


@pytest.mark.parametrize(
    ("sender", "actor", "told", "verified"),
    [
        ("flume", "ada", "ada", True),
        ("flume", None, "flume", True),
        ("console", "anybody at all", "anybody at all", True),
        ("console", None, "console", True),
        ("unlisted", "unlisted", "unlisted", True),
        ("unlisted", None, "unlisted", True),
        (None, "ada", "ada", None),
        (None, None, None, None),
    ],
)
async def test_the_actor_of_a_known_sender_is_verified(
    world: World, sender: str | None, actor: str | None, told: str | None, verified: bool | None
) -> None:
    async with world.relay(), world.applier(actors=ACTORS):
        found = await outcome(world, sender, actor)
    assert found == {"verdict": "applied", "message": "applied", "actor": {told}, "actorverified": {verified}}


@pytest.mark.parametrize(
    ("sender", "actor", "allowed"),
    [("flume", "grace", "flume, ada"), ("unlisted", "ada", "unlisted"), ("mute", "ada", "nobody")],
)
async def test_a_sender_cannot_act_as_somebody_else(world: World, sender: str, actor: str, allowed: str) -> None:
    async with world.relay(), world.applier(actors=ACTORS):
        found = await outcome(world, sender, actor)
    assert found["verdict"] == "rejected"
    assert found["message"] == f'actor: "{actor}": sender {sender} may act as {allowed}'
    assert found["actorverified"] == {None}
    assert world.rows("SELECT FROM projects") == []


async def test_without_the_setting_a_senders_subject_verifies_nobody(world: World) -> None:
    async with world.relay(), world.applier():
        found = await outcome(world, "flume", "grace")
    assert found == {"verdict": "applied", "message": "applied", "actor": {"grace"}, "actorverified": {None}}


async def test_one_senders_commands_leave_nothing_behind_for_the_next(world: World) -> None:
    """Of commands that are carried out in one transaction each is verified by itself."""
    subjects = world.names.commands
    async with world.applier():
        pass  # there is a stream now
    for number in range(8):
        sender = "flume" if number % 2 else None
        data = {"name": "p", "remote_origin": f"git@github.com:o/p{number}.git"}
        payload = envelope("project.register", data, actor="ada")
        await world.nats.jetstream().publish(subjects.command_subject("project.register", sender), payload)
    async with world.relay(), world.applier(actors=ACTORS):
        await world.commands_done()
    found = world.rows(
        "SELECT data ->> 'remote_origin', actor_is_verified FROM outbox WHERE entity = 'project' ORDER BY 1"
    )
    assert found == [(f"git@github.com:o/p{number}.git", bool(number % 2)) for number in range(8)]


def test_a_writer_of_sql_cannot_say_that_he_is_verified(world: World, admin_url: str) -> None:
    """The setting counts for who may write the ledger alone."""
    register = b"SELECT register_project('p', 'git@github.com:o/p.git')"
    with plain_role(admin_url, world.database) as writer:
        with psycopg.connect(world.database, autocommit=True) as owner:
            owner.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE ON projects TO {}").format(sql.Identifier(writer.name)))
        as_writer = url_of(world.database, name_of(world.database), writer)
        with psycopg.connect(as_writer, autocommit=True) as conn:
            conn.execute("SET imi.actor = 'ada'; SET imi.actor_is_verified = 'on'")
            conn.execute(register)
    assert world.rows("SELECT actor, actor_is_verified FROM outbox") == [("ada", False)]


async def test_the_client_sends_as_its_sender(world: World) -> None:
    connecting = RegistryClient.connect(world.nats_url, prefix=world.prefix, sender="flume")
    async with world.relay(), world.applier(actors=ACTORS), connecting as client:
        await client.register_project(name="p", remote_origin="git@github.com:o/p.git")
        await world.drained()
    (event,) = [event.envelope for event in await world.published() if "project" in event.subject.split(".")]
    assert (event["actor"], event["actorverified"]) == ("flume", True)


@pytest.mark.parametrize("sender", ["", "a.b", "a b", "*", ">", "x" * 65])
async def test_a_sender_that_is_no_token_is_refused(nats_url: str, sender: str) -> None:
    with pytest.raises(Invalid, match="sender: "):
        async with RegistryClient.connect(nats_url, sender=sender):
            pass


def test_the_setting_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMI_ACTORS", json.dumps(ACTORS))
    assert load().actors == ACTORS
    monkeypatch.setenv("IMI_ACTORS", "flume")
    with pytest.raises(Invalid, match="setting actors"):
        load()
