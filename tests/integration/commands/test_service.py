"""`imi-registry serve` carries out commands, and shows on its status page that it does."""

from __future__ import annotations

import asyncio
from urllib.request import urlopen

from registry.client import RegistryClient
from tests.support.world import World


async def test_the_service_applies_commands_and_counts_them(world: World) -> None:
    with world.process() as process:
        url = (await process.ready())["http_url"]
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        status, body = await process.readyz()
        metrics = await asyncio.to_thread(_read, f"{url}/metrics")
        page = await asyncio.to_thread(_read, url)

    assert (status, body["problems"]) == (200, [])
    assert 'imi_applier_commands_total{command="project.register",verdict="applied"} 1.0' in metrics
    assert "imi_applier_leader 1.0" in metrics
    assert "<tr><td>Commands answered since start</td><td>1</td></tr>" in page


def _read(url: str) -> str:
    with urlopen(url, timeout=5) as answer:  # noqa: S310  # the service's own page
        text: str = answer.read().decode()
        return text
