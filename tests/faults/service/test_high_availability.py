"""The example of docs/high-availability.md: its primary is lost, then a nats-server and the publisher that leads.

What its lines say of TLS, of the standby and of routes: `test_standby.py` and `test_routes.py`.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import psycopg
from nats.errors import TimeoutError as NatsTimeoutError

from publisher.doctor import examine
from publisher.doctor.findings import Finding
from registry.database import migrate
from registry.errors import Unavailable
from tests.support.documents.pages import DOCS, blocks, services_of, settings_in
from tests.support.nats.cluster import Cluster, cluster
from tests.support.nats.reading import connected
from tests.support.relay_process import RelayProcess, relay_process
from tests.support.servers.replicas import SYNCHRONOUS, Pair, pair
from tests.support.world import Published, World

PAGE = "high-availability.md"


def settings_of_postgresql() -> dict[str, str]:
    """What the page sets, but for the standbys that are waited for: there is none yet."""
    text, _ = blocks(PAGE, "ini")
    found = settings_in(text)
    assert found.pop(SYNCHRONOUS) == "*"
    return found


def variables(servers: Pair, nodes: Cluster) -> dict[str, str]:
    """What the page gives to `serve`, with ours in the place of the servers it names, which need no TLS here."""
    found = services_of(PAGE)
    for number, url in enumerate(servers.urls, start=1):
        parts = psycopg.conninfo.conninfo_to_dict(url)
        found["DATABASE_URL"] = found["DATABASE_URL"].replace(f"db-{number}", str(parts["host"]))
    found["DATABASE_URL"] += f"&password={parts['password']}"  # by a socket, where libpq speaks no TLS
    for number, node in enumerate(nodes.nodes, start=1):
        found["NATS_URL"] = found["NATS_URL"].replace(f"tls://nats-{number}:4222", node.url())
    return found


def write(database: str, name: str) -> None:
    """One project more."""
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:owner/{name}.git"])


def leading(database: str, services: list[RelayProcess]) -> RelayProcess:
    """Which of them publishes."""
    with psycopg.connect(database) as conn:
        (leader,) = conn.execute("SELECT leader FROM publisher_cursor").fetchone() or ("",)
    (found,) = [service for service in services if str(leader).endswith(f" {service.pid}")]
    return found


async def test_the_example_goes_on_without_its_primary_and_then_without_a_nats_server_and_the_leader(
    world: World, state_dir: Path
) -> None:
    _, promote, wait_for_nobody = blocks(PAGE, "sql")
    with pair(state_dir, settings_of_postgresql()) as servers:
        # given: the example
        with psycopg.connect(servers.url) as conn:
            migrate.apply(conn)
        await servers.add_standby()
        async with cluster(state_dir) as nodes, connected(nodes.url) as direct:
            found = variables(servers, nodes)
            there = world.at(database=found["DATABASE_URL"], nats_url=found["NATS_URL"], nats=direct)
            replicas = {"stream_replicas": found["IMI_STREAM_REPLICAS"]}
            with (
                relay_process(there.database, there.nats_url, world.prefix, **replicas) as one,
                relay_process(there.database, there.nats_url, world.prefix, **replicas) as other,
            ):
                await one.ready()
                await other.ready()
                write(there.database, "before")
                await there.drained()

                # when: the primary
                await servers.fail_over(promote)
                with psycopg.connect(servers.url, autocommit=True) as conn:
                    for statement in wait_for_nobody.strip().split("\n"):
                        conn.execute(statement.encode())
                write(there.database, "without-a-standby")
                await there.drained(60)
                await servers.add_standby()
                write(there.database, "with-a-new-standby")
                await there.drained(60)

                # and a nats-server, and the publisher that leads
                await nodes.kill(await nodes.leader(there.stream))
                leading(there.database, [one, other]).kill()
                write(there.database, "with-half-of-everything")

                # then
                await there.drained(60)
                await nodes.start(*[number for number, node in enumerate(nodes.nodes) if not node.is_running])
                await nodes.info(there.stream)  # as soon as the stream has a leader
                there = there.at(nats_url=nodes.url)
                async with asyncio.timeout(120):
                    while True:
                        with suppress(NatsTimeoutError):  # of a node that has just come back
                            await there.assert_exactly_once(at_least=4)
                            break
                published: list[Published] = []
                async with connected(nodes.url) as client, asyncio.timeout(60):
                    while not published:
                        with suppress(NatsTimeoutError):  # of a node that has just come back
                            published = await there.at(nats=client).published()
                told = [one.envelope["data"]["name"] for one in published if ".project." in one.subject]
                assert told == ["before", "without-a-standby", "with-a-new-standby", "with-half-of-everything"]
                found: list[Finding] = []
                async with asyncio.timeout(60):
                    while not found:
                        with suppress(Unavailable):  # of such a node, too
                            found = await examine(there.settings())
                findings = [one for one in found if one.check in {"publisher", "stream"}]
                assert all(one.is_well for one in findings), findings


def test_the_page_has_no_promise_that_no_test_attacks() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", (DOCS / PAGE).read_text())
    assert named
    assert all((DOCS.parent / name).exists() for name in named)
