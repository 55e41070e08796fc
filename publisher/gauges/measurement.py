"""The measurement: two parts of every service, so that figures are true when nobody publishes, too."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from publisher.gauges import months, replicas, streams
from publisher.gauges.level import Level
from publisher.gauges.outbox import OutboxGauges
from publisher.health import Health
from publisher.outbox.blocked import holder_named
from publisher.outbox.connection import LOOKER, connect
from publisher.outbox.known import known_stream
from publisher.part import Part
from publisher.settings import Settings
from registry.broker.connection import connect_nats
from registry.concurrency.ticks import tick

INTERVAL_SECONDS = 15.0


class Gauges(Health, Collector):
    """The last measurement, for an exporter; nothing while none can be taken, rather than what was once."""

    def __init__(self, part: str, registry: CollectorRegistry) -> None:
        super().__init__(part, registry)
        self._levels: Sequence[Level] = ()
        registry.register(self)

    def measured(self, levels: Sequence[Level]) -> None:
        """Note what was measured now."""
        self._levels = levels
        self.well()

    def forget(self) -> None:
        """Let go of what was measured."""
        self._levels = ()

    def problems(self) -> list[str]:
        """None: events flow without figures."""
        return []

    def notes(self) -> list[str]:
        """Why nothing can be measured."""
        return [f"no figures: {problem}" for problem in super().problems()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For an exporter."""
        for level in self._levels:
            if level.values:
                yield level.family()


class _Measurement(Part):
    def __init__(self, settings: Settings, gauges: Gauges) -> None:
        super().__init__(settings, gauges, gauges.part)
        self.health: Gauges = gauges
        self.settled.set()  # from the start: nobody waits for figures


class OutboxMeasurement(_Measurement):
    """Measures the outbox, what replicas keep of the WAL, and the months of activities, every few seconds."""

    async def work(self) -> None:
        """Measure, wait, measure again."""
        outbox = OutboxGauges(self._settings.outbox_retention_days)
        async with connect(self._database_url, self._name, LOOKER) as conn, holder_named(conn):
            while True:
                known = await known_stream(conn, self._profile.event_stream)
                levels = (await outbox.measure(conn, known), await replicas.measure(conn), await months.measure(conn))
                self.health.measured([*itertools.chain(*levels)])
                await tick(INTERVAL_SECONDS)


class StreamMeasurement(_Measurement):
    """Measures the streams and their consumers every few seconds."""

    async def work(self) -> None:
        """Measure, wait, measure again."""
        async with connect_nats(self._nats_url, self._name, self._nats_access, reconnect=False) as client:
            while True:
                self.health.measured(await streams.measure(client, self._profile))
                await tick(INTERVAL_SECONDS)
