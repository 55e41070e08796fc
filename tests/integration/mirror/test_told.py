"""How old a mirror is, is told by its own command, by doctor, by the health of who follows and by metrics."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import psycopg
import pytest

from publisher.doctor import examine
from publisher.mirror import follower
from tests.support.commandline import CommandLine
from tests.support.databases import Role, new_database
from tests.support.metrics.alerts import firing, needs_promtool
from tests.support.metrics.exported import Exported
from tests.support.mirror.mirrors import Mirror
from tests.support.outbox.changes import rename_project
from tests.support.processes import run
from tests.support.web.console import Visitor
from tests.support.world import World

END_WHO_FOLLOWS = """
SELECT pg_terminate_backend(pid)
FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def found(mirror: Mirror) -> list[tuple[bool, str]]:
    return [(one.is_well, one.text) for one in await examine(mirror.settings()) if one.check == "mirror"]


async def test_doctor_and_status_tell_how_old_it_is(source: World, mirror: Mirror) -> None:
    ((is_well, text),) = await found(mirror)
    assert not is_well
    assert "mirror of headquarters, and has had no snapshot yet" in text

    rename_project(source.database, 2)
    async with mirror.following() as health:
        await mirror.assert_same()
        assert health.problems() == []
        assert health.age_seconds is not None
        ((is_well, text),) = await found(mirror)
        assert is_well, text
        assert health.registry.get_sample_value("imi_mirror_sequence") == 3
        assert (health.registry.get_sample_value("imi_mirror_age_seconds") or -1) >= 0
        assert health.registry.get_sample_value("imi_mirror_leader") == 1
        assert health.registry.get_sample_value("imi_mirror_snapshots_total") == 1
        rename_project(source.database, 1)
        await mirror.assert_same()
        applied = health.registry.get_sample_value("imi_mirror_events_total")
        assert applied == 1
        assert health.registry.get_sample_value("imi_mirror_lag_seconds_count") == 1
    told = (await mirror.command("status")).stdout
    assert "headquarters" in told
    assert f"4 of {source.stream}" in told
    fields = json.loads((await mirror.command("status", "--json")).stdout)
    assert (fields["sequence"], fields["snapshots"]) == (4, 1)

    with psycopg.connect(mirror.database, autocommit=True) as conn:
        conn.execute("UPDATE mirror_source SET known_at = now() - interval '3 days'")
    ((is_well, text),) = await found(mirror)
    assert not is_well
    assert "3 days" in text


@needs_promtool
async def test_an_old_mirror_raises_an_alert(source: World, mirror: Mirror) -> None:
    rename_project(source.database, 2)
    async with mirror.following() as health:
        await mirror.assert_same()
        assert "ImiCopyOld" not in await firing(Exported(health.registry).text())
    with psycopg.connect(mirror.database, autocommit=True) as conn:
        conn.execute("UPDATE mirror_source SET known_at = now() - interval '6 min'")
    await source.nats.jetstream().delete_stream(source.stream)
    async with mirror.following() as health:
        text = await Exported(health.registry).until(lambda age: age > 300, "imi_mirror_age_seconds")
        assert "ImiCopyOld" in await firing(text)


@needs_promtool
async def test_a_mirror_that_never_had_a_snapshot_raises_an_alert(source: World, mirror: Mirror) -> None:
    await source.nats.jetstream().delete_stream(source.stream)
    async with mirror.following() as health:
        text = await Exported(health.registry).until(lambda age: age < 0, "imi_mirror_age_seconds")
        assert "ImiCopyIncomplete" in await firing(text)


async def test_who_follows_no_longer_tells_nothing_of_how_old_the_mirror_is(
    source: World, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "LOCK_SECONDS", 0.01)  # who stands by is faster than who tries again
    rename_project(source.database, 2)
    async with mirror.following() as first:
        await mirror.caught_up()
        told = Exported(first.registry)
        await told.until(lambda age: age >= 0, "imi_mirror_age_seconds")
        async with mirror.following() as second:
            with psycopg.connect(mirror.database, autocommit=True) as conn:
                async with asyncio.timeout(20):
                    while told.value("imi_mirror_age_seconds") is not None:
                        if second.role == "standby":
                            conn.execute(END_WHO_FOLLOWS)
                        await asyncio.sleep(0.1)
            assert (told.value("imi_mirror_sequence"), first.facts(), first.problems()) == (None, {}, [])
            await Exported(second.registry).until(lambda age: age >= 0, "imi_mirror_age_seconds")


async def test_a_mirror_that_hears_nothing_new_stays_young(source: World, mirror: Mirror) -> None:
    rename_project(source.database, 2)
    async with mirror.following():
        await mirror.caught_up()
        with psycopg.connect(mirror.database, autocommit=True) as conn:
            conn.execute("UPDATE mirror_source SET known_at = now() - interval '1 hour'")
        await mirror.until("CASE WHEN known_at > now() - interval '10 min' THEN 1 ELSE 0 END", 1)


async def test_the_quick_look_and_the_console_know_a_mirror(source: World, mirror: Mirror) -> None:
    rename_project(source.database, 2)
    with mirror.process() as process:
        address = (await process.ready())["http_url"]
        await mirror.assert_same()
        places = {"DATABASE_URL": mirror.database, "NATS_URL": source.nats_url, "IMI_PREFIX": mirror.prefix}
        told = await asyncio.to_thread(run, "status", **places)
        assert (told.returncode, "cannot be read" in told.stdout) == (0, False), told.stdout
        assert "this registry is a mirror of headquarters" in told.stdout
        assert "1 projects, 0 worktrees" in told.stdout
        page = await Visitor(urlsplit(address).port or 0).get("/")
        assert "Mirror of: headquarters" in page.text
        assert "nothing was looked at yet" not in page.text


def test_what_the_command_line_refuses(world: World, mirror: Mirror, cli: CommandLine) -> None:
    here, there = ["--database-url", world.database], ["--database-url", mirror.database]
    told = [
        cli("mirror", "status", *here),
        cli("mirror", "refresh", *here),
        cli("mirror", "promote", *here, "--nats-url", world.nats_url, "--yes"),
        cli("mirror", "setup", "again", *there),
        cli("mirror", "promote", *there, "--nats-url", world.nats_url, "--yes"),
    ]
    assert [done.code for done in told] == [1, 1, 1, 1, 1]
    assert all("is no mirror" in done.err for done in told[:3])
    assert "is a mirror already, of headquarters" in told[3].err
    assert "set IMI_MIRROR_NATS_URL" in told[4].err


async def test_a_mirror_is_set_up_and_refreshed_by_commands(
    source: World, admin_url: str, owner: Role, template_database: str
) -> None:
    source.write()
    with new_database(admin_url, owner, template_database) as database:
        mirror = Mirror(source, database, is_set_up=False)
        done = await mirror.command("setup", "headquarters")
        assert done.returncode == 0, done.stderr
        async with mirror.following():
            await mirror.assert_same()
            assert (await mirror.command("refresh")).returncode == 0
            await mirror.until("snapshots", 2)
            await mirror.assert_same()


async def test_a_stream_that_nats_mirrors_is_followed_as_the_source(source: World, mirror: Mirror) -> None:
    source.write()
    await source.drained()
    name = f"{source.prefix.upper()}_COPY"
    jetstream = source.nats.jetstream()
    await jetstream.add_stream(name=name, mirror={"name": source.stream})
    async with mirror.following(mirror_stream=name):
        await mirror.assert_same()
        rename_project(source.database, 5)
        await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)
