"""docs/security.md, Changing secrets: of NATS. What was replaced is refused from then on, what replaced it is taken."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.broker.connection import connect_nats
from registry.client import Access, RegistryClient
from registry.errors import Unavailable
from tests.support.everything import variables
from tests.support.nats.kinds import KINDS, Prepared, server_for, write_configuration
from tests.support.world import World


def copied(access: Access, folder: Path) -> Access:
    """The same, out of files of its own: what somebody has who took a copy."""
    folder.mkdir()
    files = {name: value for name, value in vars(access).items() if isinstance(value, Path)}
    return dataclasses.replace(access, **{name: Path(shutil.copy2(file, folder)) for name, file in files.items()})


async def is_taken(url: str, access: Access) -> bool:
    try:
        async with connect_nats(url, "test", access, reconnect=False):
            return True
    except Unavailable:
        return False


@pytest.mark.parametrize("prepare", KINDS)
async def test_a_secret_of_nats_that_was_replaced_is_refused_and_the_new_one_taken(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], Prepared]
) -> None:
    configuration, access = prepare(state_dir)
    former = copied(access, state_dir / "former")
    for name, value in variables(access).items():
        monkeypatch.setenv(name, value)
    with server_for(state_dir, configuration) as server:
        url = server.url()
        there = world.at(nats_url=url)
        async with there.queries(), RegistryClient.connect(url, prefix=there.prefix, access=access) as client:
            assert (await client.queries.stats()).total_projects == 0
            assert await is_taken(url, former)

            # when: as the page says, with a server that goes on
            renewed, _ = prepare(state_dir)
            write_configuration(server, state_dir, renewed)
            server.signal(signal.SIGHUP)

            # then
            async with asyncio.timeout(60):
                while await is_taken(url, former) or not await is_taken(url, access):
                    await asyncio.sleep(0.05)
            if access.tls_ca is not None:  # else the server has said itself that it does not trust it
                assert not await is_taken(url, dataclasses.replace(former, tls_ca=access.tls_ca))
            there.write(1)
            async with asyncio.timeout(60):
                while True:
                    try:
                        assert (await client.queries.stats()).total_projects == 1
                    except Unavailable:  # who is connected comes back with the new one
                        await asyncio.sleep(0.05)
                    else:
                        return
