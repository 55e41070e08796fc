"""What the canary tells: whether heartbeats come back, after how long, and since when one is waited for."""

from __future__ import annotations

from time import monotonic

from prometheus_client import CollectorRegistry, Histogram

from publisher.health import Health

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class CanaryHealth(Health):
    """Health of the canary, and its metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("canary", registry, consequence="no heartbeat comes out of the stream: ")
        self._began_at: float | None = None
        self._last_seconds: float | None = None
        self._seconds = Histogram(
            "imi_canary_seconds",
            "From the write of a heartbeat until it came out of the stream",
            buckets=BUCKETS,
            registry=registry,
        )
        waiting = self._gauge("waiting_seconds", "Since when a heartbeat is waited for; 0 when none is")
        waiting.set_function(lambda: self.waiting_seconds)

    @property
    def waiting_seconds(self) -> float:
        """How long the heartbeat has been under way that did not come back yet."""
        return 0.0 if self._began_at is None else monotonic() - self._began_at

    def begins(self) -> None:
        """Note that one is written now; those that follow before it is back belong to the same wait."""
        if self._began_at is None:
            self._began_at = monotonic()

    def arrived(self, seconds: float) -> None:
        """Note that one came back."""
        self._began_at = None
        self._last_seconds = seconds
        self._seconds.observe(seconds)
        self.well()

    def facts(self) -> dict[str, str]:
        """How long the last one took."""
        return {} if self._last_seconds is None else {"Last heartbeat, there and back": f"{self._last_seconds:.3f} s"}
