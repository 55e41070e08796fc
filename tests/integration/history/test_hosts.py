"""Events carry the host: live, filtered, in a snapshot, and through an export into an empty registry."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from uuid import UUID

import psycopg

from publisher.history.rebuild import rebuild
from publisher.history.verification import verify
from registry.client import RegistryClient
from registry.models import DEFAULT_HOST
from tests.support.cli.forked import run
from tests.support.client.subscriptions import Seen, subscribed
from tests.support.histories import export, import_
from tests.support.world import World

PATH = "/code/engine/feat"
WHERE = """
SELECT
    (SELECT jsonb_agg(to_jsonb(h) - 'machine' - 'updated_at' - 'created_at' ORDER BY id) FROM hosts AS h),
    (SELECT jsonb_agg(to_jsonb(p) - 'updated_at' ORDER BY project_id, host_id) FROM project_hosts AS p),
    (SELECT jsonb_agg(jsonb_build_array(id, host_id, path) ORDER BY id) FROM worktrees)
"""


def work(database: str) -> dict[str, UUID]:
    """One project with a worktree at the same path on two hosts and the default one; ids of hosts by name."""
    with psycopg.connect(database, autocommit=True) as conn:
        ids: dict[str, UUID] = {"default": DEFAULT_HOST}
        for name in ("default", "laptop", "server"):
            (ids[name],) = conn.execute("SELECT use_host(%s)", [name]).fetchone() or (DEFAULT_HOST,)
            conn.execute(
                "SELECT log_activity('a', register_worktree("
                "register_project('engine', 'git@github.com:a/e.git', 'main', %s),"
                " 'feat', 'feat', 'feat/a', %s), 'other', 'd')",
                [f"/{name}/trunk-main", PATH],
            )
        # From no host, and from another one than that of the worktree: it is the worktree's that counts.
        conn.execute("RESET imi.host_id")
        conn.execute("SELECT claim_worktree(id, 'agent') FROM worktrees WHERE name = 'feat@server'")
        conn.execute("SELECT update_host(host_named('laptop'), 'desk')")
    return ids


async def test_each_event_tells_its_host_and_a_reader_gets_those_of_one(world: World) -> None:
    ids = work(world.database)
    seen = Seen()
    async with world.relay(), world.history(), world.queries():
        await world.drained()
        published = await world.published()
        told = {
            name: [event.envelope["type"] for event in published if event.envelope.get("hostid") == str(id_)]
            for name, id_ in ids.items()
        }
        replayed = {
            name: [event.payload for event in await world.replayed(host_id=str(id_))] for name, id_ in ids.items()
        }
        async with (
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
            asyncio.timeout(120),
            subscribed(client, seen, durable="d", from_start=True, host="SERVER"),
        ):
            await seen.until(len(told["server"]))

    assert told["default"] == []  # it is left out
    assert told["server"] == [
        "imi.host.registered.v1",
        "imi.project_host.added.v1",
        "imi.worktree.created.v1",
        "imi.activity.logged.v1",
        "imi.worktree.claimed.v1",
    ]
    assert [event.headers.get("Imi-Host-Id") for event in published] == [
        event.envelope.get("hostid") for event in published
    ]
    for name in ("laptop", "server"):
        assert len(replayed[name]) == len(told[name])
    assert len(replayed["default"]) == len(published) - len(told["laptop"]) - len(told["server"])
    created = [event.envelope["data"] for event in published if event.envelope["type"] == "imi.worktree.created.v1"]
    assert [(data.get("host_id", str(DEFAULT_HOST)), data["path"]) for data in created] == [
        (str(ids[name]), PATH) for name in ("default", "laptop", "server")
    ]


async def test_snapshot_and_projection_know_the_host_of_each_worktree(world: World) -> None:
    ids = work(world.database)
    async with world.relay(), world.history():
        await world.drained()
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            snapshot = await client.snapshot()
            async with client.projection() as kept:
                hosts = {worktree.host_id for worktree in kept.worktrees.values()}
        verified = await verify(world.settings())

    assert {worktree.host_id for worktree in snapshot.worktrees.values()} == hosts == set(ids.values())
    assert verified.differences == []


async def test_hosts_and_places_come_back_from_an_export(world: World, second: World, tmp_path: Path) -> None:
    work(world.database)
    async with world.relay():
        await world.drained()
    await export(world, tmp_path / "h.jsonl")
    await import_(second, tmp_path / "h.jsonl")

    with psycopg.connect(world.database) as one, psycopg.connect(second.database) as other:
        assert other.execute(WHERE).fetchone() == one.execute(WHERE).fetchone()


async def test_a_project_that_is_there_again_under_its_id_has_no_places_of_its_earlier_life(
    world: World, second: World, tmp_path: Path
) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT derive_project_ids(true)")
        for name in ("laptop", "desk"):
            conn.execute("SELECT use_host(%s)", [name])
            conn.execute("DELETE FROM projects")
            trunk = f"/{name}/trunk-main"
            conn.execute("SELECT register_project('engine', 'git@github.com:a/e.git', 'main', %s)", [trunk])
    async with world.relay():
        await world.drained()

    await export(world, tmp_path / "h.jsonl")
    await import_(second, tmp_path / "h.jsonl")

    with psycopg.connect(world.database) as one, psycopg.connect(second.database) as other:
        assert other.execute(WHERE).fetchone() == one.execute(WHERE).fetchone()


async def test_of_hosts_that_no_event_names_an_import_brings_those_back_on_which_something_is(
    world: World, second: World, tmp_path: Path
) -> None:
    # given: a host that was removed, of which an activity tells
    ids = work(world.database)
    world.rows("DELETE FROM worktrees WHERE host_id = %s RETURNING 1", ids["laptop"])
    world.rows("SELECT displace_project(id, %s) FROM projects", ids["laptop"])
    world.rows("SELECT remove_host(%s)", ids["laptop"])
    file, younger = tmp_path / "h.jsonl", tmp_path / "younger.jsonl"
    await export(world, file)
    lines = file.read_text().splitlines(keepends=True)
    younger.write_text("".join(line for line in lines if '"type":"imi.host.' not in line))

    await import_(second, younger)

    named = {DEFAULT_HOST: "default", ids["server"]: "server"}  # of that place an event is kept
    assert dict(second.rows("SELECT id, name FROM hosts")) == named
    places = "SELECT host_id, trunk_path FROM project_hosts"
    assert second.rows(places) == world.rows(places) == [(ids["server"], "/server/trunk-main")]


async def test_hosts_whose_own_events_are_gone_have_the_name_that_a_place_tells_or_are_told(
    world: World, second: World, tmp_path: Path
) -> None:
    # given
    ids = work(world.database)
    world.rows("SELECT update_host(host_named('default'), 'attic')")
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT use_host('laptop')")
        conn.execute("SELECT place_project(register_project('p', 'git@github.com:a/p.git'), %s, '/p')", [DEFAULT_HOST])
    world.rows("SELECT update_host(%s, 'rack')", ids["server"])
    file, younger = tmp_path / "h.jsonl", tmp_path / "younger.jsonl"
    await export(world, file)
    lines = file.read_text().splitlines(keepends=True)
    gone = ("imi.host.", f"imi.project_host.added.v1.*{ids['server']}")
    younger.write_text("".join(line for line in lines if not re.search(f'"type":"({"|".join(gone)})', line)))
    # when
    done = await asyncio.to_thread(
        run, "events", "import", str(younger), DATABASE_URL=second.database, IMI_PREFIX=second.prefix
    )
    # then
    by_id = f"host-{ids['server']}"
    assert f"no event names host {by_id}: before it is used, imi-registry host rename {by_id} NAME" in done.stderr
    named = {DEFAULT_HOST: "attic", ids["laptop"]: "desk", ids["server"]: by_id}
    assert dict(second.rows("SELECT id, name FROM hosts")) == named


async def test_what_is_older_than_hosts_is_on_the_default_one(world: World, second: World, tmp_path: Path) -> None:
    work(world.database)
    file, older = tmp_path / "h.jsonl", tmp_path / "older.jsonl"
    async with world.relay():
        await world.drained()
    await export(world, file)
    lines = file.read_text().replace(',"hostid":"', ',"unknown":"').splitlines(keepends=True)
    older.write_text(
        "".join(
            line.replace('"host_id"', '"none"').replace(PATH, f"{PATH}{number}") for number, line in enumerate(lines)
        )
    )
    await import_(second, older)

    with psycopg.connect(second.database) as conn:
        assert conn.execute("SELECT DISTINCT host_id FROM worktrees").fetchall() == [(DEFAULT_HOST,)]
    await world.delete_stream()
    await rebuild(second.settings())
    everything = await second.replayed()
    assert len(everything) == len(lines)
    assert await second.replayed(host_id=str(DEFAULT_HOST)) == everything
