"""Logins that inherit nothing and act by a role that they take on, as Vault makes them, are whom they act for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import AsyncConnection

from publisher.mirror.follower import IS_STRANGERS, LOCK
from publisher.outbox.connection import connect
from publisher.outbox.lead import LOCK as LEAD
from publisher.outbox.lead import PUBLISHER, end_if_hanging, holder_of_lead, stranger_leads, try_lead, try_lock
from publisher.outbox.waits import Wait, waits
from registry.database.roles.state import OWNER
from tests.support.databases import Role, url_of
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.roles import matrix

STREAM, STALE_SECONDS = "S", 60.0


class Logins(NamedTuple):
    """URLs of the registry."""

    admin: str
    first: str
    second: str
    stranger: str


@pytest.fixture(scope="module", params=["18", "14"])
def logins(request: pytest.FixtureRequest) -> Iterator[Logins]:
    binaries: Path | None = binaries_of_14() if request.param == "14" else None
    with matrix.registry(binaries) as conn:
        assert conn.info.server_version // 10_000 == int(request.param)
        conn.execute("CREATE ROLE superuser SUPERUSER LOGIN PASSWORD 's3cret'")
        for name in ("first", "second", "stranger"):
            conn.execute(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 's3cret'".encode())
        for name in ("first", "second"):
            conn.execute(f"GRANT {OWNER} TO {name}".encode())
            conn.execute(f"ALTER ROLE {name} SET role = '{OWNER}'".encode())
        if conn.info.server_version >= 16_00_00:  # who may give the role away, and not take it on
            conn.execute(f"GRANT {OWNER} TO stranger WITH ADMIN TRUE, INHERIT FALSE, SET FALSE".encode())
        names = ("superuser", "first", "second", "stranger")
        yield Logins(*(url_of(conn.info.dsn, "registry", Role(name, "s3cret")) for name in names))


async def lock_number(conn: AsyncConnection) -> int:
    (number,) = await (await conn.execute("SELECT lock_number FROM publisher_cursor")).fetchone() or (0,)
    return int(number)


async def test_one_stands_by_for_the_other_and_a_stranger_is_told_from_both(logins: Logins) -> None:
    async with connect(logins.second, f"{PUBLISHER} second") as standby:
        async with connect(logins.first, f"{PUBLISHER} first") as leader:
            assert await try_lead(leader, STREAM, "first") is not None
            number = await lock_number(standby)
            holder = await holder_of_lead(standby, STREAM, STALE_SECONDS)
            assert holder is not None
            assert holder.is_publisher, stranger_leads(holder, STREAM)
            await end_if_hanging(standby, holder)
            assert await lock_number(standby) == number
            assert await try_lead(standby, STREAM, "second") is None

        async with connect(logins.stranger, f"{PUBLISHER} forged") as stranger:
            async with asyncio.timeout(20):
                while await try_lock(standby, STREAM) is None:
                    await asyncio.sleep(0.01)
            await standby.execute("SELECT pg_advisory_unlock_all()")
            await stranger.execute(LEAD, {"stream": STREAM, "new_number": number})
            holder = await holder_of_lead(standby, STREAM, STALE_SECONDS)
            assert holder is not None
            assert not holder.may_publish


async def test_a_follower_waits_for_the_other_and_passes_a_stranger_by(logins: Logins) -> None:
    for url, is_strangers in ((logins.first, False), (logins.stranger, True)):
        async with connect(logins.second, "standby") as standby:
            async with connect(url, "holder") as holder:
                await holder.execute(LOCK, {"number": 0})
                found = await (await standby.execute(IS_STRANGERS, {"number": 0})).fetchall()
                assert found == [(is_strangers,)]
            async with asyncio.timeout(20):
                while await (await standby.execute(LOCK, {"number": 0})).fetchone() != (True,):
                    await asyncio.sleep(0.01)


async def test_the_wait_of_one_for_a_lock_is_told_as_that_of_a_publisher(logins: Logins) -> None:
    async def told(conn: AsyncConnection) -> Wait:
        async with asyncio.timeout(20):
            while not (found := [one for one in await waits(conn, 0.0) if one.is_ours]):
                await asyncio.sleep(0.01)
        return found[0]

    async with (
        connect(logins.second, "looker") as looker,
        connect(logins.first, f"{PUBLISHER} first") as publisher,
        connect(logins.admin, "in front") as holder,
        asyncio.TaskGroup() as tasks,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE published_batch IN ACCESS EXCLUSIVE MODE")
        tasks.create_task(publisher.execute("SELECT FROM published_batch"))
        assert (await told(looker)).session.user == "first"


def test_one_may_say_that_an_actor_was_verified_and_a_stranger_may_not(logins: Logins) -> None:
    for url, may in ((logins.first, True), (logins.stranger, False)):
        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT public.outbox_actor_is_verified()").fetchone() == (may,)
