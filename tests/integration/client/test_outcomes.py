"""A command of `RegistryClient` whose outcome does not come: whether it was sent, and what repeating it does."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from registry.client import RegistryClient, Sending
from registry.errors import OutcomeUnknown, Unavailable
from tests.support.commands import ORIGIN
from tests.support.proxy import nats_proxy
from tests.support.world import World


async def test_without_an_applier_ever_a_command_is_known_not_to_be_sent(world: World) -> None:
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(Unavailable, match="has the applier been started") as refused:
            await client.register_project(name="p", remote_origin=ORIGIN)

    assert not isinstance(refused.value, OutcomeUnknown)


async def test_an_outcome_that_does_not_come_in_time_is_unknown_and_repeating_is_safe(world: World) -> None:
    async with world.applier():
        await world.commands_done()
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        sending = Sending(idempotency_key="k", timeout=0.5)
        with pytest.raises(OutcomeUnknown, match="it may be carried out yet"):
            await client.register_project(name="p", remote_origin=ORIGIN, sending=sending)
        async with world.applier():
            await client.register_project(name="p", remote_origin=ORIGIN, sending=Sending(idempotency_key="k"))
            await world.commands_done()

    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"]


async def test_a_command_that_may_be_stored_is_of_unknown_outcome_although_it_is_refused_when_sent_again(
    world: World,
) -> None:
    """As by a NATS that was restarted meanwhile: "not sent" would be a lie, and its event a surprise."""
    async with (
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
    ):
        async with world.applier():
            await client.register_project(name="first", remote_origin="git@github.com:a/first.git")
            # given a command that is stored and carried out, which its sender does not hear
            proxy.swallow = lambda direction, _: direction == "to_client"
            sending = asyncio.create_task(
                client.register_project(name="p", remote_origin=ORIGIN, sending=Sending(timeout=8))
            )
            async with asyncio.timeout(20):
                while not world.rows("SELECT 1 FROM projects WHERE remote_origin = %s", ORIGIN):
                    await asyncio.sleep(0.01)
        # when nobody takes the subject as it is sent again
        await world.nats.jetstream().delete_stream(world.names.commands.stream)
        proxy.go_on()
        # then
        with pytest.raises(OutcomeUnknown, match="it may be carried out yet"):
            await sending


async def test_a_command_whose_connection_breaks_is_sent_again_and_applied_once(world: World) -> None:
    async with (
        world.applier(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
    ):
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE projects")
            sending = asyncio.create_task(client.register_project(name="p", remote_origin=ORIGIN))
            while not world.rows("SELECT FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            proxy.cut()  # before the outcome, which nobody hears then
        project = await sending

    assert world.rows("SELECT id FROM projects") == [(project,)]
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"]
