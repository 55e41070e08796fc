"""Who leads an applier's work when its leader dies, or reaches PostgreSQL no more. How long that takes is measured by
`python -m tests.faults.suite.takeover`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import psycopg
import pytest
from nats.aio.subscription import Subscription

from publisher.applier import reach
from publisher.applier.metrics import ApplierMetrics
from publisher.applier.reach import Reach
from registry.broker.presence import Presence
from registry.database.connecting import look
from tests.support.commands import ORIGIN, PROJECT, envelope
from tests.support.proxy import nats_proxy, postgres_proxy
from tests.support.world import World

NEVER = 1e9
END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'imi-registry applier%'
"""


async def until_role(metrics: ApplierMetrics, role: str) -> None:
    """Wait until an applier has this role."""
    async with asyncio.timeout(30):
        while metrics.role != role:
            await asyncio.sleep(0.01)


async def test_a_leader_whose_connection_is_gone_is_followed_without_waiting_for_its_silence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.applier.lead.GONE_SECONDS", NEVER)

    with world.process() as leader:
        await leader.until_logged("applying")
        async with world.applier() as standby:
            assert standby.role == "standby"
            await asyncio.sleep(1)  # it has seen that the leader is there
            assert standby.role == "standby"
            leader.kill()
            await leader.exit_code()
            assert (await world.ask("project.register", envelope("project.register", PROJECT)))["verdict"] == "applied"
            assert standby.role == "leader"


async def test_a_leader_cut_off_from_postgresql_alone_is_followed_and_does_no_harm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "SILENT_SECONDS", NEVER)  # so that no command fails: each waits for an answer
    names = [f"name-{number}" for number in range(40)]

    def update(name: str) -> bytes:
        return envelope("project.update", {"remote_origin": ORIGIN, "name": name})

    async with (
        postgres_proxy(world.database) as (proxy, through),
        world.at(database=through).applier() as cut_off,
        world.applier() as standby,
    ):
        assert (cut_off.role, standby.role) == ("leader", "standby")
        await world.ask("project.register", envelope("project.register", PROJECT))
        proxy.black_hole()
        for name in names[:20]:
            await world.send("project.update", update(name))
        await world.commands_done()
        assert (cut_off.role, standby.role) == ("starting", "leader")
        proxy.cut()
        proxy.go_on()
        for name in names[20:]:
            await world.send("project.update", update(name))
        await world.commands_done()
        await until_role(cut_off, "standby")

    made = world.rows("SELECT data ->> 'name' FROM outbox WHERE entity = 'project' ORDER BY id")
    assert made == [(name,) for name in ["p", *names]]


async def test_a_leader_whose_commands_wait_for_a_lock_keeps_the_lead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"LOOK_SECONDS": 0.02, "WAITED_SECONDS": 0.0}.items():
        monkeypatch.setattr(reach, name, seconds)
    asked = 0
    ask = Reach._ask

    async def counted(reach: Reach) -> None:
        nonlocal asked
        await ask(reach)
        asked += 1

    monkeypatch.setattr(Reach, "_ask", counted)

    async with world.applier() as metrics:
        await world.ask("project.register", envelope("project.register", PROJECT))
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT FROM projects FOR UPDATE")  # held until the block ends
            await world.send("project.update", envelope("project.update", {"remote_origin": ORIGIN, "name": "q"}))
            async with asyncio.timeout(20):
                while asked < 3:
                    await asyncio.sleep(0.01)
        await world.commands_done()
        looked = asked
        await asyncio.sleep(0.2)
        assert (asked, metrics.role, metrics.interrupted) == (looked, "leader", 0)  # idle, it asks nothing


async def test_a_leader_keeps_the_lead_where_postgresql_has_no_room_for_another_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"LOOK_SECONDS": 0.02, "WAITED_SECONDS": 0.0, "CUT_OFF_SECONDS": 0.4}.items():
        monkeypatch.setattr(reach, name, seconds)

    async with world.applier() as leader, world.applier() as standby:
        await world.ask("project.register", envelope("project.register", PROJECT))
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT FROM projects FOR UPDATE")
            await world.send("project.update", envelope("project.update", {"remote_origin": ORIGIN, "name": "q"}))
            await asyncio.sleep(0.3)
            with psycopg.connect(world.database, autocommit=True) as other:
                other.execute(f'ALTER DATABASE "{other.info.dbname}" CONNECTION LIMIT 1')
            await asyncio.sleep(2)
            assert (leader.role, standby.role, leader.interrupted) == ("leader", "standby", 0)
        await world.commands_done()


async def test_a_leader_that_is_not_heard_of_but_asks_for_commands_keeps_the_lead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Subscription] = []

    async def show(presence: Presence) -> None:
        shown.append(await presence._client.subscribe(presence._subject))

    monkeypatch.setattr(Presence, "show", show)

    async with world.applier() as leader, world.applier() as standby:
        await asyncio.sleep(1.2)  # the standby has heard of it
        await shown[0].unsubscribe()  # as when the route between their two servers is broken
        await asyncio.sleep(2)
        assert (leader.role, standby.role, leader.interrupted) == ("leader", "standby", 0)


async def test_where_postgresql_is_away_when_the_only_applier_starts_commands_may_be_sent(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, through):
        proxy.refuse()
        async with world.at(database=through).applier() as metrics:
            assert (metrics.role, len(metrics.problems())) == ("starting", 2)  # and why
            await world.send("project.register", envelope("project.register", PROJECT))
            proxy.go_on()
            await world.commands_done()
            assert (metrics.role, metrics.problems()) == ("leader", [])


async def test_who_does_not_reach_postgresql_does_not_take_the_lead(world: World) -> None:
    async with (
        postgres_proxy(world.database) as (proxy, through),
        world.at(database=through).applier() as metrics,
    ):
        await until_role(metrics, "leader")
        proxy.refuse()
        for consumer in await world.nats.jetstream().consumers_info(world.names.commands.stream):
            await world.nats.jetstream().delete_consumer(world.names.commands.stream, consumer.name)
        await until_role(metrics, "starting")
        await asyncio.sleep(1)  # it has tried again
        assert (metrics.role, metrics.problems() != []) == ("starting", True)
        assert await world.nats.jetstream().consumers_info(world.names.commands.stream) == []
        proxy.go_on()
        assert (await world.ask("project.register", envelope("project.register", PROJECT)))["verdict"] == "applied"


async def test_a_standby_whose_connection_was_lost_while_it_waited_takes_the_lead_at_once(world: World) -> None:
    async with AsyncExitStack() as leading:
        await leading.enter_async_context(world.applier())
        async with world.applier() as standby:
            assert standby.role == "standby"
            with psycopg.connect(world.database, autocommit=True) as conn:
                conn.execute(END_SESSIONS)  # as when PostgreSQL is started again
            await leading.aclose()
            await until_role(standby, "leader")
            assert standby.interrupted == 0


async def test_acknowledgements_that_did_not_arrive_are_noticed_while_the_connection_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.applier.command_stream.LOOK_SECONDS", 0.2)

    async with (
        nats_proxy(world.nats_url) as (proxy, through),
        world.at(nats_url=through).applier() as metrics,
    ):
        await world.ask("project.register", envelope("project.register", PROJECT))
        await asyncio.sleep(1)  # idle, and with all that it needs it goes on
        assert metrics.interrupted == 0
        proxy.swallow = lambda direction, data: direction == "to_server" and b"$JS.ACK" in data
        await world.send("project.update", envelope("project.update", {"remote_origin": ORIGIN, "name": "q"}))
        async with asyncio.timeout(20):
            while len(world.outcome_events()) < 2:
                await asyncio.sleep(0.01)
        await proxy.quiet()
        proxy.swallow = None
        await world.commands_done()
        assert metrics.interrupted >= 1
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied", "applied"]
