"""`RegistryClient` on a host: its commands and queries mean the paths there, whatever host the applier is on."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from registry.client import RegistryClient
from registry.errors import Conflict, NotFound
from registry.models import DEFAULT_HOST
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.commands import ORIGIN
from tests.support.world import World

HOSTS = (None, "laptop", "server")
PATH = "/code/engine/feat"


async def test_equal_paths_of_two_hosts_and_of_none(world: World) -> None:
    worktrees = {}
    async with world.applier(host="elsewhere"), world.queries(host="elsewhere"):
        for host in HOSTS:
            async with RegistryClient.connect(world.nats_url, prefix=world.prefix, host=host) as client:
                project = await client.register_project(
                    name="engine", remote_origin=ORIGIN, trunk_path=f"/{host}/trunk-main"
                )
                worktrees[host] = await client.register_worktree(
                    project_id=project, type_name="feat", name="feat", branch_name="feat", path=PATH
                )
                await client.update_git_state(path=PATH, ahead=1)
        for host in HOSTS:
            async with RegistryClient.connect(world.nats_url, prefix=world.prefix, host=host) as client:
                assert await client.claim_worktree(path=PATH, agent_id="ada") == worktrees[host]
                queries = client.queries
                assert (await queries.worktree_by_path(PATH)).id == worktrees[host]
                assert await queries.working_path(project) == f"/{host}/trunk-main"
                assert (await queries.project_by_origin(ORIGIN)).trunk_path == f"/{host}/trunk-main"
                assert [found.trunk_path for found in await queries.search_projects("engine")] == [
                    f"/{host}/trunk-main"
                ]
                assert (await queries.working_path(project, host="server")) == "/server/trunk-main"
                assert len(await queries.inflight_work()) == len(HOSTS)

        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            queries = client.queries
            hosts = {found.name: found.id for found in await queries.hosts()}
            assert hosts.keys() == {"default", "laptop", "server"}
            (found,) = await queries.inflight_work(host="laptop")
            assert (found.worktree_id, found.host_id) == (worktrees["laptop"], hosts["laptop"])
            assert [project.id for project in (await queries.projects(host="server")).projects] == [project]
            assert (await queries.worktree_by_id(worktrees[None])).host_id == DEFAULT_HOST
            with pytest.raises(NotFound, match='host "desk" is no host'):
                await queries.inflight_work(host="desk")
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix, host="desk") as client:
            with pytest.raises(NotFound, match="host"):
                await client.claim_worktree(path=PATH, agent_id="ada")
            with pytest.raises(NotFound, match="not on the host"):
                await client.queries.working_path(project)


@pytest.mark.parametrize("other", [None, uuid4()], ids=["any host", "another host"])
async def test_the_name_of_a_subscription_to_one_host_is_refused_for_others(world: World, other: UUID | None) -> None:
    """Its subject does not tell the host: events of the others would be acknowledged, and handled by nobody."""
    seen = Seen()
    jetstream = world.nats.jetstream()
    async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        async with subscribed(client, seen, durable="d", from_start=True, host=DEFAULT_HOST):
            change_projects(world.database, 8)
            await seen.until(8)
        async with asyncio.timeout(20):
            with pytest.raises(Conflict, match=f'durable "d" is a subscription to .*{DEFAULT_HOST}.*choose another'):
                await client.subscribe(seen, durable="d", host=other)
        async with subscribed(client, seen, durable="d", host=DEFAULT_HOST):
            change_projects(world.database, 8)
            await seen.until(16)

        # as an older version made it
        consumer = await jetstream.consumer_info(world.stream, "d-1")
        consumer.config.metadata = {}
        await jetstream.add_consumer(world.stream, consumer.config)
        async with subscribed(client, seen, durable="d", host=DEFAULT_HOST):
            change_projects(world.database, 8)
            await seen.until(24)
    seen.assert_in_order()
