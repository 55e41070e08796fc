"""What the applier tells about itself: Prometheus metrics, and the same facts for the status page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from publisher.health import Health
from registry.commands import COMMANDS, Verdict


class ApplierMetrics(Health):
    """Metrics of one applier, in the `registry` that an exporter renders."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(
            "applier",
            registry,
            leader="1 while this process takes commands",
            interruptions="Times the applier had to wait for a server",
            consequence="commands wait: ",
        )
        self.commands = 0
        self.dead_letters = 0
        self._answered = self._counter("commands", "Commands answered", ("command", "verdict"))
        self._retries = self._counter("retries", "Times a command was tried again")
        self._buried = self._counter("dead_letters", "Messages stored as dead letters")

    def retried(self, error: Exception | None) -> None:
        """Note that a command is to be tried again; `error` when it was not the command's own fault."""
        self._retries.inc()
        if error is not None:
            self._last_error = str(error)

    def answered(self, name: str, verdict: Verdict) -> None:
        """Note an outcome. What senders make up for a name is counted as one."""
        self.commands += 1
        self.well()
        self._answered.labels(name if name in COMMANDS else "unknown", verdict).inc()

    def buried(self) -> None:
        """Note a dead letter."""
        self.dead_letters += 1
        self._buried.inc()
