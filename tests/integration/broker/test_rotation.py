"""docs/security.md, Changing secrets: of NATS. What was replaced is refused from then on, what replaced it is taken."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.broker.connection import connect_nats
from registry.client import Access, RegistryClient
from registry.errors import Unavailable
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.everything import variables
from tests.support.nats.kinds import KINDS, Prepared, authority_of, server_for, write_configuration
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


async def test_credentials_that_end_while_they_are_in_use_are_read_anew(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, file = authority_of(state_dir), state_dir / "a.creds"
    authority.write_credentials(file)
    access, seen = Access(creds=file), Seen()
    for name, value in variables(access).items():
        monkeypatch.setenv(name, value)
    with server_for(state_dir, authority.configuration()) as server:
        there = world.at(nats_url=server.url())
        authority.write_credentials(file, datetime.now(UTC) + timedelta(seconds=5))
        async with (
            there.relay() as relay,
            there.applier() as applier,
            there.queries(),
            RegistryClient.connect(server.url(), prefix=there.prefix, access=access) as client,
            subscribed(client, seen, durable="d", from_start=True),
        ):
            change_projects(world.database, 4, projects=8)
            await seen.until(4)
            # when
            async with asyncio.timeout(30):
                while not all("expired at" in " ".join(part.problems()) for part in (relay, applier)):
                    await asyncio.sleep(0.02)
            authority.write_credentials(file)
            # then
            change_projects(world.database, 8, projects=8)
            await seen.until(8)
            seen.assert_in_order()
            async with asyncio.timeout(30):
                while relay.problems() or applier.problems() or not await is_answered(client):
                    await asyncio.sleep(0.02)
            assert (await client.send("worktree_type.add", {"name": "renewed"})).verdict == "applied"


async def is_answered(client: RegistryClient) -> bool:
    try:
        await client.queries.stats()
    except Unavailable:
        return False
    return True
