"""What the relay tells about itself: Prometheus metrics, and the same facts for the status page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import time

from prometheus_client import CollectorRegistry, Histogram

from publisher.health import LeadHealth, Role
from publisher.outbox.cursor import Deposed
from publisher.relay.ages import EventAges
from registry.events.reference import TOO_LARGE


class RelayMetrics(LeadHealth):
    """Metrics of one relay in a registry of their own; `registry` is what an exporter renders."""

    def __init__(self) -> None:
        super().__init__(
            "relay",
            CollectorRegistry(),
            leader="1 while this process publishes, 0 while it does not",
            interruptions="Times the relay started over because a server was away",
        )
        self.published = 0
        self.unknown = 0
        self.foreign = self.foreign_pages = 0
        self.faulty = 0
        self.waiting_ids = 0
        self.last_publish_at: float | None = None
        self.ages = EventAges()
        self.registry.register(self.ages)
        self._events = self._counter("events", "Events acknowledged by the stream")
        self._moved = self._counter("stream_moved", "Times the stream did not end where expected")
        self._recovered = self._counter("recovered_events", "Events found in the stream beyond the cursor")
        self._completed = self._counter("completed_events", "Events published again where the stream had lost its end")
        self._foreign = self._counter("foreign_messages", "Messages in the stream that no relay wrote")
        self._unknown = self._counter("unknown_events", "Events in the stream that this database does not hold")
        self._oversized = self._counter("oversized_events", "Events sent as a reference because of max_payload")
        self._faulty = self._counter("faulty_events", "Events sent as a reference because their row cannot be told")
        self._withheld = self._counter(
            "withheld_events", "Events that stay in the outbox: the stream has no name for them"
        )
        self._waiting = self._gauge("waiting_ids", "Outbox ids handed out and neither published nor dead")
        self._gaps = self._gauge("gaps", "Ranges of outbox ids that are still in flight")
        self._dead = self._counter("dead_ids", "Outbox ids that will never appear: their transactions rolled back")
        self._ranges = self._gauge("cursor_ranges", "Ranges of outbox ids that the cursor is made of")
        self._epoch = self._gauge("epoch", "Epoch of the last lead of this process; the highest one leads")
        self._terms = self._counter("terms", "Times this process took the lead")
        self._deposed = self._counter("deposed", "Times another publisher took the lead from this process")
        self._last_publish = self._gauge("last_publish_timestamp_seconds", "Time of the last acknowledgement")
        self._batch_events = Histogram(
            "imi_relay_batch_events",
            "Events in one publish request",
            registry=self.registry,
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        )

    def became(self, role: Role) -> None:
        """Note the role this relay has now; who does not lead sees nothing of what is left, and shows nothing old."""
        super().became(role)
        if role != "leader":
            self.progressed(0, 0, 0)

    def moved(self) -> None:
        """Note that the stream did not end where expected."""
        self._moved.inc()

    def completed(self, events: int) -> None:
        """Note that the stream had lost its end, and so many events with it."""
        self._completed.inc(events)

    def acknowledged(self, times: Sequence[str]) -> None:
        """Note one acknowledged publish request, of events that occurred at `times`."""
        events = len(times)
        self.ages.observe("stored", times)
        self.published += events
        self.last_publish_at = time()
        self.well()
        self._events.inc(events)
        self._batch_events.observe(events)
        self._last_publish.set(self.last_publish_at)

    def progressed(self, waiting_ids: int, gaps: int, ranges: int) -> None:
        """Note how much is left, and of how many `ranges` the cursor is, each time it is stored."""
        self.waiting_ids = waiting_ids
        self._waiting.set(waiting_ids)
        self._gaps.set(gaps)
        self._ranges.set(ranges)

    def declared_dead(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Note ids that will never appear, of transactions that rolled back."""
        self._dead.inc(sum(end - start for start, end in ranges))

    def withheld(self, events: int) -> None:
        """Note events that do not go into the stream."""
        self._withheld.inc(events)

    def took_over(self, epoch: int) -> None:
        """Note that this process leads now, and nobody of an earlier epoch."""
        self._terms.inc()
        self._epoch.set(epoch)

    def failed(self, error: Exception, event: str = "") -> None:
        """Note what interrupts this part's work, and tell whether that is news."""
        if isinstance(error, Deposed):
            self._deposed.inc()
        super().failed(error, event)

    def recovered(self, *, known: int, unknown: int, foreign: int) -> None:
        """Note what a page of the stream's tail held."""
        self.unknown += unknown
        self.foreign += foreign
        self.foreign_pages += foreign > 0
        self._recovered.inc(known)
        self._unknown.inc(unknown)
        self._foreign.inc(foreign)

    def sent_as_reference(self, reason: str) -> None:
        """Note an event without its data, and why: too large for the server, or a row that cannot be told."""
        if reason == TOO_LARGE:
            self._oversized.inc()
        else:
            self.faulty += 1
            self._faulty.inc()
