"""Samples of how it goes, one every two seconds for ten minutes: events a second, their latency, how many wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from time import monotonic, time
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from publisher.part import Part
from publisher.relay.ages import BOUNDS_SECONDS
from publisher.relay.metrics import RelayMetrics
from publisher.settings import Settings
from publisher.web.console.sources.database import Database
from publisher.web.console.sources.health import QuietHealth
from registry.concurrency.ticks import tick

INTERVAL_SECONDS = 2.0
KEPT = 300


class Sample(NamedTuple):
    """What was seen in one interval."""

    at: float
    """Seconds since 1970."""
    events_per_second: float
    median_ms: float | None
    """From the change to its place in the stream; None where this process published nothing."""
    slowest_ms: float | None
    """The same of the slowest hundredth."""
    waiting: int
    """Events that are committed and not published."""


class Published(NamedTuple):
    """A count of events, and where it was counted: two of different places tell nothing about the time between."""

    where: str
    events: int
    at: float
    """When, in seconds of a clock of this process."""


class Samples(Part):
    """The last ones. Nothing is asked of any server: what is known in this process is written down."""

    def __init__(
        self, settings: Settings, relay: RelayMetrics, database: Database, registry: CollectorRegistry
    ) -> None:
        self.quiet = QuietHealth("console_samples", registry)
        super().__init__(settings, self.quiet, "console")
        self.kept: deque[Sample] = deque(maxlen=KEPT)
        self._relay = relay
        self._database = database
        self._was = self._published_now()
        self._rate = 0.0
        self._counts = relay.ages.counts("stored")
        self.settled.set()

    async def work(self) -> None:
        """Take samples until cancelled."""
        while True:
            await tick(INTERVAL_SECONDS)
            self.take()
            self.quiet.well()

    def take(self) -> None:
        """Take one."""
        published, counts = self._published_now(), self._relay.ages.counts("stored")
        new = [now - before for now, before in zip(counts, self._counts, strict=True)]
        self._rate = self._rate_until(published)
        self.kept.append(Sample(time(), self._rate, quantile_ms(new, 0.5), quantile_ms(new, 0.99), self._waiting()))
        self._was, self._counts = published, counts

    def _published_now(self) -> Published:
        """By this process where it leads, else as the database counted when it was looked at last."""
        if self._relay.role == "leader":
            return Published("here", self._relay.published, monotonic())
        known = self._database.known
        if known is None:
            return Published("unknown", 0, monotonic())
        return Published("elsewhere", known.published, self._database.known_at)

    def _rate_until(self, published: Published) -> float:
        """Events a second since another count; until there is another one, the rate is what it was."""
        if published.where == "unknown" or published.where != self._was.where:
            return 0.0
        seconds = published.at - self._was.at
        return max(published.events - self._was.events, 0) / seconds if seconds > 0 else self._rate

    def _waiting(self) -> int:
        """As the database counted; what a leader knows of are ids, also of transactions that are not committed."""
        return self._database.known.waiting if self._database.known is not None else 0


def quantile_ms(counts: Sequence[int], share: float) -> float | None:
    """The age, in milliseconds, that `share` of the counted events do not exceed; None when none is counted.

    As Prometheus does it: evenly spread between two bounds.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    sums = list(accumulate(counts))
    at = next(index for index, reached in enumerate(sums) if reached >= wanted)
    if at == len(BOUNDS_SECONDS):
        return BOUNDS_SECONDS[-1] * 1000
    low = BOUNDS_SECONDS[at - 1] if at else 0.0
    below = sums[at - 1] if at else 0
    return 1000 * (low + (BOUNDS_SECONDS[at] - low) * (wanted - below) / max(counts[at], 1))
