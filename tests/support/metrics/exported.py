"""What a service exports at /metrics: of parts that run in the test's own loop, or of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from publisher.applier.metrics import ApplierMetrics
from publisher.gauges import replicas
from publisher.gauges.level import Level
from publisher.gauges.measurement import Gauges, OutboxMeasurement, StreamMeasurement
from publisher.outbox.connection import connect
from publisher.relay.metrics import RelayMetrics
from tests.support.world import World, running


class Exported:
    """The registries of some parts."""

    def __init__(self, *registries: CollectorRegistry) -> None:
        self._registries = registries

    def text(self) -> str:
        """As Prometheus would scrape it now."""
        return "".join(generate_latest(registry).decode() for registry in self._registries)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample; None while it is absent."""
        found = [registry.get_sample_value(name, labels) for registry in self._registries]
        return next((value for value in found if value is not None), None)

    async def until(self, wanted: Callable[[float], bool], name: str, **labels: str) -> str:
        """All of it, once this sample is there and as `wanted`."""
        value: float | None = None
        try:
            async with asyncio.timeout(60):
                while (value := self.value(name, **labels)) is None or not wanted(value):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{name}{labels or ''} is {value}") from None
        return self.text()

    async def until_absent(self, name: str) -> str:
        """All of it, once there is no such sample."""
        async with asyncio.timeout(60):
            while self.value(name) is not None:
                await asyncio.sleep(0.02)
        return self.text()


def scraped(url: str) -> str:
    """What the service at `url` exports now, as Prometheus reads it."""
    with urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  # the service's own page
        return str(answer.read().decode())


async def scraped_until(wanted: Callable[[float], bool], url: str, name: str, **labels: str) -> str:
    """The same, once this sample is there and as `wanted`."""
    found: list[float] = []
    try:
        async with asyncio.timeout(120):
            while True:
                text = await asyncio.to_thread(scraped, url)
                samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
                found = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
                if found and wanted(found[0]):
                    return text
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{name}{labels or ''} is {found}") from None


def exported_levels(levels: Sequence[Level]) -> str:
    """What is exported of these levels."""
    gauges = Gauges("measurement", CollectorRegistry())
    gauges.measured(levels)
    return Exported(gauges.registry).text()


async def exported_slots(database_url: str) -> str:
    """What the source of replicas exports of their slots."""
    async with connect(database_url, "test") as conn:
        return exported_levels(await replicas.measure(conn))


@asynccontextmanager
async def exporting(
    world: World, *, relays: bool = True, applies: bool = True, measures: bool = True, **settings: object
) -> AsyncIterator[Exported]:
    """A service with these parts inside the block, which has measured once where it `measures`."""
    relay, applier = RelayMetrics(), ApplierMetrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        if relays:
            relay = await stack.enter_async_context(world.relay(**settings))
        if applies:
            applier = await stack.enter_async_context(world.applier(**settings))
        if measures:
            for part, measurement in (
                ("outbox_measurement", OutboxMeasurement),
                ("stream_measurement", StreamMeasurement),
            ):
                gauges = Gauges(part, relay.registry)
                await stack.enter_async_context(running(measurement(world.settings(**settings), gauges)))
        exported = Exported(relay.registry, applier.registry)
        for name in ("imi_outbox_bytes", "imi_jetstream_storage_bytes") if measures else ():
            await exported.until(lambda found: found >= 0, name)
        yield exported
