"""Connections stand and carry nothing more: each part that uses them says so, and goes on afterwards; no other stops.

Relay and applier, whose promises hold meanwhile, have tests of their own: tests/faults/relay/test_connections.py,
tests/faults/applier/test_applier.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry

from publisher.agreement.health import AgreementHealth
from publisher.agreement.keeper import Keeper
from publisher.canary import Canary, CanaryHealth
from publisher.doctor import Examination, Findings, examination
from publisher.gauges import measurement
from publisher.gauges.measurement import Gauges, OutboxMeasurement, StreamMeasurement
from publisher.health import Health
from publisher.history.service import CONNECTIONS, HistoryService
from publisher.mirror import follower
from publisher.mirror.follower import Follower
from publisher.mirror.health import MirrorHealth
from publisher.outbox import months, retention
from publisher.outbox.months import Months
from publisher.outbox.retention import Retention
from publisher.part import Part
from publisher.query_service import QueryService
from registry.broker import connection as to_nats
from registry.client import RegistryClient
from registry.client.whole import ask_site
from registry.database.connecting import look
from registry.errors import Unavailable
from tests.support.mirror.mirrors import Mirror
from tests.support.proxy import Proxy, nats_proxy, postgres_proxy
from tests.support.world import World, running

PATIENCE_SECONDS = 90
POSTGRESQL, NATS, OTHER_NATS = "PostgreSQL", "NATS", "the other NATS"
"""The other one is that of a mirror's source, and that in which registries agree."""

BRIEF = {"retention", "months"}
"""Parts that connect for a moment each time: mostly none of their connections stands."""


class Behind:
    """A registry's parts behind lines to its servers, beside a mirror of it."""

    def __init__(self, world: World, second: World) -> None:
        self._world, self._second = world, second
        self.lines: dict[str, list[Proxy]] = {}
        self.parts: dict[Part, Collection[str]] = {}
        """Each with what it uses."""

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            database, database_url = await stack.enter_async_context(postgres_proxy(self._world.database))
            mirrored, mirror_url = await stack.enter_async_context(postgres_proxy(self._second.database))
            nats, nats_url = await stack.enter_async_context(nats_proxy(self._world.nats_url))
            other, other_url = await stack.enter_async_context(nats_proxy(self._world.nats_url))
            self.lines = {POSTGRESQL: [database, mirrored], NATS: [nats], OTHER_NATS: [other]}
            self._make_parts(self._world.at(database=database_url, nats_url=nats_url), mirror_url, other_url)
            for part in self.parts:
                await stack.enter_async_context(running(part))
            yield

    def _make_parts(self, there: World, mirror_url: str, other_url: str) -> None:
        settings, registry = there.settings(canary_seconds=1, stale_seconds=2), CollectorRegistry()
        after = asyncio.Event()
        after.set()
        bucket = f"{there.prefix.upper()}_IDS"
        agreeing = there.settings(agreement_nats_url=other_url, agreement_bucket=bucket, agreement_replicas=1)
        Mirror(self._world, self._second.database)
        following = Mirror(self._world, mirror_url, is_set_up=False).settings(mirror_nats_url=other_url)
        apart = there.at(prefix=f"{there.prefix}q").settings()  # who asks the others is not answered by these
        self.parts = {
            Examination(settings, Findings(registry), after): {POSTGRESQL, NATS},
            Canary(settings, CanaryHealth(registry), after): {POSTGRESQL, NATS},
            OutboxMeasurement(settings, Gauges("outbox_measurement", registry)): {POSTGRESQL},
            StreamMeasurement(settings, Gauges("stream_measurement", registry)): {NATS},
            Retention(settings, Health("retention", registry)): {POSTGRESQL},
            Months(settings, Health("months", registry)): {POSTGRESQL},
            QueryService(apart, Health("queries", registry)): {NATS},
            HistoryService(apart, Health("history", registry)): {NATS},
            Follower(following, MirrorHealth(registry)): {POSTGRESQL, OTHER_NATS},
            Keeper(agreeing, AgreementHealth(registry)): {POSTGRESQL, OTHER_NATS},
        }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at every few seconds, or hours, is looked at more often."""
    for module in (measurement, retention, months):
        monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.5)
    monkeypatch.setattr(examination, "PAUSE_FACTOR", 1)
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(look, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(look, "ARRIVING_SECONDS", 0.2)
    monkeypatch.setattr(to_nats, "PING_SECONDS", 1)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part did its work."""
    counts: Counter[str] = Counter()
    well = Health.well

    def counted(health: Health) -> None:
        counts[health.part] += 1
        well(health)

    monkeypatch.setattr(Health, "well", counted)
    return counts


async def until(of: Collection[Part], is_so: Callable[[Part], bool]) -> None:
    """Wait until it was so of each of these parts once."""
    left = set(of)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while left := {part for part in left if not is_so(part)}:
                await asyncio.sleep(0.01)
    except TimeoutError:
        told = {part.health.part: [*part.health.problems(), *part.health.notes()] for part in left}
        raise AssertionError(f"never: {told}") from None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("server", "hurt"),
    [
        (POSTGRESQL, Proxy.black_hole),
        (NATS, Proxy.silence),
        (OTHER_NATS, Proxy.black_hole),
        pytest.param(POSTGRESQL, Proxy.silence, marks=pytest.mark.long),
        pytest.param(NATS, Proxy.black_hole, marks=pytest.mark.long),
        pytest.param(OTHER_NATS, Proxy.silence, marks=pytest.mark.long),
    ],
)
async def test_connections_that_carry_nothing_are_told_by_each_part_and_given_up(
    world: World, second: World, worked: Counter[str], server: str, hurt: Callable[[Proxy], None]
) -> None:
    there = Behind(world, second)
    async with world.relay(), world.history(), world.queries(), there.started():
        world.write(1)
        await until(there.parts, lambda part: worked[part.health.part] > 0 and not part.health.problems())
        users = [part for part, used in there.parts.items() if server in used]
        if hurt is Proxy.silence:
            users = [part for part in users if part.health.part not in BRIEF]
        before = {part: part.health.interrupted for part in there.parts}

        for line in there.lines[server]:
            hurt(line)

        await until(users, lambda part: part.health.interrupted > before[part] or bool(told(part)))
        world.write(1)
        await world.drained()
        others = [part for part, used in there.parts.items() if server not in used]
        assert {part.health.part: told(part) for part in others if part.health.interrupted > before[part]} == {}

        for line in there.lines[server]:
            line.go_on()
        worked.clear()
        await until(there.parts, lambda part: worked[part.health.part] > 0 and not told(part))


def told(part: Part) -> list[str]:
    """What it says."""
    return [*part.health.problems(), *part.health.notes()]


@pytest.mark.usefixtures("quick")
async def test_who_asks_is_answered_again_when_connections_to_postgresql_carried_nothing(world: World) -> None:
    async with (
        world.relay(),
        postgres_proxy(world.database) as (line, through),
        world.at(database=through).history(),
        world.at(database=through).queries(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        world.write(1)
        await world.drained()
        for _ in range(CONNECTIONS + 1):  # each takes one of them for ever, if it is not given up
            await asyncio.gather(answered(client.queries.stats), answered(lambda: ask_site(world.nats, world.profile)))
            line.silence()
        await asyncio.gather(answered(client.queries.stats), answered(lambda: ask_site(world.nats, world.profile)))


async def answered(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(Unavailable):
                await ask()
                return
