"""What the tables refuse today and an older row has: every reader reads it, and none fails over it."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from publisher.history.archive import export_history, import_history
from publisher.history.verification import verify
from publisher.outbox.connection import connect
from registry import exact
from registry.client import RegistryClient
from registry.database import Registry
from registry.events import parse
from tests.support.before.old_values import NUMBERS, TIMES, VALUES, Old, store
from tests.support.cli.forked import run
from tests.support.commandline import CommandLine, command_line
from tests.support.world import World

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
NEAREST = {
    "infinity": LATEST,
    "minus infinity": EARLIEST,
    "before the year 1": EARLIEST,
    "behind the year 9999": LATEST,
}


@pytest.fixture(params=VALUES)
def value(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def old(world: World, value: str) -> Old:
    with psycopg.connect(world.database, autocommit=True) as conn:
        return store(conn, VALUES[value])


@pytest.fixture
def call(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, DATABASE_URL=world.database, NATS_URL=world.nats_url)


def assert_told(value: str, row: Any) -> None:
    """The row has the time that is nearest, or the number itself."""
    if value in TIMES:
        assert row.created_at == NEAREST[value]
    else:
        assert exact.same(row.metadata, {"n": Decimal(NUMBERS[value])})


async def test_the_registry_reads_it(world: World, old: Old, value: str) -> None:
    async with Registry.connect(world.database) as registry:
        read = [
            *await registry.list_projects(),
            *await registry.find_projects("old"),
            await registry.get_project(UUID(old.project)),
            await registry.project_of_origin("git@github.com:a/old.git"),
            *await registry.list_worktrees(),
            await registry.get_worktree(UUID(old.worktree)),
            *await registry.list_activities(),
            await registry.get_activity(UUID(old.activity)),
            *await registry.list_worktree_types(),
        ]
        for row in read:
            assert_told(value, row)
        assert await registry.get_project_by_origin("git@github.com:a/old.git") is not None
        assert len(await registry.get_agent_recent_work("ada")) == 1
        assert len(await registry.get_inflight_work()) == 1
        assert len(await registry.search_projects("old")) == 1
        assert (await registry.get_registry_stats()).total_projects == 1


def test_the_command_line_shows_it(old: Old, call: CommandLine) -> None:
    for command in (
        ["project", "list"],
        ["project", "show", "old"],
        ["worktree", "list", "--all"],
        ["worktree", "show", "w"],
        ["type", "list"],
        ["activity", "list"],
        ["inflight"],
        ["search", "old"],
        ["stats"],
        ["history", "show", "project", old.project],
        ["history", "show", "worktree", old.worktree],
    ):
        for option in ([], ["--json"]):
            done = call(*command, *option)
            assert (done.code, done.err) == (0, ""), command
            assert done.out
    for options in (["--diff"], ["--as-of", "0s"], ["--utc"]):
        done = call("history", "show", "project", old.project, *options)
        assert (done.code, done.err) == (0, ""), options


async def test_queries_answer_it(world: World, old: Old, value: str) -> None:
    async with (
        world.queries(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        queries = client.queries
        for row in (
            *(await queries.projects()).projects,
            await queries.project_by_id(UUID(old.project)),
            await queries.worktree_by_id(UUID(old.worktree)),
            await queries.activity_by_id(UUID(old.activity)),
            *await queries.worktree_types(),
        ):
            assert_told(value, row)
        assert (await queries.project_by_origin("git@github.com:a/old.git")).name == "old"
        assert len(await queries.inflight_work()) == 1


async def test_snapshot_projection_replay_and_subscription_tell_it(world: World, old: Old, value: str) -> None:
    heard: list[Any] = []
    async with (
        world.relay(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        client.projection() as kept,
    ):
        with psycopg.connect(world.database) as conn:
            conn.execute("UPDATE projects SET default_branch = 'other'")
        await world.drained()
        last = await client.last_sequence()
        async with asyncio.timeout(20):
            await kept.reached(last)
        snapshot = await client.snapshot()
        for state in (kept, snapshot):
            for row in (*state.projects.values(), *state.worktrees.values(), *state.types.values()):
                assert_told(value, row)
        events = [parse(event.payload) for event in await world.replayed()]
        logged = [event.data for event in events if event.name == "activity.logged"]
        for row in logged:
            assert_told(value, row)
        assert len(logged) == 1

        async def handle(delivery: Any) -> None:
            heard.append(delivery.event)

        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            task = tasks.create_task(client.subscribe(handle, durable="d", from_start=True))
            while len(heard) < last:
                await asyncio.sleep(0.01)
            task.cancel()
    assert {event.envelope.id for event in heard} == {event.envelope.id for event in events}


async def test_the_command_line_tells_events_with_it(world: World, old: Old) -> None:
    given = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    async with world.relay(), world.history():
        await world.drained()
        for command in (["replay"], ["snapshot", "--json"]):
            done = await asyncio.to_thread(run, "events", *command, **given)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr


async def test_its_events_keep_to_the_contract(world: World, old: Old, tmp_path: Path) -> None:
    given = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    told = tmp_path / "events.jsonl"
    async with world.relay(), world.history():
        await world.drained()
        done = await asyncio.to_thread(run, "events", "replay", "--json", **given)
    told.write_text(done.stdout)
    checked = await asyncio.to_thread(run, "schemas", "check", str(told))
    assert checked.returncode == 0, checked.stdout
    assert "messages keep to the contract" in checked.stdout


async def test_the_events_tell_all_and_what_is_exported_can_be_imported(
    world: World, second: World, old: Old, value: str
) -> None:
    assert (await verify(world.settings())).differences == []
    lines: list[bytes] = []
    async with connect(world.database, "test") as conn:
        await export_history(conn, world.settings(), lines.append)
    async with connect(second.database, "test") as conn:
        await import_history(conn, second.settings(), io.BytesIO(b"".join(lines)))

    assert (await verify(second.settings())).differences == []
    async with Registry.connect(second.database) as registry:
        for row in (*await registry.list_projects(), *await registry.list_worktrees()):
            assert_told(value, row)
