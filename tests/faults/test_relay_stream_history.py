"""A stream or a database that is not the one the relay left: foreign writers, deletions, restored backups."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from nats.aio.client import Client
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from publisher.doctor import examine
from publisher.embedded.nats_server import nats_server
from registry.subjects import Names
from tests.support.audit import assert_exactly_once, audit, connected, wait_until_published
from tests.support.histories import replayed
from tests.support.relay_process import relay_process
from tests.support.relays import running_relay, settings_for
from tests.support.workload import writing


def rename_project(database: str, times: int) -> None:
    """One event per time, each in its own transaction; all of the same row."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('p', 'git@github.com:owner/p.git', '/p')"
            " ON CONFLICT DO NOTHING"
        )
        for _ in range(times):
            conn.execute("UPDATE projects SET description = gen_random_uuid()::text")


def copy_database(admin_url: str, source: str, target: str) -> None:
    """Make `target` a copy of `source`, as a backup and its restore do."""
    names = sql.Identifier(target), sql.Identifier(source)
    with psycopg.connect(admin_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(names[0]))
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))


async def state(client: Client, prefix: str) -> Any:
    """Message count and sequences of the event stream."""
    return (await client.jetstream().stream_info(Names(prefix).event_stream)).state


async def test_messages_of_another_client_in_the_stream_disturb_nothing(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix) as metrics:
        async with writing(database, writers=4) as load:
            for number in range(40):
                await load.reach(commits=3)
                headers = {"Imi-Outbox-Id": str(number)} if number % 2 else None  # a liar, too
                subject = f"{prefix}.evt.v1.project.updated.-"
                await nats.jetstream().publish(subject, b"{}", headers=headers)
        await assert_exactly_once(database, nats_url, prefix, foreign=40, at_least=120)
        assert metrics.registry.get_sample_value("imi_relay_stream_moved_total")
        assert metrics.problems() == []


@pytest.mark.parametrize(
    ("outbox_id", "event_id"),
    [
        ("5", "no uuid"),
        ("5", ""),
        ("9" * 30, "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"),
        ("\u0665", "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"),
        ("-1", "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"),
    ],
)
async def test_a_message_with_nonsense_where_events_have_their_ids_is_of_somebody_else(
    database: str, nats_url: str, prefix: str, nats: Client, outbox_id: str, event_id: str
) -> None:
    async with running_relay(database, nats_url, prefix):
        rename_project(database, 2)
        await wait_until_published(database, prefix)
        headers = {"Imi-Outbox-Id": outbox_id} | ({"Nats-Msg-Id": event_id} if event_id else {})
        await nats.jetstream().publish(f"{prefix}.evt.v1.project.updated.-", b"{}", headers=headers)
        rename_project(database, 2)
        await wait_until_published(database, prefix)
    found = await examine(settings_for(database, nats_url, prefix))
    assert "1 messages in the stream are of somebody else; they disturb nothing" in [one.text for one in found]
    await assert_exactly_once(database, nats_url, prefix, foreign=1, at_least=5)
    assert len(await replayed(nats, prefix)) == 5


async def test_a_deleted_message_is_not_published_again(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix):
        rename_project(database, 5)
        await wait_until_published(database, prefix)
        await nats.jetstream().delete_msg(Names(prefix).event_stream, 3)
        await nats.jetstream().delete_msg(Names(prefix).event_stream, 6)  # the last one
        rename_project(database, 5)
        await wait_until_published(database, prefix)
    async with running_relay(database, nats_url, prefix):  # recovers
        rename_project(database, 1)
        await wait_until_published(database, prefix)
    found = await audit(database, nats_url, prefix)
    assert found.lost == [3, 6]
    found._replace(lost=[]).assert_clean(at_least=12)


@pytest.mark.parametrize("deleted", [[3], [3, 4, 7, 9]])
async def test_event_ids_the_server_still_remembers_do_not_block_the_relay(
    database: str, nats_url: str, prefix: str, nats: Client, deleted: list[int]
) -> None:
    async with running_relay(database, nats_url, prefix):
        rename_project(database, 10)
        await wait_until_published(database, prefix)
    for sequence in deleted:
        await nats.jetstream().delete_msg(Names(prefix).event_stream, sequence)
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE publisher_cursor SET published = '{}', stream_sequence = 0")
    rename_project(database, 5)
    async with running_relay(database, nats_url, prefix):
        rename_project(database, 5)
        await wait_until_published(database, prefix)
        found = await audit(database, nats_url, prefix)
    # The server answers that it has these: what was deleted on purpose stays deleted, all else goes on.
    assert found.lost == deleted
    found._replace(lost=[]).assert_clean(at_least=21)


async def test_a_database_restored_to_an_older_state_is_reported_and_its_new_events_are_published(
    database: str, admin_url: str, nats_url: str, prefix: str
) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    backup = f"{name}_backup"
    try:
        async with running_relay(database, nats_url, prefix):
            rename_project(database, 9)
            await wait_until_published(database, prefix)
        copy_database(admin_url, name, backup)
        async with running_relay(database, nats_url, prefix):
            rename_project(database, 5)
            await wait_until_published(database, prefix)
        copy_database(admin_url, backup, name)
    finally:
        with psycopg.connect(admin_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(backup)))
    rename_project(database, 7)  # the same ids again, for other events
    with relay_process(database, nats_url, prefix) as relay:
        await relay.ready()
        await wait_until_published(database, prefix)
        code, body = await relay.readyz()
        logged = [line for line in relay.log() if line.get("level") == "error"]
    assert code == 503
    assert body["problems"] == [
        "the stream holds 5 events that this database does not: the database was restored to an older state"
    ]
    assert [line["count"] for line in logged] == [5]
    await assert_exactly_once(database, nats_url, prefix, foreign=5, at_least=17)


@pytest.mark.parametrize("is_running", [True, False], ids=["while running", "while stopped"])
async def test_a_deleted_stream_ends_the_relay_with_a_clear_message_and_nothing_is_published_over_the_hole(
    database: str, nats_url: str, prefix: str, nats: Client, is_running: bool
) -> None:
    with ExitStack() as stack:
        relay = stack.enter_context(relay_process(database, nats_url, prefix))
        await relay.ready()
        rename_project(database, 9)
        await wait_until_published(database, prefix)
        if not is_running:
            relay.kill()
            await relay.exit_code()
        await nats.jetstream().delete_stream(Names(prefix).event_stream)
        rename_project(database, 3)
        if not is_running:
            relay = stack.enter_context(relay_process(database, nats_url, prefix))
        assert await relay.exit_code() == 1
        assert relay.log()[-1]["event"] == (
            f"imi-registry: stream {Names(prefix).event_stream} ends at sequence 0, but 10 was published into it: "
            "it was deleted, or restored from an older backup; publish it again with: "
            "imi-registry rebuild-stream (with the --state-dir of up, if it had one)"
        )
    assert (await state(nats, prefix)).last_seq == 0
    with psycopg.connect(database) as conn:
        stored = conn.execute("SELECT stream_sequence FROM publisher_cursor").fetchone()
    assert stored == (10,)


async def test_a_purged_stream_goes_on_behind_what_it_held(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix):
        rename_project(database, 9)
        await wait_until_published(database, prefix)
        await nats.jetstream().purge_stream(Names(prefix).event_stream)
        rename_project(database, 3)
        await wait_until_published(database, prefix)
    async with running_relay(database, nats_url, prefix):
        rename_project(database, 3)
        await wait_until_published(database, prefix)
    found = await audit(database, nats_url, prefix)
    assert found.lost == list(range(1, 11))
    found._replace(lost=[]).assert_clean(at_least=16)
    assert (await state(nats, prefix)).first_seq == 11


async def test_a_stream_restored_from_an_older_backup_is_refused(database: str, prefix: str, state_dir: Path) -> None:
    with nats_server(state_dir) as server:
        async with running_relay(database, server.url, prefix):
            rename_project(database, 9)
            await wait_until_published(database, prefix)
    backup = state_dir / "backup"
    shutil.copytree(state_dir / "nats", backup)
    with nats_server(state_dir) as server:
        async with running_relay(database, server.url, prefix):
            rename_project(database, 5)
            await wait_until_published(database, prefix)
    shutil.rmtree(state_dir / "nats")
    backup.rename(state_dir / "nats")
    with nats_server(state_dir) as server:
        rename_project(database, 2)
        with relay_process(database, server.url, prefix) as relay:
            assert await relay.exit_code() == 1
            assert "ends at sequence 10, but 15 was published into it" in relay.log()[-1]["event"]
        async with connected(server.url) as client, asyncio.timeout(5):
            assert (await state(client, prefix)).last_seq == 10
