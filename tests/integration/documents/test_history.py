"""docs/history.md: its Python runs as it stands, its commands exist, its settings have the defaults it says."""

from __future__ import annotations

import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from publisher.relay.batching import MAX_BATCH_BYTES
from publisher.settings import Settings
from registry.broker.ordered import BATCH, BATCH_BYTES
from registry.client import RegistryClient
from registry.position import After
from tests.support.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "history.md").read_text()
FOLLOWED, SNAPSHOT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Enough(Exception):
    """Ends a snippet that follows for ever."""


async def run(snippet: str, **names: Any) -> None:
    """Run a snippet of the page with `names` defined."""
    body = textwrap.indent(snippet, "    ")
    exec(f"async def snippet():\n{body}", names)  # noqa: S102  # our own page
    async with asyncio.timeout(20):
        await names["snippet"]()


async def test_the_replay_of_the_page_tells_every_event(world: World) -> None:
    told: list[bytes] = []

    def handle(payload: bytes) -> None:
        told.append(payload)
        if len(told) == 4:
            raise Enough

    def connect(url: str) -> Any:
        return RegistryClient.connect(url, prefix=world.prefix)

    async with world.relay():
        world.write()
        await world.drained()
        names = {"nats_url": world.nats_url, "handle": handle}
        snippet = FOLLOWED.replace("RegistryClient.connect(nats_url)", "connect(nats_url)")
        with pytest.raises(Enough):
            await run(snippet, connect=connect, **names)
    assert len(told) == 4


async def test_the_snapshot_of_the_page_is_the_registry(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        world.relay(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        world.write()
        await world.drained()
        capsys.readouterr()
        await run(SNAPSHOT, client=client, After=After)

    assert capsys.readouterr().out.startswith("2 1.")


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"`IMI_OUTBOX_RETENTION_DAYS`, {Settings.model_fields['outbox_retention_days'].default:g}" in PAGE
    assert f"{BATCH * 3 // 2:,} events or {2 * BATCH_BYTES // 2**20} MiB" in PAGE
    assert MAX_BATCH_BYTES == BATCH_BYTES
