"""Two registries that agree: each project ends under one id in both, with all that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from uuid import UUID

import pytest
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from publisher.agreement.bucket import Bucket
from publisher.agreement.health import AgreementHealth
from publisher.agreement.keeper import REFUSED_SECONDS, Change, Comparison, Keeper, Looked, settle
from publisher.agreement.standing import Standing
from publisher.outbox.connection import connect
from publisher.settings import Settings
from registry.origin import derived_project_id
from tests.support.metrics.alerts import HAS_PROMTOOL, firing
from tests.support.metrics.exported import Exported
from tests.support.nats.jwt import Authority
from tests.support.nats.kinds import server_for
from tests.support.outbox_reader import events_behind
from tests.support.schema.rows import dictionaries, new_project, new_worktree, scalar
from tests.support.world import World, running

ORIGIN = "git@github.com:33god/engine.git"
OTHER = "git@github.com:33god/flow.git"
PATIENCE_SECONDS = 90


def of(settings: Settings, world: World) -> Settings:
    """The same, of another registry."""
    return settings.model_copy(update={"database_url": world.database})


@asynccontextmanager
async def keeping(settings: Settings) -> AsyncIterator[AgreementHealth]:
    keeper = Keeper(settings, AgreementHealth(CollectorRegistry()))
    async with running(keeper):
        yield keeper.health


def ids(world: World) -> dict[str, UUID]:
    return {str(origin): id_ for origin, id_ in world.rows("SELECT remote_origin, id FROM projects")}


async def until_agreed(*worlds: World) -> dict[str, UUID]:
    """Wait until all of them have the same ids, and return these."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(ids(world) != ids(worlds[0]) for world in worlds):
            await asyncio.sleep(0.05)
    return ids(worlds[0])


async def test_the_older_registration_wins_and_the_loser_goes_on_under_its_id(
    world: World, second: World, agreeing: Settings
) -> None:
    with dictionaries(world.database) as conn:
        winner = new_project(conn, ORIGIN)
    with dictionaries(second.database) as conn:
        loser = new_project(conn, ORIGIN)
        only = new_project(conn, OTHER)
        worktree = new_worktree(conn, loser)
        conn.execute("SELECT claim_worktree(%s, 'alice')", [worktree])

    async with keeping(of(agreeing, second)) as health, keeping(agreeing):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while ids(second)[ORIGIN] != winner:
                await asyncio.sleep(0.05)
            while not health.registry.get_sample_value("imi_agreement_ids_changed_total"):
                await asyncio.sleep(0.05)

    assert ids(world) == {ORIGIN: winner}
    assert ids(second) == {ORIGIN: winner, OTHER: only}
    with dictionaries(second.database) as conn:
        assert scalar(conn, "SELECT current_project_id(%s)", loser) == winner
        assert scalar(conn, "SELECT id FROM worktrees WHERE project_id = %s AND agent_id = 'alice'", winner) == worktree
        merged = [event for event in events_behind(conn) if event.name == "project.merged"]
    assert [event.data["loser"]["project_id"] for event in merged] == [str(loser)]
    assert [event.actor for event in merged] == ["imi-registry agreement"]
    assert world.rows("SELECT 1 FROM outbox WHERE action = 'merged'") == []


async def test_a_derived_id_wins_over_an_older_one(world: World, second: World, agreeing: Settings) -> None:
    with dictionaries(world.database) as conn:
        new_project(conn, ORIGIN)
    await settle(agreeing, "test")
    with dictionaries(second.database) as conn:
        conn.execute("SELECT derive_project_ids(true)")
        new_project(conn, ORIGIN)

    await settle(of(agreeing, second), "test")
    await settle(agreeing, "test")

    assert ids(world) == ids(second) == {ORIGIN: derived_project_id(ORIGIN)}


async def test_what_is_registered_changed_and_forgotten_while_they_run_is_agreed_on(
    world: World, second: World, agreeing: Settings, nats: Client
) -> None:
    async with keeping(agreeing) as health, keeping(of(agreeing, second)):
        for round_ in range(3):
            for one in (world, second):
                with dictionaries(one.database) as conn:
                    new_project(conn, f"git@github.com:33god/p{round_}.git")
            found = await until_agreed(world, second)
            assert len(found) == round_ + 1
        await nats.jetstream().delete_key_value(agreeing.agreement_bucket)
        for one in (world, second):
            with dictionaries(one.database) as conn:
                new_project(conn, ORIGIN)
        assert found.items() <= (await until_agreed(world, second)).items()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while health.notes():
                await asyncio.sleep(0.05)
        if HAS_PROMTOOL:
            assert "ImiProjectsUnsettled" not in await firing(Exported(health.registry).text())
    assert health.problems() == []


async def test_an_id_that_another_project_here_has_is_told_and_nothing_is_merged(
    world: World, agreeing: Settings, bucket: Bucket
) -> None:
    with dictionaries(world.database) as conn:
        first, other = new_project(conn, ORIGIN), new_project(conn, OTHER)
    await bucket.agree(OTHER, Standing(True, datetime(2020, 1, 1, tzinfo=UTC), first))

    async with keeping(agreeing) as health:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not health.notes():
                await asyncio.sleep(0.05)

        (note,) = health.notes()
        assert note.startswith(f"{OTHER}: adopt_project_id: p_id {first} is project ")
        assert "merge_projects()" in note
        assert health.problems() == []
        assert health.registry.get_sample_value("imi_agreement_unsettled") == 1
        if HAS_PROMTOOL:
            assert "ImiProjectsUnsettled" in await firing(Exported(health.registry).text())
    assert ids(world) == {ORIGIN: first, OTHER: other}


async def test_what_was_refused_is_tried_again_after_a_minute_and_not_at_each_look(
    world: World, agreeing: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dictionaries(world.database) as conn:
        first, other = new_project(conn, ORIGIN), new_project(conn, OTHER)
    await bucket.agree(OTHER, Standing(True, datetime(2020, 1, 1, tzinfo=UTC), first))
    async with connect(world.database, "test") as conn:
        comparison = Comparison(conn, bucket)
        refused = (await comparison.look()).unsettled
        assert list(refused) == [OTHER]
        await conn.execute("SELECT merge_projects(%s, %s)", [first, other])

        assert await comparison.look() == Looked(projects=1, unsettled=refused)

        now = monotonic() + REFUSED_SECONDS
        monkeypatch.setattr("publisher.agreement.keeper.monotonic", lambda: now)
        assert await comparison.look() == Looked(projects=1, changed=[Change(OTHER, other, first)])
    assert ids(world) == {OTHER: first}


async def test_a_lock_that_somebody_holds_keeps_no_other_project_waiting(
    world: World, agreeing: Settings, bucket: Bucket
) -> None:
    with dictionaries(world.database) as conn:
        held = new_project(conn, ORIGIN)
        new_project(conn, OTHER)
    for number, origin in enumerate((ORIGIN, OTHER), start=1):
        await bucket.agree(origin, Standing(True, datetime(2020, 1, 1, tzinfo=UTC), UUID(int=number)))

    with dictionaries(world.database) as holder, holder.transaction():
        holder.execute("SELECT FROM projects WHERE id = %s FOR UPDATE", [held])
        looked = await settle(agreeing, "test")

        assert list(looked.unsettled) == [ORIGIN]
        assert ids(world) == {ORIGIN: held, OTHER: UUID(int=2)}
    await settle(agreeing, "test")
    assert ids(world) == {ORIGIN: UUID(int=1), OTHER: UUID(int=2)}


async def test_a_bucket_that_cannot_be_asked_is_a_note_and_keeps_the_registry_from_nothing(
    agreeing: Settings,
) -> None:
    async with keeping(agreeing.model_copy(update={"agreement_nats_url": "nats://127.0.0.1:1"})) as health:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not health.notes():
                await asyncio.sleep(0.05)
        assert health.notes()[0].startswith("ids of projects are not agreed on with other registries: cannot connect")
        assert health.problems() == []


async def test_credentials_that_are_just_being_replaced_are_waited_for(world: World, state_dir: Path) -> None:
    authority, file = Authority(), state_dir / "a.creds"
    authority.write_credentials(file)
    with server_for(state_dir, authority.configuration()) as server:
        agreeing = world.settings(
            agreement_nats_url=server.url(), agreement_nats_creds=file, agreement_replicas=1, agreement_bucket="IDS"
        )
        async with keeping(agreeing) as health:
            whole = file.read_text()
            file.write_text(whole[:100])
            world.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND starts_with(application_name, 'imi-registry agreement')"
            )
            await until_noted(health, f'"{file}": it must hold the JWT and the seed of a user')
            assert health.problems() == []
            file.write_text(whole)
            await until_noted(health, "")


async def until_noted(health: AgreementHealth, note: str) -> None:
    """Wait until the keeper notes this, or nothing."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (any(note in one for one in health.notes()) if note else not health.notes()):
            await asyncio.sleep(0.02)
