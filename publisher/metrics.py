"""What the relay tells about itself: Prometheus metrics, and the same facts for the health page."""

from __future__ import annotations

from time import time
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Role = Literal["starting", "standby", "leader"]


class RelayMetrics:
    """Metrics of one relay in a registry of their own; `registry` is what an exporter renders."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.role: Role = "starting"
        self.last_error: str | None = None
        self.last_error_at: float = 0.0
        self.unknown_messages = 0
        self.leading = Gauge(
            "imi_relay_leader", "1 while this process publishes, 0 while it stands by", registry=self.registry
        )
        self.events = Counter("imi_relay_events", "Events acknowledged by the stream", registry=self.registry)
        self.batches = Counter(
            "imi_relay_batches", "Publish requests acknowledged by the stream", registry=self.registry
        )
        self.oversized = Counter(
            "imi_relay_oversized_events",
            "Events sent as a reference because of the server's max_payload",
            registry=self.registry,
        )
        self.interruptions = Counter(
            "imi_relay_interruptions",
            "Times the relay had to start over: a server was away",
            registry=self.registry,
        )
        self.recoveries = Counter(
            "imi_relay_stream_moved", "Times the stream did not end where expected", registry=self.registry
        )
        self.recovered = Counter(
            "imi_relay_recovered_events",
            "Events found in the stream that the cursor did not know",
            registry=self.registry,
        )
        self.foreign = Counter(
            "imi_relay_foreign_messages", "Messages in the stream that no relay wrote", registry=self.registry
        )
        self.unknown = Counter(
            "imi_relay_unknown_messages",
            "Messages in the stream whose event this database does not hold: it was restored to an older state",
            registry=self.registry,
        )
        self.waiting = Gauge(
            "imi_relay_waiting_ids",
            "Outbox ids handed out and not yet published or dead",
            registry=self.registry,
        )
        self.gaps = Gauge("imi_relay_gaps", "Ranges of ids that are still in flight", registry=self.registry)
        self.last_publish = Gauge(
            "imi_relay_last_publish_timestamp_seconds",
            "Time of the last acknowledgement",
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "imi_relay_batch_events",
            "Events in one publish request",
            registry=self.registry,
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        )

    def became(self, role: Role) -> None:
        """Note the role this relay has now."""
        self.role = role
        self.leading.set(role == "leader")
        if role == "leader":
            self.last_error = None

    def failed(self, error: Exception) -> None:
        """Note what interrupted the relay; the next acknowledgement clears it."""
        self.interruptions.inc()
        self.last_error, self.last_error_at = str(error), time()

    def acknowledged(self, events: int) -> None:
        """Note one acknowledged publish request."""
        self.events.inc(events)
        self.batches.inc()
        self.batch_size.observe(events)
        self.last_publish.set_to_current_time()
        self.last_error = None

    def found_unknown(self, count: int) -> None:
        """Note messages in the stream that this database does not know."""
        self.unknown.inc(count)
        self.unknown_messages += count
