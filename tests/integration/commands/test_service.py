"""`imi-registry serve` carries out commands, and shows on its status page that it does."""

from __future__ import annotations

import asyncio
from urllib.request import urlopen

import psycopg

from registry.client import RegistryClient
from tests.support.world import World


async def test_the_service_applies_commands_and_counts_them(world: World) -> None:
    with world.process() as process:
        url = (await process.ready())["http_url"]
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        status, body = await process.readyz()
        metrics = await asyncio.to_thread(_read, f"{url}/metrics")
        page = await asyncio.to_thread(_read, f"{url}/status")

    assert (status, body["problems"]) == (200, [])
    assert 'imi_applier_commands_total{command="project.register",verdict="applied"} 1.0' in metrics
    assert "imi_applier_leader 1.0" in metrics
    assert "<tr><td>Commands answered since start</td><td>1</td></tr>" in page


def _read(url: str) -> str:
    with urlopen(url, timeout=5) as answer:  # noqa: S310  # the service's own page
        text: str = answer.read().decode()
        return text


async def test_what_the_database_keeps_is_counted_on_the_page_of_a_service_that_has_just_begun(world: World) -> None:
    # given what one process has done: an event, one without its data, an id that was rolled back, a command
    with world.process() as process:
        await process.ready()
        with psycopg.connect(world.database) as conn:
            conn.execute("INSERT INTO outbox (entity, action, data) VALUES ('project', 'updated', '[1]')")
            conn.commit()
            conn.execute("SELECT register_project('gone', 'git@github.com:a/gone.git')")
            conn.rollback()
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        await world.drained()
    # when another one begins
    with world.process() as process:
        url = (await process.ready())["http_url"]
        page = await asyncio.to_thread(_read, f"{url}/status")
    # then
    for name, count in {
        "Events published since start": 0,
        "Events published, in all": 3,
        "Events that wait": 0,
        "Events without their data": 1,
        "Outbox ids that were rolled back": 1,
        "Commands answered since start": 0,
        "Commands in the ledger": 1,
        "Dead letters that wait": 0,
    }.items():
        assert f"<tr><td>{name}</td><td>{count}</td></tr>" in page, name
