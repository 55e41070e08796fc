"""Connections of `Registry`: how many there are, and what is told of one that cannot be, or is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from publisher.outbox.schema import check_schema
from registry.database import Registry
from registry.database.connection import connect_blocking
from registry.errors import Conflict, RegistryError, Unavailable
from tests.support.databases import until_nobody_connects
from tests.support.proxy import postgres_proxy

ORIGIN = "git@github.com:ada/engine.git"


async def test_more_calls_than_connections_take_turns(database: str) -> None:
    async with Registry.connect(database, max_connections=2) as registry:
        ids = await asyncio.gather(*[registry.register_project("engine", ORIGIN) for _ in range(16)])
    assert len(set(ids)) == 1


async def test_a_database_that_is_not_there_or_is_no_registry_is_told_at_once(empty_database: str) -> None:
    with pytest.raises(Unavailable, match="Connection refused"):
        async with Registry.connect("postgresql://127.0.0.1:1/x"):
            pass
    with pytest.raises(Conflict, match="has no registry schema of this version; run: imi-registry migrate"):
        async with Registry.connect(empty_database):
            pass


async def test_whether_the_schema_is_there_is_asked_on_one_connection(database: str) -> None:
    async with postgres_proxy(database) as (proxy, url):
        sent: list[bytes] = []
        proxy.swallow = lambda direction, data: bool(direction == "to_server" and sent.append(data))
        await check_schema(url)
    assert len([data for data in sent if b"user\0" in data and b"database\0" in data]) == 1


async def test_a_component_that_is_stopped_while_it_connects_leaves_no_half_open_connection(database: str) -> None:
    # given connections that are being made, cancelled at all kinds of moments
    async def connect() -> None:
        async with Registry.connect(database):
            await asyncio.Event().wait()

    kept = []  # what a garbage collector would otherwise close
    for moment in range(20):
        connecting = asyncio.create_task(connect())
        await asyncio.wait([connecting], timeout=moment / 1000)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await connecting
        kept.append(cancelled.value)
    # then PostgreSQL waits for nobody
    await until_nobody_connects(database)


async def test_a_lost_server_is_unavailable_and_then_comes_back(database: str) -> None:
    async with postgres_proxy(database) as (proxy, url), Registry.connect(url, timeout=0.5) as registry:
        # given several connections
        await asyncio.gather(*[registry.get_registry_stats() for _ in range(8)])
        # when
        proxy.refuse()
        # then
        for _ in range(3):
            with pytest.raises(Unavailable):
                await registry.get_registry_stats()
        # when
        proxy.go_on()
        # then
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await registry.get_registry_stats()).total_projects == 0
                    break
                except Unavailable:
                    continue


async def test_after_a_long_outage_few_calls_find_the_server_again(database: str) -> None:
    async with postgres_proxy(database) as (proxy, url), Registry.connect(url, timeout=0.5) as registry:
        # given
        proxy.refuse()
        for _ in range(16):
            with pytest.raises(Unavailable):
                await registry.get_registry_stats()
        # when
        proxy.go_on()
        # then
        for _ in range(4):
            with suppress(Unavailable):
                assert (await registry.get_registry_stats()).total_projects == 0
                break
        else:
            pytest.fail("none of them")


async def test_one_lost_connection_does_not_mean_a_failure_for_each_of_the_others(database: str) -> None:
    async with postgres_proxy(database) as (proxy, url), Registry.connect(url) as registry:
        # given
        await asyncio.gather(*[registry.get_registry_stats() for _ in range(20)])
        # when
        proxy.cut()
        # then
        with pytest.raises(Unavailable):
            await registry.get_registry_stats()
        for _ in range(20):
            await registry.get_registry_stats()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pa/s3cret@127.0.0.1:1/d",
        "postgresql://u:pa@s3cret@127.0.0.1:1/d",
        "postgresql://u:s3cret/x@127.0.0.1:1/d",
        "postgresql://u:%zzs3cret@127.0.0.1:1/d",
        "postgresql://u:s3cret@127.0.0.1:1/d",
        "postgresql://127.0.0.1:1/d?s3cret",
        "postgresql://127.0.0.1:1/d?s3cret=1",
        "host=127.0.0.1 port=1 password='s3cret",
        "u:s3cret@127.0.0.1/d",
    ],
)
async def test_no_error_of_a_connection_has_the_password(url: str) -> None:
    with pytest.raises(RegistryError) as caught:
        async with Registry.connect(url):
            pass
    assert "s3cret" not in str(caught.value)
    with pytest.raises(RegistryError) as caught, connect_blocking(url):
        pass
    assert "s3cret" not in str(caught.value)
