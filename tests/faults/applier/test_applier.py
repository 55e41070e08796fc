"""The applier under kills, freezes, and databases that come and go: every command once, in order, answered."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from contextlib import ExitStack
from uuid import UUID, uuid4

import psycopg
import pytest

from publisher.applier.workers import MOST_ATTEMPTS
from registry.database.connecting import look
from tests.support.commands import envelope
from tests.support.proxy import postgres_proxy
from tests.support.world import World

PROJECTS = 6


class Senders:
    """Sends commands all the time: registers of a few projects, with metadata that tells their order."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed)
        self.sent: dict[str, list[str]] = defaultdict(list)
        self.ids: list[UUID] = []

    async def send(self, count: int) -> None:
        """Store `count` commands; some of them twice, as a sender does that had no answer."""
        for _ in range(count):
            origin = f"git@github.com:a/p{self._rng.randrange(PROJECTS)}.git"
            name = f"name-{len(self.ids)}"
            command_id = uuid4()
            data = {"name": "p", "remote_origin": origin, "metadata": {"last": name}}
            payload = envelope("project.register", data, id=str(command_id))
            for _ in range(1 + (self._rng.random() < 0.2)):
                await self._world.send("project.register", payload)
            self.sent[origin].append(name)
            self.ids.append(command_id)

    def assert_each_applied_once_in_order(self) -> None:
        """Fail unless the database has every command once, those of one project in the order they were sent."""
        changes: dict[str, list[str]] = defaultdict(list)
        query = (
            "SELECT data ->> 'remote_origin', data #>> '{metadata, last}'"
            " FROM outbox WHERE entity = 'project' ORDER BY id"
        )
        for origin, name in self._world.rows(query):
            changes[origin].append(name)
        assert changes == self.sent
        told = self._world.outcome_events()
        assert Counter(entity_id for entity_id, *_ in told) == Counter(self.ids)
        assert all(entity_id == causation_id for entity_id, _, causation_id, _ in told)
        assert {verdict for *_, verdict in told} == {"applied"}
        caused = "SELECT causation_id, count(*) FROM outbox WHERE entity = 'project' GROUP BY 1"
        assert dict(self._world.rows(caused)) == dict.fromkeys(self.ids, 1)


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.long)])
async def test_kills_under_load_leave_every_command_applied_once_with_one_outcome_event(
    world: World, kills: int
) -> None:
    rng = random.Random(f"kills/{kills}")
    senders = Senders(world, kills)
    applying = 0
    with ExitStack() as stack:

        def start():  # type: ignore[no-untyped-def]
            return stack.enter_context(world.process())

        process = start()
        await process.ready()
        for _ in range(kills):
            with psycopg.connect(world.database) as conn:
                if rng.random() < 0.5:  # then it dies with commands in hand that wait to be carried out
                    conn.execute("LOCK TABLE projects")
                await senders.send(rng.randrange(1, 60))
                applying += bool(process.logged("applying"))
                process.kill()
                await process.exit_code()
            process = start()
            await senders.send(rng.randrange(20))
            await process.until_logged("applying")
            while await world.commands_waiting() > 2_000:  # of one sender 5,000 may
                await asyncio.sleep(0.1)
        await world.commands_done(60)
    assert applying > kills / 2
    senders.assert_each_applied_once_in_order()


async def test_a_frozen_applier_is_replaced_and_does_no_harm_when_it_goes_on(world: World) -> None:
    senders = Senders(world, 1)

    with world.process() as first, world.process() as second:
        await first.ready()
        await second.ready()
        frozen, other = (first, second) if first.logged("applying") else (second, first)

        # given a leader that is stopped with commands in hand
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE projects")
            await senders.send(100)
            (consumer,) = await world.nats.jetstream().consumers_info(world.names.commands.stream)
            assert consumer.num_ack_pending
            frozen.freeze()

        # when another one takes over, and more commands come while the first one wakes up
        await other.until_logged("applying")
        sending = asyncio.create_task(senders.send(200))
        frozen.thaw()
        await sending

        # then
        await frozen.until_logged("applier interrupted")
        await world.commands_done()
    senders.assert_each_applied_once_in_order()


async def test_lost_connections_to_the_database_are_made_again(world: World) -> None:
    senders = Senders(world, 2)

    async with world.applier():
        with psycopg.connect(world.database, autocommit=True) as conn:
            for _ in range(10):
                await senders.send(20)
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'imi-registry applier%'"
                )
        await world.commands_done()
    senders.assert_each_applied_once_in_order()


async def test_connections_that_stand_and_carry_nothing_are_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "SILENT_SECONDS", 1.0)
    senders = Senders(world, 4)

    async with postgres_proxy(world.database) as (proxy, through), world.at(database=through).applier():
        for _ in range(3):
            await senders.send(20)
            await world.commands_done()
            proxy.silence()
        await senders.send(20)
        await world.commands_done()
    senders.assert_each_applied_once_in_order()


async def test_a_deleted_consumer_is_made_again_and_no_command_lost(world: World) -> None:
    senders = Senders(world, 3)
    stream = world.names.commands.stream

    async with world.applier():
        for _ in range(5):
            await senders.send(40)
            for consumer in await world.nats.jetstream().consumers_info(stream):
                await world.nats.jetstream().delete_consumer(stream, consumer.name)
        await world.commands_done()
    senders.assert_each_applied_once_in_order()


FAULT = """
CREATE SEQUENCE tries;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.name = 'hard' AND nextval('public.tries') <= {times} THEN
        RAISE EXCEPTION 'as the server would say it' USING ERRCODE = '{state}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION fail();
"""


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "53100", "53200", "57P03", "58030", "XX000"])
async def test_a_fault_that_may_pass_is_never_a_rejection_and_keeps_the_order(world: World, state: str) -> None:
    # given
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(FAULT.format(times=3, state=state).encode())
    async with world.applier():
        # when
        origin = "git@github.com:a/p.git"
        await world.send("project.register", envelope("project.register", {"name": "hard", "remote_origin": origin}))
        behind = envelope("project.update", {"name": "behind", "remote_origin": origin})
        assert (await world.ask("project.update", behind))["verdict"] == "applied"

    # then
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied", "applied"]
    names = world.rows("SELECT data ->> 'name' FROM outbox WHERE entity = 'project' ORDER BY id")
    assert names == [("hard",), ("behind",)]
    assert world.rows("SELECT last_value FROM tries")[0][0] >= 4


async def test_a_command_that_always_fails_on_its_own_account_ends_as_a_dead_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.applier.workers.RETRY_SECONDS", (0.001, 0.002))

    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(FAULT.format(times=1_000_000, state="40001").encode())
    async with world.applier() as metrics:
        origin = "git@github.com:a/p.git"
        await world.send("project.register", envelope("project.register", {"name": "hard", "remote_origin": origin}))
        behind = envelope("project.register", {"name": "behind", "remote_origin": origin})
        assert (await world.ask("project.register", behind))["verdict"] == "applied"
        await world.commands_done()
        assert metrics.dead_letters == 1

    letter = await world.nats.jetstream().get_msg(world.names.commands.dead_letter_stream, 1, direct=True)
    assert (letter.headers or {})["Imi-Attempts"] == str(MOST_ATTEMPTS)
    assert (letter.headers or {})["Imi-Reason"] == "gave up: as the server would say it"


async def test_attempts_are_counted_on_when_the_lead_is_lost_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.applier.workers.RETRY_SECONDS", (0.02, 0.02))
    stream = world.names.commands.stream
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(FAULT.format(times=1_000_000, state="40001").encode())

    async with world.applier() as metrics:
        origin = "git@github.com:a/p.git"
        await world.send("project.register", envelope("project.register", {"name": "hard", "remote_origin": origin}))
        while world.rows("SELECT last_value FROM tries")[0][0] < MOST_ATTEMPTS // 2:
            await asyncio.sleep(0.01)
        for consumer in await world.nats.jetstream().consumers_info(stream):
            await world.nats.jetstream().delete_consumer(stream, consumer.name)
        await world.commands_done()
        assert metrics.dead_letters == 1

    uncounted = 3  # with others, once a lead; and the one in whose midst the lead was lost
    assert world.rows("SELECT last_value FROM tries")[0][0] <= MOST_ATTEMPTS + uncounted


async def test_a_lock_that_somebody_keeps_is_waited_for_however_long_and_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.applier.workers.RETRY_SECONDS", (0.001, 0.002))
    monkeypatch.setattr("publisher.applier.workers.LONG_LOCK_SECONDS", 0.02)
    monkeypatch.setattr("publisher.applier.workers.MOST_ATTEMPTS", 3)
    data = {"name": "new", "remote_origin": "git@github.com:a/p.git"}

    async with world.applier() as metrics:
        with psycopg.connect(world.database) as stranger:
            stranger.execute("SELECT register_project('p', 'git@github.com:a/p.git')")
            stranger.commit()
            stranger.execute("SELECT FROM projects FOR UPDATE")
            await world.send("project.update", envelope("project.update", data))
            async with asyncio.timeout(20):
                while metrics.registry.get_sample_value("imi_applier_retries_total") < 10:
                    await asyncio.sleep(0.01)
            assert "somebody holds what it needs" in metrics.problems()[0]
        await world.commands_done()
        assert (metrics.problems(), metrics.dead_letters) == ([], 0)

    assert [verdict for *_, verdict in world.outcome_events()] == ["applied"]


async def test_who_holds_the_lock_that_a_command_needs_is_told_and_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.database.blockers.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("publisher.applier.workers.LONG_LOCK_SECONDS", 1.0)

    async with world.applier() as metrics:
        with psycopg.connect(world.database, application_name="psql of Ada") as stranger:
            pid = stranger.info.backend_pid
            stranger.execute("SELECT register_project('p', 'git@github.com:a/p.git')")
            stranger.commit()
            stranger.execute("SELECT FROM projects FOR UPDATE")
            held = {"name": "new", "remote_origin": "git@github.com:a/p.git"}
            await world.send("project.update", envelope("project.update", held))
            async with asyncio.timeout(20):
                while not metrics.problems():
                    await asyncio.sleep(0.01)
            (problem,) = metrics.problems()
            free = {"name": "q", "remote_origin": "git@github.com:a/q.git"}
            assert (await world.ask("project.register", envelope("project.register", free)))["verdict"] == "applied"
        await world.commands_done()

    assert problem.startswith(f'commands wait: pid {pid} (application "psql of Ada", user ')
    assert problem.endswith("holds or asks for a lock that it needs")
    assert [verdict for *_, verdict in world.outcome_events()] == ["applied", "applied"]


async def test_an_unforeseen_error_is_an_internal_error_and_no_retry(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(FAULT.format(times=1, state="P0001").encode())
    async with world.applier():
        data = {"name": "hard", "remote_origin": "git@github.com:a/p.git"}
        outcome = await world.ask("project.register", envelope("project.register", data))

    assert (outcome["verdict"], outcome["code"]) == ("rejected", "INTERNAL_ERROR")
    assert world.rows("SELECT count(*) FROM projects") == [(0,)]
