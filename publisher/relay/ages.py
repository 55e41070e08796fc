"""How old events are when the relay has read, sent and stored them: a histogram, paid by the batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from time import time
from typing import Literal, get_args

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

Stage = Literal["read", "sent", "stored"]

BOUNDS_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 86400)
LOOKED_AT = 64
"""Of more events at once, so many are looked at, evenly spread; each counts for those up to the next."""


class EventAges(Collector):
    """Seconds since the change, by PostgreSQL's clock, at each stage on an event's way into the stream.

    The age when it was read is the wait for the relay; what it gains until it was sent is the relay's own time, and
    what it gains until it was stored is the broker's.
    """

    def __init__(self) -> None:
        self._counts = {stage: [0] * (len(BOUNDS_SECONDS) + 1) for stage in get_args(Stage)}
        self._sums = dict.fromkeys(get_args(Stage), 0.0)
        self._ahead_seconds = 0.0

    def clock(self, database_seconds: float, asked_at: float) -> None:
        """Note what PostgreSQL's clock said between `asked_at` and now by this machine's, which may differ from it.

        All in seconds since 1970. What is known of the difference is changed no further than that proves it wrong: from
        one page to the next an event does not become younger.
        """
        least, most = database_seconds - time(), database_seconds - asked_at
        self._ahead_seconds = min(max(self._ahead_seconds, least), most)

    def observe(self, stage: Stage, times: Sequence[str]) -> None:
        """Count events that have reached `stage` now; `times` are those of their changes, in RFC 3339."""
        now = time() + self._ahead_seconds
        counts = self._counts[stage]
        step = -(-len(times) // LOOKED_AT) or 1
        for start in range(0, len(times), step):
            weight = min(step, len(times) - start)
            age_seconds = max(now - datetime.fromisoformat(times[start]).timestamp(), 0.0)
            counts[bisect_left(BOUNDS_SECONDS, age_seconds)] += weight
            self._sums[stage] += weight * age_seconds

    def counts(self, stage: Stage) -> list[int]:
        """How many events of each age, by `BOUNDS_SECONDS` and above the last, have reached `stage` so far."""
        return list(self._counts[stage])

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For an exporter."""
        family = HistogramMetricFamily(
            "imi_relay_event_age_seconds",
            "Age of events, from the change to when the relay has read, sent and stored them",
            labels=["stage"],
        )
        bounds = [*map(str, map(float, BOUNDS_SECONDS)), "+Inf"]
        for stage, counts in self._counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric([stage], buckets, sum_value=self._sums[stage])
        yield family
