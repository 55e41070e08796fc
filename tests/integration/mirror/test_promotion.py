"""A mirror takes over: it is the registry from then on, with the ids of the source, and a history of its own."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from nats.aio.msg import Msg
from psycopg.errors import ObjectNotInPrerequisiteState

from publisher.doctor import examine
from publisher.mirror.promotion import promote
from registry.broker.answers import refusal_headers
from registry.errors import Busy, Conflict
from registry.history.site import site_subject
from tests.support.mirror.copies import KEYS, tables
from tests.support.mirror.mirrors import Mirror
from tests.support.nats.process import free_port, nats_process
from tests.support.world import World


@pytest.fixture
def site(mirror: Mirror) -> World:
    """The mirror's own site: its database, and its prefix."""
    return mirror.source.at(database=mirror.database, prefix=mirror.prefix)


async def test_a_promoted_mirror_is_a_registry_that_goes_on(world: World, mirror: Mirror, site: World) -> None:
    # given
    async with world.relay(), world.history(), world.queries(), mirror.following():
        world.write()
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("SELECT update_host(host_named('default'), 'attic')")
            conn.execute("SELECT use_host('laptop')")
            conn.execute("SELECT register_project('hosted', 'git@github.com:o/h.git', 'main', '/there')")
            conn.execute("SELECT log_activity('a', id, 'other', 'd') FROM worktrees")
        await mirror.assert_same()
        # when, then
        refused = await mirror.command("promote", "--yes")
        assert refused.returncode == 1
        assert "headquarters answers" in refused.stderr
        (last_id,) = world.rows("SELECT max(id) FROM outbox")[0]
    before = tables(mirror.database, {})
    follower = mirror.follower()
    done = await mirror.command("promote", "--yes")
    assert done.returncode == 0, done.stderr
    assert "epoch 2" in done.stdout
    assert {name: rows for name, rows in tables(mirror.database, {}).items() if name in KEYS} == before
    with pytest.raises(Exception, match="was promoted"):
        await follower.run()

    async with site.relay(), site.history(), site.queries(), site.applier():
        with psycopg.connect(site.database, autocommit=True) as conn:
            conn.execute("UPDATE worktrees SET ahead_of_trunk = 7")
            conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 's', 's')")
        await site.drained()
        found = await site.published()
        assert min(int(event.envelope["sequence"]) for event in found) > last_id
        await site.assert_exactly_once()
        registered = [one.envelope for one in found if one.envelope["type"] == "imi.host.registered.v1"]
        assert {one["data"]["name"] for one in registered} == {"attic", "laptop"}
        assert [one["data"]["name"] for one in registered if "hostid" not in one] == ["attic"]
        assert [one.text for one in await examine(site.settings()) if not one.is_well and one.is_hindrance] == []


async def test_nothing_else_than_a_mirror_is_promoted(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        with pytest.raises(ObjectNotInPrerequisiteState, match="is no mirror"):
            conn.execute("SELECT promote_mirror()")
        conn.execute("SELECT begin_mirror('headquarters', 'S')")
        with pytest.raises(ObjectNotInPrerequisiteState, match="it holds nothing"):
            conn.execute("SELECT promote_mirror()")


async def test_who_was_taken_over_from_becomes_the_mirror_of_the_one_that_took_over(
    world: World, mirror: Mirror, site: World
) -> None:
    async with world.relay(), world.history(), world.queries(), mirror.following():
        world.write()
        await mirror.assert_same()
    world.write(projects=1)  # what only the old one has is lost
    assert (await mirror.command("promote", "--yes")).returncode == 0
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT begin_mirror('the new one', %s, true)", [site.stream])
    back = Mirror(site, world.database, is_set_up=False)
    async with site.relay(), site.history(), site.queries(), back.following():
        site.write()
        await back.assert_same()
    assert back.state("epoch") == (2,)


async def test_a_source_that_refuses_to_answer_is_not_taken_for_one_that_is_gone(world: World, mirror: Mirror) -> None:
    async def refuse(message: Msg) -> None:
        await world.nats.publish(message.reply, headers=refusal_headers(Busy("many ask")))

    await world.nats.subscribe(site_subject(world.profile), cb=refuse)
    await world.nats.flush()
    with pytest.raises(Conflict, match=r"headquarters answers \(many ask; this mirror has sequence 0\): stop it first"):
        await promote(mirror.settings(), is_forced=False)
    assert mirror.state("promoted_at") == (None,)


async def test_nothing_is_promoted_while_it_is_not_known_whether_the_source_is_gone(
    world: World, mirror: Mirror, state_dir: Path
) -> None:
    permissions = {"publish": {"deny": [site_subject(world.profile)]}}
    users = [{"user": "live", "password": "word", "permissions": permissions}]
    with nats_process(state_dir, authorization={"users": users}) as server:
        for there, reason in {
            server.url("live:another"): "authorization violation",
            server.url("live:word"): "permissions violation",
            "nats://nowhere.invalid": "cannot connect to NATS at nats://nowhere.invalid",
        }.items():
            with pytest.raises(Conflict, match=f"still takes writes is not known: .*(?i:{reason}).*; --force promotes"):
                await promote(mirror.settings(mirror_nats_url=there), is_forced=False)
    assert mirror.state("promoted_at") == (None,)


async def test_a_source_whose_nats_refuses_connections_is_gone(world: World, mirror: Mirror) -> None:
    async with world.relay(), world.history(), world.queries(), mirror.following():
        world.write(projects=1)
        await mirror.assert_same()
    there = f"nats://127.0.0.1:{free_port()}"
    assert await promote(mirror.settings(mirror_nats_url=there), is_forced=False) == 2


async def test_new_projects_get_ids_as_at_the_source_once_a_mirror_took_over(
    world: World, mirror: Mirror, site: World
) -> None:
    world.rows("SELECT derive_project_ids(true)")
    async with world.relay(), world.history(), world.queries(), mirror.following():
        world.write(projects=1)
        await mirror.assert_same()
    assert (await mirror.command("promote", "--yes")).returncode == 0
    with psycopg.connect(site.database, autocommit=True) as conn:
        conn.execute("SELECT register_project('engine', 'git@github.com:o/engine.git')")
    found = site.rows("SELECT id = derived_project_id(remote_origin) FROM projects WHERE name = 'engine'")
    assert found == [(True,)]
